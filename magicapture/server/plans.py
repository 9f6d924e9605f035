"""What a training needs to go on after a restart, as files."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from magicapture.config import TrainConfig
from magicapture.method.training import Checkpoint
from magicapture.photos.references import Reference
from magicapture.server import wire
from magicapture.server.wire import UnreadableError
from magicapture.server.workspace.folder import told_if_full
from magicapture.subject import PERSON_NOUN


@wire.sendable
@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """A training that was asked for.

    ``slice_seconds``: the longest GPU time that may be declared at once; ``subject``: the noun of what it is of.
    """

    base: str
    person: list[Reference]
    style: list[Reference]
    config: TrainConfig
    title: str = ""
    slice_seconds: float = float("inf")
    subject: str = PERSON_NOUN


Stored = TypeVar("Stored", TrainingPlan, Checkpoint)


def save(value: TrainingPlan | Checkpoint, path: Path) -> None:
    """Write ``value``; the file appears only when it is complete. Raises ``WorkspaceError`` if the disk is full."""
    part = path.with_suffix(".part")
    with told_if_full():
        try:
            part.write_bytes(wire.pack(value))  # torch would not say that the disk is full
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def load(path: Path, kind: type[Stored]) -> Stored:
    """Read what ``save`` wrote. Raises ``UnreadableError`` for anything but a ``kind``."""
    try:
        with path.open("rb") as file:
            value = wire.read(file)
    except (OSError, UnreadableError) as error:
        raise UnreadableError(f"{path.name} is damaged, or was not written by this version.") from error
    if not isinstance(value, kind):
        raise UnreadableError(f"{path.name} holds something else.")
    return value
