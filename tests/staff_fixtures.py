"""What the tests of batches share: a run's folder, and what draws its cells without a base."""

from pathlib import Path

import pytest
from staff_stand_in import Drawer

from magicapture.staff.run_folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


@pytest.fixture
def drawer(tmp_path: Path) -> Drawer:
    return Drawer(tmp_path / "diary")
