"""``staff check``: every row and every photo is judged before anything is computed."""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from magicapture.faces import FaceEngine, load_engine
from magicapture.photos.references import CheckedSet, Role, check_photos
from magicapture.staff.cell import pictures_in
from magicapture.staff.manifest import CLOUD, Manifest, Row, read_manifest

SIDE = 256
"""Photos are judged at this size, whatever base will be used."""


@dataclass(frozen=True)
class RowVerdict:
    """Whether a row can be computed, and what there is to say about its photos, warnings included."""

    row: Row
    usable: bool
    sentences: tuple[str, ...]


def add_command(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    check = commands.add_parser("check", help="judge every row and photo before any compute; exit 1 if one is unusable")
    add_manifest(check)
    check.set_defaults(run=run_check)


def add_manifest(parser: argparse.ArgumentParser) -> None:
    """Describe what every command takes that starts from people."""
    parser.add_argument("manifest", type=Path, help="CSV or JSONL, a row per person")
    parser.add_argument("--photos", type=Path, default=Path(), help="the folder that the rows' folders lie in")


def run_check(args: argparse.Namespace) -> tuple[dict, int]:
    """Say who is usable, who needs which photo, and who has not agreed, or to no cloud; 1 if anybody needs a photo."""
    manifest = read_manifest(args.manifest, args.photos)
    if manifest.unused:
        print(f"Columns that are not read: {', '.join(manifest.unused)}.", file=sys.stderr)
    verdicts = list(check_rows(manifest, load_engine()))
    unusable = [verdict for verdict in verdicts if not verdict.usable]
    for verdict in verdicts:
        for sentence in verdict.sentences:
            print(f"line {verdict.row.line}, {verdict.row.person_id}: {sentence}")
    for person in manifest.skipped:
        print(f"{person}: has not agreed and is left out.")
    clouded = [row for row in manifest.agreed if row.allows_cloud]
    for row in manifest.agreed if clouded else ():  # where nobody allows it, none was asked for
        if row not in clouded:
            print(f'line {row.line}, {row.person_id}: has agreed to no cloud: "{CLOUD}" is no item of consent_scope.')
    return {
        "people": len(manifest.people),
        "skipped": len(manifest.skipped),
        "usable": len(verdicts) - len(unusable),
        "cloud": len(clouded),
        "unusable": [{"person_id": v.row.person_id, "line": v.row.line, "why": v.sentences} for v in unusable],
    }, 1 if unusable else 0


def check_rows(manifest: Manifest, engine: FaceEngine) -> Iterator[RowVerdict]:
    """Judge the rows of those who agreed; each folder is looked at once."""
    looks: dict[Path, CheckedSet] = {}
    for row in tqdm(manifest.agreed, unit="row"):
        if row.style not in looks:
            looks[row.style] = _checked(row.style, "style", engine)
        person, look = _checked(row.photos, "person", engine), looks[row.style]
        sentences = (*_sentences(person, row.photos), *_sentences(look, row.style))
        yield RowVerdict(row, person.usable and look.usable, sentences)


def _checked(folder: Path, role: Role, engine: FaceEngine) -> CheckedSet:
    return check_photos(pictures_in(folder), role, engine, SIDE)


def _sentences(photos: CheckedSet, folder: Path) -> list[str]:
    if not photos.verdicts:
        return [f"There is no picture in the folder {folder}, or no such folder."]
    faults = [verdict.sentence for verdict in photos.verdicts if verdict.problems]
    return [str(sentence) for sentence in (*faults, *photos.warnings, photos.problem) if sentence]
