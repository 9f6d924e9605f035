"""Trainings as jobs: what a visitor would lose when a page closes, a server dies, or someone else is in the queue."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import gradio as gr
import job_server
import pytest
import stand_in
import tiny
import torch
from PIL import Image
from sqlalchemy.exc import OperationalError
from trainings import ADAPTER, PLAN, STEPS, Trainer, ended, newcomer, wait_until

from magicapture.adapters.adapter import Adapter
from magicapture.config import GenerateConfig, TrainConfig
from magicapture.drawing.portrait import Portrait
from magicapture.method.progress import TrainEvent
from magicapture.photos.references import CheckedSet, Verdict
from magicapture.server import drawings as drawings_module
from magicapture.server import engine, gpu
from magicapture.server.consent import give_consent
from magicapture.server.drawings import Drawings
from magicapture.server.gpu import GpuError
from magicapture.server.job import Job
from magicapture.server.jobs import TRAININGS, Jobs, delete_everything
from magicapture.server.queue import BusyError, Limits
from magicapture.server.records import Records
from magicapture.server.wire import pack
from magicapture.server.workspace import Workspace, WorkspaceError
from magicapture.settings import Settings
from magicapture.subject import PERSON_NOUN
from magicapture.ui import train, training_view
from magicapture.ui.session import new_session

pytest_plugins = ["job_fixtures"]

PATIENCE = 120


def test_a_training_needs_no_page_and_is_found_again(jobs: Jobs, visitor: Workspace, trainer: Trainer) -> None:
    started = jobs.start(visitor, PLAN)
    assert jobs.latest(visitor.name) is started
    job = ended(started)
    assert job.state == "finished"
    assert [step for step, _ in job.curves["reconstruction"]] == list(range(1, STEPS + 1))
    assert len(job.previews()) == 1
    assert visitor.shelf.stored()[0].title == "My look"
    assert visitor.shelf.stored()[0].id == job.adapter
    wait_until(lambda: jobs.records.job(job.id).adapter == job.adapter)


def test_a_training_that_ends_while_the_page_looks_still_shows_its_adapter(
    jobs: Jobs, visitor: Workspace, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.hold = True
    job = jobs.start(visitor, PLAN)
    wait_until(lambda: job.event is not None)
    with gr.Blocks():
        view = train.build("mini", new_session(Settings.from_environment())).view

    def end_meanwhile(_: Job) -> None:
        trainer.hold = False
        ended(job)

    with monkeypatch.context() as patch:
        patch.setattr(training_view, "loss_plot", end_meanwhile)
        shown = view.show(jobs, job.id, None, None, None, PERSON_NOUN)
    assert shown[view.timer].active
    shown = view.show(jobs, job.id, shown[view.seen], None, None, PERSON_NOUN)
    assert shown[view.adapter] == job.adapter
    assert not shown[view.timer].active
    photos = CheckedSet("person", tuple(Verdict(reference.name, reference) for reference in PLAN.person))
    shown = view.show(jobs, "one that was deleted in another tab", shown[view.seen], photos, photos, PERSON_NOUN)
    assert "Nothing is training" in shown[view.progress]
    assert [shown[button].interactive for button in (view.start, view.stop)] == [True, False]
    assert not shown[view.timer].active


def test_photos_are_gone_when_training_ends(jobs: Jobs, visitor: Workspace, trainer: Trainer) -> None:
    photo = visitor.place.part("photos", "person") / "me.png"
    PLAN.person[0].image.save(photo)
    job = ended(jobs.start(visitor, PLAN))
    wait_until(lambda: jobs.records.job(job.id).state == "finished")
    assert not photo.exists()
    assert not list(job.files.folder.glob("*.pt"))


def test_stopping_keeps_what_was_learned(jobs: Jobs, visitor: Workspace, trainer: Trainer) -> None:
    trainer.hold = True
    job = jobs.start(visitor, PLAN)
    wait_until(lambda: job.event is not None)
    jobs.stop(job)
    assert ended(job).state == "stopped"
    assert job.event.step == 1
    assert visitor.shelf.load(job.adapter)


def test_a_refused_slice_can_go_on_from_its_checkpoint(jobs: Jobs, visitor: Workspace, trainer: Trainer) -> None:
    trainer.breaks_at = 2
    job = ended(jobs.start(visitor, PLAN))
    assert job.state == "interrupted"
    assert "go on from there" in job.error
    trainer.breaks_at = None
    again = ended(jobs.resume(job))
    assert again.state == "finished"
    assert trainer.started == [0, 2]
    assert jobs.get(job.id).error == ""


def test_going_on_counts_as_starting_does(jobs: Jobs, visitor: Workspace, tmp_path: Path, trainer: Trainer) -> None:
    trainer.breaks_at = 2
    broken = [ended(jobs.start(visitor, PLAN, "192.0.2.1")) for _ in range(2)]
    trainer.breaks_at, trainer.hold = None, True
    jobs.limits = Limits(per_visitor=1, per_address=9, in_all=9)
    first = jobs.resume(broken[0], "192.0.2.1")
    with pytest.raises(BusyError, match="still waits or runs"):
        jobs.resume(broken[1], "192.0.2.1")
    jobs.limits = Limits(per_visitor=9, per_address=1, in_all=9)
    with pytest.raises(BusyError, match="1 from your network"):
        jobs.resume(broken[1], "192.0.2.1")
    jobs.limits = Limits(per_visitor=9, per_address=9, in_all=9)
    with pytest.raises(BusyError, match="still waits or runs"):
        jobs.resume(broken[0], "192.0.2.1")
    jobs.stop(first)
    ended(first)


def test_two_interrupted_trainings_of_one_visitor_do_not_keep_the_app_from_starting(
    jobs: Jobs, visitor: Workspace, trainer: Trainer
) -> None:
    trainer.breaks_at = 2
    broken = [ended(jobs.start(visitor, PLAN)) for _ in range(2)]
    for job in broken:
        jobs.records.update_job(job.id, state="running")
    trainer.breaks_at, trainer.hold = None, True
    again = Jobs(jobs.records, Limits(per_visitor=1, per_address=9, in_all=9))
    again.recover()
    first, second = (again.get(job.id) for job in broken)
    assert first.active
    assert second.state == "interrupted"
    assert second.resumable
    again.stop(first)
    ended(first)
    trainer.hold = False
    assert ended(again.resume(second)).state == "finished"


def test_a_training_that_has_ended_is_in_memory_no_more_and_still_shows_what_it_did(
    jobs: Jobs, visitor: Workspace, trainer: Trainer
) -> None:
    job = ended(jobs.start(visitor, PLAN))
    assert not jobs._jobs
    assert not jobs._threads
    assert job.event.previews == ()
    found = jobs.get(job.id)
    assert found is not job
    assert (found.state, found.adapter, found.curves) == ("finished", job.adapter, job.curves)
    assert (found.event.step, found.event.steps) == (STEPS, TrainConfig().steps)
    assert len(found.previews()) == 1
    trainer.breaks_at = 1
    failed = ended(jobs.start(visitor, PLAN))
    assert jobs.get(failed.id).error.key == failed.error.key, "it can still be said in another language"


def test_an_unexpected_failure_is_told_and_leaves_the_photos(jobs: Jobs, visitor: Workspace, trainer: Trainer) -> None:
    photo = visitor.place.part("photos", "person") / "me.png"
    PLAN.person[0].image.save(photo)
    trainer.breaks_at, trainer.error = 1, MemoryError("of the card")
    job = ended(jobs.start(visitor, PLAN))
    assert job.state == "failed"
    assert "MemoryError: of the card" in job.error
    assert photo.exists()


def test_too_little_memory_on_the_gpu_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(_: str) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(engine, "load_base", fill)
    with pytest.raises(GpuError, match="fewer portraits at once"):
        gpu.draw(ADAPTER, GenerateConfig())
    with pytest.raises(GpuError, match="train on the embedded base"):
        next(gpu.train_slice(PLAN, None, tmp_path / "stop"))


def test_a_slice_that_comes_no_further_is_tried_once(
    jobs: Jobs, visitor: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    slices = []

    def end_early(*_: object) -> Iterator[bytes]:
        slices.append(1)
        yield pack(TrainEvent("tokens", 1, STEPS, {"reconstruction": 0.5}))

    monkeypatch.setattr(engine, "train", end_early)
    job = ended(jobs.start(visitor, PLAN))
    assert slices == [1]
    assert job.state == "failed"
    assert "ended without a result" in job.error
    assert job.resumable


def test_deleting_everything_ends_the_training_and_leaves_no_byte(
    jobs: Jobs, visitor: Workspace, tmp_path: Path, trainer: Trainer
) -> None:
    trainer.hold = True
    job = jobs.start(visitor, PLAN)
    wait_until(lambda: job.event is not None)
    delete_everything(jobs, Drawings(jobs.records, TRAININGS), visitor)
    assert not job.active
    assert not list((tmp_path / "served").iterdir())
    assert jobs.records.jobs_of(visitor.name) == []
    assert jobs.latest(visitor.name) is None


def test_deleting_everything_ends_a_training_that_waits_though_the_disk_is_full(
    jobs: Jobs, visitor: Workspace, tmp_path: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with gpu.QUEUE.join(seconds=60) as first:
        assert first.wait(20)
        job = jobs.start(visitor, PLAN)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "touch", full)
            delete_everything(jobs, Drawings(jobs.records, TRAININGS), visitor)
        assert not job.active
    assert not trainer.started
    assert not list((tmp_path / "served").iterdir())


def test_who_deletes_everything_is_told_what_could_not_be_and_can_try_again(
    jobs: Jobs, visitor: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("DELETE", {}, Exception("database or disk is full"))

    visitor.place.part("photos", "person")
    drawings = Drawings(jobs.records, TRAININGS)
    with monkeypatch.context() as patch:
        patch.setattr(Records, "forget", fail)
        with pytest.raises(WorkspaceError, match=r"files are deleted, but .* try again"):
            delete_everything(jobs, drawings, visitor)
    assert not list((tmp_path / "served").iterdir())
    delete_everything(jobs, drawings, visitor)
    assert jobs.records.latest_consent(visitor.name) is None


def test_what_cannot_go_on_after_a_restart_says_so(jobs: Jobs, visitor: Workspace, trainer: Trainer) -> None:
    consent = jobs.records.latest_consent(visitor.name)
    row = jobs.records.add_job(visitor.name, consent.id, base="mini", preset="quick", steps=STEPS)
    jobs.recover()
    found = jobs.records.job(row.id)
    assert found.state == "interrupted"
    assert "restarted in the middle" in found.error


def test_a_training_that_a_restart_broke_off_is_forgotten_in_time_unless_it_goes_on(
    jobs: Jobs, visitor: Workspace, tmp_path: Path, trainer: Trainer
) -> None:
    later = datetime.now(UTC) + timedelta(days=2)
    trainer.breaks_at = 2
    broken, left = (ended(jobs.start(space, PLAN)) for space in (visitor, newcomer(tmp_path, jobs)))
    trainer.breaks_at, trainer.hold = None, True
    left.files.forget_work()
    for job in (broken, left):
        jobs.records.update_job(job.id, state="running", ended_at=None)
    jobs.recover()
    jobs.records.purge(later)
    assert jobs.records.job(left.id) is None
    assert jobs.records.latest_consent(left.workspace.name) is None
    assert jobs.records.job(broken.id).ended_at is None
    assert jobs.records.latest_consent(visitor.name) is not None
    jobs.stop(jobs.get(broken.id))
    ended(jobs.get(broken.id))
    jobs.records.purge(later)
    assert jobs.records.job(broken.id) is None


@pytest.mark.slow
def test_a_killed_server_goes_on_from_the_checkpoint_with_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, mine, whole = tiny.saved(tmp_path / "base"), tmp_path / "mine", tmp_path / "whole"
    driver = [sys.executable, Path(__file__).parent / "job_server.py", mine, base]
    paths = f"{Path(__file__).parent}:{Path(__file__).parents[1]}"
    environment = {**os.environ, "PYTHONPATH": paths, "MAGICAPTURE_ROOT": str(mine)}
    with (tmp_path / "log.txt").open("w") as log:
        server = subprocess.Popen(driver, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while not list(mine.glob("served/*/jobs/*/checkpoint.pt")):
            assert server.poll() is None, (tmp_path / "log.txt").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        server.send_signal(signal.SIGKILL)
        server.wait()
    assert not list(mine.glob("served/*/adapters/*"))
    again = subprocess.run(driver, env=environment, check=True, timeout=PATIENCE, capture_output=True, text=True)
    assert "taken up" in again.stdout

    monkeypatch.setenv("MAGICAPTURE_ROOT", str(whole))
    for module in (gpu, engine):
        monkeypatch.setattr(module, "load_subject", lambda _noun: stand_in.StandInEngine())
    assert job_server.serve(whole, base) == "begun"
    ((interrupted, at_once),) = zip(*(root.glob("served/*/adapters/*") for root in (mine, whole)), strict=True)
    found, expected = Adapter.load(interrupted).lora, Adapter.load(at_once).lora
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_what_was_started_before_everything_was_deleted_makes_no_folder_again(
    jobs: Jobs, visitor: Workspace, tmp_path: Path, trainer: Trainer
) -> None:
    visitor.place.part("photos", "person")
    delete_everything(jobs, Drawings(jobs.records, TRAININGS), visitor)
    for act in (
        lambda: visitor.shelf.add(ADAPTER, "late"),
        lambda: visitor.add_portrait(Portrait(PLAN.person[0].image, 0, 0.5, 0.5, {}), label=False),
        lambda: visitor.ingest([], "person"),
    ):
        with pytest.raises(WorkspaceError, match="deleted meanwhile"):
            act()
    give_consent(jobs.records, visitor, PERSON_NOUN)
    with pytest.raises(WorkspaceError, match="deleted meanwhile"):
        jobs.start(visitor, PLAN)
    assert not list((tmp_path / "served").iterdir())
    assert Workspace.named(visitor.name, tmp_path).place.part("photos").is_dir(), "a new visit may"


def test_a_drawing_that_is_stopped_or_left_behind_stores_nothing(
    jobs: Jobs, visitor: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def draw(*_: object) -> list[Image.Image]:
        assert go_on.wait(20)
        return [PLAN.person[0].image] * 24

    monkeypatch.setattr(drawings_module, "draw", draw)
    drawings = Drawings(jobs.records, Limits(per_visitor=2, per_address=9, in_all=9))
    adapter = visitor.shelf.add(ADAPTER, "mine")
    config = GenerateConfig(count=24)
    running, waiting = (drawings.start(visitor, adapter, config, label=False) for _ in range(2))
    with pytest.raises(BusyError):
        drawings.start(visitor, adapter, GenerateConfig(), label=False)
    wait_until(lambda: running.ticket is not None and running.ticket.started)
    leaving = threading.Thread(target=delete_everything, args=(jobs, drawings, visitor))
    leaving.start()
    assert waiting.ended.wait(20), "one that waits ends at once"
    assert leaving.is_alive(), "one that runs is waited for"
    go_on.set()
    leaving.join(20)
    assert running.paths == waiting.paths == []
    assert not list((tmp_path / "served").iterdir())
