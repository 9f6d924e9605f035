"""Who was invited to review their portraits: a prepared folder on the page for each, known by its hashed name alone."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from magicapture.server.workspace.folder import VisitorFolder, remove
from magicapture.server.workspace.invitation import Invitation, new_token, prepare
from magicapture.settings import make_root, settings
from magicapture.staff.decisions import INVITED, decided
from magicapture.staff.run_folder import RunFolder

REVIEWS = "reviews.json"
"""By the person's number: the name of their folder on the page."""
NAME = re.compile(r"seed-?[0-9]+-(?P<key>[0-9a-f]{32})-(?P<file>portrait-[0-9]+\.png)")
"""What ``file_name`` gives; runs of earlier versions may have negative seeds."""


def invite(folder: RunFolder, person: int) -> tuple[str, datetime]:
    """Prepare a person's portraits on the page, those that they rejected left out; gives the link's token and its end.

    What was prepared for them before goes, and with it the link that led there.
    """
    make_root(settings().root)
    expires = datetime.now(UTC) + timedelta(hours=settings().result_hours)
    token, files = new_token(), {}
    with folder.changing():
        withdraw_invitation(folder, person)
        for one in decided(folder):
            if one.entry.person == person and one.decision != "rejected":
                place = "kept" if one.decision == "kept" else "new"
                name = f"portraits/{place}/{file_name(one.portrait.seed, one.entry.key, one.portrait.file)}"
                files[name] = (folder.cell(one.entry.key) / one.portrait.file).read_bytes()
        visitor = prepare(token, Invitation(folder.folder.resolve(), person, expires), files)
        folder.write_json(REVIEWS, {**_reviews(folder), str(person): visitor.name})
        folder.log(INVITED, person, portraits=len(files))
    return token, expires


def is_invited(folder: RunFolder, person: int) -> bool:
    """Tell whether a person has a review that is open still."""
    name = _reviews(folder).get(str(person))
    invitation = Invitation.of(VisitorFolder.named(name)) if name else None
    return invitation is not None and invitation.expires > datetime.now(UTC)


def withdraw_invitation(folder: RunFolder, person: int) -> int:
    """Delete what was prepared for a person, and the link to it; gives how many reviews that were.

    To be called within ``folder.changing()``.
    """
    reviews = _reviews(folder)
    name = reviews.pop(str(person), None)
    if name is None:
        return 0
    remove(VisitorFolder.named(name).folder)
    folder.write_json(REVIEWS, reviews)
    return 1


def file_name(seed: int, key: str, file: str) -> str:
    """Name a portrait on the page so that its cell and its file there are known again; the key cannot be guessed."""
    return f"seed{seed}-{key}-{Path(file).stem}.png"


def cell_of(name: str) -> tuple[str, str]:
    """Give the key and the file that ``file_name`` made ``name`` of. Raises ``ValueError`` for another's name."""
    if (found := NAME.fullmatch(name)) is None:
        raise ValueError(f"{name} is no portrait of a run.")
    return found["key"], found["file"]


def _reviews(folder: RunFolder) -> dict[str, str]:
    path = folder.folder / REVIEWS
    return json.loads(path.read_text()) if path.is_file() else {}
