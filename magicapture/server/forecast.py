"""How long work on an accelerator will take, and what a visitor's quota on ZeroGPU is charged for it."""

from collections.abc import Iterable
from typing import Literal

import torch
from PIL import Image
from spaces.config import Config as SpacesConfig
from spaces.zero import default_gpu_size
from spaces.zero.config import get_config

from magicapture.bases import ZERO_GPU_TFLOPS, resolve_base
from magicapture.bases.gpus import ZERO_GPU_PEAK, gpu_called
from magicapture.config import GenerateConfig, TrainConfig
from magicapture.server.elsewhere import cluster

START_SECONDS = {"cuda": 7, "cpu": 2}
"""Of a slice: a worker that starts and gets the weights, the photos encoded, the result handed over. An estimate."""

ENLARGING_SECONDS = {"cuda": 1, "cpu": 63}
"""Of a picture of 512 × 512 pixels, for which Real-ESRGAN takes 9 TFLOP: an estimate, and as ``bench`` measures it on
two cores."""

PROMPT_SECONDS, MOST_CANDIDATES = 20, 4
"""Within which several candidates of each portrait are drawn where the visitor has not chosen, and the most of them."""

CPU_TFLOPS = 0.25
"""TFLOP a second that two cores do, as ``bench`` measures them."""


def training_seconds(base: str, config: TrainConfig, done: int = 0) -> float:
    """Foretell how long a training will take from its step ``done`` on, in seconds."""
    step, portrait = _seconds_of(base)
    steps, previews = resolve_base(base).training_work(config, done)
    return START_SECONDS[device()] + steps * step + previews * portrait


def drawing_seconds(base: str, config: GenerateConfig) -> float:
    """Foretell how long portraits will take, before they are enlarged, in seconds."""
    return START_SECONDS[device()] + resolve_base(base).drawing_work(config) * _seconds_of(base)[1]


def usual_candidates(base: str) -> int:
    """Say of how many candidates each portrait is the best where the visitor has not chosen: one on ZeroGPU, by quota.

    Poor ones are left out so. To a judge that has no part in the choice the best of four have 0.01 more of likeness
    where portraits are steady, and 0.03 where they are not (docs/findings.md).
    """
    if SpacesConfig.zero_gpu:
        return 1
    many = range(MOST_CANDIDATES, 1, -1)
    return next((n for n in many if drawing_seconds(base, GenerateConfig(best_of=n)) <= PROMPT_SECONDS), 1)


def enlarging_seconds(images: Iterable[Image.Image]) -> float:
    """Foretell how long enlarging ``images`` will take, in seconds."""
    area = sum(image.width * image.height for image in images) / 512**2
    return START_SECONDS[device()] + area * ENLARGING_SECONDS[device()]


def quota_seconds(seconds: float) -> float:
    """Say what ZeroGPU counts for ``seconds`` that are declared there; by the configuration of ``spaces``."""
    return seconds * (2 if default_gpu_size() == "xlarge" else get_config()["duration_factor"])


def device() -> Literal["cuda", "cpu"]:
    """Say what visitors' work is computed on."""
    if there := cluster():
        return there.device()
    return "cuda" if torch.cuda.is_available() else "cpu"


def _seconds_of(base: str) -> tuple[float, float]:
    """Give the seconds of a step and of a portrait with the usual settings."""
    spec = resolve_base(base)
    step, portrait = spec.step_seconds, spec.portrait_seconds
    if device() == "cuda":
        if spec.seconds_on_gpu:
            return spec.seconds_on_gpu
        slower = _slower_than_zero_gpu()
    else:
        slower = 1 if spec.seconds_on_gpu else ZERO_GPU_TFLOPS / CPU_TFLOPS  # the figures are those of a GPU
    return step * slower, portrait * slower


def _slower_than_zero_gpu() -> float:
    """Say how many times as long it takes here as on what ZeroGPU lends, by the peaks of both.

    1 where the GPU is not known: it is another's, a cluster's node may have any.
    """
    gpu = None if SpacesConfig.zero_gpu or cluster() else gpu_called(torch.cuda.get_device_name())
    return ZERO_GPU_PEAK / gpu.peak if gpu else 1
