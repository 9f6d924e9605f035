"""Visitors' work on a cluster: as many at a time as it has places; whoever stops, leaves or is unlucky frees one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
import stand_in
from gradio_client import Client, handle_file
from ray.cluster_utils import Cluster
from running import ROOT, running_app
from trainings import ADAPTER, PLAN, STEPS, ended, newcomer, wait_until
from visitor import some_targets

from magicapture.config import TrainConfig
from magicapture.method.progress import Progress, TrainEvent
from magicapture.method.training import Checkpoint
from magicapture.server import gpu, remote
from magicapture.server.drawings import Drawings
from magicapture.server.engine import NOTHING_CAME
from magicapture.server.gpu import QUEUE
from magicapture.server.jobs import Jobs, delete_everything
from magicapture.server.queue import Limits
from magicapture.server.wire import pack
from magicapture.server.workspace import Workspace
from magicapture.settings import Settings, settings

pytest_plugins = ["job_fixtures"]
SMALL = {"num_gpus": 0, "object_store_memory": 100 * 2**20}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """Join a cluster with two places, as the app does when it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(ROOT / "tests"))))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # Ray's 15 starves them where other tests run
        patch.setattr(remote, "LOOK_S", 0.2)
        head = {"num_cpus": 2 * remote.CPUS, "include_dashboard": False, **SMALL}
        nodes = Cluster(initialize_head=True, head_node_args=head)
        patch.setenv("MAGICAPTURE_ENGINE", f"ray:{nodes.address}")
        patch.setenv("MAGICAPTURE_FACE_ENGINE", "builtin")
        patch.setattr(gpu, "offered", dict)  # nothing is computed here
        settings.cache_clear()
        try:
            gpu.prepare()
            yield nodes
        finally:
            ray.shutdown()
            nodes.shutdown()
            time.sleep(2 * remote.LOOK_S)  # until nobody counts nodes any more
            QUEUE.resize(1)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Give a folder with a file for each start of the work, named after its process."""
    (tmp_path / "starts").mkdir()
    return tmp_path / "starts"


@pytest.fixture
def work(nodes: Cluster, log: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let trainings be ``remote._train``'s stand-in: it needs no torch, so that its processes start at once."""
    monkeypatch.setattr(gpu, "load_subject", lambda _noun: stand_in.StandInEngine())
    monkeypatch.setattr(gpu.Targets, "of", lambda *_: some_targets())

    def given(*steps: list[int], seconds: float = 0.1, checkpoint: int = 0) -> None:
        """Take the n-th start through the n-th of ``steps``; they can be gone on from after step ``checkpoint``."""
        shown = [[event for step in part for event in events(step, checkpoint)] for part in steps]
        last, begun = pack(ADAPTER), starts_in(log)

        def train(request: bytes, flag: bytes) -> Iterator[bytes]:
            import time  # noqa: PLC0415

            from ray.experimental import internal_kv  # noqa: PLC0415

            number = begun()
            for event in shown[min(number, len(shown) - 1)]:
                yield event
                time.sleep(seconds)
                if internal_kv._internal_kv_exists(flag):
                    break
            yield last

        monkeypatch.setattr(remote, "_train", train)

    return given


def starts_in(folder: Path) -> Callable[[], int]:
    """Give what notes a start, and tells the how manieth it is, from 0; it travels to a process without our imports."""

    def begun() -> int:
        import os  # noqa: PLC0415

        number = len(list(folder.iterdir()))
        (folder / f"{number}-{os.getpid()}").touch()
        return number

    return begun


def events(step: int, checkpoint: int) -> list[bytes]:
    shown = [pack(TrainEvent("lora", step, STEPS, {"reconstruction": 1 / step}))]
    if step == checkpoint:
        shown.append(pack(Checkpoint(TrainConfig(), {}, {}, {}, stand_in.torch.zeros(1), Progress(step), "")))
    return shown


WHOLE = list(range(1, STEPS + 1))
LONG = WHOLE[:-1] * 100


def all_free() -> bool:
    return ray.available_resources().get("CPU", 0) == ray.cluster_resources()["CPU"]


def test_two_visitors_train_at_once_and_the_third_sees_the_wait(
    work: Callable, jobs: Jobs, tmp_path: Path, log: Path
) -> None:
    work(WHOLE, seconds=0.4)
    assert QUEUE.places == 2
    started = [jobs.start(newcomer(tmp_path, jobs), PLAN) for _ in range(3)]
    wait_until(lambda: sum(job.event is not None for job in started) == 2)
    assert len(list(log.iterdir())) == 2
    (third,) = (job for job in started if job.state == "waiting")
    assert third.ticket.ahead == 1
    foretold = [job.ticket.seconds_left() for job in started if job is not third]
    assert third.ticket.expected_wait == pytest.approx(sum(foretold) / 2, rel=0.1)
    assert [ended(job).state for job in started] == ["finished"] * 3
    assert all(job.adapter for job in started)


def test_a_stopped_training_keeps_what_was_learned(work: Callable, jobs: Jobs, visitor: Workspace) -> None:
    work(LONG)
    job = jobs.start(visitor, PLAN)
    wait_until(lambda: job.event is not None)
    jobs.stop(job)
    assert ended(job).state == "stopped"
    assert job.adapter
    wait_until(all_free)


def test_deleting_everything_in_mid_training_leaves_nothing_and_frees_the_place(
    work: Callable, jobs: Jobs, visitor: Workspace
) -> None:
    work(LONG)
    job = jobs.start(visitor, PLAN)
    wait_until(lambda: job.event is not None)
    started = time.monotonic()
    delete_everything(jobs, Drawings(jobs.records, Limits(1, 1, 1)), visitor)
    assert time.monotonic() - started < 10
    assert not job.active
    assert jobs.get(job.id) is None
    assert not visitor.folder.exists()
    wait_until(all_free)


