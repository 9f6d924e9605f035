"""What is painted over a photo becomes its mask, or is refused in one sentence, whatever a browser sends."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from magicapture.things.painting import PaintingError, painted_mask

PAINT = (64, 255, 128, 153)


def layer(folder: Path, size: tuple[int, int] = (400, 300)) -> tuple[Image.Image, ImageDraw.ImageDraw, Path]:
    picture = Image.new("RGBA", size)
    return picture, ImageDraw.Draw(picture), folder / "layer.png"


def test_what_is_covered_is_the_mask(tmp_path: Path) -> None:
    picture, pen, path = layer(tmp_path)
    pen.ellipse((100, 80, 260, 220), fill=PAINT)
    picture.save(path)
    mask = painted_mask(path)
    assert (mask.size, mask.mode) == ((400, 300), "L")
    assert np.array_equal(np.asarray(mask) == 255, np.asarray(picture)[..., 3] > 0)


def test_a_line_around_the_thing_counts_with_all_inside_and_a_hole_stays_a_hole(tmp_path: Path) -> None:
    picture, pen, path = layer(tmp_path)
    pen.ellipse((80, 60, 300, 260), outline=PAINT, width=10)
    picture.save(path)
    assert painted_mask(path).getpixel((190, 160)) == 255
    assert painted_mask(path).getpixel((20, 20)) == 0
    pen.ellipse((80, 60, 300, 260), fill=PAINT)
    pen.ellipse((160, 130, 220, 190), fill=(0, 0, 0, 0))
    picture.save(path)
    assert painted_mask(path).getpixel((190, 160)) == 0


def test_a_line_that_leaves_the_photo_or_is_open_is_what_it_covers(tmp_path: Path) -> None:
    picture, pen, path = layer(tmp_path)
    pen.arc((80, 60, 300, 260), 0, 200, fill=PAINT, width=20)
    picture.save(path)
    assert painted_mask(path).getpixel((190, 120)) == 0


@pytest.mark.parametrize(
    ("alpha", "said"), [(0, "Nothing is painted yet"), (20, "Nothing is painted yet"), (255, "All of the photo")]
)
def test_nothing_and_all_are_refused(alpha: int, said: str, tmp_path: Path) -> None:
    with pytest.raises(PaintingError, match="Nothing is painted yet"):
        painted_mask(None)
    Image.new("RGBA", (64, 64), (0, 255, 0, alpha)).save(tmp_path / "layer.png")
    with pytest.raises(PaintingError, match=said):
        painted_mask(tmp_path / "layer.png")


def test_what_is_no_painting_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    (tmp_path / "letter.png").write_text("not a picture")
    Image.new("1", (9000, 9000)).save(tmp_path / "huge.png")
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "photo.jpg")
    Image.new("RGBA", (64, 64), (0, 255, 0, 100)).save(tmp_path / "whole.png")
    half = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(half[: len(half) // 2])
    for name in ("letter.png", "huge.png", "photo.jpg", "half.png", "missing.png", ""):
        with pytest.raises(PaintingError, match="cannot be read"):
            painted_mask(tmp_path / name)
