"""What `staff` says and does on Hugging Face Jobs: who may go to a cloud, what it costs, what cannot be hired."""

import json
import shutil
from pathlib import Path

import pytest
from hub_jobs import JobHub, run_for_real
from job_container import nothing_is_left
from PIL import Image

from magicapture.__main__ import main
from magicapture.bases import MINI
from magicapture.settings import settings
from magicapture.staff.jobs.parcel import _zip_code as zip_code

pytest_plugins = ["hub_fixtures", "staff_fixtures", "hf_jobs_fixtures"]
pytestmark = pytest.mark.usefixtures("signed_in")
HEAD = "person_id,photos,style,count,consent_at,consent_version,consent_scope"


@pytest.fixture
def hub(job_hub: JobHub) -> JobHub:
    return job_hub


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
    assert Image.open(drawn).size == (MINI.resolution, MINI.resolution)
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
