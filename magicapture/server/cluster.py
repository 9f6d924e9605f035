"""A Ray cluster, one of this machine or one to join: for batches of people and for the page alike."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import ray
from ray._private import ray_constants

from magicapture.offline import is_here
from magicapture.server.elsewhere import ClusterError

OBJECT_STORE_BYTES = 256 * 2**20
"""Of a cluster that is started here: photos and results of what runs, no more."""
ANSWER_S = 10
"""How long a cluster may take to answer; Ray itself would try for minutes, and then end the process."""
CANNOT_BE_HAD = "The Ray cluster {address} cannot be had: {reason}"
STAYS_HERE = (
    "MAGICAPTURE_PRIVATE=1: photos would leave this machine through Ray's own sockets, which private mode cannot hold "
    "back. Use the engine local, or ray without an address: its cluster listens to this machine alone."
)


def connect(address: str, *, private: bool, **options: object) -> None:
    """Join the cluster at ``address``, or start one; ``options`` go to ``ray.init``. Raises ``ClusterError``.

    ``private`` allows a cluster within this machine only. Nothing that tasks print comes back: it could hold names.
    """
    if private and address and not is_here(address.rpartition(":")[0] or address):
        raise ClusterError(STAYS_HERE)
    _require_answer(address)
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address:
            ray.init(address, **quiet, **options)
        else:
            with _within_this_machine():
                ray.init(
                    "local",
                    **{**quiet, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES, **options},
                )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(CANNOT_BE_HAD.format(address=address or "of this machine", reason=error)) from error
    if private and not all(is_here(node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]):
        ray.shutdown()
        raise ClusterError(STAYS_HERE)


def _require_answer(address: str) -> None:
    """Raise ``ClusterError`` if nobody listens at ``address``, a host and a port; other addresses Ray looks up."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), ANSWER_S).close()
        except (OSError, OverflowError) as error:
            raise ClusterError(CANNOT_BE_HAD.format(address=address, reason=error)) from error


def places(cpus: int) -> int:
    """Count the cluster's GPUs, or without any how often it has ``cpus``; at least one place, which may yet come."""
    has = ray.cluster_resources()
    return max(int(has.get("GPU", 0)) or int(has.get("CPU", 0) // cpus), 1)


def needs(cpus: int) -> dict[str, int]:
    """Say what one task takes of the cluster, as Ray's options: a GPU, or where there is none ``cpus``."""
    return {"num_gpus": 1} if ray.cluster_resources().get("GPU") else {"num_cpus": cpus}


@contextmanager
def _within_this_machine() -> Iterator[None]:
    """Let what Ray starts listen on loopback alone, as it does by itself on macOS and Windows, and report to nobody."""
    alone = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    with patch.dict(os.environ, alone), patch.object(ray_constants, "ENABLE_RAY_CLUSTER", new=False):
        yield
