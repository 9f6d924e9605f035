"""What drawing starts from: noise, and what training leaves of a picture in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from magicapture.bases import Base
from magicapture.bases.schedule import timestep_at
from magicapture.photos.layouts import read_layouts


@dataclass(frozen=True, eq=False)
class Start:
    """What an adapter knows of the pictures to come; all of it None: drawing starts from noise alone.

    ``mean``: (C,), mean of the look's latents; ``layouts``: (L, 3, s, s) in [-1, 1], see
    ``magicapture.photos.layouts``; ``photos``: (P, C, h, w), latents of the person's photos, where they were kept.
    """

    mean: Tensor | None = None
    layouts: Tensor | None = None
    photos: Tensor | None = None

    @classmethod
    def of(cls, mean: Sequence[float] | None, layouts: Sequence[str] | None, photos: Tensor | None = None) -> Self:
        """Make it of the numbers that ``magicapture.json`` holds."""
        return cls(
            None if mean is None else torch.tensor(mean, dtype=torch.float32),
            torch.from_numpy(read_layouts(layouts)).permute(0, 3, 1, 2) / 127.5 - 1 if layouts else None,
            photos,
        )

    @torch.no_grad()
    def latents(
        self, base: Base, noise: list[torch.Generator], dial: float = 0.5, strength: float = 1.0
    ) -> tuple[Tensor, float]:
        """Give (N, C, h, w), of which ``noise`` is each picture's own, and the share of the schedule they stand at.

        Stable Diffusion's schedule does not end in noise alone: of the picture √ᾱ = 0.07 is left, as much as the mean
        of the noise varies, so the denoiser has learned to read the colours of the whole from that mean ("Common
        Diffusion Noise Schedules and Sample Steps are Flawed", arXiv 2305.08891). Noise alone means a middle grey,
        which draws away from the look; so the look's mean stands in it, with a weight of 2 at the style's end of the
        ``dial`` (0), 1 in the middle and 0 at the person's (1).

        On a base with a ``layout_share`` drawing starts at that share, each seed from the next layout, mirrored in
        every other round, its mean weighed likewise. ``strength`` below 1 starts from ``photos``, at that share: pose,
        hair and glasses are left of it, the more the less (SDEdit, arXiv 2108.01073).
        """
        latents = torch.stack([torch.randn(base.latent_shape, generator=generator) for generator in noise])
        seeds = [generator.initial_seed() for generator in noise]
        if strength < 1 and self.photos is not None:
            pictures = self.photos.float()[[seed % len(self.photos) for seed in seeds]]
            return _noised(base, pictures, latents, strength), strength
        if self.mean is None:
            return latents, 1.0
        mean = self.mean[:, None, None]
        weight, share = 2 * (1 - dial), base.spec.layout_share
        if self.layouts is None or share == 1:
            return _noised(base, (weight * mean).expand_as(latents), latents, 1.0), 1.0
        pictures = _encoded(base, self.layouts, seeds) + (weight - 1) * mean
        return _noised(base, pictures, latents, share), share


NOISE = Start()
"""Nothing but noise."""


def _encoded(base: Base, layouts: Tensor, seeds: list[int]) -> Tensor:
    """Enlarge and encode the layout of each of ``seeds``."""
    turns = [divmod(seed, len(layouts)) for seed in seeds]
    chosen = torch.stack([layouts[place].flip(-1) if turn % 2 else layouts[place] for turn, place in turns])
    pixels = F.interpolate(chosen, size=(base.resolution, base.resolution), mode="bicubic", align_corners=False)
    mean, _ = base.encode(pixels.clamp(-1, 1))
    return mean.float().cpu()


def _noised(base: Base, pictures: Tensor, noise: Tensor, share: float) -> Tensor:
    at = torch.full((len(noise),), timestep_at(share, base.schedule.steps))
    return base.schedule.add_noise(pictures, noise, at)


def generators(seeds: list[int]) -> list[torch.Generator]:
    """Give a picture's source of noise for each of ``seeds``."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]
