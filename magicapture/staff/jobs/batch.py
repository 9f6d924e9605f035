"""Driving shards: what is missing is sent, what is finished fetched, and in the end nothing is left at the Hub."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from magicapture.staff.batch import TRIES, Meter
from magicapture.staff.cell import Cell, CellResult
from magicapture.staff.engines import EngineError
from magicapture.staff.jobs.account import Flavour, JobsAccount, UnreachableError
from magicapture.staff.jobs.collect import Collector
from magicapture.staff.jobs.parcel import write_parcel
from magicapture.staff.jobs.shards import Shard
from magicapture.staff.run_folder import RunFolder

START_S = 300
"""Until a job has its image, the requirements and the base."""
SLACK = 3
"""A job is ended after so many times the seconds that it is expected to take."""
LOOK_S = 10
"""Between two looks at all jobs."""
PATIENCE_S = 900
"""How long the Hub may be out of reach."""
ENDED = "JobEnded"
"""The error of a cell whose jobs ended without it."""


class JobBatch:
    """One run's cells on an account's jobs, ``places`` of them at a time."""

    def __init__(
        self, account: JobsAccount, flavour: Flavour, folder: RunFolder, meter: Meter, places: int = 1
    ) -> None:
        """Read what earlier runs left at the Hub."""
        self.account, self.flavour, self.folder, self.meter = account, flavour, folder, meter
        self._places = places
        self._collector = Collector(account, folder, meter)
        self._shards = self._collector.shards
        self._cells: dict[str, Cell] = {}
        self._waiting: list[Cell] = []
        self._tries: Counter[str] = Counter()

    def results(self, cells: Iterable[Cell]) -> Iterator[CellResult]:
        """Compute ``cells`` and keep each result as it is fetched; gives them in that order.

        What earlier runs left at the Hub is taken over: what still runs is waited for, not started again. A cell whose
        job ended without it is sent up to three times, and given as failed then. Ends early when the meter allows no
        more. However it ends, no job runs on and no data set is left. Raises ``EngineError`` for what the Hub refuses
        and for a plan beyond the ceiling, ``FatalError`` for what would fail for everyone.
        """
        self._cells = {cell.key: cell for cell in cells}
        away = {key for shard in self._shards for key in shard.keys}
        self._waiting = [cell for key, cell in self._cells.items() if key not in away]
        self._require_affordable()
        try:
            self._collector.end(s for s in self._shards if self._cells.keys().isdisjoint(s.keys))  # wanted no more
            while True:
                yield from self._look()
                yield from self._send()
                if self.meter.used_up or not self._shards:
                    return
                time.sleep(LOOK_S)
        finally:
            self._collector.end(self._shards)

    def _require_affordable(self) -> None:
        """Raise ``EngineError`` if what waits is not expected to be done below the ceiling."""
        expected = sum(self.flavour.cost(self._expected(hand)) for hand in self._hands(self._places))
        if self._waiting and expected > self._unreserved():
            raise EngineError(
                f"{len(self._waiting)} cells on {self.flavour.title} are expected to cost {expected:.2f} USD, and "
                f"--max-cost {self.meter.ceiling:g} leaves {max(self._unreserved(), 0):.2f}: nothing was sent."
            )

    def _look(self) -> Iterator[CellResult]:
        """Look at all jobs; what a job that is over has not done waits again. Raises ``EngineError``."""
        deadline = time.monotonic() + PATIENCE_S
        for shard in self._shards:
            while True:
                try:
                    for result in self._collector.look(shard):
                        if result.key in self._cells:
                            yield result
                    break
                except UnreachableError as error:
                    if time.monotonic() > deadline:
                        raise EngineError(f"The Hub cannot be reached: {error}") from error
                    time.sleep(LOOK_S)
            if shard not in self._shards:
                yield from self._retry(shard)

    def _retry(self, shard: Shard) -> Iterator[CellResult]:
        """Let what ``shard`` left undone wait again, at most three times in all."""
        for key in shard.keys:
            if key in shard.kept or key not in self._cells:
                continue
            if self._tries[key] < TRIES:
                self.folder.log("cell_retried", self._cells[key].person, key=key, error=ENDED)
                self._waiting.append(self._cells[key])
            else:
                yield self._failed(self._cells[key], ENDED)

    def _send(self) -> Iterator[CellResult]:
        """Deal what waits to the places that are free, as far as the ceiling allows; gives what cannot be sent."""
        self._waiting = [cell for cell in self._waiting if not self.folder.has_forgotten(cell.person)]
        hands = self._hands(self._places - len(self._shards))
        if hands:
            self._waiting = []
        for place, hand in enumerate(hands):
            share = self._unreserved() / (len(hands) - place)
            if self.flavour.cost(self._expected(hand)) > share:
                self._waiting += hand
            else:
                yield from self._start(hand, min(SLACK * self._expected(hand), self.flavour.seconds_for(share)))

    def _hands(self, places: int) -> list[list[Cell]]:
        """Deal what waits to at most ``places``."""
        return [hand for place in range(places) if (hand := self._waiting[place::places])]

    def _expected(self, hand: list[Cell]) -> float:
        """Foretell how many seconds the job of ``hand`` runs."""
        return START_S + math.ceil(len(hand) / self.flavour.gpus) * self.meter.cell_seconds

    def _unreserved(self) -> float:
        """Give what may be spent beyond what jobs that run may still cost."""
        if self.meter.ceiling is None:
            return math.inf
        return self.meter.ceiling - self.meter.spent - sum(shard.reserved - shard.charged for shard in self._shards)

    def _start(self, hand: list[Cell], seconds: float) -> Iterator[CellResult]:
        """Send ``hand`` and start its job, which the Hub ends after ``seconds``; gives what cannot be sent."""
        self._tries.update(cell.key for cell in hand)
        with TemporaryDirectory(prefix="magicapture-") as name:
            parcel = Path(name) / "parcel"
            sent = write_parcel(hand, parcel)
            yield from (self._failed(cell, "OSError") for cell in hand if cell not in sent)
            if not sent:
                return
            reserved = self.flavour.cost(seconds)
            shard = Shard(self.account.new_name(), [cell.key for cell in sent], reserved=reserved)
            self._shards.add(shard)
            self.account.send(shard, parcel)
        shard.job = self.account.start(shard, self.flavour, round(seconds), sent[0].recipe.engine)
        self._shards.save()
        self.folder.log("job_started", cells=len(sent))

    def _failed(self, cell: Cell, error: str) -> CellResult:
        self.folder.log("cell_failed", cell.person, key=cell.key, error=error)
        return CellResult(cell.key, cell.person, cell.style, "failed", attempts=self._tries[cell.key], error=error)
