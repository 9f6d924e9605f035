"""What visitors have agreed to: to which text, and for photos of a person or of a thing."""

from magicapture.server.records import Consent, Records
from magicapture.server.workspace import Workspace
from magicapture.subject import PERSON_NOUN

VERSION = "2026-11-28.2"
"""Of the text in ``ui/consent.py``: change it whenever the meaning changes, and everyone is asked again."""

PURPOSE = "train an adapter on photos of a person and draw portraits with it"
PURPOSE_OF_THINGS = "train an adapter on photos of a thing and draw pictures of it"


def give_consent(records: Records, visitor: Workspace, noun: str) -> None:
    """Write down that ``visitor`` agrees to the text as it stands, for what ``noun`` names."""
    records.give_consent(visitor.name, VERSION, _purpose(noun))
    records.log("consent_given")


def consent_for(records: Records, visitor: Workspace, noun: str) -> Consent | None:
    """Find the last consent of ``visitor`` to the text as it stands, for what ``noun`` names; None without one."""
    return records.latest_consent(visitor.name, text_version=VERSION, purpose=_purpose(noun))


def _purpose(noun: str) -> str:
    return PURPOSE if noun == PERSON_NOUN else PURPOSE_OF_THINGS
