"""What scores mean is told by figures: they must be right before they are believed."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magicapture.evaluation import calibrate
from magicapture.evaluation.calibrate import Judged, Photos, agrees, best_of_table, equal_error_rate, photo_tables
from magicapture.evaluation.plan import Cell, Plan, Table, picture_of
from magicapture.faces import FaceEngine

CELL = Cell("magicapture", 0, 0, 0)


def judged(likeness: float, dlib: float, style: float = 0.5) -> Judged:
    return Judged(CELL, likeness, style, 0.9, dlib)


def test_the_error_rate_is_where_misses_and_mistakes_are_equally_many() -> None:
    same, different = np.array([0.9, 0.8, 0.7, 0.3]), np.array([0.6, 0.2, 0.1, 0.0])
    rate, threshold = equal_error_rate(same, different)
    assert rate == 0.25  # one of four missed, one of four taken
    assert 0.3 < threshold <= 0.6
    assert equal_error_rate(np.array([0.8, 0.9]), np.array([0.1, 0.2]))[0] == 0


def test_pairs_are_sorted_by_whether_they_show_one_person() -> None:
    alike = np.array([[1, 0.8, 0.1], [0.8, 1, 0.3], [0.1, 0.3, 1]])
    same, different = Photos(np.array([0, 0, 1]), {"dlib": alike}).pairs("dlib")
    assert (same.tolist(), different.tolist()) == ([0.8], [0.1, 0.3])


@pytest.mark.parametrize(
    ("portrait", "borne_out"),
    [
        (judged(0.8, 0.5), True),
        (judged(0.8, 0.4), False),  # "clearly you", and dlib takes them for two people
        (judged(0.6, 0.4), True),
        (judged(0.6, 0.2), False),  # "some of you", and to dlib no more than any stranger
        (judged(0.3, 0.4), True),
        (judged(0.3, 0.5), False),  # "not you", and dlib says it is
    ],
)
def test_a_word_that_dlib_contradicts_counts_against_it(portrait: Judged, borne_out: bool) -> None:
    assert agrees(portrait, strangers=0.3) == borne_out


def test_the_gain_of_choosing_is_told_against_drawing_without_a_choice() -> None:
    portraits = [judged(likeness, dlib) for likeness, dlib in ((0.5, 0.3), (0.9, 0.5), (0.6, 0.7), (0.4, 0.1))]
    rows = [line.split(" | ") for line in best_of_table(portraits, "magicapture") if " | " in line][1:]
    gains = {row[0].removeprefix("| "): row[1:3] for row in rows}
    assert gains["nothing: all of them"] == ["0.400", "+0.000 (+0.000 to +0.000)"]
    assert gains["likeness"] == ["0.500", "+0.100 (+0.100 to +0.100)"]
    assert gains["dlib itself: the ceiling"][0] == "0.700"


def test_what_evaluate_left_is_scored_as_the_app_scores_it(
    examples: Path, portrait: Image.Image, builtin: FaceEngine, tmp_path: Path
) -> None:
    plan = Plan("person-*", "style-*", 1, [Table("t", ["magicapture"], 1, 1)])
    path = picture_of(tmp_path, CELL, 0)
    path.parent.mkdir()
    portrait.save(path)
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / f"{CELL.name}.json").write_text(json.dumps({"portraits": [{"likeness": 0.6}]}))
    (found,) = calibrate.portraits_of(plan, examples, tmp_path, builtin)
    assert (found.dlib, found.word) == (0.6, "clearly you")
    assert min(found.likeness, found.flattery) > 0.8


def test_three_recognisers_are_compared_on_the_same_pairs(
    portrait: Image.Image, builtin: FaceEngine, tmp_path: Path
) -> None:
    dark = portrait.rotate(12, center=(225, 115)).point(lambda value: value * 0.5)
    for name, photos in (("anna", (portrait, dark)), ("ben", (portrait.convert("L").rotate(-9, center=(225, 115)),))):
        (tmp_path / name).mkdir()
        for place, photo in enumerate(photos):
            photo.save(tmp_path / name / f"{place}.png")
    photos = calibrate.photos_of([tmp_path / "anna", tmp_path / "ben"], builtin)
    assert photos.owner.tolist() == [0, 0, 1]
    assert {name: matrix.shape for name, matrix in photos.alike.items()} == dict.fromkeys(
        ("in the loss", "that scores", "dlib"), (3, 3)
    )
    assert all(same.min() > 0.5 for same, _ in map(photos.pairs, photos.alike))


def test_the_tables_name_every_recogniser_and_every_two_of_them() -> None:
    alike = np.random.default_rng(0).uniform(size=(3, 6, 6))
    names = ("in the loss", "that scores", "dlib")
    photos = Photos(np.array([0, 0, 0, 1, 1, 2]), dict(zip(names, alike, strict=True)))
    text = "\n".join(photo_tables(photos))
    assert "4 pairs of one person, 11 of strangers." in text
    assert all(f"\n| {name} |" in text for name in (*names, "in the loss, dlib", "that scores, dlib"))
