"""``engine``'s functions on a Ray cluster: bytes go there and come back, whichever of its nodes computes them.

Each takes the seconds that it is foretold to need, as its likes on this machine do; a cluster needs no such promise.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal

import ray
from ray.exceptions import RayError, RayTaskError
from ray.experimental import internal_kv

from magicapture.faces import engine_here
from magicapture.server import engine
from magicapture.server.cluster import connect, needs, places
from magicapture.server.engine import NOTHING_CAME, Failure
from magicapture.server.queue import Queue
from magicapture.server.wire import pack
from magicapture.settings import settings
from magicapture.things.networks import load_network

CPUS = 2
"""Of a task, where the cluster has no GPU."""
RETRIES = 3
"""Times that drawing and enlarging start again because a node was lost."""
LOOK_S = 5
"""Between two looks at which nodes there are."""


def join(queue: Queue) -> None:
    """Join or start the cluster that is set, and let as many come at a time as it has GPUs. Raises ``ClusterError``."""
    networks = {
        "MAGICAPTURE_FACE_ENGINE": engine_here(),
        "MAGICAPTURE_FACE_PACK": settings().face_pack,
        "MAGICAPTURE_THING_NETWORK": load_network().source,
    }
    connect(settings().engine.partition(":")[2], private=settings().private, runtime_env={"env_vars": networks})
    queue.resize(places(CPUS))
    threading.Thread(target=_keep_counting, args=(queue,), name="cluster", daemon=True).start()


def device() -> Literal["cuda", "cpu"]:
    """Say what the cluster computes on."""
    return "cuda" if "num_gpus" in needs(CPUS) else "cpu"


def train(request: bytes, stop: Path, seconds: int) -> Iterator[bytes]:
    """Do ``engine.train`` there; the file ``stop`` ends it after its next step, as does whoever leaves the loop.

    When its node is lost it ends, for what it gave was seen: the next slice goes on from the last checkpoint.
    """
    del seconds
    flag = f"magicapture-stop-{token_hex(8)}".encode()
    try:
        for event in _started(_train, request, flag, num_returns="streaming", max_retries=0):
            if stop.exists():
                _raise_flag(flag)
            yield ray.get(event)
    except GeneratorExit:
        _raise_flag(flag)
        raise
    except RayError as error:
        _raise_own(error)


def draw(request: bytes, seconds: int) -> bytes:
    """Do ``engine.draw`` there; a ``Failure`` when node after node is lost."""
    del seconds
    try:
        return ray.get(_started(engine.draw, request))
    except RayError as error:
        _raise_own(error)
        return pack(Failure(NOTHING_CAME))


def enlarge(request: bytes, seconds: int) -> Iterator[bytes]:
    """Do ``engine.enlarge`` there; a ``Failure`` when node after node is lost."""
    del seconds
    try:
        for larger in _started(engine.enlarge, request, num_returns="streaming"):
            yield ray.get(larger)
    except RayError as error:
        _raise_own(error)
        yield pack(Failure(NOTHING_CAME))


def _raise_own(error: RayError) -> None:
    """Raise what a task itself raised; anything else is the loss of its node."""
    if isinstance(error, RayTaskError):
        raise error.cause from error


def _started(function: Callable, *arguments: bytes, **options: Any) -> Any:
    """Start a task in a process that has its base loaded, if there is one free."""
    task = ray.remote(max_calls=0)(function).options(**{"max_retries": RETRIES, **needs(CPUS), **options})
    return task.remote(*arguments)


def _train(request: bytes, flag: bytes) -> Iterator[bytes]:
    """Train on a node; the wish to stop comes through the cluster's own store, as no folder need be shared."""
    yield from engine.train(request, lambda: internal_kv._internal_kv_exists(flag))
    internal_kv._internal_kv_del(flag)


def _raise_flag(flag: bytes) -> None:
    internal_kv._internal_kv_put(flag, b"1")


def _keep_counting(queue: Queue) -> None:
    while ray.is_initialized():
        with suppress(RayError):  # the cluster may be out of reach for a while
            queue.resize(places(CPUS))
        time.sleep(LOOK_S)
