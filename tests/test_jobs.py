"""Trainings as jobs: what a visitor would lose when a page closes, a server dies, or someone else is in the queue."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import gradio as gr
import pytest
import stand_in
import tiny
import torch
from PIL import Image

from magicapture.adapters.adapter import Adapter
from magicapture.adapters.info import AdapterInfo
from magicapture.bases import MINI, BaseSpec, registry
from magicapture.config import GenerateConfig, TrainConfig
from magicapture.drawing.portrait import Portrait
from magicapture.method.progress import Progress, TrainEvent, Weights
from magicapture.method.training import Checkpoint
from magicapture.server import drawings as drawings_module
from magicapture.server import engine, gpu, plans
from magicapture.server import jobs as jobs_module
from magicapture.server.drawings import Drawings
from magicapture.server.gpu import GpuError, refusal
from magicapture.server.job import Job
from magicapture.server.jobs import TRAININGS, JobError, Jobs, delete_everything
from magicapture.server.plans import TrainingPlan
from magicapture.server.queue import Asker, BusyError, Limits, Queue
from magicapture.server.records import Records
from magicapture.server.wire import pack
from magicapture.server.workspace import Workspace, WorkspaceError, new_key
from magicapture.settings import Settings, settings
from magicapture.ui import train, training_view
from magicapture.ui.session import new_session

STEPS = 6
PLAN = TrainingPlan("mini", stand_in.references(32), stand_in.references(32), TrainConfig(), "My look")
INFO = AdapterInfo.of(MINI, preset="quick", rank=2, steps=STEPS, best_step=3, engine="stand-in")
LORA = {"down.lora_A.weight": torch.zeros(2, 4), "down.lora_B.weight": torch.zeros(4, 2)}
ADAPTER = Adapter(LORA, {"clip_l": torch.zeros(2, 4)}, INFO)
PATIENCE = 120


class Trainer:
    """Stands in for the GPU function: counts to ``STEPS``, waits where it is told to, breaks where it is told to."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.places: list[int] = []
        self.hold = False
        self.breaks_at: int | None = None
        self.error: Exception = GpuError(refusal(gr.Error("gone", title="ZeroGPU worker error")))

    def __call__(self, plan: TrainingPlan, checkpoint: Checkpoint | None, stop: Path, place: int) -> Iterator[object]:
        self.places.append(place)
        first = checkpoint.progress.step if checkpoint else 0
        self.started.append(first)
        for step in range(first + 1, STEPS + 1):
            previews = (Portrait(plan.person[0].image, 0, 0.5, 0.5, {}),) if step == 3 else ()
            yield TrainEvent("lora", step, STEPS, {"reconstruction": 1 / step}, previews)
            yield Checkpoint(TrainConfig(), {}, {}, {}, torch.zeros(1), Progress(step))
            if step == self.breaks_at:
                raise self.error
            while self.hold and not stop.exists():
                time.sleep(0.01)
            if stop.exists():
                break
        yield ADAPTER


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    trainer = Trainer()
    monkeypatch.setattr(jobs_module, "train_slice", trainer)
    return trainer


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    monkeypatch.setenv("MAGICAPTURE_ROOT", str(tmp_path))
    settings.cache_clear()
    records = Records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    yield Jobs(records)
    records.close()


@pytest.fixture
def visitor(tmp_path: Path, jobs: Jobs) -> Workspace:
    return newcomer(tmp_path, jobs)


def newcomer(root: Path, jobs: Jobs) -> Workspace:
    workspace = Workspace.of(new_key(), root)
    jobs.records.give_consent(workspace.name, "1", "training")
    return workspace


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(job: Job) -> Job:
    wait_until(lambda: not job.active)
    return job


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
        shown = view.show(jobs, job.id, None)
    assert shown[view.timer].active
    shown = view.show(jobs, job.id, shown[view.seen])
    assert shown[view.adapter] == job.adapter
    assert not shown[view.timer].active


def test_photos_are_gone_when_training_ends(jobs: Jobs, visitor: Workspace, trainer: Trainer) -> None:
    photo = visitor.place.part("photos", "person") / "me.png"
    PLAN.person[0].image.save(photo)
    job = ended(jobs.start(visitor, PLAN))
    wait_until(lambda: jobs.records.job(job.id).state == "finished")
    assert not photo.exists()
    assert not list(job.folder.glob("*.pt"))


