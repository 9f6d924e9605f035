"""Trainings that outlive the page that started them: each has a thread, waits its turn, is found again by its id."""

import logging
import threading
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import gradio as gr

from magicapture.adapters.adapter import Adapter
from magicapture.drawing.portrait import Portrait
from magicapture.messages import Message
from magicapture.method.training import Checkpoint, TrainEvent
from magicapture.server import plans
from magicapture.server.drawings import Drawings
from magicapture.server.gpu import QUEUE, ZERO_GPU, refusal, train_slice, training_seconds
from magicapture.server.metrics import STAGE
from magicapture.server.pace import Pace
from magicapture.server.plans import TrainingPlan, UnreadableError
from magicapture.server.queue import Asker, BusyError, Limits, Ticket
from magicapture.server.records import JobRow, Records, State
from magicapture.server.workspace import Workspace, WorkspaceError

PLAN, CHECKPOINT, STOP, PREVIEWS = "plan.pt", "checkpoint.pt", "stop", "previews"
"""The files of a job, in its folder: what was asked for, how far it is, the wish to stop, quick portraits."""

ACTIVE: tuple[State, ...] = ("waiting", "running")
SMOOTHING = 0.9
TRAININGS = Limits(per_visitor=1, per_address=3, in_all=24)
PATIENCE_S = 120
"""How long deleting waits for a training to notice it, in seconds: a step with its previews."""

logger = logging.getLogger(__name__)


class JobError(Exception):
    """A job that cannot be had; the text says why and what to do."""


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
    pace: Pace | None = None  # None before it runs, and of one from before a restart
    address: str = ""  # that it was asked for from
    abandoned: bool = False

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.workspace.folder / "jobs" / self.id

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
        return self.state in ("interrupted", "failed") and (self.folder / PLAN).is_file()

    @property
    def seconds_left(self) -> float | None:
        """How long it will take from now on, while it runs."""
        return self.pace.seconds_left() if self.pace and self.active else None

    def previews(self) -> list[Path]:
        """List the quick portraits drawn so far, oldest first."""
        return sorted((self.folder / PREVIEWS).glob("*.png"))

    def take(self, event: TrainEvent) -> None:
        """Note what a step did."""
        for name, value in event.losses.items():
            curve = self.curves.setdefault(name, [])
            smooth = SMOOTHING * curve[-1][1] + (1 - SMOOTHING) * value if curve else value
            curve.append((event.step, smooth))
        for place, portrait in enumerate(event.previews):
            self._store(event.step, place, portrait)
        self.event = event
        if self.pace:
            self.pace.note(event.step)
        if self.pace and self.ticket:
            self.ticket.foretell(self.pace.seconds_left())

    def _store(self, step: int, place: int, portrait: Portrait) -> None:
        folder = self.workspace.place.part("jobs", self.id, PREVIEWS)
        settings = {**portrait.settings, "step": step}
        preview = Portrait(portrait.image, portrait.seed, portrait.likeness, portrait.style, settings)
        part = self.folder / "preview.png"  # whoever looks meanwhile sees all of a picture or nothing
        preview.save(part).replace(folder / f"step{step:05d}-{place}.png")


