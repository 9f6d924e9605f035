"""A small renderer of things: teapots on nothing, or in front of something, and looks without any."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

RED, BLUE = (200, 40, 40), (40, 80, 200)


def teapot(colour: tuple[int, int, int], turn: int = 0, side: int = 300) -> Image.Image:
    """Draw a teapot on nothing; it shifts as it turns, and its stripes with it."""
    picture = Image.new("RGBA", (300, 300))
    pen, x = ImageDraw.Draw(picture), 8 * turn
    pen.arc((20 + x, 130, 100 + x, 220), 60, 300, fill=colour, width=14)
    pen.polygon([(225 + x, 180), (285, 120), (270, 150), (230 + x, 215)], fill=colour)
    pen.ellipse((60 + x, 110, 230 + x, 250), fill=colour)
    pen.ellipse((135 + x, 88, 160 + x, 114), fill=(30, 30, 30))
    for stripe in range(5):
        pen.line((85 + x + 25 * stripe, 150, 95 + x + 20 * stripe, 230), fill=(250, 240, 200), width=5)
    return picture.resize((side, side))


def scene(thing: Image.Image, left: int, top: int) -> Image.Image:
    ground = Image.effect_noise((256, 256), 60).convert("RGB")
    ground.paste(thing, (left, top), thing)
    return ground


def teapots(folder: Path, count: int = 4) -> Path:
    """Draw photos of one teapot from several sides on nothing; gives their folder."""
    for turn in range(count):
        teapot(RED, turn, 280 + 10 * turn).save(folder / f"{turn}.png")
    return folder


def tiled_looks(folder: Path, count: int = 4) -> Path:
    """Draw pictures of large tiles; gives their folder."""
    rng = np.random.default_rng(0)
    for number in range(count):
        tiles = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        tiles.resize((400, 300), Image.Resampling.NEAREST).save(folder / f"{number}.jpg")
    return folder
