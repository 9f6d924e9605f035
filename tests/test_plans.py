"""What a training leaves on the disk to go on from: it comes back as it was, and never as code."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from trainings import PLAN, Trainer, ended, wait_until

from magicapture.config import TrainConfig
from magicapture.method.progress import Progress, Weights
from magicapture.method.training import Checkpoint
from magicapture.server import plans
from magicapture.server.jobs import JobError, Jobs
from magicapture.server.plans import TrainingPlan
from magicapture.server.workspace import Workspace, WorkspaceError

pytest_plugins = ["job_fixtures"]


class Evil:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("evil"),)


@pytest.mark.parametrize("name", ["plan.pt", "checkpoint.pt"])
def test_a_file_that_was_exchanged_runs_no_code(
    jobs: Jobs, visitor: Workspace, trainer: Trainer, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trainer.breaks_at = 2
    job = ended(jobs.start(visitor, PLAN))
    wait_until(lambda: jobs.records.job(job.id).state == "interrupted")
    torch.save(Evil(), job.files.folder / name)
    if name == "plan.pt":
        with pytest.raises(JobError, match="Nothing is left"):
            jobs.resume(job)
    else:
        assert ended(jobs.resume(job)).state == "failed"
    assert not (tmp_path / "evil").exists()


def test_a_disk_that_fills_up_is_told_and_leaves_nothing_half_written(tmp_path: Path, trainer: Trainer) -> None:
    (tmp_path / "plan.part").symlink_to("/dev/full")
    with pytest.raises(WorkspaceError, match="disk is full"):
        plans.save(PLAN, tmp_path / "plan.pt")
    assert list(tmp_path.glob("plan*")) == []


def test_a_plan_and_a_checkpoint_come_back_as_they_were(tmp_path: Path, trainer: Trainer) -> None:
    plan = replace(PLAN, config=replace(TrainConfig(), off=frozenset({"identity"})))
    plans.save(plan, tmp_path / "plan.pt")
    found = plans.load(tmp_path / "plan.pt", TrainingPlan)
    assert (found.base, found.config, found.title) == ("mini", plan.config, "My look")
    assert found.slice_seconds == float("inf")
    assert found.person[0].image.tobytes() == plan.person[0].image.tobytes()
    assert found.person[0].mask.tobytes() == plan.person[0].mask.tobytes()  # a checkpoint has a hash of both
    progress = Progress(
        3,
        0.5,
        2,
        Weights({"a": torch.ones(2)}, {"clip_l": torch.ones(2, 4)}),
        [{"step": 2, "likeness": None, "style": 0.5}],
    )
    checkpoint = Checkpoint(
        TrainConfig(),
        Weights({"w": torch.ones(1)}, {}),
        {"state": {0: {"step": 1}}},
        {},
        torch.zeros(1),
        progress,
        "of photos",
    )
    plans.save(checkpoint, tmp_path / "c.pt")
    again = plans.load(tmp_path / "c.pt", Checkpoint)
    assert again.optimizer == {"state": {0: {"step": 1}}}
    assert again.progress.history == progress.history
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []
