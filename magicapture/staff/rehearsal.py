"""Does a batch of a thousand come through? An engine under a stand-in for the cell: quick, unlucky, once deadly.

``python -m magicapture.staff.rehearsal --engine ray`` lets one in fifty people fail for good and kills a worker under
another, then prints a Markdown table and one JSON object.
"""

import argparse
import json
import os
import signal
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from tqdm import tqdm

from magicapture.config import GenerateConfig, TrainConfig
from magicapture.staff.batch import Meter, compute_cells
from magicapture.staff.cell import Cell, CellResult, Recipe
from magicapture.staff.cost import Demand, load_prices
from magicapture.staff.engines import Engine
from magicapture.staff.engines.local import LocalEngine
from magicapture.staff.manifest import Row
from magicapture.staff.run_folder import RunFolder
from magicapture.staff.work import CPU_THREADS, Outcome, Pictures, Setup

UNLUCKY = 50
"""Every so many-th person's cell fails each time."""
PORTRAIT, PHOTO = bytes(200_000), bytes(500_000)
RECIPE = Recipe("stand-in", "stand-in", TrainConfig(), GenerateConfig())


@dataclass(frozen=True)
class StandIn:
    """Takes ``seconds`` for a cell, and takes its process along at the first try of the person ``victim``."""

    seconds: float
    victim: int
    struck: Path  # there once the victim has been

    def __call__(self, cell: Cell, photos: Pictures, looks: Pictures) -> Outcome:
        """Give a portrait of zeros."""
        if cell.person == self.victim and not self.struck.exists():
            self.struck.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.seconds)
        if cell.person % UNLUCKY == 0:
            raise RuntimeError("bad luck")
        result = CellResult(cell.key, cell.person, cell.style, "done", {"train": self.seconds})
        return Outcome(result, {"portrait-1.png": PORTRAIT})


def rehearse(people: int, seconds: float, engine_name: str, places: int, folder: Path) -> dict[str, float | int | str]:
    """Compute ``people`` stand-in cells of ``seconds`` each in ``places`` processes; gives what there is to tell."""
    run = RunFolder(folder / "run")
    cells = [Cell.of(row, place, RECIPE) for place, row in enumerate(make_people(people, folder), start=1)]
    work, states, memory = StandIn(seconds, people // 2, folder / "struck"), Counter(), []
    with closing(open_engine(engine_name, work, places)) as engine:
        places, prices, driver = engine.places, load_prices(), psutil.Process()
        for result in compute_cells(cells[:places], engine, run, Meter()):  # so that every worker has started
            states[result.state] += 1
        started = time.monotonic()
        for result in tqdm(compute_cells(cells[places:], engine, run, Meter()), total=people - places, unit="cell"):
            states[result.state] += 1
            memory.append(driver.memory_info().rss / 2**20)
        taken = time.monotonic() - started
    demand = Demand(people - places, people - places, seconds, places, measured=places)
    tenth = max(len(memory) // 10, 1)
    return {
        "engine": engine_name,
        "processes": places,
        "people": people,
        "done": states["done"],
        "failed": states["failed"],
        "retries": sum(line["what"] == "cell_retried" for line in run.log_lines()),
        "workers killed": int((folder / "struck").exists()),
        "missing": people - sum(run.result(cell.key) is not None for cell in cells) - states["failed"],
        "cells per second": round((people - places) / taken, 1),
        "forecast (s)": round(demand.cells * seconds * (1 + prices.retries) / places, 1),
        "actual (s)": round(taken, 1),
        "driver's memory, first and last tenth (MB)": f"{mean(memory[:tenth]):.0f}, {mean(memory[-tenth:]):.0f}",
    }


def make_people(people: int, folder: Path) -> list[Row]:
    """Make a folder with one file for each of ``people``, and a look."""
    (folder / "look").mkdir(parents=True)
    (folder / "look/1.png").write_bytes(PHOTO)
    rows = []
    for place in range(1, people + 1):
        photos = folder / "people" / f"{place}"
        photos.mkdir(parents=True)
        (photos / "1.png").write_bytes(b"%d" % place)
        rows.append(Row(place + 1, f"E{place}", photos, folder / "look", 1, "2026-11-24", "1", "rehearsal"))
    return rows


def open_engine(name: str, work: StandIn, places: int) -> Engine:
    """Give the engine ``name`` with ``places`` processes on this machine's CPU."""
    if name == "local":
        return LocalEngine(work, Setup(), places)
    from magicapture.staff.engines.on_ray import RayEngine  # noqa: PLC0415  an extra

    return RayEngine(work, Setup(), num_cpus=places * CPU_THREADS, num_gpus=0)


def mean(values: list[float]) -> float:
    """Average; 0 of nothing."""
    return sum(values) / max(len(values), 1)


def main() -> None:
    """Rehearse on each engine named, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", nargs="+", choices=("local", "ray"), default=["local", "ray"])
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=0.05, help="that a cell takes")
    parser.add_argument("--places", type=int, default=2)
    args = parser.parse_args()
    results = []
    for engine in args.engine:
        with TemporaryDirectory(prefix="magicapture-rehearsal-") as folder:
            results.append(rehearse(args.people, args.seconds, engine, args.places, Path(folder)))
    print("| " + " | ".join(["", *(str(result["engine"]) for result in results)]) + " |")
    print("|---" * (len(results) + 1) + "|")
    for name in list(results[0])[1:]:
        print("| " + " | ".join([name, *(str(result[name]) for result in results)]) + " |")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
