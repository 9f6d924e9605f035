"""What a face is to the rest of the app."""

from dataclasses import dataclass

import numpy as np


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
