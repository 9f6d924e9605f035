"""What a set of portraits is worth: figures that neither the loss nor the choice of the best state looks at alone."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from magicapture.bases import Base
from magicapture.bases.words import prompt_for
from magicapture.evaluation.judge import Judge, closeness
from magicapture.evaluation.looks import Look
from magicapture.faces import Face, FaceEngine
from magicapture.faces.look import aligned_square
from magicapture.faces.quality import MEASURED_SIDE, sharpness
from magicapture.method.losses import scaled_maps
from magicapture.method.material import prepare
from magicapture.photos.references import Reference

COPY_PIXELS = 8.0
"""Mean difference (0–255) of two small grey pictures below which one is a copy of the other. A photo after the embedded
base's autoencoder lies 1.6 to 3.9 from itself (55 photos; 7.6 in its first generation); two photos of a person lie at
least 16 apart (but for one pair of 5.9), two of a style 20, and ours 18 from their photos and looks."""
COPY_SIDE = 32
LEAK_TIMESTEP = 0.3
"""At this share of the noise schedule attention is recorded: the face stands, details do not."""


@dataclass(frozen=True, eq=False)
class Yardstick:
    """What the portraits of one person in one style are measured by.

    ``unseen`` (N, D) and ``seen`` (M, D): the judge's descriptors of photos of the person that training did not see,
    and of those it did; ``person`` and ``style``: the references of the training; ``style_look``: (F,) mean features of
    the style's pictures, faces masked out: the mean cosine to all of them is the product with it. ``photos_style`` and
    ``own_style``: that cosine for the person's photos, and for each of the style's pictures to the others.
    """

    judge: Judge
    look: Look
    unseen: np.ndarray
    seen: np.ndarray
    person: list[Reference]
    style: list[Reference]
    style_look: Tensor
    photos_style: float
    own_style: float

    @classmethod
    def of(
        cls,
        photos: list[Image.Image],
        person: list[Reference],
        style: list[Reference],
        engine: FaceEngine,
        judge: Judge,
        look: Look,
    ) -> "Yardstick":
        """Measure the photos once. Raises ``ValueError`` when none of them shows a face."""
        unseen, seen = (
            [found for found in (judge(image, engine) for image in images) if found is not None]
            for images in (photos, [reference.image for reference in person])
        )
        if not unseen or not seen:
            raise ValueError("No face is found in the photos to judge on: choose others.")
        theirs, looks = (torch.stack([look.features(r.image, r.mask) for r in role]) for role in (person, style))
        style_look = looks.mean(dim=0)
        photos_style = (theirs @ style_look).mean()
        return cls(
            judge,
            look,
            np.stack(unseen),
            np.stack(seen),
            person,
            style,
            style_look,
            float(photos_style),
            mean_cosine(looks),
        )

    @property
    def real_likeness(self) -> float:
        """That of the person's photos in the training, which nothing honest exceeds by much."""
        return float(np.mean([closeness(photo, self.unseen) for photo in self.seen]))

    def likeness(self, found: np.ndarray) -> float:
        """Give the closeness of a descriptor (D,) to the photos that training did not see."""
        return closeness(found, self.unseen)

    def copy_paste(self, found: np.ndarray) -> float:
        """Say whether a face is that of one seen photo (1) or the person's in general (0 and below).

        By how much it is nearer to the nearest seen photo than to the unseen ones, as a share of the way from that
        photo to them (WithAnyone, arXiv 2510.14975, with distances in place of angles).
        """
        distances = np.linalg.norm(self.seen - found, axis=1)
        nearest = self.seen[distances.argmin()]
        return float((1 - self.likeness(found) - distances.min()) / max(1 - self.likeness(nearest), 1e-6))


def measure(image: Image.Image, yardstick: Yardstick, engine: FaceEngine) -> dict[str, float | bool | None]:
    """Measure one portrait.

    ``likeness``, ``copy_paste`` and ``sharpness`` (Laplacian over contrast of the face) are None without a face;
    ``style``: cosine to the look of the style's pictures; ``copied``: whether it repeats a picture that training saw;
    ``aesthetic``: None where no model for it is to be had.
    """
    faces = engine.detect(image)
    mask = engine.face_mask(image, faces[0]) if faces else None
    found = yardstick.judge(image, engine)
    references = [*yardstick.person, *yardstick.style]
    return {
        "likeness": None if found is None else yardstick.likeness(found),
        "style": float(yardstick.look.features(image, mask) @ yardstick.style_look),
        "aesthetic": yardstick.look.aesthetic(image),
        "sharpness": face_sharpness(image, faces[0]) if faces else None,
        "copied": min(pixel_distance(image, r.image) for r in references) < COPY_PIXELS,
        "copy_paste": None if found is None else yardstick.copy_paste(found),
    }


def face_sharpness(image: Image.Image, face: Face) -> float:
    """Give the Laplacian over contrast of an aligned face: good photos and paintings lie above 0.45."""
    crop = aligned_square(face.landmarks).cut(image.convert("RGB"), MEASURED_SIDE)
    return sharpness(np.asarray(crop.convert("L"), float))


def pixel_distance(image: Image.Image, other: Image.Image) -> float:
    """Give the mean difference (0–255) of two pictures, both made small and grey, mirrored or not."""
    first, second = small_grey(image), small_grey(other)
    return float(min(np.abs(first - second).mean(), np.abs(first - second[:, ::-1]).mean()))


def small_grey(image: Image.Image) -> np.ndarray:
    """Give what copies are told by: (COPY_SIDE, COPY_SIDE) of 0–255."""
    return np.asarray(image.convert("L").resize((COPY_SIDE, COPY_SIDE), Image.Resampling.BOX), float)


def mean_cosine(vectors: Tensor) -> float:
    """Give the mean cosine over all pairs of ``vectors`` (N, F) of length 1; 1 for a single one."""
    return float(np.mean([float(a @ b) for a, b in combinations(vectors, 2)])) if len(vectors) > 1 else 1.0


def diversity(images: list[Image.Image], look: Look) -> float:
    """Give the mean ``1 − cos`` between the features of whole pictures, over all pairs; 0 for a single picture."""
    return 1 - mean_cosine(torch.stack([look.features(image, None) for image in images]))


@torch.no_grad()
def attention_leak(base: Base, references: list[Reference]) -> float:
    """Give the share of the person's attention that lies outside the face, 0–1, with what is on ``base`` now.

    ``references``: pictures in the style, noised; the prompt asks for the person in the style, as the composed task
    does. Maps are those of the refocusing loss (MagiCapture, eq. 5), each scaled to [0, 1].
    """
    schedule, generator = base.schedule, torch.Generator().manual_seed(0)
    role = prepare(base, references)
    latents, masks = role.mean[:, 0], role.attention[:, 0].flatten(1)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    timesteps = torch.full((len(latents),), int(LEAK_TIMESTEP * schedule.steps), device=base.device)
    noisy = schedule.add_noise(latents, noise, timesteps)
    text = base.condition([prompt_for("composed")] * len(latents))
    maps = base.predict(noisy, timesteps, text, with_maps=True).maps
    assert maps is not None  # they were asked for
    of_person, _ = maps
    scaled = scaled_maps(of_person)
    outside = (scaled * (1 - masks)[:, None]).sum(dim=-1) / scaled.sum(dim=-1).clamp(min=1e-6)
    return float(outside.mean())
