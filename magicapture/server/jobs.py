"""Trainings that outlive the page that started them: each has a thread, waits its turn, is found again by its id."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from datetime import UTC, datetime
from typing import cast

from sqlalchemy.exc import SQLAlchemyError

from magicapture.adapters.adapter import Adapter
from magicapture.messages import Message
from magicapture.method.training import Checkpoint
from magicapture.server import plans
from magicapture.server.consent import consent_for
from magicapture.server.drawings import Drawings
from magicapture.server.forecast import training_seconds
from magicapture.server.gpu import QUEUE, ZERO_GPU, GpuError, train_slice
from magicapture.server.job import Job
from magicapture.server.metrics import STAGE
from magicapture.server.pace import Pace
from magicapture.server.plans import TrainingPlan, UnreadableError
from magicapture.server.queue import STILL_THERE, Asker, BusyError, Limits
from magicapture.server.records import ACTIVE, Consent, Records, State, What, new_job_id
from magicapture.server.workspace import Workspace, WorkspaceError

TRAININGS = Limits(per_visitor=1, per_address=3, in_all=24)
PATIENCE_S = 120
"""How long deleting waits for a training to notice it, in seconds: a step with its previews."""
TRAINING_BYTES = 2**26
"""What a training stores on its way and at its end, about."""

NO_CONSENT = "Say first that you may use these photos: tick the box in the tab References."
NOTHING_LEFT = "Nothing is left of this training to go on from: start a new one."
NOT_BEGUN = (
    "The training could not begin ({reason}). Your photos are still here: try again, or ask whoever runs this page."
)
NOT_FORGOTTEN = (
    "Your files are deleted, but what is written down of your consent and your trainings could not be: "
    "try again in a few minutes."
)

logger = logging.getLogger(__name__)


class JobError(Exception):
    """A job that cannot be had; the text says why and what to do."""


class Jobs:
    """All trainings of this process, and those that the records tell of."""

    def __init__(self, records: Records, limits: Limits = TRAININGS) -> None:
        """Keep no more jobs waiting or running than ``limits`` allows."""
        self.records, self.limits = records, limits
        self._jobs: dict[str, Job] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def check_room(self, workspace: Workspace, address: str = "") -> None:
        """Raise ``BusyError`` if one more training of this visitor, or from this ``address``, would be too much now."""
        self.limits.check(Asker(workspace.name, address), [job.asker for job in self._active()])

    def start(self, workspace: Workspace, plan: TrainingPlan, address: str = "") -> Job:
        """Start a training for the visitor of ``workspace``, asked for from ``address``.

        Raises ``JobError`` when they have not consented, or it cannot begin, ``BusyError`` when there are as many jobs
        as is allowed, ``WorkspaceError`` when there is no room for it, or they have deleted everything meanwhile.
        """
        consent = self._consent(workspace, plan.subject)
        with self._lock:
            self.check_room(workspace, address)
            workspace.shelf.require_room()
            workspace.place.require_space(TRAINING_BYTES)
            workspace.place.part()
            config, job = plan.config, Job(new_job_id(), workspace, address=address)
            with self._beginning(job):
                self.records.add_job(
                    workspace.name, consent.id, base=plan.base, preset=config.preset, steps=config.steps, job_id=job.id
                )
                job.files.make()
                plans.save(plan, job.files.plan)
                self.records.log("job_started")
                self._run_in_thread(job, plan)
        return job

    def get(self, job_id: str) -> Job | None:
        """Find a job by its id; of one that has ended, what the records and its folder tell."""
        if job := self._jobs.get(job_id):
            return job
        row = self.records.job(job_id)
        return None if row is None else Job.from_row(row)

    def latest(self, visitor: str) -> Job | None:
        """Find the visitor's last job."""
        rows = self.records.jobs_of(visitor)
        return self.get(rows[-1].id) if rows else None

    def stop(self, job: Job) -> None:
        """Let ``job`` end after its present step, keeping what was learned; one that still waits ends at once."""
        if job.active:
            job.files.stop.touch()

    def resume(self, job: Job | None, address: str = "") -> Job:
        """Go on with a job that was broken off, as asked for from ``address``.

        Raises ``JobError`` when nothing of it is left, its visitor consents no longer, or it cannot begin,
        ``BusyError`` when there are as many jobs as is allowed.
        """
        with self._lock:
            if job is not None and job.id in self._threads:
                raise BusyError(STILL_THERE)
            if job is None or not job.resumable:
                raise JobError(NOTHING_LEFT)
            again = Job(job.id, job.workspace, curves=job.curves, event=job.event, address=address or job.address)
            self.limits.check(again.asker, [other.asker for other in self._active()])
            try:
                plan = plans.load(job.files.plan, TrainingPlan)
            except UnreadableError as error:
                raise JobError(NOTHING_LEFT) from error
            self._consent(job.workspace, plan.subject)
            for left in (job.files.stop, job.files.end):
                left.unlink(missing_ok=True)
            with self._beginning(again):
                self._note(again, ended_at=None)
                self._run_in_thread(again, plan)
        return again

    def recover(self) -> None:
        """Take up, after a restart, what was waiting or running.

        On ZeroGPU the time is the visitor's, so such a job is interrupted until they choose to go on.
        """
        for row in self.records.jobs_in(ACTIVE):
            job = Job.from_row(row)
            job.state, job.error = "interrupted", "The server was restarted in the middle of this training."
            job.keep_end()
            self._note(job, ended_at=datetime.now(UTC))
            self.records.log("job_interrupted")
            if job.resumable and not ZERO_GPU:
                with suppress(JobError, BusyError):  # it stays interrupted
                    self.resume(job)

    def abandon(self, visitor: str) -> None:
        """End all jobs of a visitor without a result, and wait until they have ended."""
        for job in self._active(visitor):
            job.abandoned = True
            with suppress(OSError):  # a full disk has no room for the wish; it is noticed without it
                self.stop(job)
            if thread := self._threads.get(job.id):
                thread.join(PATIENCE_S)

    def withdraw_consent(self, workspace: Workspace) -> None:
        """Write down that a visitor agrees no longer, end their trainings without a result, and delete all photos."""
        self.records.withdraw_consent(workspace.name)
        self.abandon(workspace.name)
        for row in self.records.jobs_of(workspace.name):
            workspace.training(row.id).forget_work()
        workspace.forget_photos()

    def _consent(self, workspace: Workspace, subject: str) -> Consent:
        """Give the consent that this visitor's training on a ``subject`` rests on. Raises ``JobError`` without one."""
        if (consent := consent_for(self.records, workspace, subject)) is None:
            raise JobError(NO_CONSENT)
        return consent

    def _active(self, visitor: str | None = None) -> list[Job]:
        jobs = [job for job in list(self._jobs.values()) if job.active]
        return [job for job in jobs if visitor in (None, job.workspace.name)]

    @contextmanager
    def _beginning(self, job: Job) -> Iterator[None]:
        """Let no ``job`` wait for ever that cannot begin: it has failed, and the records and an error say why."""
        try:
            yield
        except Exception as error:
            known = isinstance(error, WorkspaceError)
            job.state = "failed"
            job.error = str(error) if known else Message(NOT_BEGUN, reason=type(error).__name__)
            job.keep_end()
            with suppress(SQLAlchemyError):  # the error that comes next matters more
                self._note(job, ended_at=datetime.now(UTC))
            if known:
                raise
            logger.exception("A training could not begin.")
            raise JobError(job.error) from error

    def _run_in_thread(self, job: Job, plan: TrainingPlan) -> None:
        # The context holds the visitor's request: ZeroGPU charges the time to whoever asked for it.
        thread = threading.Thread(target=copy_context().run, args=(self._run, job, plan), daemon=True)
        thread.start()
        self._jobs[job.id], self._threads[job.id] = job, thread  # it cannot end before: that takes the lock

    def _run(self, job: Job, plan: TrainingPlan) -> None:
        """Bring ``job`` to its end, whatever happens, and write down what it was; then only the records tell of it.

        Where they cannot be written to, it stays in memory, or it would seem to run for ever.
        """
        state = self._outcome(job, plan)
        job.ticket = None
        noted = False
        try:
            job.keep_end()
            self._note(job, state=state, ended_at=datetime.now(UTC))
            noted = True
            self.records.log(cast("What", f"job_{state}"))
        except SQLAlchemyError:
            logger.exception("The end of a training could not be written down.")
        finally:
            with self._lock:
                del self._threads[job.id]
                if noted:
                    del self._jobs[job.id]
            job.state = state

    def _outcome(self, job: Job, plan: TrainingPlan) -> State:
        """Do the work; gives what came of it, and leaves in ``job`` its adapter or its error."""
        stop = job.files.stop
        try:
            with QUEUE.join(training_seconds(plan.base, plan.config), job.asker) as job.ticket:
                while not job.ticket.wait(timeout=0.5) and not (job.abandoned or stop.exists()):
                    pass
                adapter = None if job.abandoned or stop.exists() else self._train(job, plan, job.ticket.place)
            if adapter is not None and not job.abandoned:
                job.adapter = job.workspace.shelf.add(adapter, plan.title)
                job.workspace.forget_photos()
            job.files.forget_work()
            whole = job.event is not None and job.event.step == job.event.steps
        except GpuError as error:
            job.error = str(error)
            return "interrupted" if job.files.checkpoint.is_file() else "failed"
        except WorkspaceError as error:
            job.error = str(error)
            return "failed"
        except Exception as error:
            logger.exception("Training failed.")
            job.error = Message(
                "{reason}. Your photos are still here: try again, or take fewer steps.",
                reason=f"{type(error).__name__}: {error}",
            )
            return "failed"
        return "finished" if whole else "stopped"

    @STAGE.labels("train").time()
    def _train(self, job: Job, plan: TrainingPlan, place: int) -> Adapter | None:
        """Train slice by slice; gives the adapter, or None when the job was abandoned."""
        job.state = "running"
        job.pace = Pace(plan.base, training_seconds(plan.base, plan.config), plan.config.steps)
        self._note(job)
        path, stop = job.files.checkpoint, job.files.stop
        checkpoint = plans.load(path, Checkpoint) if path.is_file() else None
        while True:
            for item in train_slice(plan, checkpoint, stop, place):
                if job.abandoned:
                    return None
                if isinstance(item, Adapter):
                    return item
                if isinstance(item, Checkpoint):
                    checkpoint = item
                    plans.save(checkpoint, path)
                    job.files.plan.touch()  # it holds photos, and goes soon after the last sign of life
                    self._note(job)
                else:
                    job.take(item)

    def _note(self, job: Job, **values: object) -> None:
        step = job.event.step if job.event else 0
        known = {"state": job.state, "error": job.error or None, "adapter": job.adapter, "step": step}
        self.records.update_job(job.id, **{**known, **values})


def delete_everything(jobs: Jobs, drawings: Drawings, workspace: Workspace) -> None:
    """Delete all that a visitor has here: trainings and drawings, files, and records but the nameless log.

    Raises ``WorkspaceError`` when the records cannot be written to, as may be on a full disk: all else is gone then.
    """
    workspace.close()
    drawings.stop(workspace.name)
    jobs.abandon(workspace.name)
    drawings.abandon(workspace.name)
    workspace.delete_everything()
    try:
        jobs.records.forget(workspace.name)
        jobs.records.log("everything_deleted")
    except SQLAlchemyError as error:
        logger.exception("What is written down of a visitor could not be deleted.")
        raise WorkspaceError(NOT_FORGOTTEN) from error
