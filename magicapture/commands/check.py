"""``check``: a verdict per photo, and whether they can be used as a set."""

import argparse
from pathlib import Path

from magicapture.commands.photos import add_subject, pictures_in
from magicapture.photos.references import check_photos
from magicapture.photos.subjects import load_subject


def add_command(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    parser = commands.add_parser("check", help="verdict per photo; exit 1 if unusable as a set")
    parser.add_argument("photos", nargs="+", type=Path, help="photos, or folders of photos")
    parser.add_argument("--role", choices=("person", "style"), default="person")
    add_subject(parser)
    parser.set_defaults(run=run_check)


def run_check(args: argparse.Namespace) -> tuple[dict, int]:
    """Give a verdict per photo; status 1 if they cannot be used as a set."""
    photos = check_photos(pictures_in(args.photos), args.role, load_subject(args.subject), 256)
    for verdict in photos.verdicts:
        print(verdict.sentence)
    for line in (*photos.warnings, photos.problem):
        if line:
            print(line)
    verdicts = [
        {"photo": v.name, "status": v.status, "problems": [p.code for p in v.problems]} for v in photos.verdicts
    ]
    return {"usable": photos.usable, "photos": verdicts}, 0 if photos.usable else 1
