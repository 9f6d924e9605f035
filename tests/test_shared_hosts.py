"""On a machine with other users, nobody but the app's own looks into what visitors have, or lays it a trap."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from running import ROOT

from magicapture.server.records import Records
from magicapture.settings import make_root


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_nobody_else_looks_into_the_root(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir(mode=0o755)
    make_root(tmp_path / "root")
    assert mode(tmp_path / "root") == mode(tmp_path / "root/tmp") == 0o700


def test_a_root_that_another_user_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PermissionError, match="belongs to another user here: set MAGICAPTURE_ROOT"):
        make_root(tmp_path)


def test_the_database_is_the_apps_alone(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    path.touch(mode=0o644)
    records = Records(f"sqlite:///{path}")
    records.give_consent("a" * 64, "1", "training")
    assert {file.name: mode(file) for file in tmp_path.iterdir()} == {
        "records.sqlite": 0o600,
        "records.sqlite-wal": 0o600,
        "records.sqlite-shm": 0o600,
    }
    records.close()


def test_what_libraries_write_for_a_moment_lies_in_the_root(tmp_path: Path) -> None:
    lines = "import app, tempfile; print(tempfile.mkdtemp())"
    environment = {**os.environ, "MAGICAPTURE_ROOT": str(tmp_path / "root"), "TMPDIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", lines], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert Path(result.stdout.split()[-1]).parent == tmp_path / "root/tmp"
