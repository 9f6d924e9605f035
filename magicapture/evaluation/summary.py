"""From the figures of single portraits to those of methods: means, intervals, shares."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from magicapture.evaluation.plan import Table
from magicapture.scoring import TOLD_APART

RESAMPLES, INTERVAL = 2000, (2.5, 97.5)
"""Of the bootstrap: how often cells are drawn anew, and the percentiles that are given."""


@dataclass(frozen=True)
class Estimate:
    """A mean over cells with its bootstrap 95 % interval; all None where nothing was measured."""

    mean: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Estimate":
        """Resample the cells' ``values``, each a mean over its portraits."""
        known = np.array([value for value in values if value is not None])
        if not len(known):
            return cls(None, None, None)
        draws = np.random.default_rng(0).choice(known, (RESAMPLES, len(known))).mean(axis=1)
        low, high = np.percentile(draws, INTERVAL)
        return cls(float(known.mean()), float(low), float(high))

    @classmethod
    def of_gap(cls, values: Sequence[float], reference: Sequence[float]) -> "Estimate":
        """Give how far the mean of ``values`` lies above that of ``reference``, resampling both; neither is empty."""
        generator = np.random.default_rng(0)
        ours, theirs = (generator.choice(each, (RESAMPLES, len(each))).mean(axis=1) for each in (values, reference))
        low, high = np.percentile(ours - theirs, INTERVAL)
        return cls(float(np.mean(values) - np.mean(reference)), float(low), float(high))

    @property
    def measured(self) -> tuple[float, float, float]:
        """Mean, lower and upper end. Raises ``ValueError`` where nothing was measured."""
        if self.mean is None or self.low is None or self.high is None:
            raise ValueError("Nothing was measured.")
        return self.mean, self.low, self.high


@dataclass(frozen=True)
class Summary:
    """One method in one table. Shares are of portraits, in [0, 1].

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


def _summary(cells: list[tuple[dict, dict | None]]) -> Summary:
    return Summary(**{name: Estimate.of([figure(*cell) for cell in cells]) for name, figure in FIGURES.items()})


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


def _way(cell: dict, untouched: dict | None) -> float | None:
    return None if untouched is None else _share(likeness(cell), likeness(untouched), cell["real_likeness"])


def _style_way(cell: dict, untouched: dict | None) -> float | None:
    return None if untouched is None else _share(_style(cell), _style(untouched), cell["own_style"])


def _share(here: float, start: float, end: float) -> float | None:
    """Give where ``here`` lies between ``start`` (0) and ``end`` (1); None where the end is no further."""
    return (here - start) / (end - start) if end > start else None


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
    "way": _way,
    "style": lambda cell, _: _style(cell),
    "style_way": _style_way,
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