class Jobs:
    """All trainings of this process, and those that the records tell of."""

    def __init__(self, records: Records, limits: Limits = TRAININGS) -> None:
        """Keep no more jobs waiting or running than ``limits`` allows."""
        self.records, self.limits = records, limits
        self._jobs: dict[str, Job] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def start(self, workspace: Workspace, plan: TrainingPlan, address: str = "") -> Job:
        """Start a training for the visitor of ``workspace``, asked for from ``address``.

        Raises ``JobError`` when they have not consented, ``BusyError`` when there are as many jobs as is allowed,
        ``WorkspaceError`` when there is no room for its adapter, or they have deleted everything meanwhile.
        """
        consent = self.records.latest_consent(workspace.name)
        if consent is None:
            raise JobError("Say first that you may use these photos: tick the box in the tab References.")
        with self._lock:
            self.limits.check(Asker(workspace.name, address), [job.asker for job in self._active()])
            workspace.shelf.require_room()
            workspace.place.part("jobs")
            config = plan.config
            row = self.records.add_job(
                workspace.name, consent.id, base=plan.base, preset=config.preset, steps=config.steps
            )
            job = Job(row.id, workspace, address=address)
            workspace.place.part("jobs", job.id)
            plans.save(plan, job.folder / PLAN)
            self.records.log("job_started")
            self._run_in_thread(job, plan)
        return job

    def get(self, job_id: str) -> Job | None:
        """Find a job by its id; of one from before a restart, what the records and its folder tell."""
        if job_id in self._jobs:
            return self._jobs[job_id]
        row = self.records.job(job_id)
        return None if row is None else _from_row(row)

    def latest(self, visitor: str) -> Job | None:
        """Find the visitor's last job."""
        rows = self.records.jobs_of(visitor)
        return self.get(rows[-1].id) if rows else None

    def stop(self, job: Job) -> None:
        """Let ``job`` end after its present step, keeping what was learned; one that still waits ends at once."""
        if job.active:
            (job.folder / STOP).touch()

    def resume(self, job: Job) -> Job:
        """Go on with a job that was broken off. Raises ``JobError`` when nothing of it is left."""
        with self._lock:
            if not job.resumable:
                raise JobError("Nothing is left of this training to go on from: start a new one.")
            self.limits.check(job.asker, [other.asker for other in self._active()])
            try:
                plan = plans.load(job.folder / PLAN)
            except UnreadableError as error:
                raise JobError("Nothing is left of this training to go on from: start a new one.") from error
            (job.folder / STOP).unlink(missing_ok=True)
            again = Job(job.id, job.workspace, curves=job.curves, event=job.event, address=job.address)
            self._run_in_thread(again, plan)
        return again

    def recover(self) -> None:
        """Take up, after a restart, what was waiting or running.

        On ZeroGPU the time is the visitor's, so such a job is interrupted until they choose to go on.
        """
        for row in self.records.jobs_in(ACTIVE):
            job = _from_row(row)
            job.state, job.error = "interrupted", "The server was restarted in the middle of this training."
            self._note(job)
            self.records.log("job_interrupted")
            if job.resumable and not ZERO_GPU:
                with suppress(JobError, BusyError):  # it stays interrupted
                    self.resume(job)

    def abandon(self, visitor: str) -> None:
        """End all jobs of a visitor without a result, and wait until they have ended."""
        for job in self._active(visitor):
            job.abandoned = True
            self.stop(job)
            self._threads[job.id].join(PATIENCE_S)
        for job_id in [job.id for job in list(self._jobs.values()) if job.workspace.name == visitor]:
            del self._jobs[job_id], self._threads[job_id]

    def _active(self, visitor: str | None = None) -> list[Job]:
        jobs = [job for job in list(self._jobs.values()) if job.active]
        return [job for job in jobs if visitor in (None, job.workspace.name)]

    def _run_in_thread(self, job: Job, plan: TrainingPlan) -> None:
        # The context holds the visitor's request: ZeroGPU charges the time to whoever asked for it.
        thread = threading.Thread(target=copy_context().run, args=(self._run, job, plan), daemon=True)
        self._jobs[job.id], self._threads[job.id] = job, thread
        thread.start()

    def _run(self, job: Job, plan: TrainingPlan) -> None:
        """Bring ``job`` to its end, whatever happens, and write down what it was."""
        stop = job.folder / STOP
        try:
            with QUEUE.join(training_seconds(plan.base, plan.config), job.asker) as job.ticket:
                while not job.ticket.wait(timeout=0.5) and not stop.exists():
                    pass
                adapter = None if stop.exists() else self._train(job, plan)
            if adapter is not None and not job.abandoned:
                job.adapter = job.workspace.shelf.add(adapter, plan.title)
                job.workspace.forget_photos()
            whole = job.event is not None and job.event.step == job.event.steps
            job.state = "finished" if whole else "stopped"
            (job.folder / PLAN).unlink(missing_ok=True)
            (job.folder / CHECKPOINT).unlink(missing_ok=True)
        except gr.Error as error:
            kept = (job.folder / CHECKPOINT).is_file()
            job.error, job.state = refusal(error), "interrupted" if kept else "failed"
        except WorkspaceError as error:
            job.error, job.state = str(error), "failed"
        except Exception as error:
            logger.exception("Training failed.")
            job.error = Message(
                "{reason}. Your photos are still here: try again, or take fewer steps.",
                reason=f"{type(error).__name__}: {error}",
            )
            job.state = "failed"
        finally:
            job.ticket = None
            self._note(job, ended_at=datetime.now(UTC))
            self.records.log(f"job_{job.state}")

    @STAGE.labels("train").time()
    def _train(self, job: Job, plan: TrainingPlan) -> Adapter | None:
        """Train slice by slice; gives the adapter, or None when the job was abandoned."""
        job.state = "running"
        job.pace = Pace(plan.base, training_seconds(plan.base, plan.config), plan.config.steps)
        self._note(job)
        path, stop = job.folder / CHECKPOINT, job.folder / STOP
        checkpoint = plans.load(path) if path.is_file() else None
        while True:
            for item in train_slice(
                plan.base, plan.person, plan.style, plan.config, checkpoint, stop, plan.slice_seconds
            ):
                if job.abandoned:
                    return None
                if isinstance(item, Adapter):
                    return item
                if isinstance(item, Checkpoint):
                    checkpoint = item
                    plans.save(checkpoint, path)
                    (job.folder / PLAN).touch()  # it holds photos, and goes soon after the last sign of life
                    self._note(job)
                else:
                    job.take(item)

    def _note(self, job: Job, **values: object) -> None:
        step = job.event.step if job.event else 0
        self.records.update_job(
            job.id, state=job.state, error=job.error or None, adapter=job.adapter, step=step, **values
        )


def _from_row(row: JobRow) -> Job:
    return Job(row.id, Workspace.named(row.visitor), row.state, row.error or "", row.adapter)


def delete_everything(jobs: Jobs, drawings: Drawings, workspace: Workspace) -> None:
    """Delete all that a visitor has here: trainings and drawings, files, and records but the nameless log."""
    workspace.close()
    drawings.stop(workspace.name)
    jobs.abandon(workspace.name)
    drawings.abandon(workspace.name)
    workspace.delete_everything()
    jobs.records.forget(workspace.name)
    jobs.records.log("everything_deleted")
