"""The command ``staff`` as it is typed: what it says before anything is paid for, and to whom."""

import json
from pathlib import Path

import pytest

from magicapture.__main__ import main
from magicapture.staff.cost import PRICES

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
