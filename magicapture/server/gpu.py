"""Lends accelerators: ZeroGPU's, a cluster's, this machine's own GPUs, or its CPU; and what a refusal of ZeroGPU means.

What is done there is in ``engine``. On ZeroGPU that runs in a forked worker that the next visitor may get too, so bytes
go in and bytes come out (https://huggingface.co/docs/hub/spaces-zerogpu); scores are found out here, at no one's quota.
"""

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr  # spaces raises its errors, and no other module here knows of it
import spaces
import torch
from PIL import Image
from spaces.config import Config as SpacesConfig

from magicapture.adapters.adapter import Adapter
from magicapture.bases import MINI, BaseError, BaseSpec, load_base, offered_bases
from magicapture.config import GenerateConfig
from magicapture.drawing.generation import enlarged
from magicapture.drawing.portrait import Portrait
from magicapture.messages import Message, joined
from magicapture.method.progress import Progress, TrainEvent
from magicapture.method.training import Checkpoint
from magicapture.photos.subjects import load_subject
from magicapture.scoring import Targets
from magicapture.server import engine
from magicapture.server.elsewhere import cluster
from magicapture.server.engine import NOTHING_CAME, DrawRequest, EnlargeRequest, Failure, TrainRequest
from magicapture.server.forecast import device, drawing_seconds, enlarging_seconds, training_seconds
from magicapture.server.plans import TrainingPlan
from magicapture.server.queue import Queue
from magicapture.server.wire import pack, unpack
from magicapture.subject import PERSON_NOUN, THING_NOUN

ZERO_GPU: bool = SpacesConfig.zero_gpu
"""Whether this is a Space on ZeroGPU."""

UNBOUNDED = 10**6
QUEUE = Queue(UNBOUNDED if ZERO_GPU else max(1, torch.cuda.device_count()))
"""Training and drawing put LoRA layers on the base that a process has on each GPU: one of them at a time.

On ZeroGPU each has a process of its own, and the platform lets visitors wait."""

MARGIN_SECONDS = 4
"""Of what is declared for a slice: for its start before the clock of ``engine.train``, and its end after it."""

# The threads of OpenMP do not live on in a forked process, and the first parallel operation there would wait for them
# for ever. A process with one thread starts none.
os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


class GpuError(Exception):
    """Work that an accelerator did not do; the text says why and what to do."""


def offered() -> dict[str, BaseSpec]:
    """Give the bases that can be chosen by name; on ZeroGPU those that are loaded."""
    return _loaded() if ZERO_GPU else offered_bases(gpu=device() == "cuda")


@lru_cache(maxsize=1)
def _loaded() -> dict[str, BaseSpec]:
    """Load the installation's own base and the embedded one, which on ZeroGPU only the main thread can do."""
    return {spec.name: spec for spec in (load_base(name).spec for name in ("auto", MINI.name))}


def prepare() -> None:
    """Load, once and from the main thread, what workers inherit: a visitor's time should not pay for it.

    Joins the cluster that ``MAGICAPTURE_ENGINE`` names. Raises ``ClusterError`` when it cannot be had.
    """
    if there := cluster():
        there.join(QUEUE)
    offered()
    for noun in (PERSON_NOUN, THING_NOUN):
        load_subject(noun).critic()


def require_base(name: str) -> None:
    """Raise ``BaseError`` if nothing can be trained on the base called ``name`` here; a cluster says so itself."""
    if cluster():
        return
    if not ZERO_GPU:
        load_base(name)
    elif name not in offered():
        titles = joined(", ", *(Message(spec.title) for spec in offered().values()))
        raise BaseError(Message("This Space has other base models: {bases}. Choose one of them.", bases=titles))


