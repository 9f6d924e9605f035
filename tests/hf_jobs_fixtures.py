"""What the tests of Hugging Face Jobs share: a Hub with jobs, whoever is signed in there, and what does their work."""

from pathlib import Path

import pytest
from hub_jobs import JobHub
from hub_server import WRITER
from job_container import Container
from staff_stand_in import Drawer

from magicapture.staff.jobs import batch


@pytest.fixture
def container(drawer: Drawer) -> Container:
    return Container(drawer)


@pytest.fixture
def job_hub(container: Container, tmp_path: Path) -> JobHub:
    """Give a Hub to start whose jobs ``container`` does; a module that wants it lets ``hub`` be it."""
    hub = JobHub(container)
    hub.folder = tmp_path
    return hub


@pytest.fixture
def signed_in(server: JobHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", WRITER)
    monkeypatch.setenv("MAGICAPTURE_FACE_ENGINE", "builtin")
    monkeypatch.setattr(batch, "LOOK_S", 0.01)
    monkeypatch.setattr("magicapture.staff.jobs.parcel._zip_code", lambda _: None)  # 90 MB
