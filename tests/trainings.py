"""What the tests of trainings share: a stand-in for the GPU, what it makes, and waiting for it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
import stand_in
import torch

from magicapture.adapters.adapter import Adapter
from magicapture.adapters.info import AdapterInfo
from magicapture.bases import MINI
from magicapture.config import TrainConfig
from magicapture.drawing.portrait import Portrait
from magicapture.method.progress import Progress, TrainEvent
from magicapture.method.training import Checkpoint
from magicapture.server.consent import give_consent
from magicapture.server.gpu import GpuError, refusal
from magicapture.server.job import Job
from magicapture.server.jobs import Jobs
from magicapture.server.plans import TrainingPlan
from magicapture.server.workspace import Workspace, new_key
from magicapture.subject import PERSON_NOUN

STEPS = 6

PLAN = TrainingPlan("mini", stand_in.references(32), stand_in.references(32), TrainConfig(), "My look")

INFO = AdapterInfo.of(MINI, preset="quick", rank=2, steps=STEPS, best_step=3, engine="stand-in")

LORA = {"down.lora_A.weight": torch.zeros(2, 4), "down.lora_B.weight": torch.zeros(4, 2)}

ADAPTER = Adapter(LORA, {"clip_l": torch.zeros(2, 4)}, INFO)


class Trainer:
    """Stands in for the GPU function: counts to ``STEPS``, waits where it is told to, breaks where it is told to."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.places: list[int] = []
        self.hold = False
        self.breaks_at: int | None = None
        self.error: Exception = GpuError(refusal(gr.Error("gone", title="ZeroGPU worker error")))

    def __call__(self, plan: TrainingPlan, checkpoint: Checkpoint | None, stop: Path, place: int) -> Iterator[object]:
        self.places.append(place)
        first = checkpoint.progress.step if checkpoint else 0
        self.started.append(first)
        for step in range(first + 1, STEPS + 1):
            previews = (Portrait(plan.person[0].image, 0, 0.5, 0.5, {}),) if step == 3 else ()
            yield TrainEvent("lora", step, STEPS, {"reconstruction": 1 / step}, previews)
            yield Checkpoint(TrainConfig(), {}, {}, {}, torch.zeros(1), Progress(step), "")
            if step == self.breaks_at:
                raise self.error
            while self.hold and not stop.exists():
                time.sleep(0.01)
            if stop.exists():
                break
        yield ADAPTER


def newcomer(root: Path, jobs: Jobs) -> Workspace:
    workspace = Workspace.of(new_key(), root)
    give_consent(jobs.records, workspace, PERSON_NOUN)
    return workspace


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(job: Job) -> Job:
    wait_until(lambda: not job.active)
    return job
