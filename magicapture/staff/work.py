"""What engines run, wherever they run it: photos' bytes in, portraits' bytes out, and no exception of a cell's own."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from magicapture.offline import go_offline
from magicapture.staff.cell import Cell, CellResult

PACKAGE = Path(__file__).parents[1]
CPU_THREADS = 2
"""Of a cell on a CPU, unless OMP_NUM_THREADS says otherwise: how many share a sum shows in its last digits."""


class FatalError(ValueError):
    """What would fail for everyone, so that it ends a run; all else is a cell's own bad luck."""


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

    Raises ``FatalError`` alone.
    """
    _prepare(setup)
    try:
        return work(cell, photos, looks)
    except FatalError:
        raise
    except Exception as error:  # noqa: BLE001  one person's failure stops nobody else's work
        return failed(cell, _place(error))


def failed(cell: Cell, error: str) -> Outcome:
    """Give the outcome of a cell that could not be computed."""
    return Outcome(CellResult(cell.key, cell.person, cell.style, "failed", error=error))


@lru_cache(maxsize=1)
def _prepare(setup: Setup) -> None:
    if setup.private:
        go_offline()


def _place(error: Exception) -> str:
    """Say the type of ``error`` and the last line of this program that it came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if PACKAGE in Path(frame.filename).parents]
    return f"{type(error).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
