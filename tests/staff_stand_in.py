"""Cells that need no base: what engines and the driver do with them is the same."""

import hashlib
import os
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from magicapture.config import GenerateConfig, TrainConfig
from magicapture.staff.cell import Cell, CellResult, DrawnPortrait, Recipe
from magicapture.staff.manifest import Row
from magicapture.staff.work import Outcome, Pictures, Setup, Work, guarded

RECIPE = Recipe("stand-in", "stand-in", TrainConfig(), GenerateConfig())


@dataclass(frozen=True)
class Drawer:
    """Draws the hash of the photos, and leaves a line in ``diary`` for every time that it ends."""

    diary: Path
    seconds: float = 0.0
    fails: frozenset[int] = frozenset()  # people
    kills: frozenset[int] = frozenset()  # people under whom the process dies, the first time

    def __call__(self, cell: Cell, photos: Pictures, looks: Pictures) -> Outcome:
        if cell.person in self.kills and not (mark := self.diary.with_name(f"killed-{cell.person}")).exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.seconds)
        if cell.person in self.fails:
            raise OSError(f"{photos[0]!r} is somebody's")
        with self.diary.open("a") as file:
            file.write(f"{cell.person} {os.getpid()}\n")
        drawn = b"".join(hashlib.sha256(picture).digest() for picture in (*photos, *looks)) * 5000
        portraits = (DrawnPortrait("portrait-1.png", 0, 0.5, 0.5),)
        return Outcome(
            CellResult(cell.key, cell.person, cell.style, "done", {"train": self.seconds}, portraits),
            {"portrait-1.png": drawn, "adapter/weights": drawn},
        )

    def times(self) -> dict[int, int]:
        """Tell how often each person was drawn."""
        drawn = [line.split()[0] for line in self._lines()]
        return {int(person): drawn.count(person) for person in drawn}

    def processes(self) -> int:
        """Tell in how many processes people were drawn."""
        return len({line.split()[1] for line in self._lines()})

    def _lines(self) -> list[str]:
        return self.diary.read_text().splitlines() if self.diary.exists() else []


class ThreadEngine:
    """Computes in threads of this process."""

    def __init__(self, work: Work, places: int = 2) -> None:
        self.places, self._work, self._threads = places, work, ThreadPoolExecutor(places)

    def submit(self, cell: Cell, photos: Pictures, looks: Pictures) -> Future[Outcome]:
        assert (cell.photos, cell.looks) == ((), ())  # paths hold names
        return self._threads.submit(guarded, self._work, Setup(), cell, photos, looks)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


def people(folder: Path, count: int) -> list[Cell]:
    """Give the cells of so many people, with a photo of a few bytes each."""
    return [Cell.of(row, place, RECIPE) for place, row in enumerate(rows(folder, count), start=1)]


def rows(folder: Path, count: int) -> list[Row]:
    (folder / "oil").mkdir(parents=True, exist_ok=True)
    (folder / "oil/1.png").write_bytes(b"oil")
    found = []
    for place in range(1, count + 1):
        photos = folder / f"Name{place}"
        photos.mkdir(exist_ok=True)
        (photos / f"Name{place}.png").write_bytes(b"photo of %d" % place)
        found.append(Row(place + 1, f"E{place}", photos, folder / "oil", 1, "2026-11-03", "v2", "intranet"))
    return found
