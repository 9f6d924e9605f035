"""Where cells are computed: thin runners around one function, behind one protocol."""

from functools import partial

from magicapture.settings import settings
from magicapture.staff.engines.engine import Engine, EngineError
from magicapture.staff.engines.local import LocalEngine
from magicapture.staff.engines.shared import SharedEngine
from magicapture.staff.work import Setup, Work

__all__ = ["Engine", "EngineError", "open_engine"]


def open_engine(name: str, work: Work, share: str | None = None) -> Engine:
    """Give an engine that does ``work``: "local", "ray" for a cluster of this machine, or "ray:ADDRESS" to join one.

    ``share``: the address of a folder that photos and results take their way through, instead of Ray's object store.
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
    start = partial(RayEngine, setup=setup, address=address)
    return SharedEngine(share, work, start) if share else start(work)
