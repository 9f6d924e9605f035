"""What the photos of each role should be, and the verdict on those that a visitor has."""

from pathlib import Path

from magicapture.bases import BaseError, load_base
from magicapture.faces import load_engine
from magicapture.photos.references import CheckedSet, Role, check_photos
from magicapture.server.metrics import STAGE
from magicapture.server.workspace import Workspace
from magicapture.ui.html import note
from magicapture.ui.photo_grid import photo_grid
from magicapture.ui.session import require_visitor

ROLES: dict[Role, tuple[str, str, str]] = {
    "person": (
        "The person",
        "Four to six photos of one person: face well lit and seen from the front, different days and backgrounds.",
        "Add photos of the person: drop them into the frame, take one with the camera, or paste from the clipboard.",
    ),
    "style": (
        "The style",
        "Four to six portraits in the look you want, of anyone: paintings, engravings, studio shots.",
        "Add portraits in the look you want: drop them into the frame, or paste them from the clipboard.",
    ),
}
"""Heading, explanation, and what to do while there is nothing."""


def judge(
    role: Role, base: str, visitor: Workspace | None, before: CheckedSet | None = None
) -> tuple[CheckedSet | None, str]:
    """Check the visitor's photos, unless ``before`` is of these very ones; gives their ``CheckedSet`` and the grid."""
    paths = require_visitor(visitor).photos(role)
    if not paths:
        return None, note(ROLES[role][2])
    try:
        size = load_base(base).resolution
    except BaseError as error:
        return None, note(str(error), "bad")
    if before is None or not _is_of(before, paths, size):
        with STAGE.labels("check").time():
            before = check_photos(paths, role, load_engine(), size)
    return before, photo_grid(before, paths)


def _is_of(checked: CheckedSet, paths: list[Path], size: int) -> bool:
    """Tell whether these very photos have been checked already."""
    same = [verdict.name for verdict in checked.verdicts] == [path.name for path in paths]
    return same and all(reference.image.width == size for reference in checked.references)
