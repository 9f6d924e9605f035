"""What engines run, wherever they run it: photos' bytes in, portraits' bytes out, and no exception of a cell's own."""

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from magicapture.adapters.adapter import Adapter
from magicapture.bases import BaseError, load_base
from magicapture.drawing.generation import generate
from magicapture.drawing.portrait import Portrait
from magicapture.faces import EngineUnavailableError, FaceEngine, load_engine
from magicapture.method.training import train
from magicapture.offline import go_offline
from magicapture.photos.references import CheckedSet, Role, check_photos
from magicapture.staff.cell import Cell, CellResult, DrawnPortrait, Problem, Stage

PACKAGE = Path(__file__).parents[1]
CPU_THREADS = 2
"""Of a cell on a CPU, wherever it runs: how many share a sum shows in its last digits."""
FATAL = (BaseError, EngineUnavailableError)
"""What would fail for everyone, so that it ends a run; all else is this cell's own bad luck."""

Pictures = tuple[bytes, ...]


@dataclass(frozen=True)
class Outcome:
    """A result, and the files that belong into its folder by their path there."""

    result: CellResult
    files: dict[str, bytes] = field(default_factory=dict)


Work = Callable[[Cell, Pictures, Pictures], Outcome]
"""A cell, the person's photos and the pictures of the look, in the order of their names."""


@dataclass(frozen=True)
class Setup:
    """How a worker is prepared once. ``private``: it refuses connections as private mode does."""

    private: bool = False


def guarded(work: Work, setup: Setup, cell: Cell, photos: Pictures, looks: Pictures) -> Outcome:
    """Do ``work`` on ``cell``; whatever goes wrong becomes a failed result that says where, and holds no text.

    Raises those of ``FATAL`` alone.
    """
    _prepare(setup)
    try:
        return work(cell, photos, looks)
    except FATAL:
        raise
    except Exception as error:  # noqa: BLE001  one person's failure stops nobody else's work
        return failed(cell, _place(error))


def failed(cell: Cell, error: str) -> Outcome:
    """Give the outcome of a cell that could not be computed."""
    return Outcome(CellResult(cell.key, cell.person, cell.style, "failed", error=error))


def compute(cell: Cell, photos: Pictures, looks: Pictures) -> Outcome:
    """Check the photos, train, draw and score; photos that cannot be used are a result, too."""
    seconds: dict[Stage, float] = {}
    with _timed(seconds, "load"):
        base, engine = load_base(cell.recipe.base), load_engine(cell.recipe.engine)
    with _timed(seconds, "check"):
        person, look = (
            _checked(pictures, role, engine, base.resolution)
            for role, pictures in (("person", photos), ("style", looks))
        )
    result = CellResult(
        cell.key, cell.person, cell.style, "unusable", seconds, problems=(*_problems(person), *_problems(look))
    )
    if not (person.usable and look.usable):
        return Outcome(result)
    with _timed(seconds, "train"):
        adapter = train(base, engine, person.references, look.references, cell.recipe.train)
    with _timed(seconds, "draw"):
        portraits = generate(base, engine, adapter, replace(cell.recipe.draw, count=cell.count))
    drawn = tuple(
        DrawnPortrait(f"portrait-{place}.png", portrait.seed, portrait.likeness, portrait.style)
        for place, portrait in enumerate(portraits, start=1)
    )
    return Outcome(replace(result, state="done", portraits=drawn), _files(adapter, portraits, drawn))


@lru_cache(maxsize=1)
def _prepare(setup: Setup) -> None:
    torch.set_num_threads(CPU_THREADS)
    if setup.private:
        go_offline()


@contextmanager
def _timed(seconds: dict[Stage, float], stage: Stage) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - started, 3)


def _checked(pictures: Pictures, role: Role, engine: FaceEngine, side: int) -> CheckedSet:
    """Check pictures under numbers for names; they lie on the disk no longer than that."""
    with TemporaryDirectory(prefix="magicapture-") as folder:
        paths = [Path(folder) / f"{place:03d}" for place in range(1, len(pictures) + 1)]
        for path, data in zip(paths, pictures, strict=True):
            path.write_bytes(data)
        return check_photos(paths, role, engine, side)


def _problems(photos: CheckedSet) -> list[Problem]:
    """Give all that is wrong, photo by photo, then with the set."""
    found = [
        Problem(photos.role, place, problem.code, problem.severity, f"{problem.message} {problem.advice}")
        for place, verdict in enumerate(photos.verdicts, start=1)
        for problem in verdict.problems
    ]
    found += [Problem(photos.role, 0, "set", "warning", str(text)) for text in photos.warnings]
    if photos.problem:
        found.append(Problem(photos.role, 0, "set", "unusable", str(photos.problem)))
    return found


def _files(adapter: Adapter, portraits: list[Portrait], drawn: tuple[DrawnPortrait, ...]) -> dict[str, bytes]:
    """Give what the cell's folder is to hold, by path."""
    with TemporaryDirectory(prefix="magicapture-") as name:
        folder = Path(name)
        for portrait, place in zip(portraits, drawn, strict=True):
            portrait.save(folder / place.file)
        adapter.save(folder / "adapter")
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _place(error: Exception) -> str:
    """Say the type of ``error`` and the last line of this program that it came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if PACKAGE in Path(frame.filename).parents]
    return f"{type(error).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
