"""How much a portrait is like the person, and how near it is to the style."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from magicapture.faces import FaceEngine
from magicapture.features import image_features
from magicapture.references import Reference

STYLE_SIDE = 128
"""Pictures are compared at this side in pixels, so that a style score does not depend on the base."""

LIKENESS_WORDS = ((0.6, "a striking likeness"), (0.45, "alike"), (0.3, "some likeness"), (-1.0, "little likeness"))
"""Lowest cosine of each wording. Two photos of one person have 0.7 on average and rarely less than 0.45."""


@dataclass(frozen=True, eq=False)
class Targets:
    """What portraits of one training are compared with.

    ``person``: (D,) mean embedding of the person's photos; ``style``: (F,) mean features of the style's pictures; both
    of length 1. Embeddings of different engines cannot be compared: ``engine`` says whose they are.
    """

    person: Tensor
    style: Tensor
    engine: str

    @classmethod
    def of(cls, person: list[Reference], style: list[Reference], engine: FaceEngine) -> "Targets":
        """Average over the references of each role."""
        return cls(
            F.normalize(torch.from_numpy(np.mean([r.embedding for r in person], axis=0)).float(), dim=0),
            F.normalize(torch.stack([style_features(r.image, r.mask) for r in style]).mean(dim=0), dim=0),
            engine.name,
        )


@dataclass(frozen=True)
class Scores:
    """How near a picture came.

    ``likeness``: cosine to the person, in [-1, 1], 0 when no face is found, None when it cannot be compared;
    ``style``: cosine to the style outside the face, in [-1, 1], None when there is none to compare with.
    """

    likeness: float | None
    style: float | None


def score(image: Image.Image, targets: Targets, engine: FaceEngine) -> Scores:
    """Compare ``image`` with what it was to become."""
    faces = engine.detect(image)
    mask = engine.face_mask(image, faces[0]) if faces else None
    style = float(style_features(image, mask) @ targets.style)
    if engine.name != targets.engine:
        return Scores(None, style)
    likeness = float(torch.from_numpy(faces[0].embedding).float() @ targets.person) if faces else 0.0
    return Scores(likeness, style)


def likeness_in_words(likeness: float | None) -> str:
    """Say what a likeness means to someone who has never seen such a number."""
    if likeness is None:
        return "not comparable"
    return next(words for lowest, words in LIKENESS_WORDS if likeness >= lowest)


@torch.no_grad()
def style_features(image: Image.Image, mask: np.ndarray | None) -> Tensor:
    """Average ImageNet features outside the face: colours, strokes, grain and light rather than who it is.

    ``mask``: (H, W) of the picture's size, 1 on the face; None compares the whole picture. Returns (F,) of length 1.
    """
    small = np.asarray(image.convert("RGB").resize((STYLE_SIDE, STYLE_SIDE), Image.Resampling.LANCZOS))
    pixels = torch.from_numpy(small.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    outside = torch.ones(1, 1, *pixels.shape[-2:])
    if mask is not None:
        outside = F.interpolate(
            1 - torch.from_numpy(mask.copy())[None, None].float(), size=pixels.shape[-2:], mode="area"
        )
    means = []
    for features in image_features()(pixels):
        weights = F.interpolate(outside, size=features.shape[-2:], mode="area")
        means.append(F.normalize((features * weights).sum(dim=(2, 3)) / weights.sum().clamp(min=1e-6), dim=1))
    return F.normalize(torch.cat(means, dim=1)[0], dim=0)
