"""The portraits in a visitor's folder: those that are new and those that are kept, and files that are damaged."""

from dataclasses import dataclass
from pathlib import Path

from magicapture.drawing.portrait import readable
from magicapture.messages import Message, joined
from magicapture.server.workspace.folder import VisitorFolder, WorkspaceError
from magicapture.subject import PERSON_NOUN

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


def require_likeness(facts: dict, least: float | None) -> None:
    """Raise ``TooLittleLikenessError`` if a portrait's likeness is unknown or below ``least``.

    Pictures of things are free of it: the bound is meant for what recognisers of faces measure.
    """
    likeness = likeness_of(facts)
    if least is None or likeness >= least or facts.get("subject", PERSON_NOUN) != PERSON_NOUN:
        return
    found = "Portraits can be kept here from a likeness of {n}; this one has {m}."
    if likeness < -1:
        found = "Portraits can be kept here from a likeness of {n}; this one cannot be compared with the person."
    said = Message(found, n=f"{least:.2f}", m=f"{likeness:.2f}")
    raise TooLittleLikenessError(joined(" ", said, "Draw more, or turn the dial towards the person."))
