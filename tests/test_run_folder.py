"""What a run leaves on the disk: a lost or half result costs hours, and a name in the log a person's privacy."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from magicapture.config import GenerateConfig, TrainConfig
from magicapture.staff.cell import Cell, CellResult, DrawnPortrait, Problem, Recipe
from magicapture.staff.manifest import Row
from magicapture.staff.run_folder import Entry, RunFolder, RunFolderError

pytest_plugins = ["staff_fixtures"]
RECIPE = Recipe("tiny", "builtin", TrainConfig(), GenerateConfig())
RESULT = CellResult(
    "k1",
    1,
    "油絵",
    "done",
    {"check": 0.1, "train": 2.0, "draw": 1.0},
    (DrawnPortrait("1.png", 7, 0.8, None),),
    (Problem("person", 2, "blurred", "warning", "The face is blurred."),),
)


def row(folder: Path, person_id: str = "E1") -> Row:
    for name in ("photos", "style"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "1.png").write_bytes(name.encode())
    return Row(2, person_id, folder / "photos", folder / "style", 2, "2026-11-03", "v2", "intranet")


def test_a_result_comes_back_as_it_was_and_nothing_half_stays_beside_it(run: RunFolder) -> None:
    assert run.result("k1") is None
    assert run.store(RESULT, {"1.png": b"picture", "adapter/a.json": b"{}"})
    assert run.result("k1") == RESULT
    assert (run.cell("k1") / "adapter/a.json").read_bytes() == b"{}"
    assert [path.name for path in (run.folder / "cells").iterdir()] == ["k1"]
    assert run.folder.stat().st_mode & 0o077 == 0


def test_a_cell_that_was_done_twice_keeps_its_first_result(run: RunFolder) -> None:
    run.store(RESULT, {"1.png": b"first"})
    assert not run.store(replace(RESULT, attempts=2), {"1.png": b"second"})
    assert run.result("k1").attempts == 1
    assert (run.cell("k1") / "1.png").read_bytes() == b"first"
    assert [path.name for path in (run.folder / "cells").iterdir()] == ["k1"]


def test_two_who_store_a_cell_at_a_time_do_not_mix_their_files(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write, others = Path.write_bytes, []

    def interrupted(path: Path, data: bytes) -> int:
        if path.name == "2.png" and not others:
            others.append(path)
            assert run.store(RESULT, {"3.png": b"theirs"})
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    assert not run.store(RESULT, {"1.png": b"mine", "2.png": b"mine"})
    assert sorted(path.name for path in run.cell(RESULT.key).iterdir()) == ["3.png", "result.json"]


def test_a_full_disk_leaves_no_half_result(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        run.store(RESULT, {"1.png": b"picture"})
    assert list((run.folder / "cells").iterdir()) == []


def test_what_a_killed_run_left_half_stored_goes_with_the_next(run: RunFolder) -> None:
    run.store(RESULT, {})
    torn = run.folder / "cells/.k2.0123"
    torn.mkdir()
    (torn / "1.png").write_bytes(b"picture")
    with run.computing():
        assert [path.name for path in (run.folder / "cells").iterdir()] == ["k1"]


def test_a_person_keeps_their_number_and_nobody_gets_it_after_them(run: RunFolder) -> None:
    assert run.number_of(["E1", "E2"]) == {"E1": 1, "E2": 2}
    numbers = json.loads((run.folder / "numbers.json").read_text())
    del numbers["numbers"]["E2"]
    (run.folder / "numbers.json").write_text(json.dumps(numbers))
    assert run.number_of(["E3", "E1"]) == {"E1": 1, "E3": 3}


def test_results_are_those_of_the_last_run_alone(run: RunFolder, tmp_path: Path) -> None:
    run.store(RESULT, {})
    run.store(replace(RESULT, key="k2", person=2), {})
    people = [Entry(row(tmp_path), 2, "k2"), Entry(row(tmp_path, "E2"), 3, "k3"), Entry(row(tmp_path, "E3"), 4, "")]
    run.write_entries(people)
    assert run.entries() == people
    assert [result.person for result in run.results()] == [2]


def test_the_log_is_appended_to_and_a_torn_line_costs_itself_alone(run: RunFolder) -> None:
    run.log("cell_done", 3, seconds=1.5)
    with (run.folder / "log.jsonl").open("a") as file:
        file.write('{"at": "2026\n')
    run.log("run_ended")
    assert [(line["what"], line.get("person")) for line in run.log_lines()] == [("cell_done", 3), ("run_ended", None)]


def test_what_is_logged_after_a_crash_in_the_middle_of_a_line_is_not_lost_with_it(run: RunFolder) -> None:
    run.log("cell_done", 3)
    with (run.folder / "log.jsonl").open("a") as file:
        file.write('{"at": "2026-')
    run.log("portrait_rejected", 2, key="k1", file="portrait-1.png", reason="other")
    run.log("run_ended")
    assert [line["what"] for line in run.log_lines()] == ["cell_done", "portrait_rejected", "run_ended"]
    assert "\n\n" not in (run.folder / "log.jsonl").read_text()


def test_a_folder_without_a_run_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="name the folder that --out"):
        RunFolder.existing(tmp_path)


def test_the_key_changes_with_all_that_changes_portraits_and_with_nothing_else(tmp_path: Path) -> None:
    mine = row(tmp_path)
    key = Cell.of(mine, 1, RECIPE).key
    assert Cell.of(replace(mine, line=9, consent_version="v3", group="sales"), 1, RECIPE).key == key
    others = [
        Cell.of(mine, 2, RECIPE),
        Cell.of(replace(mine, count=3), 1, RECIPE),
        Cell.of(mine, 1, replace(RECIPE, base="sd15")),
        Cell.of(mine, 1, replace(RECIPE, train=replace(RECIPE.train, off=frozenset({"identity"})))),
        Cell.of(mine, 1, replace(RECIPE, draw=GenerateConfig(dial=0.6))),
    ]
    (tmp_path / "photos/1.png").rename(tmp_path / "photos/0.png")
    assert Cell.of(mine, 1, RECIPE).key == key
    (tmp_path / "photos/0.png").write_bytes(b"another")
    others.append(Cell.of(mine, 1, RECIPE))
    (tmp_path / "style/2.png").write_bytes(b"more")
    others.append(Cell.of(mine, 1, RECIPE))
    assert len({key, *(cell.key for cell in others)}) == len(others) + 1


def test_a_person_without_a_folder_is_a_cell_without_photos(tmp_path: Path) -> None:
    cell = Cell.of(replace(row(tmp_path), photos=tmp_path / "nowhere"), 1, RECIPE)
    assert cell.photos == ()
