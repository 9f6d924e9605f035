"""What the photos of each role should be, and the verdict on those that a visitor has."""

import asyncio
from pathlib import Path
from weakref import WeakValueDictionary

from anyio import to_thread

from magicapture.bases import BaseError, load_base, resolve_base
from magicapture.messages import Message
from magicapture.photos.references import CheckedSet, Role, check_photos
from magicapture.photos.subjects import load_subject
from magicapture.server.metrics import STAGE
from magicapture.server.workspace import Workspace
from magicapture.subject import PERSON_NOUN
from magicapture.ui.html import note
from magicapture.ui.photo_grid import photo_grid
from magicapture.ui.readiness import are_cut_for, called
from magicapture.ui.session import require_visitor

ROLES: dict[Role, tuple[str, str, str]] = {
    "person": (
        "The person",
        "Four to six photos of one person: face well lit and seen from the front, different days and backgrounds.",
        "Add photos of the person: drop them into the frame, or paste them from the clipboard.",
    ),
    "style": (
        "The style",
        "Four to six portraits or other pictures in the look: paintings, engravings, studio shots.",
        "Add pictures in the look you want: drop them into the frame, or paste them from the clipboard.",
    ),
}
"""Heading, explanation, and what to do while there is nothing."""
_AT_ONCE = asyncio.Semaphore(4)
_COMING_BACK: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
"""Held by who comes back, by the names of their folders."""


def roles_of(noun: str) -> dict[Role, tuple[str, str, str]]:
    """Give the same where the photos show a ``noun``."""
    if noun == PERSON_NOUN:
        return ROLES
    add = "Add photos of the {noun}: drop them into the frame, or paste them from the clipboard."
    return {
        "person": (
            Message("The {noun}", noun=called(noun)),
            "Four to six photos of the same one: other sides, days and backgrounds. Paint over it (✎), or cut it out.",
            Message(add, noun=called(noun)),
        ),
        "style": (
            "The style",
            "Four to six pictures in the look you want, of anything: paintings, engravings, studio shots.",
            "Add pictures in the look you want: drop them into the frame, or paste them from the clipboard.",
        ),
    }


def judge(
    role: Role, base: str, visitor: Workspace | None, before: CheckedSet | None = None
) -> tuple[CheckedSet | None, str]:
    """Check the visitor's photos, unless ``before`` is of these very ones; gives their ``CheckedSet`` and the grid."""
    visitor = require_visitor(visitor)
    paths, noun = visitor.photos(role), visitor.subject.noun
    if not paths:
        return None, note(roles_of(noun)[role][2])
    try:
        resolve_base(base).require(noun)
        side = side_for(base)
    except BaseError as error:
        return None, note(str(error), "bad")
    if before is None or not _is_of(before, paths, side, noun):
        with STAGE.labels("check").time():
            before = check_photos(paths, role, load_subject(noun), side, visitor.subject.masks(role))
    if visitor.subject.noun != noun:  # another choice was made while they were checked
        return judge(role, base, visitor)
    return before, photo_grid(before, paths)


def side_for(base: str) -> int:
    """Give the pixels a side that photos are cut to. Raises ``BaseError`` if only loading would tell, and fails."""
    return resolve_base(base).resolution or load_base(base).resolution


async def judge_again(base: str, visitor: Workspace) -> list:
    """Give what ``judge`` gives of both roles, one after the other, for a visitor who comes back.

    Who has no photos does not wait. Others do for few at a time, and each for their own: who opens a page a hundred
    times is looked at once, and then again.
    """

    def look() -> list:
        return [piece for role in ROLES for piece in judge(role, base, visitor)]

    if not any(visitor.photos(role) for role in ROLES):
        return await to_thread.run_sync(look)
    async with _COMING_BACK.setdefault(visitor.name, asyncio.Lock()), _AT_ONCE:
        return await to_thread.run_sync(look)


def _is_of(checked: CheckedSet, paths: list[Path], size: int, noun: str) -> bool:
    """Tell whether these very photos have been checked already, with nothing painted over them since."""
    same = [verdict.name for verdict in checked.verdicts] == [path.name for path in paths]
    as_people = checked.subject == noun == PERSON_NOUN
    return same and as_people and are_cut_for(size, checked)
