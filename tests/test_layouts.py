"""Layouts: the person's place in the picture, in the colours of the look, too coarse to show a face."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from magicapture.adapters.start import NOISE, Start, generators
from magicapture.bases import Base, load_base
from magicapture.config import GenerateConfig
from magicapture.drawing.generation import draw
from magicapture.faces import FaceEngine
from magicapture.photos.layouts import LAYOUT, SIDE, layouts_of, read_layouts, recolour
from magicapture.photos.references import Reference


@pytest.fixture(scope="module")
def mini() -> Base:
    return load_base("mini")


def reference(image: Image.Image) -> Reference:
    return Reference("r", image, np.ones(image.size[::-1], np.float32), np.zeros((5, 2)), None)


def test_colours_get_the_mean_and_covariance_of_the_look() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(100, 30, (5000, 3))
    target = rng.normal(0, 1, (5000, 3)) @ np.array([[20.0, 15, 5], [0, 9, 3], [0, 0, 4]]) + (180, 120, 60)
    moved = recolour(source, source, target)
    assert np.allclose(moved.mean(axis=0), target.mean(axis=0))
    assert np.allclose(np.cov(moved.T), np.cov(target.T), rtol=0.05, atol=1)


def test_a_photo_in_a_grey_look_is_grey_and_light_where_it_was_light(portrait: Image.Image) -> None:
    grey = ImageOps.grayscale(portrait).convert("RGB")
    (layout,) = layouts_of([reference(portrait)], [reference(grey)])
    assert LAYOUT.fullmatch(layout)
    pixels = read_layouts([layout])[0].astype(float)
    assert np.ptp(pixels, axis=2).max() < 25
    there = np.asarray(ImageOps.grayscale(portrait).resize((SIDE, SIDE), Image.Resampling.BOX), float)
    assert np.corrcoef(pixels.mean(axis=2).ravel(), there.ravel())[0, 1] > 0.9


def test_pictures_of_a_single_colour_are_no_error() -> None:
    white, black = (reference(Image.new("RGB", (64, 64), name)) for name in ("white", "black"))
    (layout,) = layouts_of([white], [black])
    assert read_layouts([layout]).max() <= 1


def test_no_face_is_found_in_a_layout(portrait: Image.Image, builtin: FaceEngine) -> None:
    assert builtin.detect(portrait)
    layouts = layouts_of([reference(portrait)], [reference(portrait)])
    coarse = Image.fromarray(read_layouts(layouts)[0]).resize(portrait.size, Image.Resampling.BICUBIC)
    assert not builtin.detect(coarse)


def test_drawing_starts_from_the_next_layout_mirrored_in_every_other_round(mini: Base) -> None:
    across = torch.linspace(-1, 1, SIDE).expand(3, SIDE, SIDE)
    start = Start(torch.zeros(24), torch.stack([across, across.mT]))
    clean, share = start.latents(mini, generators([0, 1, 2, 3, 4]))
    noise, _ = NOISE.latents(mini, generators([0, 1, 2, 3, 4]))
    left = mini.schedule.alphas_cumprod[round(share * mini.schedule.steps) - 1]
    pictures = mini.decode((clean - (1 - left).sqrt() * noise) / left.sqrt())
    light = pictures.mean(dim=1)
    rightwards = light[..., 128:].mean(dim=(1, 2)) - light[..., :128].mean(dim=(1, 2))
    downwards = light[:, 128:].mean(dim=(1, 2)) - light[:, :128].mean(dim=(1, 2))
    assert share == mini.spec.layout_share < 1
    assert rightwards[0] > 0.5
    assert downwards[1] > 0.5
    assert rightwards[2] < -0.5
    assert downwards[3] > 0.5  # upside down would be no mirror image
    assert rightwards[4] > 0.5


def test_portraits_are_laid_out_as_the_layout_says(mini: Base) -> None:
    rows = mini.initial_rows(0.017, torch.Generator().manual_seed(0))
    across = torch.linspace(-0.8, 0.8, SIDE).expand(3, SIDE, SIDE)
    mean = mini.encode(torch.zeros(1, 3, mini.resolution, mini.resolution))[0].mean(dim=(0, 2, 3))
    start = Start(mean, across[None])
    with mini.concept_tokens(rows):
        there, mirrored = (np.asarray(p, float) for p in draw(mini, [0, 1], GenerateConfig(steps=10), start))
    half = mini.resolution // 2
    assert there[:, half:].mean() > there[:, :half].mean() + 20
    assert mirrored[:, half:].mean() < mirrored[:, :half].mean() - 20
