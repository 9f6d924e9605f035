"""This machine: one process per GPU, or one on the CPU. A base stays loaded in its process."""

import multiprocessing
import os
import signal
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import torch

from magicapture.staff.cell import Cell
from magicapture.staff.work import Outcome, Pictures, Setup, Work, guarded


class LocalEngine:
    """One executor per GPU, so that a worker that dies takes no other cell along."""

    def __init__(self, work: Work, setup: Setup, cpu_places: int = 1) -> None:
        """Prepare the processes; they start with their first cells. ``cpu_places``: where there is no GPU."""
        self._work, self._setup = work, setup
        self._gpus = _visible_gpus() or [None] * cpu_places
        self._executors = [_executor(gpu) for gpu in self._gpus]
        self._running: dict[int, Future[Outcome]] = {}

    @property
    def places(self) -> int:
        """How many processes there are."""
        return len(self._executors)

    def submit(self, cell: Cell, photos: Pictures, looks: Pictures) -> Future[Outcome]:
        """Give ``cell`` to a process that is free; where the last one died, to a new one."""
        free = next(i for i in range(self.places) if i not in self._running or self._running[i].done())
        task = (guarded, self._work, self._setup, cell, photos, looks)
        try:
            self._running[free] = self._executors[free].submit(*task)
        except BrokenProcessPool:
            self._executors[free] = _executor(self._gpus[free])
            self._running[free] = self._executors[free].submit(*task)
        return self._running[free]

    def close(self) -> None:
        """End all processes."""
        for executor in self._executors:
            for process in list((executor._processes or {}).values()):
                process.kill()
            executor.shutdown(cancel_futures=True)


def _visible_gpus() -> list[str]:
    """List the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu.strip()]
    return (named or [str(gpu) for gpu in range(torch.cuda.device_count())])[: torch.cuda.device_count()]


def _executor(gpu: str | None) -> ProcessPoolExecutor:
    """Prepare one process, started afresh: a fork would share CUDA's state and the threads' locks."""
    fresh = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=fresh, initializer=_start, initargs=(gpu,))


def _start(gpu: str | None) -> None:
    """Show the process its own GPU alone, and leave the wish to stop to whoever started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