def train_slice(
    plan: TrainingPlan, checkpoint: Checkpoint | None, stop: Path, place: int = 0
) -> Iterator[TrainEvent | Checkpoint | Adapter]:
    """Train as ``plan`` says from ``checkpoint`` on, on the accelerator number ``place``.

    Gives one event per step, now and then a checkpoint, and last of all the adapter when training is over, or else a
    checkpoint for the next slice. As soon as the file ``stop`` exists, training ends early with the best it has; it is
    a file because a worker is another process. Raises ``GpuError``, also when a slice ends without having come further.
    """
    progress = checkpoint.progress.at(checkpoint.progress.step) if checkpoint else Progress()
    first, subject = progress.step, load_subject(plan.subject)
    targets = Targets.of(plan.person, plan.style, subject)
    seconds = min(plan.slice_seconds, training_seconds(plan.base, plan.config, first))
    request = TrainRequest(
        plan.base,
        plan.person,
        plan.style,
        plan.config,
        checkpoint and engine.without_scores(checkpoint),
        seconds - MARGIN_SECONDS if ZERO_GPU else float("inf"),
        plan.subject,
    )
    with _errors(), _device(place):
        for data in _runner().train(pack(request), stop, round(seconds)):
            match _received(data):
                case TrainEvent() as event:
                    yield progress.judge(event, targets, subject)
                case Checkpoint() as last:
                    progress = progress.at(last.progress.step)
                    yield replace(last, progress=progress.at(progress.step))
                case Adapter() as adapter:
                    yield progress.crown(adapter, targets)
                    return
    if progress.step == first:
        raise GpuError(NOTHING_CAME)


def draw(adapter: Adapter, config: GenerateConfig, place: int = 0) -> list[Image.Image]:
    """Draw a picture for each of ``config.seeds`` on the accelerator number ``place``. Raises ``GpuError``."""
    with _errors(), _device(place):
        require_base(adapter.info.base)
        seconds = round(drawing_seconds(adapter.info.base, config))
        return _received(_runner().draw(pack(DrawRequest(adapter, config)), seconds))


def enlarge(portraits: list[Portrait], factor: int, place: int = 0) -> Iterator[Portrait]:
    """Enlarge ``portraits`` on the accelerator number ``place``, one after the other. Raises ``GpuError``."""
    with _errors(), _device(place):
        images = [portrait.image for portrait in portraits]
        larger = _runner().enlarge(pack(EnlargeRequest(images, factor)), round(enlarging_seconds(images)))
        for portrait, data in zip(portraits, larger, strict=True):
            yield enlarged(portrait, *_received(data))


def _declared(*arguments: Any) -> int:
    """Give the seconds to ask ZeroGPU for: it calls this with the arguments of the functions below."""
    return arguments[-1]


@spaces.GPU(duration=_declared)
def _training(request: bytes, stop: Path, seconds: int) -> Iterator[bytes]:
    del seconds
    yield from engine.train(request, stop.exists)


@spaces.GPU(duration=_declared)
def _drawing(request: bytes, seconds: int) -> bytes:
    del seconds
    return engine.draw(request)


@spaces.GPU(duration=_declared)
def _enlarging(request: bytes, seconds: int) -> Iterator[bytes]:
    del seconds
    yield from engine.enlarge(request)


def _received(data: bytes) -> Any:
    """Give what came back. Raises ``GpuError`` if that is a failure."""
    match unpack(data):
        case Failure(sentence=sentence):
            raise GpuError(sentence)
        case result:
            return result


def _device(place: int) -> AbstractContextManager:
    """Make the GPU number ``place`` this thread's own: bases are loaded there, and found there again."""
    return torch.cuda.device(place) if QUEUE.places > 1 and not (ZERO_GPU or cluster()) else nullcontext()


def _runner() -> Any:
    """Give what runs ``engine``'s functions: the cluster, or this machine."""
    return cluster() or SimpleNamespace(train=_training, draw=_drawing, enlarge=_enlarging)


@contextmanager
def _errors() -> Iterator[None]:
    """Raise as ``GpuError`` what is written for visitors, and put into their words what ``spaces`` raises."""
    try:
        yield
    except gr.Error as error:
        raise GpuError(refusal(error)) from error
    except BaseError as error:
        raise GpuError(str(error)) from error


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
    if said.startswith("Expired"):
        return "Your visit to this Space has run out: reload the page, then go on from where it was, or try again."
    if title == "ZeroGPU quota exceeded" and not said.startswith("No GPU"):
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
