"""From which likeness on a portrait may be kept, where an installation says so."""

from magicapture.messages import Message, joined
from magicapture.server.workspace.folder import WorkspaceError
from magicapture.subject import PERSON_NOUN


class TooLittleLikenessError(WorkspaceError):
    """A portrait that may not be kept here because it is too unlike the person."""


def likeness_of(facts: dict) -> float:
    """Give the likeness of a portrait to sort and judge by; unknown is less than any."""
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
