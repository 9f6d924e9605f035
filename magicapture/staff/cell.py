"""One cell: one person in one look, and what became of it. The smallest thing that is computed, kept and paid for."""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Self

from magicapture.config import GenerateConfig, TrainConfig
from magicapture.photos.reading import photos_in
from magicapture.staff.manifest import Row

VERSION = 1
"""Raise it when the same photos and settings give other portraits than before: every cell is then computed anew."""

State = Literal["done", "unusable", "failed"]
"""Portraits were drawn; the photos cannot be used, which trying again does not mend; the system failed three times."""
Stage = Literal["load", "check", "train", "draw"]
STAGES: tuple[Stage, ...] = ("load", "check", "train", "draw")
"""Loading takes time in a worker's first cell alone."""


@dataclass(frozen=True)
class Recipe:
    """What all cells of a run have in common; ``draw.count`` is each cell's own.

    ``base`` and ``engine``: names as ``load_base`` and ``load_engine`` take them.
    """

    base: str
    engine: str
    train: TrainConfig
    draw: GenerateConfig

    def as_json(self) -> str:
        """Give a text that is the same exactly if the settings are."""
        return json.dumps(asdict(self), sort_keys=True, default=sorted)


@dataclass(frozen=True)
class Cell:
    """What is to be computed. ``person`` is their number in the run, from 1: names stay out of engines and logs."""

    key: str
    person: int
    style: str  # the name of its folder
    count: int  # portraits
    photos: tuple[Path, ...]
    looks: tuple[Path, ...]
    recipe: Recipe

    @classmethod
    def of(cls, row: Row, person: int, recipe: Recipe) -> Self:
        """Find the pictures of ``row`` and derive the key.

        It is a hash of the person's number, their photos, the pictures of the look, settings, base and version. Files
        that cannot be read are left out; folders without pictures give a cell whose photos are unusable.
        """
        photos, looks = _digests(row.photos), _digests(row.style)
        parts = (VERSION, person, row.count, recipe.as_json(), [*photos.values()], [*looks.values()])
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
        return cls(key, person, row.style.name, row.count, tuple(photos), tuple(looks), recipe)


SET = "set"
"""The code of a problem of the set as a whole."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with one photo, counted from 1 by name in its folder; 0 is the set as a whole."""

    role: Literal["person", "style"]
    photo: int
    code: str
    severity: Literal["warning", "unusable"]
    text: str  # without the photo's name, which may be the person's


@dataclass(frozen=True)
class DrawnPortrait:
    """A portrait for review: its file in the cell's folder, and what it scored."""

    file: str
    seed: int
    likeness: float | None
    style: float | None


@dataclass(frozen=True)
class CellResult:
    """What became of a cell. ``seconds`` by stage, of the attempt that succeeded; ``error`` of a failed one.

    Portraits stand best first. Where seconds and attempts agree, results of the same key are equal.
    """

    key: str
    person: int
    style: str
    state: State
    seconds: dict[Stage, float] = field(default_factory=dict)
    portraits: tuple[DrawnPortrait, ...] = ()
    problems: tuple[Problem, ...] = ()
    attempts: int = 1
    error: str = ""  # type and place in the code, never a text that could hold a name

    def as_json(self) -> str:
        """Give the text of ``result.json``."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``as_json`` gave."""
        values = json.loads(text)
        portraits = tuple(DrawnPortrait(**portrait) for portrait in values.pop("portraits"))
        problems = tuple(Problem(**problem) for problem in values.pop("problems"))
        return cls(**values, portraits=portraits, problems=problems)


def pictures_in(folder: Path) -> tuple[Path, ...]:
    """List the pictures in ``folder`` by name; none when there is no such folder, or it cannot be looked into."""
    try:
        return tuple(photos_in(folder))
    except (OSError, ValueError):  # the latter of a name that no file can have
        return ()


def _digests(folder: Path) -> dict[Path, str]:
    found = {}
    for path in pictures_in(folder):
        with suppress(OSError):  # one person's broken link stops nobody
            found[path] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
