"""What lies in a shard's data set; no name of a person, or of a file of theirs, goes along.

    code.zip                 this package and its requirements
    cells                    the shard's cells, and the hashes of their pictures in the order of their names
    pictures/<sha256>        each picture once
    results/<key>            a finished cell with its files; a commit makes it appear whole
    fatal                    why nothing could be computed for anyone

The job reads the first three and adds the others.
"""

import hashlib
import io
import json
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

from magicapture.photos.reading import MAX_PHOTOS
from magicapture.server.wire import pack, sendable, unpack
from magicapture.staff.cell import Cell, CellResult, Recipe
from magicapture.staff.work import PACKAGE, Outcome

CODE, CELLS, PICTURES, RESULTS, FATAL = "code.zip", "cells", "pictures", "results", "fatal"
REQUIREMENTS = "requirements.txt"

for kind in (Cell, Recipe):
    sendable(kind)


def write_parcel(cells: Iterable[Cell], folder: Path) -> list[Cell]:
    """Write what a job needs for ``cells`` into ``folder``; gives those whose pictures could be read."""
    (folder / PICTURES).mkdir(parents=True)
    packed, listed = [], []
    for cell in cells:
        try:
            photos, looks = (_put(paths[: MAX_PHOTOS + 1], folder) for paths in (cell.photos, cell.looks))
        except OSError:
            continue
        listed.append(cell)
        packed.append({"cell": replace(cell, photos=(), looks=()), "photos": photos, "looks": looks})
    (folder / CELLS).write_bytes(pack(packed))
    _zip_code(folder / CODE)
    return listed


def read_parcel(folder: Path) -> list[Cell]:
    """Give the cells in ``folder`` with the places of their pictures there."""
    pictures = folder / PICTURES
    return [
        replace(
            packed["cell"],
            photos=tuple(pictures / name for name in packed["photos"]),
            looks=tuple(pictures / name for name in packed["looks"]),
        )
        for packed in unpack((folder / CELLS).read_bytes())
    ]


def pack_outcome(outcome: Outcome) -> bytes:
    """Give a result and its files as one file for ``results/``."""
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:  # pictures and weights do not get smaller
        archive.writestr("result.json", outcome.result.as_json())
        for name, data in outcome.files.items():
            archive.writestr(f"files/{name}", data)
    return file.getvalue()


def unpack_outcome(data: bytes) -> Outcome:
    """Give what ``pack_outcome`` was given. Raises ``ValueError`` for anything else."""
    try:
        with ZipFile(io.BytesIO(data)) as archive:
            files = {name.removeprefix("files/"): archive.read(name) for name in archive.namelist() if "/" in name}
            result = CellResult.from_json(archive.read("result.json").decode())
    except (BadZipFile, KeyError, TypeError, EOFError, zlib.error) as error:
        raise ValueError("This is no result.") from error
    if any(PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts for name in files):
        raise ValueError("A result names a file outside its folder.")
    return Outcome(result, files)


def pack_fatal(reason: str) -> bytes:
    """Give the content of ``fatal``."""
    return json.dumps({"error": reason}).encode()


def unpack_fatal(data: bytes) -> str:
    """Read it."""
    return json.loads(data)["error"]


def _put(paths: Iterable[Path], folder: Path) -> list[str]:
    names = []
    for path in paths:
        data = path.read_bytes()
        names.append(hashlib.sha256(data).hexdigest())
        (folder / PICTURES / names[-1]).write_bytes(data)
    return names


def _zip_code(path: Path) -> None:
    """Write this very program, so that a job computes what this machine would."""
    root = PACKAGE.parent
    with ZipFile(path, "w") as archive:
        archive.write(root / REQUIREMENTS, REQUIREMENTS)
        for file in sorted(PACKAGE.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.write(file, file.relative_to(root))
