"""The eye is the last judge: its answers must reach the right method, whatever side it stood on."""

import random
from pathlib import Path

import pytest
from page_session import PageSession
from PIL import Image

from magicapture.evaluation.plan import Plan, PlanError, Table, picture_of
from magicapture.evaluation.study import Pair, build_study, count_answers, note_answer, pairs

PLAN = Plan("person-*", "style-*", 2, [Table("t", ["untouched", "magicapture", "copy"], people=1, styles=1)])
UNTOUCHED, OURS, COPY = PLAN.cells()


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    for cell in (UNTOUCHED, OURS):
        for place in range(PLAN.images):
            picture_of(tmp_path, cell, place).parent.mkdir(exist_ok=True)
            Image.new("RGB", (8, 8)).save(picture_of(tmp_path, cell, place))
    return tmp_path


def test_only_portraits_of_the_same_seed_that_are_there_are_compared(drawn: Path) -> None:
    found = pairs(PLAN, drawn, random.Random(0))
    assert {pair.place for pair in found} == {0, 1}
    assert all({pair.left, pair.right} == {UNTOUCHED, OURS} for pair in found)
    assert len(found) == 2


def test_sides_are_random(drawn: Path) -> None:
    assert {pairs(PLAN, drawn, random.Random(seed))[0].left for seed in range(20)} == {UNTOUCHED, OURS}


def test_an_answer_counts_for_the_method_that_stood_on_that_side(drawn: Path) -> None:
    note_answer(drawn, Pair(OURS, UNTOUCHED, 0), {"likeness": "left", "style": "right", "natural": "left"})
    note_answer(drawn, Pair(UNTOUCHED, OURS, 1), {"likeness": "right", "style": "right", "natural": "left"})
    note_answer(drawn, Pair(UNTOUCHED, COPY, 1), {"likeness": "right", "style": "left", "natural": "right"})
    counted = count_answers(drawn)
    assert counted["magicapture"] == {"likeness": 1.0, "style": 0.5, "natural": 0.5, "pairs": 2}
    assert counted["copy"]["likeness"] == 1.0
    assert counted["untouched"]["likeness"] == 0.0


def test_without_portraits_it_says_what_to_do(tmp_path: Path, examples: Path) -> None:
    with pytest.raises(PlanError, match="run evaluate"):
        build_study(PLAN, examples, tmp_path)


def test_a_rater_answers_all_three_questions_and_gets_the_next_pair(drawn: Path, examples: Path) -> None:
    page = build_study(PLAN, examples, drawn)
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, allowed_paths=[str(drawn), str(examples)])
    try:
        rater = PageSession(address.rstrip("/"))
        assert rater.send("load").json()["data"][-1] == "Pairs left: 2"
        assert rater.send("click").status_code == 500  # nothing is answered yet
        assert rater.send("click", radio="left").json()["data"][-1] == "Pairs left: 1"
    finally:
        page.close()
    assert sum(shares["pairs"] for shares in count_answers(drawn).values()) == 2
