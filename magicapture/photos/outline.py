"""What training sees of a photo, to be laid over its crop."""

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from magicapture.photos.references import Reference

LINE = (64, 255, 128, 255)
OUTSIDE = (0, 0, 0, 140)
"""RGBA of the outline, and of what lies outside of it."""


def mask_overlay(reference: Reference, side: int) -> Image.Image:
    """Give an RGBA picture of ``side`` pixels that outlines the mask and darkens what lies outside it."""
    shown = Image.fromarray((reference.mask * 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    shown = shown.point(lambda value: 255 * (value > 127))
    outline = ImageChops.subtract(shown.filter(ImageFilter.MaxFilter(3)), shown.filter(ImageFilter.MinFilter(3)))
    overlay = Image.new("RGBA", (side, side), OUTSIDE)
    overlay.paste((0, 0, 0, 0), mask=shown)
    overlay.paste(LINE, mask=outline)
    return overlay
