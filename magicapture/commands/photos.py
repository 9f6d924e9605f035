"""Photos as they are named on the command line."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from magicapture.photos.reading import photos_in
from magicapture.photos.references import CheckedSet, Role, check_photos
from magicapture.subject import PERSON_NOUN, Subject


class UsageError(ValueError):
    """Something that whoever typed the command can mend; shown as one sentence."""


def add_subject(parser: argparse.ArgumentParser) -> None:
    """Describe the option that several commands share."""
    what = 'in English, such as "teapot": a thing is on a transparent background, or a segmenter finds it by that name'
    parser.add_argument("--subject", default=PERSON_NOUN, metavar="NOUN", help=what)


def pictures_in(paths: Iterable[Path]) -> list[Path]:
    """Replace each folder by the pictures in it, by name. Raises ``UsageError`` when nothing is left."""
    found = []
    for path in paths:
        found.extend(photos_in(path) if path.is_dir() else [path])
    missing = [path.name for path in found if not path.is_file()]
    if missing or not found:
        raise UsageError(
            f"No such photo: {', '.join(missing)}." if missing else "There are no pictures in that folder."
        )
    return found


def checked(folder: Path, role: Role, subject: Subject, side: int) -> CheckedSet:
    """Check the photos in ``folder`` and show their faults. Raises ``UsageError`` when they cannot be used."""
    photos = check_photos(pictures_in([folder]), role, subject, side)
    for verdict in photos.verdicts:
        if verdict.problems:
            print(verdict.sentence, file=sys.stderr)
    if not photos.usable:
        raise UsageError(photos.problem)
    return photos