def test_stopping_keeps_what_was_learned(jobs: Jobs, visitor: Workspace, trainer: Trainer) -> None:
    trainer.hold = True
    job = jobs.start(visitor, PLAN)
    wait_until(lambda: job.event is not None)
    jobs.stop(job)
    assert ended(job).state == "stopped"
    assert job.event.step == 1
    assert visitor.shelf.load(job.adapter)


def test_nobody_trains_without_consent(jobs: Jobs, tmp_path: Path, trainer: Trainer) -> None:
    with pytest.raises(JobError, match="tick the box"):
        jobs.start(Workspace.of(new_key(), tmp_path), PLAN)


def test_one_visitor_cannot_fill_the_line(jobs: Jobs, visitor: Workspace, trainer: Trainer) -> None:
    trainer.hold = True
    job = jobs.start(visitor, PLAN)
    with pytest.raises(BusyError, match="still waits or runs"):
        jobs.start(visitor, PLAN)
    jobs.stop(job)
    ended(job)


def test_the_second_in_line_sees_the_place_and_the_wait_and_may_leave(
    jobs: Jobs, visitor: Workspace, tmp_path: Path, trainer: Trainer
) -> None:
    trainer.hold = True
    first = jobs.start(visitor, PLAN)
    wait_until(lambda: first.event is not None)
    second = jobs.start(newcomer(tmp_path, jobs), PLAN)
    wait_until(lambda: second.ticket is not None)
    assert second.ticket.ahead == 1
    assert 0 < second.ticket.expected_wait <= first.ticket.seconds
    jobs.stop(second)
    assert ended(second).state == "stopped"
    assert second.adapter is None
    jobs.stop(first)
    ended(first)


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


def test_every_gpu_of_a_machine_trains_for_somebody(
    jobs: Jobs, tmp_path: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "QUEUE", Queue(places=2))
    trainer.hold = True
    started = [jobs.start(newcomer(tmp_path, jobs), PLAN) for _ in range(3)]
    wait_until(lambda: len(trainer.places) == 2)
    assert set(trainer.places) == {0, 1}
    (waiting,) = (job for job in started if job.state == "waiting")
    assert waiting.ticket.ahead == 1
    freed = next(job for job in started if job.state == "running")
    place = freed.ticket.place
    jobs.stop(freed)
    wait_until(lambda: len(trainer.places) == 3)
    assert trainer.places[2] == place
    for job in started:
        jobs.stop(job)
        ended(job)


def test_each_gpu_has_bases_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    current = threading.local()

    @contextmanager
    def device(place: int) -> Iterator[None]:
        current.place = place
        yield

    def load(spec: BaseSpec) -> object:
        loaded.append((spec.name, current.place))
        return object()

    monkeypatch.setattr(gpu, "QUEUE", Queue(places=2))
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current.place)
    monkeypatch.setattr(registry, "_load", load)
    monkeypatch.setattr(registry, "_loader", cache(registry._loader.__wrapped__))
    bases = []
    for place in (0, 1, 0, 1):
        with gpu._device(place):
            bases.append(registry.load_base("mini"))
    assert loaded == [("mini", 0), ("mini", 1)]
    assert bases[0] is bases[2] is not bases[1] is bases[3]


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


def test_what_cannot_go_on_after_a_restart_says_so(jobs: Jobs, visitor: Workspace, trainer: Trainer) -> None:
    consent = jobs.records.latest_consent(visitor.name)
    row = jobs.records.add_job(visitor.name, consent.id, base="mini", preset="quick", steps=STEPS)
    jobs.recover()
    found = jobs.records.job(row.id)
    assert found.state == "interrupted"
    assert "restarted in the middle" in found.error


def test_a_killed_server_goes_on_from_the_checkpoint_with_the_same_result(tmp_path: Path) -> None:
    tiny.base(sample_size=16).pipeline.save_pretrained(tmp_path / "base")

    def run(root: Path, *, kill: bool) -> dict[str, torch.Tensor]:
        driver = [sys.executable, Path(__file__).parent / "job_server.py", root, tmp_path / "base"]
        paths = f"{Path(__file__).parent}:{Path(__file__).parents[1]}"
        environment = {**os.environ, "PYTHONPATH": paths, "MAGICAPTURE_ROOT": str(root)}
        if kill:
            with (tmp_path / "log.txt").open("w") as log:
                server = subprocess.Popen(driver, env=environment, stdout=log, stderr=log)
                deadline = time.monotonic() + PATIENCE
                while not list(root.glob("served/*/jobs/*/checkpoint.pt")):
                    assert server.poll() is None, (tmp_path / "log.txt").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                server.send_signal(signal.SIGKILL)
                server.wait()
            assert not list(root.glob("served/*/adapters/*"))
        again = subprocess.run(driver, env=environment, check=True, timeout=PATIENCE, capture_output=True, text=True)
        assert ("taken up" if kill else "begun") in again.stdout
        (folder,) = root.glob("served/*/adapters/*")
        return Adapter.load(folder).lora

    interrupted, whole = run(tmp_path / "a", kill=True), run(tmp_path / "b", kill=False)
    assert all(torch.equal(interrupted[key], whole[key]) for key in whole)


