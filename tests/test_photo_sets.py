"""What is said about a set of photos as a whole."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magicapture.faces import Face, FaceEngine
from magicapture.photos.references import Verdict, check_photos

LANDMARKS = np.array([[0.4, 0.48], [0.6, 0.48], [0.5, 0.6], [0.42, 0.7], [0.58, 0.7]], np.float32)


class FixedEngine(FaceEngine):
    """Finds one large face in every picture, with the next of the given embeddings."""

    name, licence = "fixed", ""

    def __init__(self, *embeddings: np.ndarray) -> None:
        self.embeddings = iter(embeddings)

    def detect(self, image: Image.Image) -> list[Face]:
        landmarks = LANDMARKS * image.width
        return [Face(np.array([0.25, 0.25, 0.75, 0.85]) * image.width, 1.0, landmarks, next(self.embeddings))]

    def face_mask(self, image: Image.Image, face: Face) -> np.ndarray:
        return np.ones((image.height, image.width), np.float32)


def codes(checked: Verdict) -> set[str]:
    return {problem.code for problem in checked.problems}


def noise(folder: Path, count: int) -> list[Path]:
    generator = np.random.default_rng(0)
    paths = [folder / f"{i}.png" for i in range(count)]
    for path in paths:
        tiles = Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        tiles.resize((256, 256), Image.Resampling.NEAREST).save(path)
    return paths


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, float) - np.asarray(b.resize(a.size), float)).mean())


@pytest.mark.parametrize("stranger", [0, 2, 4])
def test_a_stranger_among_the_photos_is_named_wherever_he_stands(stranger: int, tmp_path: Path) -> None:
    embeddings = [np.eye(8)[int(i == stranger)].astype(np.float32) for i in range(5)]
    checked = check_photos(noise(tmp_path, 5), "person", FixedEngine(*embeddings), 64)
    assert [i for i, v in enumerate(checked.verdicts) if "other_person" in codes(v)] == [stranger]


def test_a_style_may_show_different_people(tmp_path: Path) -> None:
    checked = check_photos(noise(tmp_path, 4), "style", FixedEngine(*np.eye(8, dtype=np.float32)), 64)
    assert not any("other_person" in codes(v) for v in checked.verdicts)


@pytest.mark.parametrize(("count", "warned"), [(1, True), (3, True), (4, False)])
def test_few_photos_are_accepted_with_a_plain_warning(count: int, warned: bool, tmp_path: Path) -> None:
    checked = check_photos(noise(tmp_path, count), "person", FixedEngine(*[np.eye(8)[0]] * count), 64)
    assert checked.usable
    assert [f"Only {count}" in w for w in checked.warnings] == [True] * warned


def test_too_many_or_no_photos_are_refused_at_once(tmp_path: Path) -> None:
    for paths, words in (([tmp_path / "x"] * 21, "at most 20"), ([], "at least one")):
        checked = check_photos(paths, "person", FixedEngine(), 64)
        assert not checked.usable
        assert words in checked.problem


def test_a_set_without_a_usable_photo_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    checked = check_photos([tmp_path / "a.jpg"], "style", FixedEngine(), 64)
    assert not checked.usable
    assert "None of these photos" in checked.problem


def test_verdicts_come_in_the_order_of_the_photos(tmp_path: Path) -> None:
    paths = noise(tmp_path, 3)[::-1]
    paths.insert(1, tmp_path / "gone.jpg")
    checked = check_photos(paths, "style", FixedEngine(*np.eye(8, dtype=np.float32)), 64)
    assert [v.name for v in checked.verdicts] == ["2.png", "gone.jpg", "1.png", "0.png"]
