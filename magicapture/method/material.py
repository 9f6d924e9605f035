"""References as training sees them: latents and masks, prepared once, drawn anew at every step."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from magicapture.bases import Base
from magicapture.subject import Reference

SWAPPED = {5: [1, 0, 2, 4, 3], 4: [1, 0, 3, 2]}
"""Which landmark takes the place of which in a mirror: of a face, and of the corners of a box."""


@dataclass(frozen=True, eq=False)
class Samples:
    """One batch.

    ``tasks``: B names; ``latents``: (B, C, h, w) without noise; ``masks``: (B, 1, h, w), share of each latent that is
    the subject; ``loss_masks``: (B, 1, h, w), where the reconstruction counts; ``attention_masks``: (B, side, side), 1
    on the subject; ``landmarks``: (B, K, 2) in pixels of the picture, on the CPU.
    """

    tasks: list[str]
    latents: Tensor
    masks: Tensor
    loss_masks: Tensor
    attention_masks: Tensor
    landmarks: Tensor


@dataclass(frozen=True, eq=False)
class RoleTensors:
    """The references of one role and their mirror images: the first axis is the photo, the second the flip (2)."""

    mean: Tensor  # (N, 2, C, h, w)
    std: Tensor  # (N, 2, C, h, w)
    faces: Tensor  # (N, 2, 1, h, w), share of each latent that is the subject
    attention: Tensor  # (N, 2, side, side)
    landmarks: Tensor  # (N, 2, K, 2), on the CPU: what is cut out around them is decided there

    @property
    def latent_mean(self) -> Tensor:
        """The mean (C,) over all its latents, on the CPU: their colours, roughly."""
        return self.mean.mean(dim=(0, 1, 3, 4)).cpu()


@dataclass(frozen=True, eq=False)
class Material:
    """Everything that training draws from."""

    person: RoleTensors
    style: RoleTensors

    @classmethod
    def of(cls, base: Base, person: list[Reference], style: list[Reference]) -> Self:
        """Encode the references with the base's autoencoder."""
        return cls(prepare(base, person), prepare(base, style))

    def draw(self, tasks: list[str], images_per_task: int, generator: torch.Generator) -> Samples:
        """Draw ``images_per_task`` pictures for each of ``tasks``, each mirrored or not, with fresh latents."""
        parts = [self._draw_task(task, images_per_task, generator) for task in tasks]
        names = [task for task in tasks for _ in range(images_per_task)]
        return Samples(names, *(torch.cat(tensors) for tensors in zip(*parts, strict=True)))

    def _draw_task(self, task: str, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        role = self.person if task == "source" else self.style
        index = torch.randint(len(role.mean), (count,), generator=generator)
        flip = torch.randint(2, (count,), generator=generator)
        there = (2 * index + flip).to(role.mean.device, non_blocking=True)
        drawn = (values.flatten(0, 1)[there] for values in (role.mean, role.std, role.faces, role.attention))
        mean, std, faces, attention = drawn
        latents = mean + std * torch.randn(mean.shape, generator=generator).to(mean, non_blocking=True)
        loss_masks = faces if task == "source" else 1 - faces
        return latents, faces, loss_masks, attention, role.landmarks[index, flip]


@torch.no_grad()
def prepare(base: Base, references: list[Reference]) -> RoleTensors:
    """Encode each reference and its mirror image, and shrink the masks to the sides of latents and attention maps."""
    pixels = torch.from_numpy(np.stack([np.asarray(r.image) for r in references])).permute(0, 3, 1, 2)
    images = pixels.contiguous() / 127.5 - 1  # latents keep this order in memory; in numpy's a CPU is slower
    masks = torch.from_numpy(np.stack([r.mask for r in references]))[:, None].float()
    landmarks = torch.from_numpy(np.stack([r.landmarks for r in references])).float()
    encoded = [base.encode(pictures) for pictures in (images, images.flip(-1))]
    mean, std = (torch.stack(pair, dim=1) for pair in zip(*encoded, strict=True))
    both_masks = torch.stack([masks, masks.flip(-1)], dim=1)
    faces = torch.stack([_shrink(m, mean.shape[-1]) for m in both_masks])
    attention = torch.stack([_shrink(m, base.attention_side) for m in both_masks])[:, :, 0]
    both_landmarks = torch.stack([landmarks, mirrored(landmarks, images.shape[-1])], dim=1)
    return RoleTensors(mean, std, base.put(faces), base.put(attention), both_landmarks)


def _shrink(masks: Tensor, side: int) -> Tensor:
    return F.interpolate(masks, size=(side, side), mode="area")


def mirrored(landmarks: Tensor, width: int) -> Tensor:
    """Give the landmarks (N, K, 2) of pictures ``width`` pixels wide after a flip, left ones first again."""
    flipped = landmarks[:, SWAPPED[landmarks.shape[1]]].clone()
    flipped[..., 0] = width - 1 - flipped[..., 0]
    return flipped
