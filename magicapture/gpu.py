"""The two functions that run on the accelerator, one at a time, and how long they will take."""

import threading
from collections.abc import Iterator
from pathlib import Path

import spaces

from magicapture.adapter import Adapter
from magicapture.bases import load_base, resolve_base
from magicapture.config import GenerateConfig, TrainConfig
from magicapture.faces import load_engine
from magicapture.generation import Portrait, generate
from magicapture.references import Reference
from magicapture.training import TrainEvent, Training

TURN = threading.Lock()
"""Training and drawing put LoRA layers on the base that the whole process shares: whoever does either holds this."""

STEP_SECONDS = {"mini": 0.4, "other": 0.3}
"""Of a training step with two pictures per task: the embedded base on two CPU cores, larger ones on a GPU."""

PORTRAIT_SECONDS = {"mini": 2.0, "other": 3.0}
START_SECONDS = 15
"""Loading, encoding the photos and handing the result over."""


def training_seconds(base: str, config: TrainConfig) -> float:
    """Foretell how long a training will take, in seconds."""
    speed = STEP_SECONDS["mini" if resolve_base(base).name == "mini" else "other"]
    pictures = config.images_per_task / 2
    previews = config.previews * config.preview_images * config.preview_steps / GenerateConfig.steps
    return START_SECONDS + config.steps * speed * pictures + previews * _portrait_seconds(base)


def _portrait_seconds(base: str) -> float:
    return PORTRAIT_SECONDS["mini" if resolve_base(base).name == "mini" else "other"]


def _declared_training(
    base: str, person: list[Reference], style: list[Reference], config: TrainConfig, stop: Path
) -> int:
    """Give the seconds to ask ZeroGPU for: it calls this with the arguments of ``train_adapter``."""
    del person, style, stop
    return round(training_seconds(base, config))


def _declared_drawing(adapter: Adapter, config: GenerateConfig) -> int:
    """Give the seconds to ask ZeroGPU for: it calls this with the arguments of ``generate_portraits``."""
    return round(START_SECONDS + config.count * config.best_of * _portrait_seconds(adapter.info["base"]))


@spaces.GPU(duration=_declared_training)
def train_adapter(
    base: str, person: list[Reference], style: list[Reference], config: TrainConfig, stop: Path
) -> Iterator[TrainEvent | Adapter]:
    """Train on the base called ``base``: one event per step, and the adapter as the last thing.

    As soon as the file ``stop`` exists, training ends early with the best it has; it is a file because on ZeroGPU
    this runs in another process. Closing the iterator ends training without an adapter.
    """
    with TURN, Training(load_base(base), load_engine(), person, style, config) as training:
        for event in training:
            yield event
            if stop.exists():
                break
        yield training.adapter()


@spaces.GPU(duration=_declared_drawing)
def generate_portraits(adapter: Adapter, config: GenerateConfig) -> list[Portrait]:
    """Draw portraits on the base that ``adapter`` was trained on, best first."""
    with TURN:
        return generate(load_base(adapter.info["base"]), load_engine(), adapter, config)
