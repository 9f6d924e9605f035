import multiprocessing
from copy import deepcopy
from itertools import combinations
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import requests
import torch
from PIL import Image, ImageOps
from skimage.transform import SimilarityTransform

from magicapture import faces
from magicapture.faces import EngineUnavailable, FaceEngine, load_engine
from magicapture.faces.builtin import RECOGNISER
from magicapture.faces.insight import InsightFaceEngine
from magicapture.faces.mesh import OVAL, oval_mask
from magicapture.faces.recogniser import ARCFACE_TEMPLATE, align, similarity_transform
from magicapture.faces.square import Square


@pytest.fixture(scope="module")
def insight(shared: Path) -> FaceEngine:
    return load_engine("insightface", str(shared / "weights" / "insightface_small"))


def face_colours(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 112, 112, generator=torch.Generator().manual_seed(1)) * 2 - 1


def pictures(folder: Path) -> list[Image.Image]:
    return [ImageOps.exif_transpose(Image.open(path)).convert("RGB") for path in sorted(folder.glob("*.jpg"))]


# Alignment and recogniser: what the identity loss stands on.


def test_alignment_is_exact_on_a_case_computed_by_hand():
    square = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]])
    # A quarter turn (x, y) → (-y, x), twice as large, moved by (5, 7).
    turned = torch.tensor([[[5.0, 7.0], [5.0, 9.0], [3.0, 9.0], [3.0, 7.0]]])
    expected = torch.tensor([[[0.0, -2.0, 5.0], [2.0, 0.0, 7.0]]])
    assert torch.allclose(similarity_transform(square, turned), expected, atol=1e-6)


def test_alignment_agrees_with_an_independent_solution_on_uneven_faces():
    generator = np.random.default_rng(0)
    source, target = generator.normal(size=(2, 5, 2)) * 30 + 50
    expected = SimilarityTransform.from_estimate(source, target).params[:2]
    ours = similarity_transform(torch.tensor(source)[None], torch.tensor(target)[None])[0]
    assert np.allclose(ours.numpy(), expected, atol=1e-6)


def test_an_aligned_face_has_its_landmarks_where_recognisers_expect_them():
    landmarks = (ARCFACE_TEMPLATE * 1.5 + 20).round()
    for i, (x, y) in enumerate(landmarks.int().tolist()):
        picture = torch.full((1, 3, 220, 220), -1.0)
        picture[..., y - 2 : y + 3, x - 2 : x + 3] = 1
        light = (align(picture, landmarks[None])[0, 0] + 1).double()
        centre_x = (light.sum(0) * torch.arange(112)).sum() / light.sum()
        centre_y = (light.sum(1) * torch.arange(112)).sum() / light.sum()
        assert torch.allclose(torch.stack([centre_x, centre_y]).float(), ARCFACE_TEMPLATE[i], atol=0.5)


def test_the_identity_loss_uses_the_same_network_as_the_likeness_score():
    images = face_colours(1)
    session = onnxruntime.InferenceSession(RECOGNISER.path, providers=["CPUExecutionProvider"])
    values = ((images + 1) * 127.5 - RECOGNISER.mean) / RECOGNISER.std
    expected = session.run(None, {session.get_inputs()[0].name: values.numpy()})[0].reshape(-1)
    ours = RECOGNISER.load()(images)[0]
    assert np.abs(ours.numpy() - expected / np.linalg.norm(expected)).max() < 1e-4


def test_a_batch_of_two_faces_is_not_mixed_up():
    images, network = face_colours(2), RECOGNISER.load()
    one_by_one = torch.cat([network(images[:1]), network(images[1:])])
    assert network(images).shape == one_by_one.shape
    assert torch.allclose(network(images), one_by_one, atol=1e-5)


def test_the_identity_loss_pushes_pixels_in_the_right_direction():
    generator = torch.Generator().manual_seed(2)
    network = deepcopy(RECOGNISER.load()).double()
    picture = torch.rand(1, 3, 128, 128, generator=generator, dtype=torch.float64) * 2 - 1
    landmarks = (ARCFACE_TEMPLATE.double() + 8)[None]
    target = torch.nn.functional.normalize(torch.randn(1, 512, generator=generator, dtype=torch.float64))
    direction = torch.randn(picture.shape, generator=generator, dtype=torch.float64)

    def likeness(pixels: torch.Tensor) -> torch.Tensor:
        return (network(align(pixels, landmarks)) * target).sum()

    (gradient,) = torch.autograd.grad(likeness(picture.requires_grad_()), picture)
    step = 1e-5
    with torch.no_grad():
        slope = (likeness(picture + step * direction) - likeness(picture - step * direction)) / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=1e-3)
    assert abs(slope.item()) > 1e-4


