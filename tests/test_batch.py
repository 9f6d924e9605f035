"""A batch of people: what breaks for one may cost nobody else a portrait, and nobody pays for a cell twice."""

import os
import time
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from staff_stand_in import Drawer, ThreadEngine, people

from magicapture.staff.batch import Meter, compute_cells, spent_before
from magicapture.staff.cell import Cell, CellResult
from magicapture.staff.compute import compute
from magicapture.staff.engines import Engine, EngineError, open_engine
from magicapture.staff.engines.local import LocalEngine
from magicapture.staff.run_folder import RunFolder
from magicapture.staff.work import FatalError, Outcome, Pictures, Setup

pytest_plugins = ["staff_fixtures"]


def results(cells: list[Cell], engine: Engine, run: RunFolder, meter: Meter | None = None) -> dict[int, CellResult]:
    with closing(engine):
        return {result.person: result for result in compute_cells(cells, engine, run, meter or Meter())}


def test_a_second_run_computes_only_what_is_missing(tmp_path: Path, run: RunFolder, drawer: Drawer) -> None:
    cells = people(tmp_path, 5)
    results(cells[:3], ThreadEngine(drawer), run)
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file() and path.suffix != ".jsonl"}
    missing = [cell for cell in cells if run.result(cell.key) is None]
    assert set(results(missing, ThreadEngine(drawer), run)) == {4, 5}
    assert drawer.times() == dict.fromkeys(range(1, 6), 1)
    assert {path: path.read_bytes() for path in before} == before


def test_one_bad_person_stops_nobody_and_is_tried_three_times(tmp_path: Path, run: RunFolder, drawer: Drawer) -> None:
    cells = people(tmp_path, 5)
    found = results(cells, ThreadEngine(replace(drawer, fails=frozenset({2}))), run)
    assert {person: result.state for person, result in found.items()} == {
        **dict.fromkeys((1, 3, 4, 5), "done"),
        2: "failed",
    }
    assert found[2].attempts == 3
    assert run.result(cells[1].key) is None  # so the next run tries again
    assert results(cells[1:2], ThreadEngine(drawer), run)[2].state == "done"


def test_a_failure_says_where_it_was_and_nothing_of_whom(tmp_path: Path, run: RunFolder, drawer: Drawer) -> None:
    found = results(people(tmp_path, 1), ThreadEngine(replace(drawer, fails=frozenset({1}))), run)
    assert found[1].error.startswith("OSError at work.py:")
    log = (run.folder / "log.jsonl").read_text()
    assert "somebody" not in log
    assert "Name1" not in log
    assert [line["what"] for line in run.log_lines()] == ["cell_retried", "cell_retried", "cell_failed"]


def test_photos_that_cannot_be_used_are_a_result_and_no_retry(tmp_path: Path, run: RunFolder) -> None:
    tries = []

    def unusable(cell: Cell, photos: Pictures, looks: Pictures) -> Outcome:
        tries.append(cell.person)
        return Outcome(CellResult(cell.key, cell.person, cell.style, "unusable"))

    cells = people(tmp_path, 1)
    assert results(cells, ThreadEngine(unusable), run)[1].state == "unusable"
    assert tries == [1]
    assert run.result(cells[0].key).state == "unusable"


def test_photos_that_vanish_in_mid_run_cost_their_person_alone(tmp_path: Path, run: RunFolder, drawer: Drawer) -> None:
    cells = people(tmp_path, 3)
    cells[0].photos[0].unlink()
    found = results(cells, ThreadEngine(drawer), run)
    assert [found[person].state for person in (1, 2, 3)] == ["failed", "done", "done"]


def test_what_would_fail_for_everyone_ends_the_run_with_its_sentence(tmp_path: Path, run: RunFolder) -> None:
    def no_base(cell: Cell, photos: Pictures, looks: Pictures) -> Outcome:
        raise FatalError("The base model could not be loaded.")

    with pytest.raises(FatalError, match="could not be loaded"):
        results(people(tmp_path, 3), ThreadEngine(no_base), run)


def test_a_base_that_is_not_there_ends_the_run_at_the_first_cell(tmp_path: Path, run: RunFolder) -> None:
    cells = [replace(cell, recipe=replace(cell.recipe, base=str(tmp_path / "none"))) for cell in people(tmp_path, 2)]
    with pytest.raises(FatalError, match="could not be loaded"):
        results(cells, ThreadEngine(compute, places=1), run)
    assert run.log_lines() == []


