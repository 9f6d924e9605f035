"""Where cells are computed: thin runners around one function, behind one protocol."""

from concurrent.futures import Future
from typing import Protocol

from magicapture.settings import settings
from magicapture.staff.cell import Cell
from magicapture.staff.engines.local import LocalEngine
from magicapture.staff.work import Outcome, Pictures, Setup, Work


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


def open_engine(name: str, work: Work) -> Engine:
    """Give an engine that does ``work``: "local", "ray" for a cluster of this machine, or "ray:ADDRESS" to join one.

    Raises ``EngineError`` for another name and without Ray, ``ClusterError`` for a cluster that cannot be had.
    """
    setup = Setup(private=settings().private)
    if name == "local":
        return LocalEngine(work, setup)
    kind, _, address = name.partition(":")
    if kind != "ray":
        raise EngineError(f"There is no engine {name}: choose local, ray, ray:ADDRESS, or jobs:FLAVOUR.")
    try:
        from magicapture.staff.engines.on_ray import RayEngine  # noqa: PLC0415  Ray is an extra
    except ImportError as error:
        raise EngineError("Ray is not installed: pip install -r requirements-ray.txt") from error
    return RayEngine(work, setup, address)
