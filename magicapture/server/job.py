"""One training of one visitor as it stands, and its files."""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from magicapture.method.progress import TrainEvent
from magicapture.server.pace import Pace
from magicapture.server.queue import Asker, Ticket
from magicapture.server.records import ACTIVE, JobRow, State
from magicapture.server.wire import UnreadableError, pack, unpack
from magicapture.server.workspace import Workspace
from magicapture.server.workspace.training import TrainingFolder

SMOOTHING = 0.9


@dataclass(eq=False)
class Job:
    """One training of one visitor as it stands; only its own thread changes it."""

    id: str
    workspace: Workspace
    state: State = "waiting"
    error: str = ""
    adapter: str | None = None
    event: TrainEvent | None = None  # the last one, without its pictures
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)  # step and smoothed loss, by name
    ticket: Ticket | None = None
    pace: Pace | None = None  # None before it runs, and of one that this process does not run
    address: str = ""  # that it was asked for from
    abandoned: bool = False

    @classmethod
    def from_row(cls, row: JobRow) -> Self:
        """Give what the records and its folder tell of a job that this process does not run."""
        job = cls(row.id, Workspace.named(row.visitor), row.state, row.error or "", row.adapter)
        with suppress(OSError, UnreadableError, TypeError, KeyError):
            end = unpack(job.files.end.read_bytes())
            job.curves, job.error = end["curves"], end["error"]
        if row.step:
            job.event = TrainEvent("lora", row.step, row.steps, {})
        return job

    @property
    def files(self) -> TrainingFolder:
        """Its part of the visitor's folder."""
        return self.workspace.training(self.id)

    @property
    def asker(self) -> Asker:
        """Who asked for it."""
        return Asker(self.workspace.name, self.address)

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ACTIVE

    @property
    def resumable(self) -> bool:
        """Whether it was broken off and can go on from where it was."""
        return self.state in ("interrupted", "failed") and self.files.plan.is_file()

    @property
    def seconds_left(self) -> float | None:
        """How long it will take from now on, while it runs."""
        return self.pace.seconds_left() if self.pace and self.active else None

    def previews(self) -> list[Path]:
        """List the quick portraits drawn so far, oldest first."""
        return self.files.previews()

    def take(self, event: TrainEvent) -> None:
        """Note what a step did."""
        for name, value in event.losses.items():
            curve = self.curves.setdefault(name, [])
            smooth = SMOOTHING * curve[-1][1] + (1 - SMOOTHING) * value if curve else value
            curve.append((event.step, smooth))
        for place, portrait in enumerate(event.previews):
            self.files.add_preview(event.step, place, portrait)
        self.event = replace(event, previews=())
        if self.pace:
            self.pace.note(event.step)
        if self.pace and self.ticket:
            self.ticket.foretell(self.pace.seconds_left())

    def keep_end(self) -> None:
        """Write down what ``from_row`` finds beside the records; without room for it, the losses are lost."""
        with suppress(OSError):
            self.files.end.write_bytes(pack({"curves": self.curves, "error": self.error}))
