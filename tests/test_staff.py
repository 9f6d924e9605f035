"""The command ``staff`` as it is typed: what it says before anything is paid for, and to whom."""

import json
import re
from pathlib import Path

import pytest
from pilot import picture
from staff_stand_in import ThreadEngine

from magicapture.__main__ import main
from magicapture.settings import settings
from magicapture.staff.cell import Cell, CellResult, DrawnPortrait
from magicapture.staff.cost import PRICES
from magicapture.staff.forget import forget
from magicapture.staff.run_folder import RunFolder
from magicapture.staff.work import Outcome, Pictures

HEAD = "person_id,photos,style,count,consent_at,consent_version,consent_scope"
AGREED = "2026-11-03,v1,intranet"


@pytest.fixture
def manifest(tmp_path: Path, examples: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the arguments that name two people who agreed, of whom one has no face to show, and one who did not."""
    monkeypatch.setenv("MAGICAPTURE_FACE_ENGINE", "builtin")
    nobody = tmp_path / "nobody"
    nobody.mkdir()
    (nobody / "holiday.png").write_bytes(b"no picture")
    rows = [f"E1,person-someone,style-grey,2,{AGREED}", f"E2,{nobody},style-grey,2,{AGREED}", "E3,,,,declined,,"]
    (tmp_path / "people.csv").write_text("\n".join([HEAD, *rows]))
    return [str(tmp_path / "people.csv"), "--photos", str(examples)]


def told(capsys: pytest.CaptureFixture) -> tuple[list[str], dict, str]:
    """Give what the command said, its JSON, and its progress."""
    said = capsys.readouterr()
    *lines, last = said.out.splitlines()
    return lines, json.loads(last), said.err


def test_check_says_who_needs_which_photo_and_who_has_not_agreed(
    manifest: list[str], capsys: pytest.CaptureFixture
) -> None:
    assert main(["staff", "check", *manifest]) == 1
    lines, result, progress = told(capsys)
    unreadable = "line 3, E2: holiday.png: The file is not a picture that can be read. Use a photo saved as"
    assert any(line.startswith(unreadable) for line in lines)
    assert lines[-1] == "E3: has not agreed and is left out."
    assert (result["people"], result["skipped"], result["usable"]) == (3, 1, 1)
    assert [row["person_id"] for row in result["unusable"]] == ["E2"]
    assert not any(name in progress for name in ("E1", "E2", "holiday"))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, examples: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "people.csv").write_text(f"{HEAD}\nE1,{tmp_path}/tpyo,style-grey,2,{AGREED}\n")
    assert main(["staff", "check", str(tmp_path / "people.csv"), "--photos", str(examples)]) == 1
    (wrong,) = told(capsys)[1]["unusable"]
    assert wrong["why"][0] == (f"There is no picture in the folder {tmp_path}/tpyo, or no such folder.")


def test_files_that_cannot_be_read_stop_nobody_elses_plan(
    manifest: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "nobody/album.jpg").mkdir()
    (tmp_path / "nobody/gone.jpg").symlink_to("/nowhere")
    with (tmp_path / "people.csv").open("a") as file:
        file.write(f"\nE4,{'x' * 300},style-grey,2,{AGREED}\nE5,\0,style-grey,2,{AGREED}")
    assert main(["staff", "plan", *manifest, "--base", "mini"]) == 0
    assert told(capsys)[1]["people"] == 4
    assert main(["staff", "check", *manifest]) == 1
    assert told(capsys)[1]["usable"] == 1


@pytest.mark.parametrize("out", ["taken", "taken/run"])
def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(
    manifest: list[str], tmp_path: Path, out: str, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "taken").write_text("a letter")
    assert main(["staff", "run", *manifest, "--base", "mini", "--out", str(tmp_path / out)]) == 1
    assert told(capsys)[1]["error"] in (f"{tmp_path}/{out}: {reason}." for reason in ("File exists", "Not a directory"))


def test_check_says_who_allowed_a_cloud_where_anybody_did(
    manifest: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["staff", "check", *manifest]) == 1
    lines, result, _ = told(capsys)
    assert result["cloud"] == 0
    assert not any("cloud" in line for line in lines)
    with (tmp_path / "people.csv").open("a") as file:
        file.write("\nE4,none,style-grey,1,2026-11-03,v1,intranet; Cloud")
    assert main(["staff", "check", *manifest]) == 1
    lines, result, _ = told(capsys)
    assert result["cloud"] == 1
    assert [line.partition(":")[0] for line in lines if "to no cloud" in line] == ["line 2, E1", "line 3, E2"]


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_negative_seed_is_refused_in_a_sentence_before_anything_is_written(
    command: str, manifest: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = ["--out", str(tmp_path / "run")]
    assert main(["staff", command, *manifest, "--base", "mini", "--seed", "-1", *out]) == 1
    assert told(capsys)[1]["error"] == "--seed must be 0 or more; it is -1."
    assert not (tmp_path / "run").exists()


def test_a_plan_for_an_engine_that_cannot_be_had_says_so(manifest: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(["staff", "plan", *manifest, "--base", "mini", "--engine", "slurm"]) == 1
    assert "There is no engine slurm" in told(capsys)[1]["error"]


def test_a_plan_counts_the_gpus_of_the_engine(manifest: list[str], monkeypatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr("magicapture.staff.engines.local._visible_gpus", lambda: ["0", "1", "2", "3"])
    assert main(["staff", "plan", *manifest, "--base", "mini"]) == 0
    lines, figures, _ = told(capsys)
    assert any("| 4 side by side |" in line for line in lines)
    assert figures["hours"] < figures["gpu_hours"]


def test_a_plan_that_measures_takes_the_seconds_of_so_many_people(
    manifest: list[str], tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture
) -> None:
    def done(cell: Cell, photos: Pictures, looks: Pictures) -> Outcome:
        seen.append(cell.person)
        seconds = {"load": 1000.0, "check": 1.0, "train": 30.0, "draw": 5.0}
        return Outcome(CellResult(cell.key, cell.person, cell.style, "done", seconds))

    seen: list[int] = []
    with (tmp_path / "people.csv").open("a") as file:
        file.writelines(f"\nE{place},none{place},style-grey,1,{AGREED}" for place in range(4, 11))
    monkeypatch.setattr("magicapture.staff.plan.open_engine", lambda *_: ThreadEngine(done))
    assert main(["staff", "plan", *manifest, "--base", "mini", "--measure", "3"]) == 0
    lines, figures, _ = told(capsys)
    assert (figures["measured"], figures["cell_seconds"], len(seen)) == (3, 36.0, 3)
    assert max(seen) > 5, "spread over the manifest, not the first three"
    assert any("| measured on 3 cells;" in line for line in lines)


def test_a_plan_with_other_settings_leaves_a_run_as_it_was(
    manifest: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run, others = RunFolder(tmp_path / "run"), tmp_path / "others.csv"
    asked = ["--base", "mini", "--out", str(run.folder)]
    assert main(["staff", "plan", *manifest, *asked]) == 0
    before = run.entries()
    assert [bool(entry.key) for entry in before] == [True, True, False]
    others.write_text(f"{HEAD}\nE9,none,style-grey,1,{AGREED}")
    for told_now in ([*manifest, "--steps", "7"], [str(others), *manifest[1:]]):
        assert main(["staff", "plan", *told_now, *asked]) == 0
        assert run.entries() == before
    with run.keeping_entries(), run.changing():
        run.forget_number(before[0].person)
    assert run.entries() == before[1:]
    capsys.readouterr()


def test_two_runs_do_not_compute_in_one_folder(manifest: list[str], tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    options = [*manifest, "--base", "mini", "--engine", "none", "--out", str(run)]
    with RunFolder(run).computing():
        for command in (["run"], ["plan", "--measure", "1"]):
            assert main(["staff", *command, *options]) == 1
            assert "Another run computes in run: wait for its end" in told(capsys)[1]["error"]
    assert not (run / "log.jsonl").exists()


def test_a_full_disk_ends_a_run_with_a_sentence_and_keeps_what_was_done(
    manifest: list[str], tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture
) -> None:
    def full(self: RunFolder, result: CellResult, files: dict[str, bytes]) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunFolder, "store", full)
    monkeypatch.setattr("magicapture.staff.run.open_engine", lambda *_: ThreadEngine(unusable))
    command = ["staff", "run", *manifest, "--base", "mini", "--out", str(tmp_path / "run")]
    assert main(command) == 1
    _, result, progress = told(capsys)
    assert result["error"] == "No space left on device."
    assert "what is finished stays, and the same command goes on from there" in progress
    monkeypatch.undo()
    monkeypatch.setattr("magicapture.staff.run.open_engine", lambda *_: ThreadEngine(unusable))
    assert main(command) == 0
    assert told(capsys)[1]["unusable"] == 2


def unusable(cell: Cell, photos: Pictures, looks: Pictures) -> Outcome:
    return Outcome(CellResult(cell.key, cell.person, cell.style, "unusable"))


def test_a_run_can_open_the_review_of_what_it_drew(
    manifest: list[str], tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture
) -> None:
    def drawing(cell: Cell, photos: Pictures, looks: Pictures) -> Outcome:
        portrait = DrawnPortrait("portrait-1.png", 7, 0.5, 0.5)
        done = CellResult(cell.key, cell.person, cell.style, "done", portraits=(portrait,))
        return Outcome(done, {portrait.file: picture(portrait)}) if cell.person == 1 else unusable(cell, photos, looks)

    monkeypatch.setenv("MAGICAPTURE_ROOT", str(tmp_path / "root"))
    settings.cache_clear()
    monkeypatch.setattr("magicapture.staff.run.open_engine", lambda *_: ThreadEngine(drawing))
    links, out = tmp_path / "links.csv", tmp_path / "run"
    command = ["staff", "run", *manifest, "--base", "mini", "--out", str(out), "--review", "--links", str(links)]
    for invited in (1, 0):
        assert main(command) == 0
        _, result, progress = told(capsys)
        assert result["review"] == {"links": str(links), "invited": invited, "before": 1 - invited}
        assert not any(name in progress for name in ("E1", "E2", "nobody", "holiday"))
        if invited:
            assert re.search(r"2/2 \[.*cell.*failed=0, unusable=1", progress), "rate, failures and time left"
    assert [line.split(",")[0] for line in links.read_text().splitlines()] == ["person_id", "E1"]
    monkeypatch.undo()
    settings.cache_clear()


def test_who_withdraws_while_a_run_goes_on_is_computed_no_further(
    manifest: list[str], tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture
) -> None:
    run, seen = RunFolder(tmp_path / "run"), []

    def withdrawing(cell: Cell, photos: Pictures, looks: Pictures) -> Outcome:
        seen.append(cell.person)
        for person in (1, 2):
            forget(run, person)
        return unusable(cell, photos, looks)

    monkeypatch.setattr("magicapture.staff.run.open_engine", lambda *_: ThreadEngine(withdrawing, places=1))
    assert main(["staff", "run", *manifest, "--base", "mini", "--out", str(run.folder)]) == 0
    result = told(capsys)[1]
    assert seen == [1], "the other's photos were not even read"
    assert [result[state] for state in ("done", "unusable", "failed", "left")] == [0, 0, 0, 0]
    assert [line["what"] for line in run.log_lines()] == ["run_started", "forgotten", "forgotten", "run_ended"]
    assert list((run.folder / "cells").glob("*")) == []


def test_plan_counts_those_who_agreed_and_takes_prices_of_ones_own(
    manifest: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(PRICES.read_text().replace("price_per_hour = 0.80", "price_per_hour = 8.00"))
    assert main(["staff", "plan", *manifest, "--base", "mini", "--prices", str(mine)]) == 0
    lines, dear, _ = told(capsys)
    assert (dear["people"], dear["cells"], dear["measured"]) == (2, 2, 0)
    assert main(["staff", "plan", *manifest, "--base", "mini"]) == 0
    assert dear["cloud"]["l4"] == pytest.approx(10 * told(capsys)[1]["cloud"]["l4"], rel=0.1)
    assert lines[0] == "| figure | value | hangs on |"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--max-cost", "5"], "--max-cost needs a price: name --hardware, one of t4, l4"),
        (["--hardware", "gtx"], "There is no price for gtx"),
        (["--engine", "slurm"], "There is no engine slurm"),
        (["--dial", "7"], "The dial must lie between 0"),
    ],
)
def test_what_cannot_be_run_is_told_before_anything_is_computed(
    manifest: list[str], tmp_path: Path, more: list[str], said: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["staff", "run", *manifest, "--base", "mini", "--out", str(tmp_path / "run"), *more]) == 1
    assert said in told(capsys)[1]["error"]


def test_a_broken_manifest_is_told_with_all_its_lines(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "p.csv").write_text(f"{HEAD}\n,a,b,0,{AGREED}\n")
    assert main(["staff", "check", str(tmp_path / "p.csv")]) == 1
    error = told(capsys)[1]["error"]
    assert "line 2, column person_id" in error
    assert "line 2, column count" in error
