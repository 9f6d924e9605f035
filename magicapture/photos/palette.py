"""The palette of a look: how far the colours of a picture may go, so that no portrait keeps a photo's colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from PIL import Image

from magicapture.photos.colours import transport
from magicapture.subject import Reference

PALETTE_NUMBERS, LARGEST_NUMBER = 7, 255.0**2
"""How many numbers write a palette, and what none exceeds: the largest are variances of values up to 255."""
LEAST_SPREAD = 0.25
"""Variance that a colour has at least: it is rounded to whole numbers."""


@dataclass(frozen=True, eq=False)
class Palette:
    """Colours of a look's pictures, as Cb and Cr of YCbCr (0–255), apart from how light they are.

    ``lowest``, ``highest``: (2,), of the means of its pictures; ``covariance``: (2, 2), the mean over its pictures.
    """

    lowest: np.ndarray
    highest: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, style: Sequence[Reference]) -> Self:
        """Measure the pictures of a look."""
        colours = [_ycbcr(reference.image)[..., 1:].reshape(-1, 2) for reference in style]
        means = np.stack([each.mean(axis=0) for each in colours])
        return cls(means.min(axis=0), means.max(axis=0), np.mean([np.cov(each.T) for each in colours], axis=0))

    @classmethod
    def read(cls, numbers: Sequence[float]) -> Self:
        """Read what ``numbers`` wrote."""
        values = np.array(numbers, float)
        return cls(values[:2], values[2:4], values[[4, 5, 5, 6]].reshape(2, 2))

    @property
    def numbers(self) -> tuple[float, ...]:
        """Its seven numbers, one after the other."""
        values = [*self.lowest, *self.highest, *self.covariance[np.triu_indices(2)]]
        return tuple(round(float(value), 2) for value in values)

    def hold(self, image: Image.Image, share: float = 1.0) -> Image.Image:
        """Give the RGB picture with its colours moved ``share`` of the way (0–1) into the palette.

        Their mean goes to the nearest that is not beyond those of the look's pictures. Around it they are drawn
        together, and never spread, by the linear map of ``colours.transport``: in a look of one colour everything takes
        that, and in one with many colours little changes.
        """
        pixels = _ycbcr(image)
        colours = pixels[..., 1:].reshape(-1, 2)
        mean = colours.mean(axis=0)
        least = LEAST_SPREAD * np.eye(2)
        values, vectors = np.linalg.eigh(transport(np.cov(colours.T) + least, self.covariance + least))
        held = (colours - mean) @ (vectors * values.clip(max=1)) @ vectors.T + mean.clip(self.lowest, self.highest)
        pixels[..., 1:] += share * (held - colours).reshape(*pixels.shape[:2], 2)
        return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8), "YCbCr").convert("RGB")


def _ycbcr(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("YCbCr"), float)
