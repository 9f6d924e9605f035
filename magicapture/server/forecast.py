"""How long work on an accelerator will take, and what a visitor's quota on ZeroGPU is charged for it."""

import torch
from spaces.zero import default_gpu_size
from spaces.zero.config import get_config

from magicapture.bases import resolve_base
from magicapture.config import GenerateConfig, TrainConfig

START_SECONDS = 7
"""Of a slice: a worker that starts and gets the weights, the photos encoded, the result handed over. An estimate."""

ENLARGING_SECONDS = 1
"""Of a portrait of 512 pixels: Real-ESRGAN takes 9 TFLOP. An estimate."""


def training_seconds(base: str, config: TrainConfig, done: int = 0) -> float:
    """Foretell how long a training will take from its step ``done`` on, in seconds."""
    (step, portrait), usual = _seconds_of(base), resolve_base(base).sampling_steps
    share = config.images_per_task / 2 / (3 if config.one_task else 1)  # of the batch that ``step`` is for
    left = config.steps - done
    late = min(left, config.lora_steps)
    early = (left - late) * (1 if config.one_task else 2 / 3)  # of three tasks, phase 1 has two
    sampling = config.preview_images * config.preview_steps / usual
    previews = config.previews * late / config.lora_steps * sampling
    return START_SECONDS + (early + late) * share * step + previews * portrait


def drawing_seconds(base: str, config: GenerateConfig) -> float:
    """Foretell how long portraits will take, enlarged if that is asked for, in seconds."""
    usual = resolve_base(base).sampling_steps
    pace = (config.steps or usual) / usual
    drawing = START_SECONDS + config.count * config.best_of * pace * _seconds_of(base)[1]
    return drawing + (enlarging_seconds(config.count) if config.upscale > 1 else 0)


def enlarging_seconds(count: int) -> float:
    """Foretell how long enlarging ``count`` portraits will take, in seconds."""
    return START_SECONDS + count * ENLARGING_SECONDS


def quota_seconds(seconds: float) -> float:
    """Say what ZeroGPU counts for ``seconds`` that are declared there; by the configuration of ``spaces``."""
    return seconds * (2 if default_gpu_size() == "xlarge" else get_config()["duration_factor"])


def _seconds_of(base: str) -> tuple[float, float]:
    """Give the seconds of a step and of a portrait with the usual settings."""
    spec = resolve_base(base)
    on_gpu = spec.seconds_on_gpu if torch.cuda.is_available() else None
    return on_gpu or (spec.step_seconds, spec.portrait_seconds)
