"""How much a portrait is like the person, and how near it is to the style."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from magicapture.features import CHANNELS, image_features, pooled_features
from magicapture.subject import Reference, Subject

STYLE_SIDE = 128
"""Pictures are compared at this side in pixels, so that a style score does not depend on the base."""
STYLE_WEIGHT = 0.1
"""Of style beside likeness where the dial is in the middle: portraits of one adapter differ two to ten times as much in
style, so that at 1 the most stylish would be chosen, and at 0 the least (docs/findings.md)."""
TOLD_APART = 0.1
"""By how much the style's pictures must be nearer to each other than the person's photos are to them: where they are
not, nothing says whether a portrait has the style."""

LIKENESS_WORDS = ((0.7, "clearly you"), (0.5, "some of you"), (-1.0, "not you"))
"""Lowest cosine of each wording. From 0.7 on, dlib too takes nine of ten portraits for the person; a stranger's photo
reaches 0.5 once in a thousand times, the person's own have 0.88 on average (docs/findings.md)."""


ROUNDING = 1e-3
"""By how much what was computed may differ from the length or the cosine that it is."""


@dataclass(frozen=True, eq=False)
class Targets:
    """What portraits of one training are compared with.

    ``person``: (D,) mean ``Subject.embed`` of the person's photos; ``style``: (F,) mean features of the style's
    pictures, 0 if they show nothing but faces; both of length 1. ``style_range``: (2,) the cosine to ``style`` that the
    person's photos have on average, and that of the style's own pictures, each to the mean of the others. All float32.
    Other shapes and numbers raise ``ValueError``.
    """

    person: Tensor
    style: Tensor
    style_range: Tensor

    def __post_init__(self) -> None:
        shapes = [tuple(tensor.shape) for tensor in (self.person, self.style, self.style_range)]
        if self.person.ndim != 1 or shapes[1:] != [(CHANNELS,), (2,)]:
            raise ValueError(f"What its portraits are scored against has the wrong shapes: {shapes}.")
        if any(tensor.dtype != torch.float32 or not tensor.isfinite().all() for tensor in vars(self).values()):
            raise ValueError("What its portraits are scored against are no finite numbers.")
        person, style, largest = self.person.norm(), self.style.norm(), self.style_range.abs().max()
        if abs(person - 1) > ROUNDING or max(style, largest) > 1 + ROUNDING:
            raise ValueError("What its portraits are scored against is longer or shorter than it can be.")

    @classmethod
    def of(cls, person: list[Reference], style: list[Reference], subject: Subject) -> "Targets":
        """Average over the references of each role. They are embedded as crops, as portraits are."""
        faces = torch.stack([torch.from_numpy(subject.embed(r.image, r.mask, r.landmarks)) for r in person])
        photos, looks = (torch.stack([style_features(r.image, r.mask) for r in role]) for role in (person, style))
        look = F.normalize(looks.mean(dim=0), dim=0)
        others = F.normalize(looks.sum(dim=0) - looks, dim=1) if len(looks) > 1 else looks
        style_range = torch.stack([(photos @ look).mean(), (looks * others).sum(dim=1).mean()])
        return cls(F.normalize(faces.mean(dim=0), dim=0), look, style_range)


@dataclass(frozen=True)
class Scores:
    """How near a picture came.

    ``likeness``: cosine to the person, in [-1, 1], 0 when no face is found; ``style``: share of the way from the
    person's photos (0) to the style's own pictures (1), outside the face; below 0 and above 1 are possible.
    """

    likeness: float
    style: float


def score(image: Image.Image, targets: Targets, subject: Subject) -> Scores:
    """Compare ``image`` with what it was to become; ``subject`` finds whom or what it shows."""
    found = subject.find(image, targets.person.numpy())
    mask, embedding = found or (None, None)
    photos, own = targets.style_range.tolist()
    style = (float(style_features(image, mask) @ targets.style) - photos) / max(own - photos, TOLD_APART)
    likeness = 0.0 if embedding is None else float(torch.from_numpy(embedding) @ targets.person)
    return Scores(min(max(likeness, -1.0), 1.0), style)  # rounding alone leads beyond


def nearest(path: Path, references: list[Reference], subject: Subject) -> tuple[Reference, float] | None:
    """Find the photo that is most like the picture ``path``; gives it and the cosine, in [-1, 1].

    None if there is no photo, or nothing to compare it with in the picture, such as a face.
    """
    with Image.open(path) as file:
        image = file.convert("RGB")
    if not references:
        return None
    known = np.stack([subject.embed(r.image, r.mask, r.landmarks) for r in references])
    found = subject.find(image, known.mean(axis=0))
    if found is None:
        return None
    cosines = known @ found[1]
    best = int(np.argmax(cosines))
    return references[best], float(cosines[best])


def worth(likeness: float | None, style: float | None, dial: float = 0.5) -> float:
    """Give what portraits are ranked by: likeness and style, weighted as the dial weighs them.

    More of the style than its own pictures have (1) counts no more.
    """
    return dial * (likeness or 0.0) + (1 - dial) * STYLE_WEIGHT * min(style or 0.0, 1.0)


def likeness_in_words(likeness: float | None) -> str:
    """Say what a likeness means to someone who has never seen such a number."""
    if likeness is None:
        return "not comparable"
    return next((words for lowest, words in LIKENESS_WORDS if likeness >= lowest), LIKENESS_WORDS[-1][1])


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
    return pooled_features(image_features(), pixels, outside)[0]
