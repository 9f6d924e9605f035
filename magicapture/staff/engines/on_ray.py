"""A Ray cluster: one of this machine, or one to join. Plain tasks, which Ray starts again where a node is lost."""

import os
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from unittest.mock import patch

import ray
from ray._private import ray_constants

from magicapture.offline import is_here
from magicapture.staff.cell import Cell
from magicapture.staff.engines import EngineError
from magicapture.staff.work import CPU_THREADS, Outcome, Pictures, Setup, Work, guarded

RETRIES = 3
"""Times that a cell is started again because its node or process was lost."""
OBJECT_STORE_BYTES = 256 * 2**20
"""Of a cluster that is started here: photos and results of the cells that run, no more."""
LOOKS_KEPT = 8
STAYS_HERE = (
    "MAGICAPTURE_PRIVATE=1: photos would leave this machine through Ray's own sockets, which private mode cannot hold "
    "back. Use the engine local, or ray without an address: its cluster listens to this machine alone."
)


class RayEngine:
    """As many cells at a time as the cluster has GPUs; without any, as its CPUs allow."""

    def __init__(self, work: Work, setup: Setup, address: str = "", **options: object) -> None:
        """Join the cluster at ``address``, or start one; ``options`` go to ``ray.init``. Raises ``EngineError``."""
        self._work, self._setup = work, setup
        if setup.private and address and not is_here(_host(address)):
            raise EngineError(STAYS_HERE)
        _connect(address, options)
        if setup.private and not all(is_here(node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]):
            ray.shutdown()
            raise EngineError(STAYS_HERE)
        # max_calls=0: a process that has loaded a base takes the next cell, too.
        self._task = ray.remote(max_calls=0, max_retries=RETRIES)(guarded)
        self._looks: dict[Pictures, ray.ObjectRef] = {}

    @property
    def places(self) -> int:
        """The cluster's GPUs, or what its CPUs suffice for, as they are now; at least one, that may yet come."""
        has = ray.cluster_resources()
        return max(int(has.get("GPU", 0)) or int(has.get("CPU", 0) // CPU_THREADS), 1)

    def submit(self, cell: Cell, photos: Pictures, looks: Pictures) -> Future[Outcome]:
        """Hand ``cell`` to the cluster; pictures go through its object store."""
        needs = {"num_gpus": 1} if ray.cluster_resources().get("GPU") else {"num_cpus": CPU_THREADS}
        return self._task.options(**needs).remote(self._work, self._setup, cell, photos, self._shared(looks)).future()

    def close(self) -> None:
        """Leave the cluster, which ends what still runs for us; one that was started here ends altogether."""
        ray.shutdown()

    def _shared(self, looks: Pictures) -> "ray.ObjectRef":
        """Put a look into the object store once for the many people who share it."""
        if looks not in self._looks:
            if len(self._looks) == LOOKS_KEPT:
                self._looks.pop(next(iter(self._looks)))
            self._looks[looks] = ray.put(looks)
        return self._looks[looks]


def _connect(address: str, options: dict[str, object]) -> None:
    """Join the cluster at ``address``, or start one; nothing of what tasks print comes back, as it could hold names."""
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address:
            ray.init(address, **quiet, **options)
            return
        with _within_this_machine():
            ray.init(**{**quiet, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES, **options})
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EngineError(f"The Ray cluster {address or 'of this machine'} cannot be had: {error}") from error


@contextmanager
def _within_this_machine() -> Iterator[None]:
    """Let what Ray starts listen on loopback alone, as it does by itself on macOS and Windows, and report to nobody."""
    alone = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    with patch.dict(os.environ, alone), patch.object(ray_constants, "ENABLE_RAY_CLUSTER", new=False):
        yield


def _host(address: str) -> str:
    return address.rpartition(":")[0] or address
