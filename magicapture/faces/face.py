"""What a face is to the rest of the app, and what an engine must be able to do."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL.Image import Image

from magicapture.faces.recogniser import Recogniser


@dataclass(frozen=True, eq=False)
class Face:
    """One face found in a picture; every position is in pixels of that picture, x to the right and y downwards.

    ``box``: (4,) left, top, right, bottom. ``score``: the detector's certainty, 0–1. ``landmarks``: (5, 2) float32,
    the viewer's left eye, right eye, tip of the nose, left and right corner of the mouth. ``embedding``: (D,) float32
    of length 1; the cosine of two embeddings says how alike two faces are.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray
    embedding: np.ndarray

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return float(self.box[2] - self.box[0])

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return float(self.box[3] - self.box[1])


class FaceEngine(Protocol):
    """Finds faces, tells people apart and outlines faces."""

    name: str
    licence: str
    """One sentence for visitors: what the weights may be used for."""

    def detect(self, image: Image) -> list[Face]:
        """Give the faces in the RGB picture ``image``, the largest first; an empty list when there is none."""
        ...

    def face_mask(self, image: Image, face: Face) -> np.ndarray:
        """Give the oval of ``face`` in ``image`` as (H, W) float32, 1 inside and 0 outside: no hair and no neck."""
        ...

    def recogniser(self) -> Recogniser:
        """Give the network behind the embeddings as a differentiable torch module on the CPU."""
        ...
