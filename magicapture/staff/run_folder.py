"""What a run leaves on the disk: who has which number, one folder per finished cell, and a log without names.

    RUN/manifest.jsonl              the rows of the last run, with each person's number and their cell's key
    RUN/numbers.json                {"next": 8, "numbers": {"E042": 7, …}}: a number is never given twice
    RUN/log.jsonl                   {"at": …, "what": …, "person": 7, …}, only ever appended to
    RUN/cells/<key>/result.json     a ``CellResult``; beside it the portraits and ``adapter/``

A cell's folder appears at once and complete. Only ``manifest.jsonl`` and ``numbers.json`` name people. ``.run.lock``
and ``.change.lock`` are held by whoever computes, or changes what is kept of people, and fall with their process.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

from filelock import FileLock, Timeout

from magicapture.staff.cell import Cell, CellResult
from magicapture.staff.manifest import Row

MANIFEST, NUMBERS, LOG, CELLS, RESULT = "manifest.jsonl", "numbers.json", "log.jsonl", "cells", "result.json"
RUN_LOCK, CHANGE_LOCK = ".run.lock", ".change.lock"


class RunFolderError(ValueError):
    """A folder that holds no run; the text says what to do."""


@dataclass(frozen=True)
class Entry:
    """A row of the manifest with its person's number, and the key of their cell; empty where they have not agreed."""

    row: Row
    person: int
    key: str


