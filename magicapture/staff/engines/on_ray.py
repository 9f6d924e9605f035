"""A Ray cluster: plain tasks, which Ray starts again where a node is lost."""

from concurrent.futures import Future

import ray

from magicapture.server.cluster import connect, needs, places
from magicapture.staff.cell import Cell
from magicapture.staff.work import CPU_THREADS, Outcome, Pictures, Setup, Work, guarded

RETRIES = 3
"""Times that a cell is started again because its node or process was lost."""
LOOKS_KEPT = 8


class RayEngine:
    """As many cells at a time as the cluster has GPUs; without any, as its CPUs allow."""

    def __init__(self, work: Work, setup: Setup, address: str = "", **options: object) -> None:
        """Join the cluster at ``address``, or start one; ``options`` go to ``ray.init``. Raises ``ClusterError``."""
        connect(address, private=setup.private, **options)
        self._work, self._setup = work, setup
        # max_calls=0: a process that has loaded a base takes the next cell, too.
        self._task = ray.remote(max_calls=0, max_retries=RETRIES)(guarded)
        self._looks: dict[Pictures, ray.ObjectRef] = {}

    @property
    def places(self) -> int:
        """How many cells run at a time now; it changes while nodes come and go."""
        return places(CPU_THREADS)

    def submit(self, cell: Cell, photos: Pictures, looks: Pictures) -> Future[Outcome]:
        """Hand ``cell`` to the cluster; pictures go through its object store."""
        task = self._task.options(**needs(CPU_THREADS))
        return task.remote(self._work, self._setup, cell, photos, self._shared(looks)).future()

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
