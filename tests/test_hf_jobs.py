"""Batches on Hugging Face Jobs: photos lie at the Hub no longer than they must, and nobody pays twice or too much."""

import json
import math
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
from hub_jobs import Job, JobHub
from job_container import Container, cells_in, nothing_is_left
from staff_stand_in import Drawer, ThreadEngine, people

from magicapture.staff.batch import Meter, spent_before
from magicapture.staff.cell import Cell, CellResult
from magicapture.staff.engines import EngineError
from magicapture.staff.forget import forget
from magicapture.staff.jobs import worker
from magicapture.staff.jobs.account import JobsAccount, UnreachableError
from magicapture.staff.jobs.batch import JobBatch
from magicapture.staff.jobs.collect import Collector, end_jobs
from magicapture.staff.jobs.parcel import pack_fatal, pack_outcome, unpack_outcome
from magicapture.staff.jobs.shards import JOBS, Shards
from magicapture.staff.manifest import Row
from magicapture.staff.run_folder import Entry, RunFolder
from magicapture.staff.work import FatalError, Outcome

pytest_plugins = ["hub_fixtures", "staff_fixtures", "hf_jobs_fixtures"]
pytestmark = pytest.mark.usefixtures("signed_in")


@pytest.fixture
def hub(job_hub: JobHub) -> JobHub:
    return job_hub


def jobs(run: RunFolder, meter: Meter | None = None, places: int = 2) -> JobBatch:
    account = JobsAccount()
    return JobBatch(account, account.flavour("l4x1"), run, meter or Meter(), places)


def compute(run: RunFolder, cells: list[Cell], meter: Meter | None = None, places: int = 2) -> dict[int, CellResult]:
    return {result.person: result for result in jobs(run, meter, places).results(cells)}


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