class RunFolder:
    """One run on the disk: one process computes, several read, and change what is kept of people one after another."""

    def __init__(self, folder: Path) -> None:
        """Open the run in ``folder``; it need not be there yet."""
        self.folder = folder

    @classmethod
    def existing(cls, folder: Path) -> "RunFolder":
        """Open a run that is there. Raises ``RunFolderError`` when there is none."""
        if not (folder / MANIFEST).is_file():
            raise RunFolderError(f"{folder.name} holds no run: name the folder that --out of `staff run` named.")
        return cls(folder)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Keep other runs out of this folder meanwhile. Raises ``RunFolderError`` where one goes on."""
        self._make(self.folder)
        try:
            with FileLock(self.folder / RUN_LOCK, timeout=0):
                for torn in (self.folder / CELLS).glob(".*"):  # a run was killed while it stored this
                    shutil.rmtree(torn, ignore_errors=True)
                yield
        except Timeout as error:
            raise RunFolderError(
                f"Another run computes in {self.folder.name}: wait for its end, or name another folder."
            ) from error

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Let nobody else number, invite, export or forget people meanwhile; not to be entered twice."""
        self._make(self.folder)
        with FileLock(self.folder / CHANGE_LOCK):
            yield

    def number_of(self, people: Iterable[str]) -> dict[str, int]:
        """Give everyone their number, from 1; who has one keeps it."""
        known = self._numbers()
        for person in people:
            if person not in known["numbers"]:
                known["numbers"][person] = known["next"]
                known["next"] += 1
        self.write_json(NUMBERS, known)
        return known["numbers"]

    def numbers(self) -> dict[str, int]:
        """Give everyone's number by their id."""
        return self._numbers()["numbers"]

    def forget_number(self, person: int) -> None:
        """Let nobody be found by this number any more, nor in what a process left that was killed while it wrote."""
        for name in (MANIFEST, NUMBERS):
            for torn in self.folder.glob(f".{name}.*"):
                torn.unlink(missing_ok=True)
        known = self._numbers()
        known["numbers"] = {name: number for name, number in known["numbers"].items() if number != person}
        self.write_json(NUMBERS, known)

    def has_forgotten(self, person: int) -> bool:
        """Tell whether somebody had this number and is to be found by it no more."""
        known = self._numbers()
        return person < known["next"] and person not in known["numbers"].values()

    def _numbers(self) -> dict:
        path = self.folder / NUMBERS
        return json.loads(path.read_text()) if path.is_file() else {"next": 1, "numbers": {}}

    def write_entries(self, entries: Iterable[Entry]) -> None:
        """Keep what the run is to compute."""
        lines = [json.dumps({"person": e.person, "key": e.key, **e.row.as_dict()}) for e in entries]
        self._replace(MANIFEST, "\n".join(lines) + "\n")

    @contextmanager
    def keeping_entries(self) -> Iterator[None]:
        """Put back afterwards what the last run was to compute, if any, but for who is forgotten meanwhile."""
        before = self.entries() if (self.folder / MANIFEST).is_file() else None
        try:
            yield
        finally:
            if before is not None:
                with self.changing():
                    known = self.numbers()
                    self.write_entries(entry for entry in before if entry.row.person_id in known)

    def entries(self) -> list[Entry]:
        """List the rows of the last run, in their order."""
        found = [json.loads(line) for line in (self.folder / MANIFEST).read_text().splitlines() if line]
        return [Entry(person=v.pop("person"), key=v.pop("key"), row=Row.from_dict(v)) for v in found]

    def cell(self, key: str) -> Path:
        """Say where the cell's folder is, or would be."""
        return self.folder / CELLS / key

    def result(self, key: str) -> CellResult | None:
        """Read what became of a cell; None until it is finished."""
        path = self.cell(key) / RESULT
        return CellResult.from_json(path.read_text()) if key and path.is_file() else None

    def results(self) -> Iterator[CellResult]:
        """Give the results of the last run's cells that are finished, in the order of the rows."""
        return filter(None, (self.result(entry.key) for entry in self.entries()))

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        """Give those of ``cells`` that have no result yet."""
        return [cell for cell in cells if self.result(cell.key) is None]

    def store(self, result: CellResult, files: dict[str, bytes]) -> bool:
        """Keep a result with its ``files`` by their path in the cell's folder; tells whether it is the first one.

        The folder appears complete or not at all, and what is there is never replaced. Of somebody who was forgotten
        while their cell was computed, nothing is kept.
        """
        target = self.cell(result.key)
        part = target.with_name(f".{result.key}.{token_hex(8)}")
        self._make(part)
        try:
            for name, data in {**files, RESULT: result.as_json().encode()}.items():
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                (part / name).write_bytes(data)
            with self.changing():
                if self.has_forgotten(result.person):
                    return False
                part.rename(target)
        except OSError:
            if not (target / RESULT).is_file():
                raise
            return False
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return True

    def discard(self, key: str) -> None:
        """Delete a cell, and what was left of it when a run broke off."""
        for folder in (self.cell(key), *(self.folder / CELLS).glob(f".{key}.*")):
            shutil.rmtree(folder, ignore_errors=True)

    def log(self, what: str, person: int | None = None, **facts: object) -> None:
        """Append a line; ``facts`` are numbers and words of the program's own, never a name."""
        self._make(self.folder)
        about = {} if person is None else {"person": person}
        line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "what": what, **about, **facts}
        with (self.folder / LOG).open("ab+") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            start = b"" if file.read(1) in (b"", b"\n") else b"\n"  # the last line was broken off in a crash
            file.write(start + json.dumps(line).encode() + b"\n")

    def log_lines(self) -> list[dict]:
        """List the log, oldest first; a line that was broken off is left out."""
        path = self.folder / LOG
        found = []
        for line in path.read_text().splitlines() if path.is_file() else ():
            with suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return found

    def write_json(self, name: str, values: object) -> None:
        """Keep plain values in the file ``name`` of the run."""
        self._replace(name, json.dumps(values, indent=1) + "\n")

    def _replace(self, name: str, text: str) -> None:
        self._make(self.folder)
        part = self.folder / f".{name}.{token_hex(8)}"
        part.write_text(text)
        part.replace(self.folder / name)

    def _make(self, folder: Path) -> None:
        """Make a folder of the run, which nobody else on this machine may look into."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
