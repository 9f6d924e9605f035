"""Portraits: seeds, the dial, ranking, and what a saved file says of itself."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from visitor import some_targets

from magicapture.adapters.start import Start
from magicapture.bases import Base, load_base
from magicapture.bases.words import prompt_for
from magicapture.config import GenerateConfig
from magicapture.drawing.generation import dialled, draw, rank
from magicapture.drawing.portrait import Portrait
from magicapture.faces import FaceEngine
from magicapture.faces.recogniser import ARCFACE_TEMPLATE
from magicapture.photos.references import Reference
from magicapture.scoring import Targets, likeness_in_words, score, style_features

FAST = GenerateConfig(steps=2, guidance_scale=2.0)


@pytest.fixture(scope="module")
def base() -> Base:
    return tiny.base(sample_size=16)


@pytest.fixture(scope="module")
def mini() -> Base:
    return load_base("mini")


def pictures(base: Base, seeds: list[int]) -> list[np.ndarray]:
    rows = base.initial_rows(0.017, torch.Generator().manual_seed(0))
    with base.concept_tokens(rows):
        return [np.asarray(image).astype(int) for image in draw(base, seeds, FAST)]


@pytest.mark.parametrize("sampler", ["dpmsolver++", "sde-dpmsolver++"])
def test_a_seed_gives_the_same_picture_whatever_it_is_drawn_beside(
    sampler: str, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = base.pipeline.scheduler
    monkeypatch.setattr(base.pipeline, "scheduler", type(usual).from_config(usual.config, algorithm_type=sampler))
    alone = pictures(base, [5])[0]
    beside = pictures(base, [1, 5, 2, 3, 4, 6])
    assert np.abs(alone - beside[1]).max() <= 1
    assert np.abs(alone - beside[0]).max() > 1


def test_portraits_keep_to_the_colours_of_the_look_the_more_the_nearer_the_dial_is_to_it(mini: Base) -> None:
    rows = mini.initial_rows(0.017, torch.Generator().manual_seed(0))
    shades = torch.stack([torch.full((3, mini.resolution, mini.resolution), shade) for shade in (-0.9, 0.9)])
    dark, bright = mini.encode(shades)[0].mean(dim=(2, 3))
    with mini.concept_tokens(rows):
        drawn = [
            np.mean(
                [np.asarray(image) for image in draw(mini, [0, 1], GenerateConfig(steps=5, dial=dial), Start(mean))]
            )
            for mean, dial in ((dark, 0), (dark, 0.5), (dark, 1), (bright, 1), (bright, 0.5), (bright, 0))
        ]
    assert drawn[0] + 5 < drawn[1] < drawn[2] - 5
    assert drawn[2] == drawn[3]
    assert drawn[3] + 5 < drawn[4] < drawn[5] - 5


def test_drawing_from_photos_keeps_the_more_of_them_the_less_they_are_noised(mini: Base) -> None:
    rows = mini.initial_rows(0.017, torch.Generator().manual_seed(0))
    across = torch.linspace(-0.9, 0.9, mini.resolution).expand(3, mini.resolution, mini.resolution)
    photos = torch.stack([across, across.flip(-1)])
    latents, sampler = mini.encode(photos)[0], mini.pipeline.scheduler

    def distances(strength: float) -> list[float]:
        settings = GenerateConfig(steps=10, strength=strength)
        with mini.concept_tokens(rows):
            drawn = list(draw(mini, [0, 1], settings, Start(photos=latents)))
        shown = [np.asarray(image).astype(float) / 127.5 - 1 for image in drawn]
        return [float(np.abs(a - p.permute(1, 2, 0).numpy()).mean()) for a, p in zip(shown, photos, strict=True)]

    little, much, all_of_it = distances(0.4), distances(0.8), distances(1.0)
    assert max(little) < min(much)
    assert max(much) < min(all_of_it)
    assert mini.pipeline.scheduler is sampler


def test_the_dial_strengthens_one_concept_and_weakens_the_other(base: Base) -> None:
    rows = base.initial_rows(0.017, torch.Generator().manual_seed(0))
    with torch.no_grad(), base.concept_tokens(rows):
        prompts = [prompt_for(task) for task in ("composed", "source", "reference")]
        composed, person, style = (base.condition([prompt]).embeddings for prompt in prompts)
        assert torch.equal(dialled(base, 0.5, "", 2.5).embeddings, composed)
        to_person, to_style = (composed + sign * 0.4 * (person - style) for sign in (1, -1))
        assert torch.allclose(dialled(base, 1.0, "", 2.5).embeddings, to_person, atol=1e-5)
        assert torch.allclose(dialled(base, 0.0, "", 2.5).embeddings, to_style, atol=1e-5)
        half = dialled(base, 1.0, "", 5.0).embeddings - composed
        assert torch.allclose(2 * half, to_person - composed, atol=1e-5)  # guidance strengthens it once more
        assert not torch.allclose(dialled(base, 0.5, "with glasses", 2.5).embeddings, composed)


def test_guidance_waits_for_words_where_the_adapters_own_need_none(base: Base) -> None:
    base = replace(base, spec=replace(base.spec, guidance_scale=1.0, worded_guidance_scale=4.0))

    def picture(**settings: object) -> np.ndarray:
        return np.asarray(next(draw(base, [3], GenerateConfig(steps=2, **settings))), float)

    assert np.array_equal(picture(), picture(guidance_scale=1.0))
    for words in ({"prompt": "smiling"}, {"negative_prompt": "glasses"}):
        assert np.array_equal(picture(**words), picture(guidance_scale=4.0, **words))
        assert not np.array_equal(picture(**words), picture(guidance_scale=1.0, **words))


@pytest.mark.parametrize(
    "bad",
    [{"dial": 1.2}, {"dial": -0.1}, {"count": 0}, {"best_of": 0}, {"steps": 0}, {"upscale": 3}]
    + [{"strength": strength} for strength in (0.1, 1.1, float("nan"))],
)
def test_settings_out_of_range_are_refused_by_name(bad: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        GenerateConfig(**bad)


def portrait(likeness: float | None, style: float) -> Portrait:
    return Portrait(Image.new("RGB", (8, 8)), 0, likeness, style, {"dial": 0.5})


def test_ranking_follows_the_dial() -> None:
    alike, stylish, faceless = portrait(0.6, 0.5), portrait(0.4, 0.9), portrait(0.0, 0.5)
    assert rank([faceless, stylish, alike], dial=1.0) == [alike, stylish, faceless]
    assert rank([faceless, alike, stylish], dial=0.0)[0] is stylish


def test_more_of_the_look_than_its_own_pictures_have_does_not_outweigh_the_person() -> None:
    alike, exaggerated = portrait(0.7, 1.0), portrait(0.6, 1.4)
    assert rank([exaggerated, alike])[0] is alike


def test_a_saved_portrait_carries_seed_scores_and_settings(tmp_path: Path) -> None:
    path = Portrait(Image.new("RGB", (8, 8)), 7, 0.5, 0.25, {"dial": 0.75}).save(tmp_path / "p.png")
    facts = json.loads(Image.open(path).text["magicapture"])
    assert facts == {"seed": 7, "likeness": 0.5, "style": 0.25, "dial": 0.75}


def test_likeness_has_words_for_every_number() -> None:
    assert [likeness_in_words(v) for v in (None, -0.2, 0.35, 0.5, 0.9)] == [
        "not comparable",
        "not you",
        "not you",
        "some of you",
        "clearly you",
    ]
    assert [likeness_in_words(v) for v in (-1.0, -2.0, math.nan, -math.inf)] == ["not you"] * 4


class NoFaceEngine(FaceEngine):
    name = "blind"

    def detect(self, image: Image.Image) -> list:
        return []


def test_a_picture_without_a_face_is_no_likeness_at_all() -> None:
    image = Image.new("RGB", (64, 64), "navy")
    targets = replace(some_targets(), style=style_features(image, None))
    assert score(image, targets, NoFaceEngine()).likeness == 0


def test_nothing_is_more_like_the_person_than_the_person() -> None:
    class OwnFaceEngine(FaceEngine):
        def find(self, image: Image.Image, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.zeros((image.height, image.width), np.float32), wanted

    image, targets = Image.new("RGB", (64, 64), "navy"), some_targets()
    rounded = replace(targets, person=targets.person * 1.0004)
    assert score(image, rounded, OwnFaceEngine()).likeness == 1.0


def test_likeness_is_not_the_opinion_of_the_recogniser_in_the_loss(builtin: FaceEngine, portrait: Image.Image) -> None:
    class Flatterer(FaceEngine):
        detect, face_mask = builtin.detect, builtin.face_mask

    (reference,) = (
        Reference("me", portrait, builtin.face_mask(portrait, face), face.landmarks, face.embedding)
        for face in builtin.detect(portrait)
    )
    targets = Targets.of([reference], [reference], builtin)
    assert torch.equal(targets.person, Targets.of([replace(reference, embedding=None)], [reference], builtin).person)
    assert score(portrait, targets, Flatterer()).likeness == pytest.approx(1, abs=1e-4)


def test_style_is_told_as_the_way_from_the_photos_to_the_looks_own_pictures() -> None:
    rng = np.random.default_rng(0)
    mask, landmarks = np.zeros((128, 128), np.float32), ARCFACE_TEMPLATE.numpy() + 8

    def noisy(colour: str) -> Image.Image:
        grain = rng.normal(0, 25, (128, 128, 3)) + np.asarray(Image.new("RGB", (128, 128), colour))
        return Image.fromarray(grain.clip(0, 255).astype(np.uint8))

    photos, looks = (
        [Reference("r", noisy(colour), mask, landmarks, None) for _ in range(4)] for colour in ("teal", "ivory")
    )
    targets = Targets.of(photos[1:], looks[1:], NoFaceEngine())
    photo, look = (score(role[0].image, targets, NoFaceEngine()).style for role in (photos, looks))
    assert photo == pytest.approx(0, abs=0.1)
    assert look == pytest.approx(1, abs=0.1)


def test_style_looks_away_from_the_face() -> None:
    plain, face = Image.new("RGB", (128, 128), "navy"), Image.new("RGB", (128, 128), "navy")
    face.paste(Image.effect_noise((48, 48), 90).convert("RGB"), (40, 40))
    mask = np.zeros((128, 128), np.float32)
    mask[16:112, 16:112] = 1  # the network sees a little beyond each place
    same = float(style_features(plain, mask) @ style_features(face, mask))
    different = float(style_features(plain, None) @ style_features(face, None))
    assert same > 0.95
    assert different < 0.94
