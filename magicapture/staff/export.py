"""``staff export``: what people kept, and nothing else, as HR systems take it."""

import argparse
import csv
import json
import re
from collections import Counter
from io import BytesIO, StringIO
from pathlib import Path
from secrets import token_hex

from PIL import Image

from magicapture.drawing.credentials import credentials, outgoing
from magicapture.drawing.portrait import XMP, labelled
from magicapture.staff.decisions import kept_by_person
from magicapture.staff.manifest import PERSON_ID
from magicapture.staff.run_folder import RunFolder

MAX_BYTES = 2_000_000
"""Of a picture: what HR systems take at most is 2 MB (SAP SuccessFactors; kaonavi takes more)."""
QUALITIES = (95, 90, 85, 75, 60, 40)
TABLE, COLUMNS = "photos.csv", ("Username", "Filename")
"""As SuccessFactors reads it; kaonavi goes by the name of the file alone."""
EXPORTS = "exports.json"
"""By the folder: how many pictures of each person, who is called by their number, exports of the run put there."""
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices (https://learn.microsoft.com/windows/win32/fileio/naming-a-file)."""


class ExportError(ValueError):
    """Something that cannot be exported; the text says what and what to do."""


def add_command(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    export_ = commands.add_parser("export", help="kept portraits only: <id>.jpg and a CSV, as HR systems take them")
    export_.add_argument("run_folder", metavar="RUN", type=Path, help="folder of the run")
    export_.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    export_.add_argument("--all", action="store_true", help="all that a person kept, not only the most like them")
    export_.add_argument("--label", action="store_true", help="a small label in the corner: AI-generated")
    export_.set_defaults(run=run_export)


def run_export(args: argparse.Namespace) -> tuple[dict, int]:
    """Write the pictures and the table; status 1 if nobody has kept anything."""
    folder = RunFolder.existing(args.run_folder)
    written = export(folder, args.out, everything=args.all, label=args.label)
    if not written:
        print("Nobody has kept a portrait yet: `staff review` asks them.")
    return {"out": str(args.out), "people": len({name for name, _ in written}), "pictures": len(written)}, int(
        not written
    )


def export(folder: RunFolder, out: Path, *, everything: bool = False, label: bool = False) -> list[tuple[str, str]]:
    """Put what was kept into ``out``; gives id and file of each. What earlier exports of the run left of others goes.

    Raises ``ExportError`` before anything is written if an id cannot name a file, or a file is in the way that no
    export of the run put there, ``CredentialsError`` for a portrait that was changed since it was signed.
    """
    with folder.changing():
        kept = {person: found if everything else found[:1] for person, found in kept_by_person(folder).items()}
        _check_names(list(kept))
        counts = Counter({person: len(found) for person, found in kept.items()})
        exports, place = _exports(folder), str(out.resolve())
        files = {TABLE, *_files(counts)}
        earlier = {TABLE, *_files(exports[place])} if place in exports else set()
        _check_free(out, files - earlier)
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Noted before the first is written, so that nothing of an export that is killed stays unknown.
        _note_exports(folder, {**exports, place: counts | exports.get(place, Counter())})
        portraits = [one for found in kept.values() for one in found]
        for name, one in zip(_files(counts), portraits, strict=True):
            _replace(out / name, as_jpeg(folder.cell(one.entry.key) / one.portrait.file, label))
        for name in earlier - files:
            (out / name).unlink(missing_ok=True)
        written = [(person, name) for name, person in _files(counts).items()]
        _write_table(out, written)
        _note_exports(folder, {**exports, place: counts})
        folder.log("exported", pictures=len(written))
    return written


def as_jpeg(portrait: Path, label: bool = False) -> bytes:
    """Give a portrait as JPEG of at most 2 MB that says what it is, signed where this installation signs."""
    with Image.open(BytesIO(outgoing(portrait))) as image:
        picture = labelled(image.convert("RGB")) if label else image.convert("RGB")
    mine = credentials()
    while True:
        for quality in QUALITIES:
            written = BytesIO()
            picture.save(written, "JPEG", quality=quality, optimize=True, xmp=XMP.encode())
            data = mine.sign(written.getvalue(), "image/jpeg") if mine else written.getvalue()
            if len(data) <= MAX_BYTES:
                return data
        picture = picture.reduce(2)


def remove_exported(folder: RunFolder, person: str) -> int:
    """Delete what was exported of a person from every folder that the run knows of; gives the number of pictures."""
    removed, exports = 0, _exports(folder)
    for place, counts in exports.items():
        out, theirs = Path(place), _files(Counter({person: counts.pop(person, 0)}))
        for name in theirs:
            removed += (out / name).is_file()
            for path in (out / name, *out.glob(f".{name}.*")):  # the latter of an export that was killed
                path.unlink(missing_ok=True)
        for path in out.glob(f".{TABLE}.*"):
            path.unlink(missing_ok=True)
        rows = _rows(out)
        others = [(name, file) for name, file in rows if file not in theirs]
        if others != rows:
            _write_table(out, others)
    if exports:
        _note_exports(folder, exports)
    return removed


def _check_names(people: list[str]) -> None:
    """Refuse ids that would leave the folder, open as a formula in a spreadsheet, or name one file for two people."""
    bad = [name for name in people if not PERSON_ID.fullmatch(name) or RESERVED.fullmatch(name)]
    if bad:
        raise ExportError(
            f"These ids cannot name files: {', '.join(map(repr, bad))}. Give them others in the manifest."
        )
    folded: dict[str, str] = {}
    for name in people:
        if (other := folded.setdefault(name.casefold(), name)) != name:
            raise ExportError(f"{other} and {name} are one file where case does not count: tell them apart otherwise.")


def _check_free(out: Path, files: set[str]) -> None:
    """Refuse to overwrite what no export of the run put into ``out``."""
    if taken := sorted(file for file in files if (out / file).exists()):
        raise ExportError(
            f"{out / taken[0]} was put there by no export of this run: move it away, or name another folder."
        )


def _files(counts: Counter[str]) -> dict[str, str]:
    """Name the files of everyone's pictures, best first; gives with each whose it is."""
    return {
        f"{person}.jpg" if place == 1 else f"{person}~{place}.jpg": person
        for person, count in counts.items()
        for place in range(1, count + 1)
    }


def _exports(folder: RunFolder) -> dict[str, Counter[str]]:
    """Give, by the folder, how many pictures of each person were put there."""
    path = folder.folder / EXPORTS
    noted = json.loads(path.read_text()) if path.is_file() else {}
    if isinstance(noted, list):  # by an earlier version, whose tables alone say whose pictures these are
        return {place: Counter(name for name, _ in _rows(Path(place))) for place in noted}
    people = {str(number): name for name, number in folder.numbers().items()}
    return {
        place: Counter({people[number]: count for number, count in counts.items() if number in people})
        for place, counts in noted.items()
    }


def _note_exports(folder: RunFolder, exports: dict[str, Counter[str]]) -> None:
    numbers = folder.numbers()
    noted = {
        place: {str(numbers[name]): count for name, count in counts.items() if name in numbers}
        for place, counts in exports.items()
    }
    folder.write_json(EXPORTS, noted)


def _rows(out: Path) -> list[tuple[str, str]]:
    """Read the table of an earlier export: ids and files, none that lies elsewhere."""
    if not (out / TABLE).is_file():
        return []
    with (out / TABLE).open(newline="", encoding="utf-8-sig") as file:
        rows = [(row[0], row[1]) for row in csv.reader(file) if len(row) == len(COLUMNS)]
    return [(name, file) for name, file in rows[1:] if Path(file).name == file and PERSON_ID.fullmatch(name)]


def _write_table(out: Path, rows: list[tuple[str, str]]) -> None:
    text = StringIO()
    csv.writer(text).writerows([COLUMNS, *rows])
    _replace(out / TABLE, text.getvalue().encode("utf-8-sig"))


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.{token_hex(8)}")
    part.write_bytes(data)
    part.replace(path)
