"""All that runs on an accelerator: bytes in, bytes out (see ``wire``), whichever process or machine it is in.

It ends before anything is scored: a CPU can do that, and an accelerator's seconds are counted. What goes wrong in a way
that a visitor can be told comes back as a ``Failure``; anything else is raised.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from PIL import Image

from magicapture.adapters.adapter import Adapter, AdapterError
from magicapture.bases import BaseError, load_base
from magicapture.config import GenerateConfig, TrainConfig
from magicapture.drawing.enhance import upscale
from magicapture.drawing.generation import draw_candidates
from magicapture.method.progress import Progress, TrainEvent
from magicapture.method.training import Checkpoint, Training
from magicapture.photos.references import Reference
from magicapture.photos.subjects import load_subject
from magicapture.server.wire import pack, sendable, unpack
from magicapture.subject import PERSON_NOUN

CHECKPOINT_SECONDS = 20
"""Between two checkpoints within a slice: what a crash can cost."""

LITTLE_MEMORY = (
    "The GPU has too little free memory for this. Free what other programs hold of it, draw fewer portraits at once, "
    "or train on the embedded base model."
)
NOTHING_CAME = (
    "The GPU worker ended without a result. Your photos and what was learned before are kept: go on from there, or try "
    "again."
)


@sendable
@dataclass(frozen=True, eq=False)
class TrainRequest:
    """A slice of a training: at most ``seconds`` of it, from ``checkpoint`` on, of what the noun ``subject`` names."""

    base: str
    person: list[Reference]
    style: list[Reference]
    config: TrainConfig
    checkpoint: Checkpoint | None
    seconds: float
    subject: str = PERSON_NOUN


@sendable
@dataclass(frozen=True, eq=False)
class DrawRequest:
    """A picture for each of ``config.seeds``, on the base that ``adapter`` was trained on."""

    adapter: Adapter
    config: GenerateConfig


@sendable
@dataclass(frozen=True, eq=False)
class EnlargeRequest:
    """Pictures to be enlarged ``factor`` times."""

    images: list[Image.Image]
    factor: int


@sendable
@dataclass(frozen=True, eq=False)
class Failure:
    """What went wrong, as a sentence for the visitor."""

    sentence: str

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Put ``error``, one of ``TOLD``, into words."""
        return cls(LITTLE_MEMORY if isinstance(error, torch.OutOfMemoryError) else str(error))


TOLD = (AdapterError, BaseError, ValueError, torch.OutOfMemoryError)
"""The errors whose text is written for visitors, and one that they can do something about."""


def train(request: bytes, stopped: Callable[[], bool]) -> Iterator[bytes]:
    """Train a slice as a ``TrainRequest`` says, until ``stopped`` says otherwise.

    Gives an unscored ``TrainEvent`` per step, now and then a ``Checkpoint``, and last of all the unscored ``Adapter``
    when training is over, or else a checkpoint for the next slice; or a ``Failure``. Where slices end changes nothing
    in the result.
    """
    try:
        for item in _train(unpack(request), stopped):
            yield pack(item)
    except TOLD as error:
        yield pack(Failure.of(error))


def draw(request: bytes) -> bytes:
    """Draw as a ``DrawRequest`` says; gives the pictures, in the order of their seeds, or a ``Failure``."""
    try:
        asked = unpack(request)
        return pack(draw_candidates(load_base(asked.adapter.info.base), asked.adapter, asked.config))
    except TOLD as error:
        return pack(Failure.of(error))


def enlarge(request: bytes) -> Iterator[bytes]:
    """Enlarge as an ``EnlargeRequest`` says; gives each picture with what enlarged it, or a ``Failure``."""
    try:
        asked = unpack(request)
        for image in asked.images:
            yield pack(upscale(image, asked.factor))
    except TOLD as error:
        yield pack(Failure.of(error))


def _train(asked: TrainRequest, stopped: Callable[[], bool]) -> Iterator[TrainEvent | Checkpoint | Adapter]:
    ends = time.monotonic() + asked.seconds
    base, subject = load_base(asked.base), load_subject(asked.subject)
    with Training(base, subject, asked.person, asked.style, asked.config) as training:
        if asked.checkpoint is not None:
            training.restore(asked.checkpoint)
        longest, before = 0.0, time.monotonic()
        saved = before
        for event in training.unscored():
            now = time.monotonic()
            longest, before = max(longest, now - before), now
            yield event
            if stopped():
                break
            if event.step < event.steps and now + 1.5 * longest > ends:
                yield training.checkpoint()
                return
            if now - saved > CHECKPOINT_SECONDS:
                yield training.checkpoint()
                saved = now
        yield training.unscored_adapter()


def without_scores(checkpoint: Checkpoint) -> Checkpoint:
    """Leave out of ``checkpoint`` what only scoring needs, the best state among it: nothing here looks at it."""
    return replace(checkpoint, progress=Progress(checkpoint.progress.step))
