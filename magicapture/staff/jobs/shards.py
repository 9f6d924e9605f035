"""Which shards of a run are at the Hub, written down before anything is sent there, so that no run forgets one.

    RUN/jobs.json    [{"repo_id": "company/magicapture-…", "job": "…", "keys": […], "charged": 0.4, …}, …]

Nothing in it names a person.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from magicapture.staff.run_folder import RunFolder

JOBS = "jobs.json"


@dataclass(eq=False)
class Shard:
    """Some cells, the data set that they went into, and the job that computes them.

    ``job``: its id; empty until the Hub has told it. ``charged``: what of its cost is counted; ``reserved``: what it
    may cost at most, for it is ended then; ``ran``: for how many seconds.
    """

    repo_id: str
    keys: list[str]
    job: str = ""
    charged: float = 0.0
    reserved: float = 0.0
    ran: float = 0.0
    seen: set[str] = field(default_factory=set)  # names of results that were fetched
    kept: set[str] = field(default_factory=set)  # keys of cells that are no longer missing

    @property
    def owner(self) -> str:
        """The account that it belongs to."""
        return self.repo_id.partition("/")[0]

    @property
    def label(self) -> str:
        """What its job is found by."""
        return self.repo_id.partition("/")[2]


class Shards:
    """The shards of one run that are not done with."""

    def __init__(self, folder: RunFolder) -> None:
        """Read what earlier runs left."""
        self._folder = folder
        path = folder.folder / JOBS
        self._open = [Shard(**values) for values in json.loads(path.read_text())] if path.is_file() else []

    def __iter__(self) -> Iterator[Shard]:
        return iter(list(self._open))

    def __len__(self) -> int:
        return len(self._open)

    def add(self, shard: Shard) -> None:
        """Write down a shard that is about to be sent."""
        self._open.append(shard)
        self.save()

    def remove(self, shard: Shard) -> None:
        """Strike out a shard of which nothing is left at the Hub."""
        self._open.remove(shard)
        self.save()

    def save(self) -> None:
        """Write down what has changed."""
        known = [{name: v for name, v in asdict(shard).items() if not isinstance(v, set)} for shard in self._open]
        self._folder.write_json(JOBS, known)
