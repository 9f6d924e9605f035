"""``staff export``: what people kept, and nothing else, as HR systems take it."""

import argparse
import csv
import json
import re
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
    """Put what was kept into ``out``; gives id and file of each. What an earlier export left there of others goes.

    Raises ``ExportError`` before anything is written if an id cannot name a file, ``CredentialsError`` for a portrait
    that was changed since it was signed.
    """
    with folder.changing():
        kept = kept_by_person(folder)
        _check_names(list(kept))
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        _note_export(folder, out)
        written = []
        for person, portraits in kept.items():
            for place, one in enumerate(portraits if everything else portraits[:1], start=1):
                name = f"{person}.jpg" if place == 1 else f"{person}~{place}.jpg"
                _replace(out / name, as_jpeg(folder.cell(one.entry.key) / one.portrait.file, label))
                written.append((person, name))
        stale = {name for _, name in _rows(out)} - {name for _, name in written}
        for name in stale:
            (out / name).unlink(missing_ok=True)
        _write_table(out, written)
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
    removed = 0
    for out in _exports(folder):
        rows = _rows(out)
        theirs = [row for row in rows if row[0] == person]
        for _, name in theirs:
            removed += (out / name).is_file()
            for path in (out / name, *out.glob(f".{name}.*")):  # the latter of an export that was killed
                path.unlink(missing_ok=True)
        if theirs:
            _write_table(out, [row for row in rows if row[0] != person])
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


def _exports(folder: RunFolder) -> list[Path]:
    path = folder.folder / EXPORTS
    return [Path(name) for name in json.loads(path.read_text())] if path.is_file() else []


def _note_export(folder: RunFolder, out: Path) -> None:
    folder.write_json(EXPORTS, sorted({str(path) for path in (*_exports(folder), out.resolve())}))


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
