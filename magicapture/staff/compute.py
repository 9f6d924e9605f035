"""The work of one cell: check, train, draw, score. Whoever imports this loads torch; engines alone do not."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from magicapture.adapters.adapter import Adapter
from magicapture.bases import Base, BaseError, load_base
from magicapture.drawing.generation import generate
from magicapture.drawing.portrait import Portrait
from magicapture.faces import EngineUnavailableError, FaceEngine, load_engine
from magicapture.method.training import train
from magicapture.photos.references import CheckedSet, Role, check_photos
from magicapture.settings import whole_number
from magicapture.staff.cell import SET, Cell, CellResult, DrawnPortrait, Problem, Recipe, Stage
from magicapture.staff.work import CPU_THREADS, FatalError, Outcome, Pictures


def compute(cell: Cell, photos: Pictures, looks: Pictures) -> Outcome:
    """Check the photos, train, draw and score; photos that cannot be used are a result, too.

    Raises ``FatalError`` when the base or the face engine cannot be had, or OMP_NUM_THREADS is no number.
    """
    seconds: dict[Stage, float] = {}
    with _timed(seconds, "load"):
        base, engine = _loaded(cell.recipe)
    with _timed(seconds, "check"):
        person = _checked(photos, "person", engine, base.resolution)
        look = _checked(looks, "style", engine, base.resolution)
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


def _loaded(recipe: Recipe) -> tuple[Base, FaceEngine]:
    try:
        torch.set_num_threads(whole_number("OMP_NUM_THREADS", CPU_THREADS, 1))
    except ValueError as error:
        raise FatalError(str(error)) from error
    try:
        return load_base(recipe.base), load_engine(recipe.engine)
    except (BaseError, EngineUnavailableError) as error:
        raise FatalError(str(error)) from error


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
    found += [Problem(photos.role, 0, SET, "warning", str(text)) for text in photos.warnings]
    if photos.problem:
        found.append(Problem(photos.role, 0, SET, "unusable", str(photos.problem)))
    return found


def _files(adapter: Adapter, portraits: list[Portrait], drawn: tuple[DrawnPortrait, ...]) -> dict[str, bytes]:
    """Give what the cell's folder is to hold, by path."""
    with TemporaryDirectory(prefix="magicapture-") as name:
        folder = Path(name)
        for portrait, place in zip(portraits, drawn, strict=True):
            portrait.save(folder / place.file)
        adapter.save(folder / "adapter")
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
