"""The portraits in a visitor's folder: those that are new and those that are kept, and files that are damaged."""

from dataclasses import dataclass
from pathlib import Path

from magicapture.drawing.portrait import readable
from magicapture.server.workspace.folder import VisitorFolder, WorkspaceError

PLACES = ("new", "kept")
"""The folders of portraits, by whether they are kept."""


class TooLittleLikenessError(WorkspaceError):
    """A portrait that may not be kept here because it is too unlike the person."""


class PortraitGoneError(WorkspaceError):
    """A portrait that is not there any more, or is another visitor's."""

    def __init__(self) -> None:
        super().__init__("This portrait is not there any more: it was deleted, or its time was up.")


@dataclass(frozen=True)
class KeptPortrait:
    """A portrait on disk; ``facts`` is what ``read_facts`` gives, ``kept`` says whether the visitor keeps it."""

    path: Path
    facts: dict
    kept: bool


def portrait_files(place: VisitorFolder) -> list[Path]:
    """List the files of all portraits, whatever is in them."""
    return [path for name in PLACES for path in place.entries("portraits", name)]


def look_through(place: VisitorFolder) -> tuple[list[KeptPortrait], list[Path]]:
    """List all portraits, best likeness first, those that could not be compared last; and files that are damaged."""
    files = portrait_files(place)
    found = readable(files)
    portraits = [KeptPortrait(path, facts, path.parent.name == "kept") for path, facts in found.items()]
    damaged = [path for path in files if path not in found and path.is_file()]
    return sorted(portraits, key=lambda one: (likeness_of(one.facts), one.path.name), reverse=True), damaged


def likeness_of(facts: dict) -> float:
    """Give the likeness to sort and judge by; unknown is less than any."""
    return -2.0 if facts["likeness"] is None else facts["likeness"]
