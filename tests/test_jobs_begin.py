"""What a training needs to begin or to go on: consent, room on the disk, and records that can be written to."""

import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError
from trainings import ADAPTER, PLAN, Trainer, ended, wait_until

from magicapture.config import GenerateConfig
from magicapture.server import plans
from magicapture.server.consent import PURPOSE, PURPOSE_OF_THINGS, VERSION, give_consent
from magicapture.server.drawings import Drawings
from magicapture.server.jobs import JobError, Jobs
from magicapture.server.queue import Limits
from magicapture.server.records import Records
from magicapture.server.workspace import Workspace, WorkspaceError, new_key
from magicapture.server.workspace.space import FULL
from magicapture.settings import settings

pytest_plugins = ["job_fixtures"]


def test_nobody_trains_without_consent(jobs: Jobs, tmp_path: Path, trainer: Trainer) -> None:
    with pytest.raises(JobError, match="tick the box"):
        jobs.start(Workspace.of(new_key(), tmp_path), PLAN)


def test_who_agrees_no_longer_neither_begins_a_training_nor_goes_on_with_one(
    jobs: Jobs, visitor: Workspace, trainer: Trainer
) -> None:
    trainer.breaks_at = 2
    broken = ended(jobs.start(visitor, PLAN))
    jobs.records.withdraw_consent(visitor.name)
    for begin in (lambda: jobs.start(visitor, PLAN), lambda: jobs.resume(broken)):
        with pytest.raises(JobError, match="tick the box"):
            begin()
    assert trainer.started == [0]


@pytest.mark.parametrize(
    ("text_version", "purpose"), [("an earlier text", PURPOSE), (VERSION, PURPOSE_OF_THINGS)], ids=["text", "thing"]
)
def test_a_consent_to_another_text_or_to_photos_of_a_thing_is_none_to_train_on_a_person(
    jobs: Jobs, visitor: Workspace, trainer: Trainer, text_version: str, purpose: str
) -> None:
    trainer.breaks_at = 2
    broken = ended(jobs.start(visitor, PLAN))
    jobs.records.withdraw_consent(visitor.name)
    jobs.records.give_consent(visitor.name, text_version, purpose)
    for begin in (lambda: jobs.start(visitor, PLAN), lambda: jobs.resume(broken)):
        with pytest.raises(JobError, match="tick the box"):
            begin()
    assert trainer.started == [0]


def test_who_agrees_to_photos_of_a_thing_too_can_go_on_with_the_training_on_a_person(
    jobs: Jobs, visitor: Workspace, trainer: Trainer
) -> None:
    trainer.breaks_at = 2
    broken = ended(jobs.start(visitor, PLAN))
    give_consent(jobs.records, visitor, "teapot")
    trainer.breaks_at = None
    assert ended(jobs.resume(broken)).state == "finished"
    assert ended(jobs.start(visitor, replace(PLAN, subject="teapot"))).state == "finished"


def test_taking_the_consent_back_ends_a_training_and_deletes_what_others_could_go_on_from(
    jobs: Jobs, visitor: Workspace, trainer: Trainer
) -> None:
    trainer.breaks_at = 2
    assert ended(jobs.start(visitor, PLAN)).resumable
    trainer.breaks_at, trainer.hold = None, True
    job = jobs.start(visitor, PLAN)
    wait_until(lambda: job.event is not None)
    jobs.withdraw_consent(visitor)
    assert not job.active
    assert not visitor.shelf.stored()
    assert not list(visitor.folder.rglob("*.pt"))


def test_nothing_is_begun_that_a_full_disk_could_not_hold(
    jobs: Jobs, visitor: Workspace, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = visitor.shelf.add(ADAPTER, "mine")
    monkeypatch.setenv("MAGICAPTURE_DISK_GB", "0.001")
    settings.cache_clear()
    drawings = Drawings(jobs.records, Limits(per_visitor=1, per_address=1, in_all=1))
    for begin in (
        lambda: jobs.start(visitor, PLAN),
        lambda: drawings.start(visitor, adapter, GenerateConfig(count=4), label=False),
    ):
        with pytest.raises(WorkspaceError, match="disk is full"):
            begin()
    assert not trainer.started
    assert not jobs.records.jobs_of(visitor.name)


@pytest.mark.parametrize(
    ("place", "name", "error", "said"),
    [
        (plans, "save", WorkspaceError(FULL), "disk is full"),
        (plans, "save", OSError("Input/output error"), r"could not begin \(OSError\)\. Your photos are still here"),
        (Records, "add_job", OperationalError("INSERT", {}, Exception("database is full")), "could not begin"),
        (Records, "log", OperationalError("INSERT", {}, Exception("database is locked")), "could not begin"),
        (threading.Thread, "start", RuntimeError("can't start new thread"), "could not begin"),
    ],
)
def test_a_training_that_cannot_begin_has_failed_and_says_why(
    jobs: Jobs,
    visitor: Workspace,
    trainer: Trainer,
    monkeypatch: pytest.MonkeyPatch,
    place: object,
    name: str,
    error: Exception,
    said: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(place, name, fail)
        with pytest.raises((JobError, WorkspaceError), match=said):
            jobs.start(visitor, PLAN)
    for row in jobs.records.jobs_of(visitor.name):
        assert row.state == "failed"
        assert row.ended_at is not None
        assert re.search(said, jobs.get(row.id).error)
    assert (jobs.latest(visitor.name) is None) == (name == "add_job")
    assert not trainer.started
    assert ended(jobs.start(visitor, PLAN)).state == "finished"


def test_a_training_that_cannot_go_on_has_failed_and_can_be_tried_again(
    jobs: Jobs, visitor: Workspace, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    trainer.breaks_at = 2
    job = ended(jobs.start(visitor, PLAN))
    trainer.breaks_at = None
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(JobError, match="could not begin"):
            jobs.resume(job)
    found = jobs.latest(visitor.name)
    assert found.state == "failed"
    assert ended(jobs.resume(found)).state == "finished"


def test_a_training_whose_end_cannot_be_written_down_does_not_seem_to_run_for_ever(
    jobs: Jobs, visitor: Workspace, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = Records.update_job

    def update_while_it_runs(records: Records, job_id: str, **values: object) -> None:
        if "ended_at" in values:
            raise OperationalError("UPDATE", {}, Exception("database is full"))
        update(records, job_id, **values)

    trainer.breaks_at = 2
    with monkeypatch.context() as patch:
        patch.setattr(Records, "update_job", update_while_it_runs)
        job = ended(jobs.start(visitor, PLAN))
    assert jobs.latest(visitor.name).state == "interrupted"
    trainer.breaks_at = None
    assert ended(jobs.resume(job)).state == "finished"
    assert jobs.get(job.id).state == "finished"
    assert not jobs._jobs
