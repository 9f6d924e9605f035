"""From the figures of single portraits to those of methods: means, intervals, shares."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from magicapture.evaluation.plan import Table
from magicapture.scoring import TOLD_APART

LEVEL = 0.95
"""Of the intervals."""
Paired = tuple[dict, dict | None]
"""A cell, and the untouched base's of the same pair."""


@dataclass(frozen=True)
class Estimate:
    """A mean over people with Student's 95 % interval; None where nothing was measured, or only once."""

    mean: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Estimate":
        """Take ``values``, one of each person: looks of one person would be more alike than chance has them."""
        known = [value for value in values if value is not None]
        if not known:
            return cls(None)
        return cls._around(float(np.mean(known)), known)

    @classmethod
    def of_gap(cls, values: Sequence[float], reference: Sequence[float]) -> "Estimate":
        """Give how far the mean of ``values`` lies above that of ``reference``, with Welch's interval."""
        return cls._around(float(np.mean(values) - np.mean(reference)), values, reference)

    @classmethod
    def _around(cls, mean: float, *samples: Sequence[float]) -> "Estimate":
        if min(map(len, samples)) == 1:
            return cls(mean)
        errors = [float(np.var(sample, ddof=1)) / len(sample) for sample in samples]  # squared, of each mean
        total = sum(errors)
        shares = sum(error**2 / (len(sample) - 1) for error, sample in zip(errors, samples, strict=True))
        freedom = total**2 / shares if shares else 1  # Welch–Satterthwaite; of one sample its size − 1
        reach = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * total**0.5
        return cls(mean, mean - reach, mean + reach)

    @property
    def measured(self) -> tuple[float, float, float]:
        """Mean, lower and upper end: the mean where that is all. Raises ``ValueError`` where nothing was measured."""
        if self.mean is None:
            raise ValueError("Nothing was measured.")
        if self.low is None or self.high is None:
            return self.mean, self.mean, self.mean
        return self.mean, self.low, self.high


@dataclass(frozen=True)
class Summary:
    """One method in one table: means over people, each over their looks; over looks if there is one person.

    Shares are of portraits, in [0, 1].

    ``likeness``: 1 − dlib distance to unseen photos, 0 without a face; ``way``: the same as a share of the way from the
    untouched base (0) to the person's real photos (1); ``style``: cosine; ``faceless``, ``copied``: shares;
    ``copy_paste``: from the person in general (0) to the face of one seen photo (1); ``person_only``, ``style_only``:
    shares of portraits with no more of the style than the person's photos have, and with no more likeness than the
    untouched base; ``style_way``: the style as a share of the way from the untouched base (0) to the style's own
    pictures (1); ``aesthetic``: LAION's mark; ``leak``: of the person's attention outside the face; ``seconds``: of
    the training.
    """

    likeness: Estimate
    way: Estimate
    style: Estimate
    style_way: Estimate
    faceless: Estimate
    copied: Estimate
    copy_paste: Estimate
    person_only: Estimate
    style_only: Estimate
    leak: Estimate
    diversity: Estimate
    sharpness: Estimate
    aesthetic: Estimate
    seconds: Estimate


def summarise(results: list[dict], table: Table) -> dict[str, Summary]:
    """Give the methods of ``table`` in its order; ``results``: the cells as ``Comparison.run`` gives them."""
    cells = _cells(results, table)
    untouched = {_key(cell)[1:]: cell for cell in cells if cell["method"] == "untouched"}
    return {
        method: _summary([(cell, untouched.get(_key(cell)[1:])) for cell in cells if cell["method"] == method])
        for method in table.methods
    }


def _cells(results: list[dict], table: Table) -> list[dict]:
    wanted = {(cell.method, cell.person, cell.style, cell.seed) for cell in table.cells()}
    return [cell for cell in results if _key(cell) in wanted]


