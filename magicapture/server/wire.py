"""What the app knows as plain bytes, and back: for files, for workers, for other machines.

One ``torch.save`` of tensors, numbers and texts, read with ``weights_only``: nothing that is read back can run code,
and however many tensors there are, no file descriptor is shared with whoever reads them.
"""

import io
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pickle import UnpicklingError
from typing import IO, TypeVar

import numpy as np
import torch
from PIL import Image

from magicapture.adapters.adapter import Adapter
from magicapture.adapters.info import AdapterInfo
from magicapture.config import GenerateConfig, TrainConfig
from magicapture.drawing.portrait import Portrait
from magicapture.messages import Message
from magicapture.method.progress import Preview, Progress, TrainEvent, Weights
from magicapture.method.training import Checkpoint
from magicapture.photos.references import Reference
from magicapture.scoring import Targets

KIND = "__kind__"
"""The key that says what a dict stands for."""

Kind = TypeVar("Kind", bound=type)
KINDS: dict[str, type] = {}
"""The dataclasses that may be sent, by name."""


class UnreadableError(Exception):
    """Bytes that are not what ``pack`` gives."""


def sendable(kind: Kind) -> Kind:
    """Let a dataclass be sent."""
    KINDS[kind.__name__] = kind
    return kind


for known in (
    *(Adapter, AdapterInfo, Checkpoint, GenerateConfig, Portrait, Preview, Progress, Reference, Targets, TrainConfig),
    *(TrainEvent, Weights),
):
    sendable(known)


def pack(value: object) -> bytes:
    """Give ``value`` as bytes. Raises ``TypeError`` for what cannot be sent."""
    buffer = io.BytesIO()
    torch.save(plain(value), buffer)
    return buffer.getvalue()


def unpack(data: bytes) -> object:
    """Give what ``pack`` was given. Raises ``UnreadableError`` for anything else."""
    return read(io.BytesIO(data))


def read(file: IO[bytes]) -> object:
    """Do the same for an open file."""
    try:
        return _whole(torch.load(file, weights_only=True))
    except (OSError, RuntimeError, UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        raise UnreadableError("This is damaged, or was not written by this version.") from error


def plain(value: object) -> object:
    """Turn ``value`` into tensors, numbers, texts, lists and dicts of them. Raises ``TypeError`` where that fails."""
    match value:
        case Image.Image():
            return {KIND: "image", "pixels": torch.from_numpy(np.array(value.convert("RGB")))}
        case np.ndarray():
            return {KIND: "array", "values": torch.from_numpy(value.copy())}
        case np.generic():
            return value.item()
        case frozenset():
            return {KIND: "set", "items": sorted(value)}
        case Message():
            return {KIND: "message", "key": value.key[:], "values": _said(value.values.items())}
        case dict():
            return {name: plain(item) for name, item in value.items()}
        case list() | tuple():
            return type(value)(plain(item) for item in value)
        case torch.Tensor():
            return value.detach().cpu()
        case None | bool() | int() | float() | str() | bytes():
            return value
    if type(value).__name__ in KINDS and is_dataclass(value):
        parts = {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        return {KIND: type(value).__name__, "parts": parts}
    raise TypeError(f"A {type(value).__name__} cannot be sent.")


def _said(values: Iterable[tuple[str, object]]) -> dict[str, object]:
    """Give a message's values; of one that cannot be sent, such as an error, what it says."""
    return {name: plain(item if isinstance(item, Message | int | float) else str(item)) for name, item in values}


def _whole(value: object) -> object:
    """Turn what ``plain`` gave into what it was given."""
    match value:
        case {"__kind__": "image", "pixels": pixels}:
            return Image.fromarray(pixels.numpy())
        case {"__kind__": "array", "values": values}:
            return values.numpy()
        case {"__kind__": "set", "items": items}:
            return frozenset(items)
        case {"__kind__": "message", "key": key, "values": values}:
            return Message(key, **_whole(values))
        case {"__kind__": kind, "parts": parts}:
            return KINDS[kind](**{name: _whole(part) for name, part in parts.items()})
        case dict():
            return {name: _whole(item) for name, item in value.items()}
        case list() | tuple():
            return type(value)(_whole(item) for item in value)
    return value
