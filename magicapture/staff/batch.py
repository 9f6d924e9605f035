"""Driving an engine through many cells: what is missing, three tries, a ceiling on cost, a log with numbers."""

import time
from collections import Counter, deque
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace

from magicapture.photos.reading import MAX_PHOTOS
from magicapture.staff.cell import Cell, CellResult
from magicapture.staff.engines import Engine
from magicapture.staff.run_folder import RunFolder
from magicapture.staff.work import FatalError, Outcome, failed

TRIES = 3
TICK_S = 1.0
"""How often the clock of the cost is read while nothing ends."""


@dataclass
class Meter:
    """What a run has cost: every place by the hour, busy or not, from the first cell on, as clouds charge.

    ``price``: of a place, per hour; ``ceiling``: what may be spent, earlier runs in the same folder included; None for
    no bound. ``cell_seconds``: a forecast, until cells have been measured.
    """

    price: float = 0.0
    ceiling: float | None = None
    cell_seconds: float = 0.0
    spent: float = 0.0
    place_seconds: float = 0.0
    _read: float | None = None
    _measured: list[float] = field(default_factory=lambda: [0.0, 0.0])  # seconds in all, and cells

    def read(self, places: int) -> None:
        """Charge for the time since the last reading."""
        now = time.monotonic()
        seconds = (now - (now if self._read is None else self._read)) * places
        self._read = now
        self.place_seconds += seconds
        self.spent += seconds * self.price / 3600

    def measure(self, seconds: float) -> None:
        """Learn how long a cell took."""
        self._measured[0] += seconds
        self._measured[1] += 1
        self.cell_seconds = self._measured[0] / self._measured[1]

    def affords(self, places: int) -> bool:
        """Tell whether a cell that starts now would end, by what is known, before the ceiling is reached."""
        coming = self.cell_seconds * places * self.price / 3600
        return self.ceiling is None or self.spent + coming <= self.ceiling

    @property
    def used_up(self) -> bool:
        """Whether nothing may be spent any more."""
        return self.ceiling is not None and self.spent >= self.ceiling


def spent_before(folder: RunFolder) -> float:
    """Read in the log what earlier runs in ``folder`` have cost."""
    return max((line["spent"] for line in folder.log_lines() if "spent" in line), default=0.0)


def compute_cells(cells: Iterable[Cell], engine: Engine, folder: RunFolder, meter: Meter) -> Generator[CellResult]:
    """Compute ``cells`` in ``engine`` and keep each result as it comes; gives them in that order.

    Photos that cannot be used are a result. What fails otherwise is tried three times, at the end of the line, then
    given as failed and not kept, so that the next run tries it again. Who is forgotten meanwhile is left out. Ends
    early when ``meter`` allows no more. Raises ``FatalError`` for what would fail for everyone.
    """
    waiting = deque({cell.key: cell for cell in cells}.values())
    tries: Counter[str] = Counter()
    running: dict[Future[Outcome], tuple[Cell, float]] = {}
    while waiting or running:
        places = engine.places
        meter.read(places)
        while waiting and len(running) < places and meter.affords(places):
            cell = waiting.popleft()
            if folder.has_forgotten(cell.person):
                continue
            tries[cell.key] += 1
            running[_start(engine, cell)] = cell, time.monotonic()
        if meter.used_up or not running:
            return
        for future in wait(running, TICK_S, FIRST_COMPLETED).done:
            cell, started = running.pop(future)
            meter.read(engine.places)
            outcome = _outcome(future, cell)
            if folder.has_forgotten(cell.person):
                continue
            result = replace(outcome.result, attempts=tries[cell.key])
            if result.state != "failed":
                meter.measure(time.monotonic() - started)
                folder.store(result, outcome.files)
            elif result.attempts < TRIES:
                folder.log("cell_retried", cell.person, key=cell.key, error=result.error)
                waiting.append(cell)
                continue
            folder.log(f"cell_{result.state}", cell.person, **facts_of(result), spent=round(meter.spent, 4))
            yield result


def _start(engine: Engine, cell: Cell) -> Future[Outcome]:
    """Read the pictures and hand the cell over, without the paths, which hold names."""
    try:
        photos, looks = (
            tuple(path.read_bytes() for path in paths[: MAX_PHOTOS + 1]) for paths in (cell.photos, cell.looks)
        )
    except OSError as error:
        vanished: Future[Outcome] = Future()
        vanished.set_exception(error)
        return vanished
    return engine.submit(replace(cell, photos=(), looks=()), photos, looks)


def _outcome(future: Future[Outcome], cell: Cell) -> Outcome:
    """Give what a future brought; a worker that died, or photos that vanished, make a failed result."""
    error = future.exception()
    if error is None:
        return future.result()
    cause = getattr(error, "cause", error)  # as Ray wraps them
    if isinstance(cause, FatalError):
        raise cause
    return failed(cell, type(error).__name__)


def facts_of(result: CellResult) -> dict[str, object]:
    """Give what the log tells of a result."""
    facts = {"key": result.key, "attempts": result.attempts, "seconds": round(sum(result.seconds.values()), 2)}
    return {**facts, "error": result.error} if result.error else facts
