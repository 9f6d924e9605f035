"""What a training needs to go on after a restart, as plain data: nothing that is read back can run code."""

from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from PIL import Image

from magicapture.config import TrainConfig
from magicapture.method.training import Checkpoint, Progress, Weights
from magicapture.photos.references import Reference
from magicapture.server.workspace.folder import told_if_full

KIND = "__kind__"
"""The key that says what a dict stands for."""


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """A training that was asked for. ``slice_seconds``: the longest GPU time that may be declared at once."""

    base: str
    person: list[Reference]
    style: list[Reference]
    config: TrainConfig
    title: str = ""
    slice_seconds: float = float("inf")


KINDS = {kind.__name__: kind for kind in (TrainingPlan, Checkpoint, Progress, Weights, TrainConfig, Reference)}


class UnreadableError(Exception):
    """A file that does not hold what ``save`` writes."""


def save(value: TrainingPlan | Checkpoint, path: Path) -> None:
    """Write ``value``; the file appears only when it is complete. Raises ``WorkspaceError`` if the disk is full."""
    part = path.with_suffix(".part")
    with told_if_full():
        try:
            torch.save(_plain(value), part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def load(path: Path) -> TrainingPlan | Checkpoint:
    """Read what ``save`` wrote. Raises ``UnreadableError`` for anything else."""
    try:
        value = _whole(torch.load(path, weights_only=True))
    except (OSError, RuntimeError, UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        raise UnreadableError(f"{path.name} is damaged, or was not written by this version.") from error
    if not isinstance(value, TrainingPlan | Checkpoint):
        raise UnreadableError(f"{path.name} holds something else.")
    return value


def _plain(value: object) -> object:
    """Turn ``value`` into tensors, numbers, texts, lists and dicts of them."""
    match value:
        case Image.Image():
            return {KIND: "image", "pixels": torch.from_numpy(np.array(value.convert("RGB")))}
        case np.ndarray():
            return {KIND: "array", "values": torch.from_numpy(value.copy())}
        case np.generic():
            return value.item()
        case frozenset():
            return {KIND: "set", "items": sorted(value)}
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case list() | tuple():
            return type(value)(_plain(item) for item in value)
        case str():
            return value[:]  # a message becomes its text
    if is_dataclass(value):
        parts = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        return {KIND: type(value).__name__, "parts": parts}
    return value


def _whole(value: object) -> object:
    """Turn what ``_plain`` gave into what it was given."""
    match value:
        case {"__kind__": "image", "pixels": pixels}:
            return Image.fromarray(pixels.numpy())
        case {"__kind__": "array", "values": values}:
            return values.numpy()
        case {"__kind__": "set", "items": items}:
            return frozenset(items)
        case {"__kind__": kind, "parts": parts}:
            return KINDS[kind](**{name: _whole(part) for name, part in parts.items()})
        case dict():
            return {name: _whole(item) for name, item in value.items()}
        case list() | tuple():
            return type(value)(_whole(item) for item in value)
    return value
