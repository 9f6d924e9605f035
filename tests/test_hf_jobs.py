"""Batches on Hugging Face Jobs: photos lie at the Hub no longer than they must, and nobody pays twice or too much."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
from hub_jobs import Job, JobHub, run_for_real
from hub_server import WRITER
from PIL import Image
from staff_stand_in import Drawer, ThreadEngine, people

from magicapture.__main__ import main
from magicapture.settings import settings
from magicapture.staff.batch import Meter, spent_before
from magicapture.staff.cell import Cell, CellResult
from magicapture.staff.engines import EngineError
from magicapture.staff.forget import forget
from magicapture.staff.jobs import batch, worker
from magicapture.staff.jobs.account import JobsAccount, UnreachableError
from magicapture.staff.jobs.batch import JobBatch
from magicapture.staff.jobs.collect import Collector, end_jobs
from magicapture.staff.jobs.parcel import _zip_code as zip_code
from magicapture.staff.jobs.parcel import pack_fatal, pack_outcome, read_parcel, unpack_outcome
from magicapture.staff.jobs.shards import JOBS, Shards
from magicapture.staff.manifest import Row
from magicapture.staff.run_folder import Entry, RunFolder
from magicapture.staff.work import FatalError, Outcome, Setup, guarded

pytest_plugins = ["hub_fixtures", "staff_fixtures"]
HEAD = "person_id,photos,style,count,consent_at,consent_version,consent_scope"


class Container:
    """Does the work of jobs in place of their containers: at every look one more cell, and a minute."""

    def __init__(self, drawer: Drawer) -> None:
        self.drawer = drawer
        self.minutes_a_cell = 1
        self.breaks: dict[int, str] = {}  # what becomes of the n-th job, from 0, after its first cell

    def __call__(self, hub: JobHub, job: Job) -> None:
        files = hub.repositories[job.repo_id].files
        left = [cell for cell in cells_in(files, self.drawer.diary) if f"results/{cell.key}" not in files]
        number = hub.started.index(job)
        if number in self.breaks and any(name.startswith("results/") for name in files):
            if self.breaks[number] == "vanished":
                del hub.jobs[job.id]
            job.stage, job.message, job.log = "ERROR", self.breaks[number], ["person 7: CUDA said no"]
            return
        job.seconds += 60 * self.minutes_a_cell
        if left:
            cell = left[0]
            photos, looks = ([path.read_bytes() for path in paths] for paths in (cell.photos, cell.looks))
            outcome = guarded(self.drawer, Setup(), cell, tuple(photos), tuple(looks))
            files[f"results/{cell.key}"] = pack_outcome(outcome)
        else:
            job.stage = "COMPLETED"


def cells_in(files: dict[str, bytes], beside: Path) -> list[Cell]:
    """Read a parcel as it lies in a data set."""
    folder = beside.with_name("parcel")
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return read_parcel(folder)


@pytest.fixture
def container(drawer: Drawer) -> Container:
    return Container(drawer)


@pytest.fixture
def hub(container: Container, tmp_path: Path) -> JobHub:
    hub = JobHub(container)
    hub.folder = tmp_path
    return hub


@pytest.fixture(autouse=True)
def signed_in(server: JobHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", WRITER)
    monkeypatch.setenv("MAGICAPTURE_FACE_ENGINE", "builtin")
    monkeypatch.setattr(batch, "LOOK_S", 0.01)
    monkeypatch.setattr("magicapture.staff.jobs.parcel._zip_code", lambda _: None)  # 90 MB


def jobs(run: RunFolder, meter: Meter | None = None, places: int = 2) -> JobBatch:
    account = JobsAccount()
    return JobBatch(account, account.flavour("l4x1"), run, meter or Meter(), places)


def compute(run: RunFolder, cells: list[Cell], meter: Meter | None = None, places: int = 2) -> dict[int, CellResult]:
    return {result.person: result for result in jobs(run, meter, places).results(cells)}


def nothing_is_left(server: JobHub) -> bool:
    return not server.repositories and not any(job.active for job in server.jobs.values())


def test_people_are_shared_among_jobs_and_nothing_stays_at_the_hub(
    server: JobHub, run: RunFolder, tmp_path: Path
) -> None:
    cells = people(tmp_path, 5)
    results = jobs(run).results(cells)
    found = [next(results)]
    sent = list(server.repositories.values())
    assert [repository.private for repository in sent] == [True, True]
    told = str([(job.spec, repository.files) for job, repository in zip(server.started, sent, strict=True)])
    assert "photo of 1" in told
    assert "Name" not in told
    found += results
    assert {result.person: result.state for result in found} == dict.fromkeys(range(1, 6), "done")
    assert all(run.result(cell.key).state == "done" for cell in cells)
    assert [job.spec["flavor"] for job in server.started] == ["l4x1"] * 2
    assert nothing_is_left(server)
    assert not len(Shards(run))


def test_a_second_run_sends_only_what_is_missing(
    server: JobHub, run: RunFolder, tmp_path: Path, container: Container
) -> None:
    cells = people(tmp_path, 4)
    compute(run, cells[:3])
    assert set(compute(run, run.missing(cells))) == {4}
    assert container.drawer.times() == dict.fromkeys(range(1, 5), 1)


@pytest.mark.parametrize("end", ["out of memory", "vanished"])
def test_a_job_that_ends_early_costs_what_it_had_finished_nothing(
    server: JobHub, run: RunFolder, tmp_path: Path, container: Container, end: str, capsys: pytest.CaptureFixture
) -> None:
    container.breaks = {0: end}
    found = compute(run, people(tmp_path, 6))
    assert {result.state for result in found.values()} == {"done"}
    assert container.drawer.times() == dict.fromkeys(range(1, 7), 1)
    assert len(server.started) == 3
    assert nothing_is_left(server)
    assert [line["what"] for line in run.log_lines()].count("cell_retried") == 2
    if end != "vanished":
        assert "out of memory" in (said := capsys.readouterr().err)
        assert "CUDA said no" in said


def test_who_is_never_finished_is_given_up_after_three_jobs(
    server: JobHub, run: RunFolder, tmp_path: Path, container: Container
) -> None:
    container.breaks = dict.fromkeys(range(3), "lost")
    found = compute(run, people(tmp_path, 4), places=1)
    assert [found[person].state for person in (1, 2, 3, 4)] == ["done"] * 3 + ["failed"]
    assert (found[4].attempts, found[4].error) == (3, "JobEnded")
    assert len(server.started) == 3
    assert nothing_is_left(server)


def test_one_persons_failure_in_a_job_is_theirs_alone(
    server: JobHub, run: RunFolder, tmp_path: Path, container: Container
) -> None:
    container.drawer = Drawer(container.drawer.diary, fails=frozenset({2}))
    cells = people(tmp_path, 3)
    found = compute(run, cells)
    assert [found[person].state for person in (1, 2, 3)] == ["done", "failed", "done"]
    assert run.result(cells[1].key) is None  # so the next run tries again


def test_a_driver_that_is_interrupted_keeps_what_is_finished_and_ends_the_rest(
    server: JobHub, run: RunFolder, tmp_path: Path
) -> None:
    results = jobs(run).results(people(tmp_path, 8))
    next(results)
    results.close()
    assert nothing_is_left(server)
    assert [job.stage for job in server.started] == ["CANCELED"] * 2
    assert len(list((run.folder / "cells").iterdir())) >= 1


@pytest.mark.parametrize("knows_its_job", [True, False])
def test_after_a_driver_was_killed_its_jobs_are_waited_for_and_not_started_again(
    server: JobHub, run: RunFolder, tmp_path: Path, container: Container, monkeypatch, knows_its_job: bool
) -> None:
    cells = people(tmp_path, 6)
    with monkeypatch.context() as patch:
        patch.setattr(Collector, "end", lambda *_: None)  # as SIGKILL leaves it no time
        results = jobs(run).results(cells)
        next(results)
        results.close()
    assert sum(job.active for job in server.jobs.values()) == 2
    if not knows_its_job:
        shards = json.loads((run.folder / JOBS).read_text())
        (run.folder / JOBS).write_text(json.dumps([{**shard, "job": ""} for shard in shards]))
    before = len(list(run.folder.glob("cells/*/result.json")))
    assert len(compute(run, run.missing(cells))) == 6 - before
    assert len(server.started) == 2
    assert container.drawer.times() == dict.fromkeys(range(1, 7), 1)
    assert nothing_is_left(server)


def test_what_cannot_be_deleted_now_is_named_and_goes_with_the_next_run(
    server: JobHub, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> None:
        raise UnreachableError("503")

    with monkeypatch.context() as patch:
        patch.setattr(JobsAccount, "delete", cannot)
        results = jobs(run).results(people(tmp_path, 8))
        next(results)
        with pytest.raises(EngineError, match=r"mona/magicapture-\w+, mona/.* may still be at the Hub \(503\)"):
            results.close()
    assert [job.stage for job in server.started] == ["CANCELED"] * 2
    assert len(server.repositories) == 2
    end_jobs(run)
    assert nothing_is_left(server)


def test_what_nobody_wants_any_more_is_ended_by_the_next_run(
    server: JobHub, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Collector, "end", lambda *_: None)
        next(jobs(run, places=1).results(people(tmp_path, 3)))
    others = [replace(cell, key=f"with-other-settings-{cell.person}") for cell in people(tmp_path, 2)]
    assert set(compute(run, others, places=1)) == {1, 2}
    assert [job.stage for job in server.started] == ["CANCELED", "COMPLETED"]
    assert nothing_is_left(server)


def test_a_plan_beyond_the_ceiling_is_refused_before_anything_is_sent(
    server: JobHub, run: RunFolder, tmp_path: Path
) -> None:
    meter = Meter(ceiling=0.5, cell_seconds=3600)  # an hour costs 0.60
    with pytest.raises(EngineError, match=r"4 cells .* expected to cost 2\.\d\d USD.* leaves 0\.50: nothing was sent"):
        compute(run, people(tmp_path, 4), meter)
    assert server.asked("POST", "/api/") == 0


def test_a_run_stops_when_it_has_cost_what_it_may(
    server: JobHub, run: RunFolder, tmp_path: Path, container: Container
) -> None:
    container.minutes_a_cell = 12  # where one was expected
    meter = Meter(ceiling=0.6, cell_seconds=60)
    found = compute(run, people(tmp_path, 8), meter)
    assert 0 < sum(result.state == "done" for result in found.values()) < 8
    assert 0.4 < meter.spent <= 0.6
    assert spent_before(run) == pytest.approx(meter.spent, abs=1e-3)
    assert nothing_is_left(server)


def test_jobs_end_by_themselves_before_they_could_pass_the_ceiling(
    server: JobHub, run: RunFolder, tmp_path: Path
) -> None:
    compute(run, people(tmp_path, 8), Meter(ceiling=0.4, cell_seconds=60))
    longest = [job.spec["timeoutSeconds"] for job in server.started]
    assert sum(math.ceil(seconds / 60) * 0.01 for seconds in longest) <= 0.4
    assert min(longest) > 300


def test_what_would_fail_for_everyone_ends_the_run_with_its_reason(
    server: JobHub, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(hub: JobHub, job: Job) -> None:
        hub.repositories[job.repo_id].files["fatal"] = pack_fatal("The base cannot be had.")
        job.stage = "ERROR"

    server.advance = cannot
    with pytest.raises(FatalError, match="The base cannot be had"):
        compute(run, people(tmp_path, 4))
    assert nothing_is_left(server)


def test_an_account_without_credit_is_told_and_keeps_no_photos(server: JobHub, run: RunFolder, tmp_path: Path) -> None:
    server.refuse_jobs = "Payment Required: add credits"
    with pytest.raises(EngineError, match=r"The job could not be started: .*402"):
        compute(run, people(tmp_path, 2))
    assert nothing_is_left(server)


def test_a_result_that_reaches_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    (cell,) = people(tmp_path, 1)
    outcome = Drawer(tmp_path / "diary")(cell, (b"photo",), (b"look",))
    assert unpack_outcome(pack_outcome(outcome)) == outcome
    outcome.files["../../elsewhere"] = b""
    with pytest.raises(ValueError, match="outside"):
        unpack_outcome(pack_outcome(outcome))
    for junk in (b"", b"PK\x03\x04", pack_outcome(outcome)[:-40]):
        with pytest.raises(ValueError, match="no result"):
            unpack_outcome(junk)


def test_to_be_forgotten_means_at_the_hub_too(
    server: JobHub, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = people(tmp_path, 3)
    run.number_of(["E1", "E2", "E3"])
    run.write_entries(
        Entry(Row(n, f"E{n}", tmp_path, tmp_path, 1, "2026-11-03", "v1", "cloud"), n, cells[n - 1].key)
        for n in (1, 2, 3)
    )
    with monkeypatch.context() as patch:
        patch.setattr(Collector, "end", lambda *_: None)
        next(jobs(run, places=1).results(cells))
    forget(run, 3)
    assert nothing_is_left(server)
    assert set(compute(run, run.missing(cells))) <= {2}
    assert run.result(cells[2].key) is None


@pytest.fixture
def manifest(tmp_path: Path, examples: Path) -> list[object]:
    """Give the arguments for three people who agreed, two of them to a cloud, of whom one has photos to show."""
    shutil.copytree(examples / "person-someone", tmp_path / "somebody")
    (tmp_path / "nobody").mkdir()
    (tmp_path / "nobody" / "holiday.png").write_bytes(b"no picture")
    rows = [
        f"E1,{tmp_path / 'nobody'},style-grey,1,2026-11-03,v1,intranet + cloud",
        'E2,person-someone,style-grey,1,2026-11-03,v1,"intranet, no cloud"',
        f"E3,{tmp_path / 'somebody'},style-grey,1,2026-11-03,v1,cloud",
    ]
    (tmp_path / "people.csv").write_text("\n".join([HEAD, *rows]))
    return [tmp_path / "people.csv", "--photos", examples, "--base", "mini", "--engine", "jobs:l4x1"]


def staff(*arguments: object) -> int:
    return main(["staff", *map(str, arguments)])


def told(capsys: pytest.CaptureFixture) -> tuple[dict, str]:
    """Give the last line that a command printed, and all else that it said."""
    said = capsys.readouterr()
    *lines, last = said.out.splitlines()
    return json.loads(last), "\n".join([*lines, said.err])


def test_what_a_job_runs_pushes_every_result_and_what_is_wrong_for_all(
    server: JobHub, run: RunFolder, tmp_path: Path, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LocalEngine", lambda *_: ThreadEngine(replace(container.drawer, fails=frozenset({2}))))
    monkeypatch.setattr(worker, "PUSH_S", 0)

    def work(hub: JobHub, job: Job) -> None:
        cells_in(hub.repositories[job.repo_id].files, container.drawer.diary)
        worker_thread = Thread(target=worker.main, args=(container.drawer.diary.with_name("parcel"), job.repo_id))
        worker_thread.start()
        worker_thread.join()
        job.stage = "COMPLETED"

    server.advance = work
    cells = people(tmp_path, 3)
    found = compute(run, cells, places=1)
    assert [found[person].state for person in (1, 2, 3)] == ["done", "failed", "done"]
    assert found[2].error.startswith("OSError at")
    (drawn,) = run.cell(cells[0].key).glob("portrait-1.png")
    assert drawn.stat().st_size > 100_000
    assert (drawn.parent / "adapter/weights").is_file()

    def cannot(*_: object) -> Outcome:
        raise FatalError("The base cannot be had.")

    monkeypatch.setattr(worker, "LocalEngine", lambda *_: ThreadEngine(cannot))
    with pytest.raises(FatalError, match="The base cannot be had"):
        compute(run, cells[1:2], places=1)
    assert nothing_is_left(server)


@pytest.mark.slow
def test_a_jobs_own_command_draws_for_those_who_allow_a_cloud(
    server: JobHub, manifest: list[object], tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("magicapture.staff.jobs.parcel._zip_code", zip_code)
    server.advance = run_for_real
    options = ["--steps", 3, "--best-of", 1, "--out", tmp_path / "run", "--max-cost", 1]
    assert staff("run", *manifest, *options) == 0, server.started[0].log
    result, said = told(capsys)
    assert (result["done"], result["unusable"], result["no_cloud"], result["left"]) == (1, 1, 1, 0)
    assert '1 people are left out: "cloud" is no item of their consent_scope' in said
    assert server.started[0].log[-2:] == ["person 1: unusable", "person 3: done"]
    (drawn,) = (tmp_path / "run/cells").glob("*/portrait-1.png")
    assert Image.open(drawn).size == (128, 128)
    assert (drawn.parent / "adapter").is_dir()
    assert nothing_is_left(server)


def test_a_plan_takes_the_hubs_price(server: JobHub, manifest: list[object], capsys: pytest.CaptureFixture) -> None:
    assert staff("plan", *manifest) == 0
    result, table = told(capsys)
    assert (result["people"], result["cells"]) == (2, 2)
    assert result["cloud"]["l4x1"] == pytest.approx(result["gpu_hours"] * 0.6, abs=0.01)
    assert "| compute, Nvidia l4x1 |" in table
    assert "300 s for each worker's start" in table
    assert server.asked("POST", "/api/") == 0


@pytest.mark.parametrize(
    ("engine", "private", "said"),
    [
        ("jobs:gtx", "0", "Hugging Face Jobs have no gtx: choose from cpu-basic, l4x1, l4x4."),
        ("jobs:l4x1", "1", "MAGICAPTURE_PRIVATE=1: photos would leave this machine for Hugging Face Jobs."),
    ],
)
def test_what_cannot_be_hired_is_told_before_anything_is_sent(
    server: JobHub, manifest: list[object], tmp_path: Path, capsys, monkeypatch, engine: str, private: str, said: str
) -> None:
    monkeypatch.setenv("MAGICAPTURE_PRIVATE", private)
    monkeypatch.setenv("MAGICAPTURE_USERS", "anna:secret")
    settings.cache_clear()
    assert staff("run", *manifest[:-1], engine, "--out", tmp_path / "run") == 1
    assert told(capsys)[0]["error"].startswith(said)
    assert server.asked("POST", "/api/") == 0
    assert private == "0" or server.requests == []
