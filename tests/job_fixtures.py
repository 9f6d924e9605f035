"""Fixtures of the tests of trainings: the stand-in in the GPU's place, jobs with their records, and a visitor."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from trainings import Trainer, newcomer

from magicapture.server import jobs as jobs_module
from magicapture.server.jobs import Jobs
from magicapture.server.records import Records
from magicapture.server.workspace import Workspace
from magicapture.settings import settings


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    trainer = Trainer()
    monkeypatch.setattr(jobs_module, "train_slice", trainer)
    return trainer


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    monkeypatch.setenv("MAGICAPTURE_ROOT", str(tmp_path))
    settings.cache_clear()
    records = Records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    yield Jobs(records)
    records.close()


@pytest.fixture
def visitor(tmp_path: Path, jobs: Jobs) -> Workspace:
    return newcomer(tmp_path, jobs)