def test_a_training_whose_process_died_goes_on_from_its_last_checkpoint(
    work: Callable, jobs: Jobs, visitor: Workspace, log: Path
) -> None:
    work([1, 2, 3, *[3] * 100], [4, 5, 6], checkpoint=3)
    job = jobs.start(visitor, PLAN)
    wait_until(job.files.checkpoint.is_file)
    kill_the_latest(log)
    assert ended(job).state == "finished"
    assert len(list(log.iterdir())) == 2
    assert [step for step, _ in job.curves["reconstruction"]][-4:] == [3, 4, 5, 6]


def test_before_its_first_checkpoint_the_visitor_is_told_and_the_next_training_runs(
    work: Callable, jobs: Jobs, visitor: Workspace, log: Path
) -> None:
    work(LONG, WHOLE)
    job = jobs.start(visitor, PLAN)
    wait_until(lambda: job.event is not None)
    kill_the_latest(log)
    assert ended(job).state == "failed"
    assert job.error == NOTHING_CAME
    assert ended(jobs.start(visitor, PLAN)).state == "finished"


def kill_the_latest(log: Path) -> None:
    os.kill(int(max(log.iterdir(), key=lambda path: int(path.name.split("-")[0])).name.split("-")[1]), signal.SIGKILL)


def test_a_node_that_joins_takes_the_next_in_line(nodes: Cluster, work: Callable) -> None:
    node = nodes.add_node(num_cpus=remote.CPUS, **SMALL)
    wait_until(lambda: QUEUE.places == 3)
    nodes.remove_node(node)
    wait_until(lambda: QUEUE.places == 2)


def test_what_the_engine_raises_comes_back_and_drawing_outlives_a_lost_process(
    nodes: Cluster, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = starts_in(log)

    def draw(request: bytes) -> bytes:
        import os  # noqa: PLC0415
        import signal  # noqa: PLC0415

        if begun() == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if request == b"bad":
            raise ZeroDivisionError
        return request

    monkeypatch.setattr(remote.engine, "draw", draw)
    assert remote.draw(b"drawn", 1) == b"drawn"
    assert len(list(log.iterdir())) == 2
    with pytest.raises(ZeroDivisionError):
        remote.draw(b"bad", 1)


def test_where_work_is_computed_is_checked_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGICAPTURE_ENGINE", "slurm")
    with pytest.raises(ValueError, match="MAGICAPTURE_ENGINE must be local, ray or ray:ADDRESS; it is 'slurm'"):
        Settings.from_environment()
    monkeypatch.setenv("MAGICAPTURE_ENGINE", "ray:10.0.0.1:6379")
    assert Settings.from_environment().engine == "ray:10.0.0.1:6379"
    monkeypatch.setenv("MAGICAPTURE_PRIVATE", "1")
    monkeypatch.setenv("MAGICAPTURE_USERS", "anna:secret")
    with pytest.raises(ValueError, match="cannot hold back Ray's own sockets: unset MAGICAPTURE_ENGINE"):
        Settings.from_environment()


@pytest.mark.slow
def test_two_visitors_train_draw_and_delete_on_the_cluster(nodes: Cluster, tmp_path: Path, examples: Path) -> None:
    environment = {"MAGICAPTURE_ENGINE": f"ray:{nodes.address}", "MAGICAPTURE_JOBS_PER_ADDRESS": "3"}
    with running_app(tmp_path, examples, **environment) as address:
        clients = [Client(address, verbose=False, download_files=str(tmp_path)) for _ in range(2)]
        person, style = (
            [handle_file(path) for path in sorted((examples / name).iterdir())]
            for name in ("person-someone", "style-grey")
        )
        trainings = [c.predict(person, style, steps=60, consent=True, api_name="/train") for c in clients]
        states = set()
        ends = {}
        while len(ends) < 2:
            now = [c.predict(t["job"], api_name="/job_status") for c, t in zip(clients, trainings, strict=True)]
            states.add(tuple((status["state"], status["step"] > 0) for status in now))
            ends |= {n: s for n, s in enumerate(now) if s["state"] not in ("waiting", "running")}
            time.sleep(0.3)
        assert (("running", True), ("running", True)) in states
        assert [(ends[n]["state"], ends[n]["step"]) for n in range(2)] == [("finished", 60)] * 2
        for client, mine, end in zip(clients, trainings, (ends[0], ends[1]), strict=True):
            portraits, _ = client.predict(mine["key"], end["adapter"], count=2, api_name="/generate")
            assert len(portraits) == 2
            client.predict(mine["key"], api_name="/delete_everything")
        assert list((tmp_path / "root" / "served").rglob("*.png")) == []


@pytest.mark.slow
def test_without_ray_the_app_says_in_a_sentence_what_to_install(tmp_path: Path) -> None:
    without = "import runpy, sys; sys.modules['ray'] = None; runpy.run_path('app.py', run_name='__main__')"
    environment = {**os.environ, "MAGICAPTURE_ENGINE": "ray", "MAGICAPTURE_ROOT": str(tmp_path / "root")}
    app = subprocess.run(
        [sys.executable, "-c", without], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert app.returncode == 1
    sentence = "MAGICAPTURE_ENGINE=ray: Ray is not installed: pip install -r requirements-ray.txt"
    assert app.stderr.splitlines()[-1] == sentence
    assert "Traceback" not in app.stderr