def test_a_number_of_threads_that_is_none_ends_the_run_and_is_named(
    tmp_path: Path, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "all")
    with pytest.raises(FatalError, match=r"OMP_NUM_THREADS must be a whole number from 1 .* it is 'all'"):
        results(people(tmp_path, 2), ThreadEngine(compute, places=1), run)


def test_nothing_starts_that_would_pass_the_ceiling(tmp_path: Path, run: RunFolder, drawer: Drawer) -> None:
    meter = Meter(price=3600.0, ceiling=0.9, cell_seconds=0.2)  # 1 a second and place
    found = results(people(tmp_path, 50), ThreadEngine(replace(drawer, seconds=0.2), places=1), run, meter)
    assert 1 <= len(found) <= 4
    assert meter.spent <= 0.9 + 0.1  # what a reading of the clock costs
    assert spent_before(run) == pytest.approx(meter.spent, abs=0.3)
    again = Meter(price=3600.0, ceiling=0.9, cell_seconds=0.2, spent=spent_before(run) + 0.3)
    assert results(people(tmp_path, 50), ThreadEngine(drawer, places=1), run, again) == {}


def test_a_cell_that_takes_longer_than_foreseen_is_cut_off_at_the_ceiling(
    tmp_path: Path, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Endless(ThreadEngine):
        def submit(self, cell: Cell, photos: Pictures, looks: Pictures) -> Future[Outcome]:
            return Future()

    monkeypatch.setattr("magicapture.staff.batch.TICK_S", 0.05)
    started = time.monotonic()
    meter = Meter(price=3600.0, ceiling=0.5, cell_seconds=0.1)
    assert results(people(tmp_path, 3), Endless(None, places=1), run, meter) == {}
    assert 0.5 <= time.monotonic() - started < 2


def test_a_killed_worker_costs_one_try_and_no_other_cell(tmp_path: Path, run: RunFolder, drawer: Drawer) -> None:
    deadly = replace(drawer, kills=frozenset({2}))
    found = results(people(tmp_path, 4), LocalEngine(deadly, Setup(), cpu_places=2), run)
    assert {person: (result.state, result.attempts) for person, result in found.items()} == {
        1: ("done", 1),
        2: ("done", 2),
        3: ("done", 1),
        4: ("done", 1),
    }
    assert [line["error"] for line in run.log_lines() if "error" in line] == ["BrokenProcessPool"]


def see(cell: Cell, photos: Pictures, looks: Pictures) -> Outcome:
    time.sleep(0.3)
    return Outcome(CellResult(cell.key, cell.person, os.environ["CUDA_VISIBLE_DEVICES"], "done"))


def test_each_gpu_has_a_process_that_sees_it_alone(tmp_path: Path, run: RunFolder, monkeypatch) -> None:
    monkeypatch.setattr("magicapture.staff.engines.local._visible_gpus", lambda: ["3", "GPU-5"])
    engine = LocalEngine(see, Setup())
    assert engine.places == 2
    found = results(people(tmp_path, 6), engine, run)
    assert {result.style for result in found.values()} == {"3", "GPU-5"}


def test_engines_that_are_not_there_are_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match="There is no engine slurm: choose local, ray"):
        open_engine("slurm", compute)
    monkeypatch.setitem(__import__("sys").modules, "magicapture.staff.engines.on_ray", None)
    with pytest.raises(EngineError, match=r"pip install -r requirements-ray\.txt"):
        open_engine("ray", compute)


def test_a_person_without_a_face_is_told_which_photo(tmp_path: Path, examples: Path) -> None:
    looks = tuple(path.read_bytes() for path in sorted((examples / "style-grey").iterdir()))
    cell = replace(people(tmp_path, 1)[0], recipe=replace(people(tmp_path, 1)[0].recipe, base="mini", engine="builtin"))
    outcome = compute(cell, (b"no picture", looks[0]), ())
    assert outcome.result.state == "unusable"
    assert outcome.files == {}
    found = [(p.role, p.photo, p.code, p.severity) for p in outcome.result.problems]
    assert ("person", 1, "not_a_picture", "unusable") in found
    assert ("style", 0, "set", "unusable") in found
    assert not any("001" in problem.text for problem in outcome.result.problems)