def _summary(cells: list[Paired]) -> Summary:
    people = defaultdict(list)
    for cell in cells:
        people[cell[0]["person"]].append(cell)
    groups = list(people.values()) if len(people) > 1 else [[cell] for cell in cells]
    figures = {name: Estimate.of([_pooled(figure, group) for group in groups]) for name, figure in FIGURES.items()}
    return Summary(
        **figures, **{name: Estimate.of([_way(ends, group) for group in groups]) for name, ends in WAYS.items()}
    )


def _pooled(figure: Callable[[dict, dict | None], float | None], cells: list[Paired]) -> float | None:
    known = [found for cell in cells if (found := figure(*cell)) is not None]
    return float(np.mean(known)) if known else None


def _way(ends: Callable[[dict, dict], tuple[float, float, float]], cells: list[Paired]) -> float | None:
    """Give where a person's cells lie between start (0) and end (1); None where the end is no further.

    Of the means: the way of a single look can be so short that its share tells nothing.
    """
    known = [ends(cell, untouched) for cell, untouched in cells if untouched is not None]
    if not known:
        return None
    here, start, end = np.mean(known, axis=0)
    return float((here - start) / (end - start)) if end > start else None


def cells_of(results: list[dict], table: Table, method: str, people: Sequence[int]) -> list[dict]:
    """Give the cells of ``table`` in which ``method`` draws one of ``people``, counted from 0."""
    return [cell for cell in _cells(results, table) if cell["method"] == method and cell["person"] in people]


def likeness(cell: dict) -> float:
    """Give the mean likeness of a cell's portraits; one without a face counts 0."""
    return float(np.mean([portrait["likeness"] or 0.0 for portrait in cell["portraits"]]))


def faceless(cell: dict) -> float:
    """Give the share of a cell's portraits without a face."""
    return float(np.mean([portrait["likeness"] is None for portrait in cell["portraits"]]))


def _key(cell: dict) -> tuple:
    return cell["method"], cell["person"], cell["style"], cell["seed"]


def _mean(cell: dict, value: Callable[[dict], float | None]) -> float | None:
    known = [found for found in map(value, cell["portraits"]) if found is not None]
    return float(np.mean(known)) if known else None


def _style(cell: dict) -> float:
    return float(np.mean([portrait["style"] for portrait in cell["portraits"]]))


def _person_only(cell: dict) -> float | None:
    if cell["own_style"] - cell["photos_style"] < TOLD_APART:
        return None
    return _mean(cell, lambda portrait: portrait["style"] <= cell["photos_style"])


def _style_only(cell: dict, untouched: dict | None) -> float | None:
    if untouched is None:
        return None
    strangers = likeness(untouched)
    return _mean(cell, lambda portrait: (portrait["likeness"] or 0.0) <= strangers)


FIGURES: dict[str, Callable[[dict, dict | None], float | None]] = {
    "likeness": lambda cell, _: likeness(cell),
    "style": lambda cell, _: _style(cell),
    "faceless": lambda cell, _: faceless(cell),
    "copied": lambda cell, _: _mean(cell, lambda portrait: portrait["copied"]),
    "copy_paste": lambda cell, _: _mean(cell, lambda portrait: portrait["copy_paste"]),
    "person_only": lambda cell, _: _person_only(cell),
    "style_only": _style_only,
    "leak": lambda cell, _: cell["leak"],
    "diversity": lambda cell, _: cell["diversity"],
    "sharpness": lambda cell, _: _mean(cell, lambda portrait: portrait["sharpness"]),
    "aesthetic": lambda cell, _: _mean(cell, lambda portrait: portrait["aesthetic"]),
    "seconds": lambda cell, _: cell["training_seconds"],
}
"""How each figure of a cell comes about; the second argument is the untouched base's cell of the same pair."""

WAYS: dict[str, Callable[[dict, dict], tuple[float, float, float]]] = {
    "way": lambda cell, untouched: (likeness(cell), likeness(untouched), cell["real_likeness"]),
    "style_way": lambda cell, untouched: (_style(cell), _style(untouched), cell["own_style"]),
}
"""Where a cell lies, where its way starts and where it ends; the second argument is the untouched base's cell."""