def test_asking_for_a_place_in_line_just_after_it_was_left_is_no_error() -> None:
    with Queue().join(seconds=5) as ticket:
        pass
    assert (ticket.ahead, ticket.expected_wait) == (0, 0.0)


def test_who_asks_for_much_waits_for_themselves() -> None:
    queue = Queue()
    askers = [Asker(visitor, visitor[0]) for visitor in ("a1", "a1", "a2", "b1", "b1", "c1")]
    with ExitStack() as stack:
        tickets = [stack.enter_context(queue.join(1, asker)) for asker in askers]
        assert tickets[0].wait(0)
        order = sorted(tickets, key=lambda ticket: ticket.ahead)
        assert [ticket.asker.visitor for ticket in order] == ["a1", "b1", "c1", "a2", "b1", "a1"]
        late = stack.enter_context(queue.join(1, Asker("d1", "d")))
        assert late.ahead == 3
        assert tickets[0].ahead == 0, "whoever runs is not displaced"


def test_a_strangers_keys_do_not_give_them_the_whole_line(jobs: Jobs, tmp_path: Path, trainer: Trainer) -> None:
    jobs.limits = Limits(per_visitor=1, per_address=2, in_all=3)
    trainer.hold = True
    started = [jobs.start(newcomer(tmp_path, jobs), PLAN, "192.0.2.1") for _ in range(2)]
    with pytest.raises(BusyError, match="2 from your network"):
        jobs.start(newcomer(tmp_path, jobs), PLAN, "192.0.2.1")
    started.append(jobs.start(newcomer(tmp_path, jobs), PLAN, "192.0.2.2"))
    with pytest.raises(BusyError, match="Too many people"):
        jobs.start(newcomer(tmp_path, jobs), PLAN, "192.0.2.3")
    for job in started:
        jobs.stop(job)
        ended(job)


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
    jobs.records.give_consent(visitor.name, "1", "training")
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


class Evil:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("evil"),)


@pytest.mark.parametrize("name", ["plan.pt", "checkpoint.pt"])
def test_a_file_that_was_exchanged_runs_no_code(
    jobs: Jobs, visitor: Workspace, trainer: Trainer, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trainer.breaks_at = 2
    job = ended(jobs.start(visitor, PLAN))
    wait_until(lambda: jobs.records.job(job.id).state == "interrupted")
    torch.save(Evil(), job.folder / name)
    if name == "plan.pt":
        with pytest.raises(JobError, match="Nothing is left"):
            jobs.resume(job)
    else:
        assert ended(jobs.resume(job)).state == "failed"
    assert not (tmp_path / "evil").exists()


def test_a_plan_and_a_checkpoint_come_back_as_they_were(tmp_path: Path, trainer: Trainer) -> None:
    plan = replace(PLAN, config=replace(TrainConfig(), off=frozenset({"identity"})))
    plans.save(plan, tmp_path / "plan.pt")
    found = plans.load(tmp_path / "plan.pt")
    assert (found.base, found.config, found.title) == ("mini", plan.config, "My look")
    assert found.slice_seconds == float("inf")
    assert found.person[0].image.tobytes() == plan.person[0].image.tobytes()
    assert (found.person[0].mask == plan.person[0].mask).all()
    progress = Progress(
        3,
        0.5,
        2,
        Weights({"a": torch.ones(2)}, {"clip_l": torch.ones(2, 4)}),
        [{"step": 2, "likeness": None, "style": 0.5}],
    )
    checkpoint = Checkpoint(
        TrainConfig(), Weights({"w": torch.ones(1)}, {}), {"state": {0: {"step": 1}}}, {}, torch.zeros(1), progress
    )
    plans.save(checkpoint, tmp_path / "c.pt")
    again = plans.load(tmp_path / "c.pt")
    assert again.optimizer == {"state": {0: {"step": 1}}}
    assert again.progress.history == progress.history
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []
