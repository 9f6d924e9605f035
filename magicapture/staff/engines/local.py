"""This machine: one process per GPU, or one on the CPU. A base stays loaded in its process."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

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
        """End all processes, at once those that still compute."""
        for place, executor in enumerate(self._executors):
            if place in self._running and not self._running[place].done():
                for process in list(executor._processes.values()):
                    process.kill()
            executor.shutdown(cancel_futures=True)


def _visible_gpus() -> list[str]:
    """List the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch  # noqa: PLC0415  its worker processes import this module, and need it only where their work does

    named = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu.strip()]
    return (named or [str(gpu) for gpu in range(torch.cuda.device_count())])[: torch.cuda.device_count()]


def _executor(gpu: str | None) -> ProcessPoolExecutor:
    """Prepare one process, started afresh: a fork would share CUDA's state and the threads' locks."""
    fresh = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=fresh, initializer=_start, initargs=(gpu,))


def _start(gpu: str | None) -> None:
    """Show the process its own GPU alone, leave the wish to stop to the driver, and end when the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_driver, daemon=True).start()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu


def _end_with_driver() -> None:
    """Wait until the driver ends, killed or not: a next run needs the GPU."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)
