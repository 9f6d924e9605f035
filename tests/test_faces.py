"""Finding and outlining faces, and the choice of an engine."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
from PIL import Image, ImageOps

from magicapture import faces
from magicapture.faces import EngineUnavailableError, FaceEngine, engine_here, load_engine
from magicapture.faces.insight import InsightFaceEngine
from magicapture.faces.mesh import OVAL, oval_mask
from magicapture.faces.recogniser import align
from magicapture.settings import settings
from magicapture.square import Square


@pytest.fixture(scope="module")
def insight(shared: Path) -> FaceEngine:
    return load_engine("insightface", str(shared / "weights" / "insightface_small"))


def pictures(folder: Path) -> list[Image.Image]:
    return [ImageOps.exif_transpose(Image.open(path)).convert("RGB") for path in sorted(folder.glob("*.jpg"))]


# Squares and masks: where crops come from.


@pytest.mark.parametrize("side", [40.0, 400.0], ids=["enlarged", "shrunk"])
def test_a_turned_crop_shows_the_place_it_stands_for(side: float) -> None:
    x, y = np.meshgrid(np.arange(600), np.arange(600))
    square = Square(np.array([300.0, 310.0]), side * np.array([np.cos(0.4), np.sin(0.4)]))
    points = np.array([[32, 32], [10, 50], [55, 12]])
    for (column, row), (px, py) in zip(points, square.to_picture(points, 64), strict=True):
        ramp = np.stack([128 + 2 * (x - px), 128 + 2 * (y - py), 0 * x], axis=-1).clip(0, 255).astype(np.uint8)
        cut = np.asarray(square.cut(Image.fromarray(ramp), 64), dtype=float)
        assert cut[row, column, :2] == pytest.approx([128, 128], abs=2.1)
    assert np.allclose(square.to_square(square.to_picture(points, 64), 64), points, atol=1e-3)


def test_a_crop_beyond_the_picture_has_no_black_border() -> None:
    white = Image.new("RGB", (100, 60), "white")
    cut = np.asarray(Square(np.array([5.0, 5.0]), np.array([150.0, 30.0])).cut(white, 64))
    assert cut.min() > 250


def test_a_shrunk_crop_averages_fine_patterns_instead_of_inventing_stripes() -> None:
    stripes = np.zeros((800, 800, 3), np.uint8)
    stripes[:, ::2] = 255
    cut = np.asarray(Square(np.array([400.0, 400.0]), np.array([700.0, 0.0])).cut(Image.fromarray(stripes), 64))
    assert np.abs(cut.astype(int) - 127).max() < 16


def test_the_mask_covers_the_oval_and_nothing_else() -> None:
    angle = np.linspace(0, 2 * np.pi, len(OVAL), endpoint=False)
    points = np.zeros((468, 2))
    points[list(OVAL)] = np.stack([50 + 20 * np.cos(angle), 40 + 30 * np.sin(angle)], axis=-1)
    mask = oval_mask(points, (120, 90))
    assert mask.shape == (90, 120)
    assert mask.sum() == pytest.approx(np.pi * 20 * 30, rel=0.02)
    assert mask[40, 50] == 1
    assert mask[40, 75] == 0


# Engines.


def test_a_face_is_found_with_landmarks_on_it(builtin: FaceEngine, portrait: Image.Image) -> None:
    (face,) = builtin.detect(portrait)
    left_eye, right_eye, nose, mouth_left, mouth_right = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert mouth_left[0] < mouth_right[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(mouth_left[1], mouth_right[1])
    assert (face.box[:2] < face.landmarks).all()
    assert (face.landmarks < face.box[2:]).all()
    assert np.linalg.norm(face.embedding) == pytest.approx(1)


def test_a_face_that_fills_a_tiny_picture_is_found(builtin: FaceEngine, portrait: Image.Image) -> None:
    (face,) = builtin.detect(portrait)
    (tight,) = builtin.detect(portrait.crop(tuple(face.box.astype(int).tolist())).resize((100, 128)))
    assert tight.width > 80


def test_a_face_far_away_in_a_large_picture_is_found(builtin: FaceEngine, portrait: Image.Image) -> None:
    scene = Image.new("RGB", (2400, 1800), (120, 150, 180))
    scene.paste(portrait.resize((256, 256)), (1800, 1300))
    (face,) = builtin.detect(scene)
    assert 1800 < face.landmarks[2, 0] < 2056
    assert face.width < 60


def test_a_landscape_has_no_face(builtin: FaceEngine, shared: Path) -> None:
    assert builtin.detect(Image.open(shared / "data/bad_inputs/no_face.jpg").convert("RGB")) == []


def test_the_mask_follows_the_face_into_a_leaning_head(builtin: FaceEngine, portrait: Image.Image) -> None:
    leaning = portrait.rotate(25, Image.Resampling.BICUBIC, center=(225, 115))
    (face,) = builtin.detect(leaning)
    mask = builtin.face_mask(leaning, face)
    assert mask.shape == (512, 512)
    assert all(mask[y, x] == 1 for x, y in face.landmarks.astype(int))
    assert 0.4 < mask.sum() / (face.width * face.height) < 0.9


def test_somebody_is_recognised_in_a_smaller_mirrored_photo(builtin: FaceEngine, portrait: Image.Image) -> None:
    (face,), (other,) = builtin.detect(portrait), builtin.detect(ImageOps.mirror(portrait).resize((300, 300)))
    assert face.embedding @ other.embedding > 0.7


@pytest.mark.parametrize("engine", ["builtin", "insight"])
def test_every_person_and_every_picture_of_a_style_is_found_once(
    engine: str, shared: Path, request: pytest.FixtureRequest
) -> None:
    finder = request.getfixturevalue(engine)
    folders = [*(shared / "data/people").iterdir(), *(shared / "data/styles").iterdir()]
    found = {f"{folder.name} {i}": len(finder.detect(p)) for folder in folders for i, p in enumerate(pictures(folder))}
    assert {name: count for name, count in found.items() if count != 1} == {}


@pytest.mark.parametrize("engine", ["builtin", "insight"])
def test_people_are_told_apart(engine: str, shared: Path, request: pytest.FixtureRequest) -> None:
    finder = request.getfixturevalue(engine)
    folders = sorted(folder for folder in (shared / "data/people").iterdir() if folder.is_dir())
    people = [np.array([finder.detect(p)[0].embedding for p in pictures(folder)]) for folder in folders]
    same = [a @ b for person in people for a, b in combinations(person, 2)]
    different = np.concatenate([(a @ b.T).ravel() for a, b in combinations(people, 2)])
    assert min(same) > 0.45
    assert np.mean(same) > 0.7
    assert np.mean(different) < 0.06
    assert np.quantile(different, 0.99) < min(same)


def test_insightface_scores_with_the_network_that_training_learns_from(
    insight: FaceEngine, portrait: Image.Image
) -> None:
    (face,) = insight.detect(portrait)
    pixels = torch.from_numpy(np.asarray(portrait).transpose(2, 0, 1).copy()).float()[None] / 127.5 - 1
    twin = insight.recogniser()(align(pixels, torch.from_numpy(face.landmarks)[None]))[0]
    assert face.embedding @ twin.numpy() > 0.98


def test_both_engines_outline_the_same_face(insight: FaceEngine, builtin: FaceEngine, portrait: Image.Image) -> None:
    masks = [engine.face_mask(portrait, engine.detect(portrait)[0]) > 0.5 for engine in (insight, builtin)]
    assert (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum() > 0.9


# Choosing an engine.


@pytest.fixture
def without_packs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("MAGICAPTURE_FACE_ENGINE", "MAGICAPTURE_FACE_PACK"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("without_packs")
def test_the_app_starts_offline_without_trying_a_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "require_download", lambda _: pytest.fail("asked the network"))
    assert load_engine().name == "builtin"


@pytest.mark.usefixtures("without_packs")
def test_asking_for_insightface_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "head", offline)
    with pytest.raises(EngineUnavailableError, match=r"buffalo_l.*built-in"):
        load_engine("insightface")


@pytest.mark.usefixtures("without_packs")
def test_a_broken_pack_on_disk_does_not_stop_the_app(tmp_path: Path) -> None:
    pack = tmp_path / ".insightface" / "models" / "buffalo_l"
    pack.mkdir(parents=True)
    (pack / "det_10g.onnx").write_bytes(b"not a network")
    assert load_engine().name == "builtin"


def test_a_pack_on_disk_is_used(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAGICAPTURE_FACE_ENGINE", raising=False)
    monkeypatch.setenv("MAGICAPTURE_FACE_PACK", str(shared / "weights" / "insightface_small"))
    assert isinstance(load_engine(), InsightFaceEngine)
    assert isinstance(load_engine(engine_here()), InsightFaceEngine)  # as another machine would
    monkeypatch.setenv("MAGICAPTURE_FACE_ENGINE", "builtin")
    settings.cache_clear()
    assert load_engine().name == engine_here() == "builtin"


def test_a_misspelt_engine_is_named() -> None:
    with pytest.raises(EngineUnavailableError, match=r"inside.*auto, builtin, insightface"):
        load_engine("inside")


def test_visitors_learn_what_the_weights_may_be_used_for(builtin: FaceEngine) -> None:
    assert "commercial use is allowed" in builtin.licence
    assert "non-commercial research only" in InsightFaceEngine.licence
