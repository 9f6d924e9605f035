"""The recogniser that portraits are scored by: its conversion, its alignment, and whom it takes for whom."""

import hashlib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from running import ROOT

from magicapture.faces import FaceEngine
from magicapture.faces.blazeface import WEIGHTS, load_session
from magicapture.faces.likeness import DIMENSIONS, NETWORK, likeness_embedding

RECORDED = np.load(Path(__file__).with_name("mobilefacenet_tflite.npy"))
"""What the TensorFlow Lite file gives for ``inputs()``, recorded with ai-edge-litert 2.3.0."""


def inputs() -> np.ndarray:
    """Give two pictures of noise and two of coloured squares, (4, 112, 112, 3) in [-1, 1]."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(-1, 1, (2, 112, 112, 3))
    squares = np.kron(rng.uniform(-1, 1, (2, 14, 14, 3)), np.ones((1, 8, 8, 1)))
    return np.concatenate([noise, squares]).astype(np.float32)


def test_faces_are_embedded_as_by_the_network_that_the_licence_names() -> None:
    found = load_session(NETWORK).run(None, {"faces": inputs().transpose(0, 3, 1, 2)})[0]
    cosine = (found * RECORDED).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(RECORDED, axis=1)
    assert found.shape == (4, DIMENSIONS)
    assert (1 - cosine < 1e-5).all(), cosine  # rounding to half precision; in single precision 1e-7
    assert np.abs(found - RECORDED).max() < 0.002 * np.linalg.norm(RECORDED, axis=1).min()


@pytest.mark.parametrize("path", sorted(WEIGHTS.glob("*.onnx")), ids=lambda path: path.name)
def test_every_face_model_that_ships_is_the_one_whose_licence_was_read(path: Path) -> None:
    entry = (ROOT / "NOTICE").read_text().split(f"/{path.name}\n")[1].split("\n\n")[0]
    assert f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}" in entry
    assert "MIT" in entry


def test_a_smaller_mirrored_leaning_photo_of_somebody_scores_as_them(
    builtin: FaceEngine, portrait: Image.Image
) -> None:
    other = ImageOps.mirror(portrait).rotate(20, Image.Resampling.BICUBIC, center=(290, 115)).resize((300, 300))
    found = [likeness_embedding(image, builtin.detect(image)[0].landmarks) for image in (portrait, other)]
    assert np.linalg.norm(found[0]) == pytest.approx(1)
    assert found[0] @ found[1] > 0.75


def test_people_are_told_apart(builtin: FaceEngine, shared: Path) -> None:
    people = []
    for folder in sorted(path for path in (shared / "data/people").iterdir() if path.is_dir()):
        photos = [ImageOps.exif_transpose(Image.open(path)).convert("RGB") for path in sorted(folder.glob("*.jpg"))]
        people.append(np.array([likeness_embedding(photo, builtin.detect(photo)[0].landmarks) for photo in photos]))
    same = [a @ b for person in people for a, b in combinations(person, 2)]
    different = np.concatenate([(a @ b.T).ravel() for a, b in combinations(people, 2)])
    assert np.mean(same) > 0.84
    assert np.mean(different) < 0.06
    assert np.mean(different > min(same)) < 0.002
