"""``score``: likeness and style of pictures."""

import argparse
import sys
from pathlib import Path

from magicapture.commands.photos import UsageError, add_subject, checked, pictures_in
from magicapture.photos.reading import PhotoError, read_photo
from magicapture.photos.subjects import load_subject
from magicapture.scoring import Targets, likeness_in_words, score
from magicapture.subject import PERSON_NOUN, Subject


def add_command(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    parser = commands.add_parser("score", help="likeness and style of pictures")
    parser.add_argument("images", nargs="+", type=Path, help="pictures, or folders of pictures")
    parser.add_argument("--person", type=Path, required=True)
    parser.add_argument("--style", type=Path)
    add_subject(parser)
    parser.set_defaults(run=run_score)


def run_score(args: argparse.Namespace) -> tuple[dict, int]:
    """Score pictures against photos of a person and, if given, a style."""
    subject = load_subject(args.subject)
    person = checked(args.person, "person", subject, 256).references
    style = checked(args.style, "style", subject, 256).references if args.style else []
    targets = Targets.of(person, style or person, subject)
    rows: list[dict] = []
    for path in pictures_in(args.images):
        try:
            picture, _ = read_photo(path)
        except PhotoError as error:
            raise UsageError(f"{path.name}: {error}") from error
        scores = score(picture, targets, subject)
        rows.append({"file": path.name, "likeness": scores.likeness} | ({"style": scores.style} if style else {}))
        print(f"{path.name}: {said_of(scores.likeness, subject)}", file=sys.stderr)
    names = ("likeness", "style") if style else ("likeness",)
    return {"images": rows, "mean": {name: sum(row[name] for row in rows) / len(rows) for name in names}}, 0


def said_of(likeness: float | None, subject: Subject) -> str:
    """Say what a likeness means; of things there is only the number, for no judge has told what it means."""
    if subject.noun == PERSON_NOUN or likeness is None:
        return likeness_in_words(likeness)
    return f"likeness {likeness:.2f}"
