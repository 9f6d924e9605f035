"""What is at the Hub: looked at, paid for, fetched, and in the end deleted."""

import sys
import time
from collections.abc import Iterable, Iterator

from magicapture.staff.batch import Meter, facts_of
from magicapture.staff.cell import CellResult
from magicapture.staff.engines import EngineError
from magicapture.staff.jobs.account import JobsAccount, Look, UnreachableError
from magicapture.staff.jobs.parcel import FATAL, RESULTS, unpack_fatal, unpack_outcome
from magicapture.staff.jobs.shards import Shard, Shards
from magicapture.staff.run_folder import RunFolder
from magicapture.staff.work import FatalError

END_S = 60
"""How long a cancelled job may take to end."""
LOG_LINES = 5


class Collector:
    """Brings home what the jobs of one run have finished."""

    def __init__(self, account: JobsAccount, folder: RunFolder, meter: Meter) -> None:
        """Read which shards earlier runs left."""
        self.account, self.folder, self.meter = account, folder, meter
        self.shards = Shards(folder)

    def look(self, shard: Shard) -> Iterator[CellResult]:
        """Charge what a job has cost and keep what it has finished; when it is over, delete its data set.

        Raises ``UnreachableError``, and ``FatalError`` when nothing could be computed for anyone.
        """
        look = self.account.look(shard)
        self._charge(shard, look)
        yield from self._fetch(shard)
        if look.active:
            return
        reason = unpack_fatal(self.account.fetch(shard, FATAL)) if FATAL in self.account.files(shard) else ""
        if not (reason or shard.kept.issuperset(shard.keys)):
            self._explain(shard, look)
        self._delete(shard)
        if reason:
            raise FatalError(reason)

    def end(self, shards: Iterable[Shard]) -> None:
        """End the jobs of ``shards`` at once; what they have finished is kept and their data sets are deleted.

        Raises ``EngineError`` when something may be left at the Hub; the next run tries that again.
        """
        doomed, left = list(shards), {}
        for step in (self.account.cancel, self._bring_home):
            for shard in doomed:
                try:
                    step(shard)
                except UnreachableError as error:
                    left[shard.repo_id] = error
        if left:
            raise EngineError(
                f"The data sets {', '.join(left)}, and jobs that use them, may still be at the Hub "
                f"({next(iter(left.values()))}). The same command again fetches what is finished and deletes them."
            )

    def _charge(self, shard: Shard, look: Look) -> None:
        cost = shard.charged if look.cost is None else look.cost
        if cost > shard.charged:
            self.meter.spent += cost - shard.charged
            self.folder.log("job_charged", spent=round(self.meter.spent, 4))
            self.meter.place_seconds += look.seconds - shard.ran
            shard.charged, shard.ran = cost, look.seconds
            self.shards.save()

    def _fetch(self, shard: Shard) -> Iterator[CellResult]:
        """Keep every result that is there and not yet here."""
        names = {name for name in self.account.files(shard) if name.startswith(f"{RESULTS}/")}
        for name in sorted(names - shard.seen):
            data = self.account.fetch(shard, name)
            shard.seen.add(name)
            try:
                outcome = unpack_outcome(data)
            except ValueError:
                continue  # as if it were not there
            result = outcome.result
            shard.kept.add(result.key)
            if result.state != "failed":
                self.meter.measure(sum(result.seconds.values()))
                self.folder.store(result, outcome.files)
            self.folder.log(f"cell_{result.state}", result.person, **facts_of(result))
            yield result

    def _explain(self, shard: Shard, look: Look) -> None:
        """Say what the Hub and the job said before it ended with cells missing."""
        print(f"A job ended before its cells were done. {look.message}", file=sys.stderr)
        for line in self.account.log(shard, LOG_LINES):
            print(f"  {line}", file=sys.stderr)

    def _bring_home(self, shard: Shard) -> None:
        """Await the end of a cancelled job, keep what it has finished and delete its data set."""
        deadline = time.monotonic() + END_S
        while (look := self.account.look(shard)).active and time.monotonic() < deadline:
            time.sleep(1)
        self._charge(shard, look)
        list(self._fetch(shard))
        self._delete(shard)

    def _delete(self, shard: Shard) -> None:
        self.account.delete(shard)
        self.shards.remove(shard)


def end_jobs(folder: RunFolder, person: int | None = None) -> None:
    """End and delete what a run left at the Hub, or those shards alone that hold ``person``; finished cells are kept.

    Raises ``EngineError`` when that cannot be done.
    """
    keys = {entry.key for entry in folder.entries() if entry.person == person} if person is not None else None
    if any(keys is None or keys.intersection(shard.keys) for shard in Shards(folder)):
        collector = Collector(JobsAccount(), folder, Meter())
        collector.end(shard for shard in collector.shards if keys is None or keys.intersection(shard.keys))
