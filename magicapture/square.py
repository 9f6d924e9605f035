"""Turned squares cut out of a picture, as faces and things are brought to crops, and filled ellipses."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from PIL import Image


@dataclass(frozen=True, eq=False)
class Square:
    """A square in a picture, in pixels, possibly turned.

    ``centre``: (2,) its middle. ``across``: (2,) its upper side from left to right; the length is the square's side.
    """

    centre: np.ndarray
    across: np.ndarray

    @classmethod
    def middle_of(cls, image: Image.Image) -> Self:
        """Give the largest that stands upright in the middle of ``image``."""
        return cls((np.array(image.size) - 1) / 2, np.array([float(min(image.size)), 0.0]))

    @property
    def side(self) -> float:
        """Length of a side in pixels of the picture."""
        return float(np.hypot(*self.across))

    def cut(self, image: Image.Image, size: int) -> Image.Image:
        """Give the square of an RGB picture as ``size`` × ``size`` pixels, upright.

        Large squares are averaged and not thinned out; where the picture ends it is mirrored.
        """
        reach = np.abs(self.across) + np.abs(_down(self.across))
        first = np.floor(self.centre - reach / 2 - 2).astype(int)
        last = np.ceil(self.centre + reach / 2 + 2).astype(int)
        shrink = max(1, int(self.side / (2 * size)))
        part, origin = _mirrored(image, first, last, shrink)
        sampled = max(size, round(self.side / shrink))
        x, y = self.across / shrink / sampled
        # Pillow counts from corners of pixels, landmarks from their middles: half a pixel apart.
        start = (self.centre + 0.5 - (self.across + _down(self.across)) / 2 - origin) / shrink
        matrix = (x, -y, start[0], y, x, start[1])
        turned = part.transform((sampled, sampled), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
        return turned.resize((size, size), Image.Resampling.LANCZOS) if sampled > size else turned

    def to_square(self, points: np.ndarray, size: int) -> np.ndarray:
        """Say where ``points`` (N, 2) of the picture lie in the cut of ``size`` pixels."""
        basis = np.stack([self.across, _down(self.across)]) / self.side**2
        return (((points - self.centre) @ basis.T + 0.5) * size - 0.5).astype(np.float32)

    def to_picture(self, points: np.ndarray, size: int) -> np.ndarray:
        """Say where ``points`` (N, 2) of the cut of ``size`` pixels lie in the picture."""
        basis = np.stack([self.across, _down(self.across)])
        return (((points + 0.5) / size - 0.5) @ basis + self.centre).astype(np.float32)


def ellipse(size: tuple[int, int], box: tuple[float, ...]) -> np.ndarray:
    """Fill the ellipse in ``box`` (left, top, right, bottom) of a picture of ``size`` (width, height): (H, W)."""
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    left, top, right, bottom = box
    across, down = (2 * x - left - right) / (right - left), (2 * y - top - bottom) / (bottom - top)
    return (across**2 + down**2 <= 1).astype(np.float32)


def _down(across: np.ndarray) -> np.ndarray:
    """Give the left side of the square, from top to bottom."""
    return np.array([-across[1], across[0]])


def _mirrored(image: Image.Image, first: np.ndarray, last: np.ndarray, shrink: int) -> tuple[Image.Image, np.ndarray]:
    """Give the pixels from ``first`` to ``last``, mirrored at the picture's edges and shrunk by a whole number.

    Also returns where in the picture their first corner lies.
    """
    size = np.array(image.size)
    low, high = np.clip(first, 0, size - 1), np.clip(last, 1, size)
    part = np.asarray(image.crop((*low.tolist(), *high.tolist())).reduce(shrink))
    before, after = -((first - low) // shrink), -((high - last) // shrink)
    pad = [(before[1], after[1]), (before[0], after[0]), (0, 0)]
    return Image.fromarray(np.pad(part, pad, mode="symmetric")), low - before * shrink
