"""What a visitor painted over a photo becomes a mask: what is covered, or what a line goes around."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from magicapture.messages import Message

MAX_PIXELS = 2048 * 2048
"""Larger layers are refused before they are decoded; the page's own are a quarter as large."""
FILLED_SIDE = 256
"""Side in pixels at which it is looked what a line goes around."""
PAINTED = 32
"""From this alpha (0–255) on a pixel is painted: the edge of a brush is soft."""
LEAST, MOST = 0.0005, 0.98
"""Share of the photo that a mask may cover."""

UNREADABLE = "What was painted cannot be read: open the photo again, and paint over it once more."
NOTHING_PAINTED = "Nothing is painted yet: paint over what the photo shows, or draw a line around it."
ALL_PAINTED = "All of the photo is painted: rub out what is not part of it, or use a photo that shows more around it."


class PaintingError(ValueError):
    """A painting that is no mask; the text says why and what to do."""


def painted_mask(layer: Path | None) -> Image.Image:
    """Read the transparent picture that was painted on, and give the mask, in mode L, 255 on the thing.

    A closed line counts with all that it goes around. Raises ``PaintingError`` for what is no such picture, and when
    nothing or all of it is painted.
    """
    if layer is None:
        raise PaintingError(Message(NOTHING_PAINTED))
    try:
        with Image.open(layer, formats=("PNG", "WEBP")) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise PaintingError(Message(UNREADABLE))
            painted = np.asarray(picture.convert("RGBA").getchannel("A")) >= PAINTED
    except (OSError, SyntaxError, ValueError) as error:
        raise error if isinstance(error, PaintingError) else PaintingError(Message(UNREADABLE)) from error
    mask = _with_inside(painted)
    if mask.mean() < LEAST:
        raise PaintingError(Message(NOTHING_PAINTED))
    if mask.mean() > MOST:
        raise PaintingError(Message(ALL_PAINTED))
    return Image.fromarray(mask.astype(np.uint8) * 255)


def _with_inside(painted: np.ndarray) -> np.ndarray:
    """Add to ``painted`` (H, W) what it goes around, if that is more than the paint: a hole in a thing is less."""
    small = Image.fromarray(painted.astype(np.uint8) * 255)
    small.thumbnail((FILLED_SIDE, FILLED_SIDE), Image.Resampling.BOX)
    walls = np.pad(np.asarray(small) >= PAINTED, 1).astype(np.uint8)
    flooded = Image.fromarray(walls).copy()  # the first is for reading only
    ImageDraw.floodfill(flooded, (0, 0), 2)
    inside = (np.asarray(flooded) == 0)[1:-1, 1:-1]
    if inside.sum() <= walls.sum():
        return painted
    large = Image.fromarray(inside.astype(np.uint8) * 255).resize(painted.shape[::-1], Image.Resampling.BILINEAR)
    return painted | (np.asarray(large) >= 128)