# Squares and masks: where crops come from.


@pytest.mark.parametrize("side", [40.0, 400.0], ids=["enlarged", "shrunk"])
def test_a_turned_crop_shows_the_place_it_stands_for(side: float):
    x, y = np.meshgrid(np.arange(600), np.arange(600))
    ramp = Image.fromarray(np.stack([x * 0.4, y * 0.4, x * 0], axis=-1).round().astype(np.uint8))
    square = Square(np.array([300.0, 310.0]), side * np.array([np.cos(0.4), np.sin(0.4)]))
    cut = np.asarray(square.cut(ramp, 64), dtype=float)
    points = np.array([[32, 32], [10, 50], [55, 12]])
    for (column, row), (px, py) in zip(points, square.to_picture(points, 64), strict=True):
        assert cut[row, column, :2] == pytest.approx([px * 0.4, py * 0.4], abs=1.0)
    assert np.allclose(square.to_square(square.to_picture(points, 64), 64), points, atol=1e-3)


def test_a_crop_beyond_the_picture_has_no_black_border():
    white = Image.new("RGB", (100, 60), "white")
    cut = np.asarray(Square(np.array([5.0, 5.0]), np.array([150.0, 30.0])).cut(white, 64))
    assert cut.min() > 250


def test_a_shrunk_crop_averages_fine_patterns_instead_of_inventing_stripes():
    stripes = np.zeros((800, 800, 3), np.uint8)
    stripes[:, ::2] = 255
    cut = np.asarray(Square(np.array([400.0, 400.0]), np.array([700.0, 0.0])).cut(Image.fromarray(stripes), 64))
    assert np.abs(cut.astype(int) - 127).max() < 16


def test_the_mask_covers_the_oval_and_nothing_else():
    angle = np.linspace(0, 2 * np.pi, len(OVAL), endpoint=False)
    points = np.zeros((468, 2))
    points[list(OVAL)] = np.stack([50 + 20 * np.cos(angle), 40 + 30 * np.sin(angle)], axis=-1)
    mask = oval_mask(points, (120, 90))
    assert mask.shape == (90, 120)
    assert mask.sum() == pytest.approx(np.pi * 20 * 30, rel=0.02)
    assert mask[40, 50] == 1
    assert mask[40, 75] == 0


# Engines.


