"""What ``jobs:FLAVOUR`` names: an account, the hardware, and how many jobs are worth their start."""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from magicapture.staff.batch import Meter
from magicapture.staff.cell import Cell, CellResult, Recipe
from magicapture.staff.cost import Hardware, Prices
from magicapture.staff.engines import EngineError
from magicapture.staff.jobs.account import Flavour, JobsAccount
from magicapture.staff.jobs.batch import START_S, JobBatch
from magicapture.staff.run_folder import RunFolder

KIND, CURRENCY = "jobs", "USD"
WORTH_S = 3600
"""Work for less time than this is not worth a job of its own, which first has to start."""


@dataclass(frozen=True)
class Jobs:
    """Hugging Face Jobs on ``flavour``, at most ``most`` at a time."""

    account: JobsAccount
    flavour: Flavour
    most: int

    def places(self, cells: int, cell_seconds: float) -> int:
        """Say how many jobs share so many ``cells``."""
        hours = cells * cell_seconds / self.flavour.gpus / WORTH_S
        return max(min(self.most, math.ceil(hours)), 1)

    def results(self, cells: Sequence[Cell], folder: RunFolder, meter: Meter) -> Generator[CellResult]:
        """Compute ``cells`` as ``JobBatch.results`` does."""
        places = self.places(len(cells), meter.cell_seconds)
        yield from JobBatch(self.account, self.flavour, folder, meter, places).results(cells)

    def priced(self, prices: Prices) -> Prices:
        """Give ``prices`` with this flavour as the Hub sells it today, by the GPU, and with a job's start.

        Raises ``EngineError`` if they are in another currency.
        """
        if prices.currency != CURRENCY:
            raise EngineError(f"Hugging Face Jobs cost {CURRENCY}: the prices must be in it, not in {prices.currency}.")
        flavour, today = self.flavour, datetime.now(UTC).date().isoformat()
        hardware = Hardware(flavour.title, flavour.per_hour / flavour.gpus, date=today)
        return replace(prices, hardware={**prices.hardware, flavour.name: hardware}, load_seconds=START_S)


def hire(engine: str, most: int, recipe: Recipe) -> Jobs | None:
    """Give what ``engine`` names: "jobs:FLAVOUR" or "jobs:ORGANISATION/FLAVOUR"; None for another engine.

    Raises ``EngineError`` without an account, for hardware that there is none of, in private mode, and for a base that
    lies on this machine alone.
    """
    kind, _, place = engine.partition(":")
    if kind != KIND:
        return None
    if Path(recipe.base).exists():
        raise EngineError(f"{recipe.base} lies on this machine, where a job cannot read it: push it to the Hub first.")
    owner, _, name = place.rpartition("/")
    account = JobsAccount(owner)
    return Jobs(account, account.flavour(name), max(most, 1))
