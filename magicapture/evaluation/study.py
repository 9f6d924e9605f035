"""The blind study: two portraits side by side from two methods, and which is better by eye; any metric answers to it.

``python -m magicapture study`` serves one page on the portraits that ``evaluate`` drew. What is answered is appended to
``answers.csv`` beside them; the next report counts it.
"""

import csv
import random
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import gradio as gr

from magicapture.evaluation.plan import Cell, Plan, PlanError, picture_of
from magicapture.photos.reading import photos_in

QUESTIONS = {
    "likeness": "Which is more like the person?",
    "style": "Which is nearer to the style?",
    "natural": "Which looks more natural?",
}
ANSWERS = "answers.csv"
LEFT, RIGHT = "left", "right"


@dataclass(frozen=True)
class Pair:
    """Two cells of one person, style and seed, and which of their portraits are shown."""

    left: Cell
    right: Cell
    place: int


def pairs(plan: Plan, out: Path, rng: random.Random) -> list[Pair]:
    """List every two methods' portraits of the same seed that are there, in random order and on random sides.

    Raises ``PlanError`` when there are none.
    """
    groups = defaultdict(list)
    for cell in plan.cells():
        groups[cell.person, cell.style, cell.seed].append(cell)
    found = [
        Pair(left, right, place)
        for cells in groups.values()
        for both in combinations(cells, 2)
        for place in range(plan.images)
        if all(picture_of(out, cell, place).is_file() for cell in both)
        for left, right in [rng.sample(both, 2)]
    ]
    if not found:
        raise PlanError(f"There are no portraits to compare in {out}: run evaluate with this plan first.")
    rng.shuffle(found)
    return found


def note_answer(out: Path, pair: Pair, choices: dict[str, str]) -> None:
    """Append one answer: which method won each question."""
    path = out / ANSWERS
    sides = {LEFT: pair.left.method, RIGHT: pair.right.method}
    row = {"left": pair.left.method, "right": pair.right.method, "person": pair.left.person, "style": pair.left.style}
    row |= {question: sides[side] for question, side in choices.items()}
    fresh = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def count_answers(out: Path) -> dict[str, dict[str, float]]:
    """Give, per method that was shown, the share of its pairs that it won, by question; empty without answers."""
    path = out / ANSWERS
    if not path.is_file():
        return {}
    with path.open() as file:
        rows = list(csv.DictReader(file))
    shown = {row[side] for row in rows for side in (LEFT, RIGHT)}
    return {
        method: _wins(method, [row for row in rows if method in (row[LEFT], row[RIGHT])]) for method in sorted(shown)
    }


def _wins(method: str, rows: list[dict]) -> dict[str, float]:
    shares = {question: sum(row[question] == method for row in rows) / len(rows) for question in QUESTIONS}
    return {**shares, "pairs": len(rows)}


def build_study(plan: Plan, data: Path, out: Path) -> gr.Blocks:
    """Compose the page. Raises ``PlanError`` when there is nothing to compare."""
    people, styles = plan.folders(data)
    pairs(plan, out, random.Random())  # so that a fault shows before the page does

    def show(waiting: list[Pair]) -> tuple:
        pair = waiting[0]
        pictures = [str(picture_of(out, cell, pair.place)) for cell in (pair.left, pair.right)]
        references = [
            [str(path) for path in photos_in(folder)] for folder in (people[pair.left.person], styles[pair.left.style])
        ]
        return *references, *pictures, *[None] * len(QUESTIONS), f"Pairs left: {len(waiting)}"

    def begin() -> tuple:
        waiting = pairs(plan, out, random.Random())
        return waiting, *show(waiting)

    def answer(waiting: list[Pair], *choices: str | None) -> tuple:
        answers = {question: choice for question, choice in zip(QUESTIONS, choices, strict=True) if choice}
        if len(answers) < len(QUESTIONS):
            raise gr.Error("Answer all three questions first.", title="Not yet", print_exception=False)
        note_answer(out, waiting[0], answers)
        waiting = waiting[1:] or pairs(plan, out, random.Random())
        return waiting, *show(waiting)

    with gr.Blocks(title="MagiCapture: blind study", analytics_enabled=False) as page:
        waiting = gr.State()
        with gr.Row():
            references = [
                gr.Gallery(label=label, height=180, columns=6, buttons=[]) for label in ("The person", "The style")
            ]
        with gr.Row():
            portraits = [gr.Image(label=side.capitalize(), height=360, buttons=[]) for side in (LEFT, RIGHT)]
        choices = [gr.Radio([("Left", LEFT), ("Right", RIGHT)], label=question) for question in QUESTIONS.values()]
        left = gr.Markdown()
        shown = [waiting, *references, *portraits, *choices, left]
        page.load(begin, outputs=shown, api_visibility="private")
        gr.Button("Next", variant="primary").click(answer, [waiting, *choices], shown, api_visibility="private")
    return page
