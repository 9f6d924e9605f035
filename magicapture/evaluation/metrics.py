"""What a set of portraits is worth: figures that neither the loss nor the choice of the best state looks at alone."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from magicapture.attention import record_attention, refocusing_layers, token_maps
from magicapture.bases import Base
from magicapture.concepts import PERSON, prompt_for, tokenize
from magicapture.evaluation.judge import closeness, descriptor
from magicapture.faces import Face, FaceEngine
from magicapture.losses import add_noise
from magicapture.material import prepare
from magicapture.quality import MEASURED_SIDE, sharpness
from magicapture.references import Reference, aligned_square
from magicapture.scoring import style_features

COPY_COSINE = 0.9
"""Portraits whose embedding is this close to one photo's show that photo: two photos of a person rarely reach it."""
COPY_PIXELS = 8.0
"""Mean difference (0–255) of two small grey pictures below which one is a copy of the other."""
COPY_SIDE = 32
LEAK_TIMESTEP = 0.3
"""At this share of the noise schedule attention is recorded: the face stands, details do not."""


@dataclass(frozen=True, eq=False)
class Yardstick:
    """What the portraits of one person in one style are measured by.

    ``photos``: photos of the person that training did not see, as the judge's descriptors (N, 128); ``person`` and
    ``style``: the references of the training. ``real_likeness``: that of the person's photos in the training, which
    nothing honest exceeds by much. ``photo_look`` and ``style_look``: (F,) mean features of the references, faces
    masked out: the mean cosine to all of them is the product with their mean.
    """

    photos: np.ndarray
    person: list[Reference]
    style: list[Reference]
    real_likeness: float
    photo_look: Tensor
    style_look: Tensor

    @classmethod
    def of(
        cls, photos: list[Image.Image], person: list[Reference], style: list[Reference], engine: FaceEngine
    ) -> "Yardstick":
        """Measure the photos once. Raises ``ValueError`` when none of them shows a face."""
        known = [found for found in (descriptor(photo, engine) for photo in photos) if found is not None]
        if not known:
            raise ValueError("No face is found in the photos to judge on: choose others.")
        photos = np.stack(known)
        real = [likeness_to(photos, reference.image, engine) or 0.0 for reference in person]
        return cls(photos, person, style, float(np.mean(real)), _mean_look(person), _mean_look(style))


def likeness_to(photos: np.ndarray, image: Image.Image, engine: FaceEngine) -> float | None:
    """Give the mean closeness to ``photos`` (N, 128), as 1 − dlib distance, or None when no face is found."""
    found = descriptor(image, engine)
    return None if found is None else closeness(found, photos)


def _mean_look(references: list[Reference]) -> Tensor:
    return torch.stack([style_features(r.image, r.mask) for r in references]).mean(dim=0)


def measure(image: Image.Image, yardstick: Yardstick, engine: FaceEngine) -> dict[str, float | bool | None]:
    """Measure one portrait.

    ``likeness`` is None without a face; ``sharpness`` (Laplacian over contrast of the face) too. ``style`` and
    ``photo_style``: cosines to the look of the style's pictures, and to that of the person's photos. ``copied`` tells
    whether it repeats one photo of the training, by its embedding or its pixels.
    """
    faces = engine.detect(image)
    mask = engine.face_mask(image, faces[0]) if faces else None
    nearest = max((float(faces[0].embedding @ r.embedding) for r in yardstick.person), default=0.0) if faces else 0.0
    references = [*yardstick.person, *yardstick.style]
    look = style_features(image, mask)
    return {
        "likeness": likeness_to(yardstick.photos, image, engine),
        "style": float(look @ yardstick.style_look),
        "photo_style": float(look @ yardstick.photo_look),
        "sharpness": face_sharpness(image, faces[0]) if faces else None,
        "copied": nearest >= COPY_COSINE or min(pixel_distance(image, r.image) for r in references) < COPY_PIXELS,
    }


def face_sharpness(image: Image.Image, face: Face) -> float:
    """Give the Laplacian over contrast of an aligned face: good photos and paintings lie above 0.45."""
    crop = aligned_square(face.landmarks).cut(image.convert("RGB"), MEASURED_SIDE)
    return sharpness(np.asarray(crop.convert("L"), float))


def pixel_distance(image: Image.Image, other: Image.Image) -> float:
    """Give the mean difference (0–255) of two pictures, both made small and grey."""
    side = (COPY_SIDE, COPY_SIDE)
    first, second = (np.asarray(i.convert("L").resize(side, Image.Resampling.BOX), float) for i in (image, other))
    return float(np.abs(first - second).mean())


def diversity(images: list[Image.Image]) -> float:
    """Give the mean ``1 − cos`` between the features of whole pictures, over all pairs; 0 for a single picture."""
    features = [style_features(image, None) for image in images]
    return float(np.mean([1 - float(a @ b) for a, b in combinations(features, 2)])) if len(images) > 1 else 0.0


@torch.no_grad()
def attention_leak(base: Base, references: list[Reference], seed: int = 0) -> float:
    """Give the share of the person's attention that lies outside the face, 0–1, with what is on ``base`` now.

    ``references``: pictures in the style, noised; the prompt asks for the person in the style, as the composed task
    does. Maps are those of the refocusing loss (MagiCapture, eq. 5), each scaled to [0, 1].
    """
    pipeline, generator = base.pipeline, torch.Generator().manual_seed(seed)
    role = prepare(base, references)
    latents, masks = role.mean[:, 0], role.attention[:, 0].flatten(1)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    timesteps = torch.full((len(latents),), int(LEAK_TIMESTEP * len(pipeline.scheduler.alphas_cumprod)))
    noisy = add_noise(latents, noise, pipeline.scheduler.alphas_cumprod[timesteps].to(latents))
    ids = tokenize(pipeline, [prompt_for("composed")] * len(latents))
    position = (ids == pipeline.tokenizer.convert_tokens_to_ids(PERSON)).int().argmax(dim=1)
    layers = refocusing_layers(pipeline.unet, base.attention_side)
    with (
        torch.autocast(base.device.type, torch.bfloat16, enabled=base.dtype == torch.bfloat16),
        record_attention(pipeline.unet, layers) as recorder,
    ):
        pipeline.unet(noisy, timesteps.to(base.device), pipeline.text_encoder(ids).last_hidden_state)
    scaled = token_maps(recorder.take(), position)
    outside = (scaled * (1 - masks)[:, None]).sum(dim=-1) / scaled.sum(dim=-1).clamp(min=1e-6)
    return float(outside.mean())
