"""The palette of a look: portraits have no colours that its pictures have not."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from magicapture.bases import Base, load_base
from magicapture.config import GenerateConfig
from magicapture.drawing.generation import draw
from magicapture.photos.palette import PALETTE_NUMBERS, Palette
from magicapture.photos.references import Reference


def look(*images: Image.Image) -> Palette:
    mask, landmarks = np.ones((1, 1), np.float32), np.zeros((5, 2))
    return Palette.of([Reference("r", image, mask, landmarks, None) for image in images])


def tinted(image: Image.Image, light: str) -> Image.Image:
    return ImageOps.colorize(ImageOps.grayscale(image), "black", light)


def colours(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("YCbCr"), float)[..., 1:].reshape(-1, 2)


def lightness(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L"), float)


def test_in_a_grey_look_a_photo_gets_grey_and_stays_as_light(portrait: Image.Image) -> None:
    held = look(ImageOps.grayscale(portrait).convert("RGB")).hold(portrait)
    assert np.ptp(np.asarray(held, float), axis=2).mean() < 8 < np.ptp(np.asarray(portrait, float), axis=2).mean()
    assert np.abs(lightness(held) - lightness(portrait)).mean() < 2


def test_on_tinted_paper_a_photo_gets_the_nearest_tint_of_the_look(portrait: Image.Image) -> None:
    papers = [tinted(portrait, light) for light in ("#d8c49a", "#e0d0b0")]
    of_papers = np.stack([colours(paper).mean(axis=0) for paper in papers])
    held = colours(look(*papers).hold(portrait))
    assert (held.mean(axis=0) > of_papers.min(axis=0) - 1).all()
    assert (held.mean(axis=0) < of_papers.max(axis=0) + 1).all()
    assert held.std(axis=0).max() < 1.5 * max(colours(paper).std(axis=0).max() for paper in papers)


def test_in_a_colourful_look_a_picture_stays_as_it_is(portrait: Image.Image) -> None:
    calm = tinted(portrait, "#c0b8b0")
    between = [Image.blend(portrait, Image.new("RGB", portrait.size, light), 0.2) for light in ("cyan", "red")]
    held = look(*between).hold(calm)
    assert np.abs(np.asarray(held, float) - np.asarray(calm, float)).mean() < 2


def test_half_the_way_is_half_the_way(portrait: Image.Image) -> None:
    palette = look(ImageOps.grayscale(portrait).convert("RGB"))
    none, half, whole = (colours(palette.hold(portrait, share)) for share in (0.0, 0.5, 1.0))
    assert np.abs(half - (none + whole) / 2).mean() < 1
    assert np.abs(none - colours(portrait)).mean() < 1


@pytest.mark.parametrize("light", ["white", "black", "#b08868"])
def test_pictures_of_a_single_colour_are_no_error(portrait: Image.Image, light: str) -> None:
    flat = Image.new("RGB", (64, 64), light)
    wanted, held = colours(flat).mean(axis=0), colours(look(flat).hold(portrait)).mean(axis=0)
    assert np.abs(held - wanted).max() < 10  # what is nearly black or white has no colour
    assert np.abs(colours(look(portrait).hold(flat)).std(axis=0)).max() == 0


def test_it_is_written_in_seven_numbers_and_read_again(portrait: Image.Image) -> None:
    palette = look(portrait, tinted(portrait, "#d8c49a"))
    assert len(palette.numbers) == PALETTE_NUMBERS
    assert Palette.read(palette.numbers).numbers == palette.numbers
    held, again = palette.hold(portrait), Palette.read(palette.numbers).hold(portrait)
    assert np.abs(np.asarray(held, float) - np.asarray(again, float)).max() <= 2


@pytest.mark.parametrize("numbers", [[9e4, -9e4, -9e4, 9e4, -9e4, 9e4, -9e4], [0.0] * 7, [255.0] * 7])
def test_a_forged_one_spoils_colours_and_nothing_else(portrait: Image.Image, numbers: list[float]) -> None:
    assert Palette.read(numbers).hold(portrait).size == portrait.size


def test_portraits_are_held_to_it_but_for_the_persons_end_of_the_dial() -> None:
    mini: Base = load_base("mini")
    grey = look(Image.new("RGB", (8, 8), "grey"))
    rows = mini.initial_rows(0.017, torch.Generator().manual_seed(0))
    with mini.concept_tokens(rows):

        def spread(dial: float, palette: Palette | None) -> float:
            (picture,) = draw(mini, [1], GenerateConfig(steps=5, dial=dial), palette=palette)
            return float(colours(picture).std(axis=0).max())

        assert spread(0.5, grey) < 1 < spread(0.5, None)
        assert spread(1.0, grey) == pytest.approx(spread(1.0, None), abs=0.5)