def test_a_face_is_found_with_landmarks_on_it(builtin: FaceEngine, portrait: Image.Image):
    (face,) = builtin.detect(portrait)
    left_eye, right_eye, nose, mouth_left, mouth_right = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert mouth_left[0] < mouth_right[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(mouth_left[1], mouth_right[1])
    assert (face.box[:2] < face.landmarks).all()
    assert (face.landmarks < face.box[2:]).all()
    assert np.linalg.norm(face.embedding) == pytest.approx(1)


def test_a_face_that_fills_a_tiny_picture_is_found(builtin: FaceEngine, portrait: Image.Image):
    (face,) = builtin.detect(portrait)
    (tight,) = builtin.detect(portrait.crop(tuple(face.box.astype(int).tolist())).resize((100, 128)))
    assert tight.width > 80


def test_a_face_far_away_in_a_large_picture_is_found(builtin: FaceEngine, portrait: Image.Image):
    scene = Image.new("RGB", (2400, 1800), (120, 150, 180))
    scene.paste(portrait.resize((256, 256)), (1800, 1300))
    (face,) = builtin.detect(scene)
    assert 1800 < face.landmarks[2, 0] < 2056
    assert face.width < 60


def test_a_landscape_has_no_face(builtin: FaceEngine, shared: Path):
    assert builtin.detect(Image.open(shared / "data/bad_inputs/no_face.jpg").convert("RGB")) == []


def test_the_mask_follows_the_face_into_a_leaning_head(builtin: FaceEngine, portrait: Image.Image):
    leaning = portrait.rotate(25, Image.Resampling.BICUBIC, center=(225, 115))
    (face,) = builtin.detect(leaning)
    mask = builtin.face_mask(leaning, face)
    assert mask.shape == (512, 512)
    assert all(mask[y, x] == 1 for x, y in face.landmarks.astype(int))
    assert 0.4 < mask.sum() / (face.width * face.height) < 0.9


def test_somebody_is_recognised_in_a_smaller_mirrored_photo(builtin: FaceEngine, portrait: Image.Image):
    (face,), (other,) = builtin.detect(portrait), builtin.detect(ImageOps.mirror(portrait).resize((300, 300)))
    assert face.embedding @ other.embedding > 0.7


def detect_in_worker(queue: "multiprocessing.Queue[int]", engine: FaceEngine, picture: Image.Image) -> None:
    queue.put(len(engine.detect(picture)))


def test_likeness_can_be_scored_in_a_forked_gpu_worker(builtin: FaceEngine, portrait: Image.Image):
    assert len(builtin.detect(portrait)) == 1
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    worker = context.Process(target=detect_in_worker, args=(queue, builtin, portrait), daemon=True)
    worker.start()
    assert queue.get(timeout=60) == 1
    worker.join(timeout=10)


@pytest.mark.parametrize("engine", ["builtin", "insight"])
def test_every_person_and_every_picture_of_a_style_is_found_once(
    engine: str, shared: Path, request: pytest.FixtureRequest
):
    finder = request.getfixturevalue(engine)
    folders = [*(shared / "data/people").iterdir(), *(shared / "data/styles").iterdir()]
    found = {f"{folder.name} {i}": len(finder.detect(p)) for folder in folders for i, p in enumerate(pictures(folder))}
    assert {name: count for name, count in found.items() if count != 1} == {}


@pytest.mark.parametrize("engine", ["builtin", "insight"])
def test_people_are_told_apart(engine: str, shared: Path, request: pytest.FixtureRequest):
    finder = request.getfixturevalue(engine)
    folders = sorted((shared / "data/people").iterdir())
    people = [np.array([finder.detect(p)[0].embedding for p in pictures(folder)]) for folder in folders]
    same = [a @ b for person in people for a, b in combinations(person, 2)]
    different = np.concatenate([(a @ b.T).ravel() for a, b in combinations(people, 2)])
    assert min(same) > 0.45
    assert np.mean(same) > 0.7
    assert np.mean(different) < 0.06
    assert np.quantile(different, 0.99) < min(same)


def test_insightface_gives_the_embeddings_that_its_torch_twin_learns_towards(insight: FaceEngine, portrait: Image.Image):
    (face,) = insight.detect(portrait)
    pixels = torch.from_numpy(np.asarray(portrait).transpose(2, 0, 1).copy()).float()[None] / 127.5 - 1
    twin = insight.recogniser()(align(pixels, torch.from_numpy(face.landmarks)[None]))[0]
    assert face.embedding @ twin.numpy() > 0.98


def test_both_engines_outline_the_same_face(insight: FaceEngine, builtin: FaceEngine, portrait: Image.Image):
    masks = [engine.face_mask(portrait, engine.detect(portrait)[0]) > 0.5 for engine in (insight, builtin)]
    assert (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum() > 0.9


# Choosing an engine.


@pytest.fixture
def without_packs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("MAGICAPTURE_FACE_ENGINE", "MAGICAPTURE_FACE_PACK"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("without_packs")
def test_the_app_starts_offline_without_trying_a_download(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(faces, "require_download", lambda pack: pytest.fail("asked the network"))
    assert load_engine().name == "builtin"


@pytest.mark.usefixtures("without_packs")
def test_asking_for_insightface_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    def offline(*args: object, **kwargs: object) -> None:
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "head", offline)
    with pytest.raises(EngineUnavailable, match="buffalo_l.*built-in"):
        load_engine("insightface")


@pytest.mark.usefixtures("without_packs")
def test_a_broken_pack_on_disk_does_not_stop_the_app(tmp_path: Path):
    pack = tmp_path / ".insightface" / "models" / "buffalo_l"
    pack.mkdir(parents=True)
    (pack / "det_10g.onnx").write_bytes(b"not a network")
    assert load_engine().name == "builtin"


def test_a_pack_on_disk_is_used(shared: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MAGICAPTURE_FACE_ENGINE", raising=False)
    monkeypatch.setenv("MAGICAPTURE_FACE_PACK", str(shared / "weights" / "insightface_small"))
    assert isinstance(load_engine(), InsightFaceEngine)
    monkeypatch.setenv("MAGICAPTURE_FACE_ENGINE", "builtin")
    assert load_engine().name == "builtin"


def test_a_misspelt_engine_is_named():
    with pytest.raises(EngineUnavailable, match="inside.*auto, builtin, insightface"):
        load_engine("inside")


def test_visitors_learn_what_the_weights_may_be_used_for(builtin: FaceEngine):
    assert "commercial use is allowed" in builtin.licence
    assert "non-commercial research only" in InsightFaceEngine.licence
