"""What every engine is."""

from concurrent.futures import Future
from typing import Protocol

from magicapture.staff.cell import Cell
from magicapture.staff.work import Outcome, Pictures


class EngineError(ValueError):
    """An engine that cannot be had here; the text says why and what to do."""


class Engine(Protocol):
    """Computes cells side by side."""

    @property
    def places(self) -> int:
        """How many are computed at a time; it may change while nodes come and go."""

    def submit(self, cell: Cell, photos: Pictures, looks: Pictures) -> Future[Outcome]:
        """Start a cell. A worker that dies under it is an exception of the future, and costs no other cell anything."""

    def close(self) -> None:
        """End at once, whatever still runs."""
