"""The two functions that run on the accelerator, how long they will take, and what a refusal means.

On ZeroGPU both run in a forked worker that the next visitor may get too: what they take and give is CPU tensors,
pictures and plain data, and what they put on the base they take off again (https://huggingface.co/docs/hub/spaces-zerogpu).
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import gradio as gr
import spaces
import torch
from spaces.config import Config as SpacesConfig

from magicapture.adapters.adapter import Adapter, AdapterError
from magicapture.bases import BaseError, load_base, resolve_base
from magicapture.config import GenerateConfig, TrainConfig
from magicapture.drawing.generation import generate
from magicapture.drawing.portrait import Portrait
from magicapture.faces import load_engine
from magicapture.messages import Message, joined
from magicapture.method.training import Checkpoint, TrainEvent, Training
from magicapture.photos.references import Reference
from magicapture.server.queue import Queue

ZERO_GPU: bool = SpacesConfig.zero_gpu
"""Whether this is a Space on ZeroGPU."""

QUEUE = Queue()
"""Training and drawing put LoRA layers on the base that the whole process shares: one of them at a time."""

START_SECONDS = 15
"""Loading, encoding the photos and handing the result over."""

CHECKPOINT_SECONDS = 20
"""Between two checkpoints within a slice: what a crash can cost."""

LITTLE_MEMORY = (
    "The GPU has too little free memory for this. Free what other programs hold of it, draw fewer portraits at once, "
    "or train on the embedded base model."
)

# The threads of OpenMP do not live on in a forked process, and the first parallel operation there would wait for them
# for ever. A process with one thread starts none.
os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


def training_seconds(base: str, config: TrainConfig, done: int = 0) -> float:
    """Foretell how long a training will take from its step ``done`` on, in seconds."""
    spec, pictures = resolve_base(base), config.images_per_task / 2
    previews = config.previews * config.preview_images * config.preview_steps / spec.sampling_steps
    whole = config.steps * spec.step_seconds * pictures + previews * spec.portrait_seconds
    return START_SECONDS + whole * (1 - done / config.steps)


def drawing_seconds(base: str, config: GenerateConfig) -> float:
    """Foretell how long portraits will take, in seconds."""
    spec = resolve_base(base)
    pace = (config.steps or spec.sampling_steps) / spec.sampling_steps
    return START_SECONDS + config.count * config.best_of * pace * spec.portrait_seconds


@contextmanager
def _user_errors() -> Iterator[None]:
    """Raise errors that are written for visitors as ``gr.Error``: of others, ZeroGPU passes on the name alone."""
    try:
        yield
    except (AdapterError, BaseError, ValueError) as error:
        raise gr.Error(str(error), print_exception=False) from error
    except torch.OutOfMemoryError as error:
        raise gr.Error(LITTLE_MEMORY, print_exception=False) from error


def _declared_training(
    base: str,
    person: list[Reference],
    style: list[Reference],
    config: TrainConfig,
    checkpoint: Checkpoint | None,
    stop: Path,
    seconds: float,
) -> int:
    """Give the seconds to ask ZeroGPU for: it calls this with the arguments of ``train_slice``."""
    del person, style, stop
    return round(min(seconds, training_seconds(base, config, checkpoint.progress.step if checkpoint else 0)))


def _declared_drawing(adapter: Adapter, config: GenerateConfig) -> int:
    """Give the seconds to ask ZeroGPU for: it calls this with the arguments of ``generate_portraits``."""
    return round(drawing_seconds(adapter.info.base, config))


@spaces.GPU(duration=_declared_training)
def train_slice(
    base: str,
    person: list[Reference],
    style: list[Reference],
    config: TrainConfig,
    checkpoint: Checkpoint | None,
    stop: Path,
    seconds: float,
) -> Iterator[TrainEvent | Checkpoint | Adapter]:
    """Train on the base called ``base`` from ``checkpoint`` on, for at most ``seconds``.

    Gives one event per step, now and then a checkpoint, and last of all the adapter when training is over, or else a
    checkpoint for the next slice; where slices end changes nothing in the result. As soon as the file ``stop`` exists,
    training ends early with the best it has; it is a file because a ZeroGPU worker is another process. Raises
    ``gr.Error``, which ``refusal`` puts into plain words.
    """
    ends = time.monotonic() + seconds
    with _user_errors(), Training(load_base(base), load_engine(), person, style, config) as training:
        if checkpoint is not None:
            training.restore(checkpoint)
        longest, before = 0.0, time.monotonic()
        saved = before
        for event in training:
            now = time.monotonic()
            longest, before = max(longest, now - before), now
            yield event
            if stop.exists():
                break
            if event.step < event.steps and now + 1.5 * longest > ends:
                yield training.checkpoint()
                return
            if now - saved > CHECKPOINT_SECONDS:
                yield training.checkpoint()
                saved = now
        yield training.adapter()


@spaces.GPU(duration=_declared_drawing)
def generate_portraits(adapter: Adapter, config: GenerateConfig) -> list[Portrait]:
    """Draw portraits on the base that ``adapter`` was trained on, best first.

    Raises ``gr.Error``, which ``refusal`` puts into plain words.
    """
    with _user_errors():
        return generate(load_base(adapter.info.base), load_engine(), adapter, config)


def refusal(error: gr.Error) -> str:
    """Say in a visitor's words why ZeroGPU refused, aborted or queued in vain: which limit, and what to do."""
    said, title = str(error.message), error.title
    asked = re.search(r"(\d+)s", said)
    seconds = Message("{n} s of GPU time", n=asked[1]) if asked else Message("the GPU time that this takes")
    if title == "ZeroGPU illegal duration":
        return Message(
            "Your account may not use {time} at once, so waiting does not help: sign in with Hugging Face for a longer "
            "limit, choose fewer steps or portraits, or duplicate the Space to a GPU of your own.",
            time=seconds,
        )
    if title == "ZeroGPU quota exceeded":
        left, wait = re.search(r"(\d+)s left", said), re.search(r"Try again in ([\d:]+)", said)
        small = "Your GPU quota for today is too small for {time}."
        if left:
            small = "Your GPU quota for today is too small for {time} ({n} s are left)."
        later = "Try again later, sign in with Hugging Face for a larger quota, or choose fewer steps or portraits."
        if wait:
            later = (
                "Try again in {wait} (hours:minutes:seconds), sign in with Hugging Face for a larger quota, or choose "
                "fewer steps or portraits."
            )
        return joined(" ", Message(small, time=seconds, n=left and left[1]), Message(later, wait=wait and wait[1]))
    if title == "ZeroGPU worker error":
        return Message(
            "The GPU worker stopped ({said}). What was learned before it is kept: go on from there, or try again.",
            said=said,
        )
    if title.startswith("ZeroGPU"):
        return Message("No GPU came free in time ({said}). Try again in a few minutes.", said=said)
    return said
