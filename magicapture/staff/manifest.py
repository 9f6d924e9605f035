"""Who takes part: a table of people with their photos, their look and their consent, as HR systems export it."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from io import StringIO
from pathlib import Path

DECLINED = "declined"
"""What stands in ``consent_at`` of whoever does not want to; an empty field counts likewise, as "not asked"."""
PERSON_ID = re.compile(r"[^\W_][\w.@+-]{0,63}")
"""An id becomes a file's name in the export."""
CLOUD = "cloud"
"""What an item of ``consent_scope`` must read before a person's photos leave for somebody else's computers."""
DAY = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(.*)")
USUAL_COUNT, MAX_COUNT = 4, 16
REQUIRED = ("person_id", "photos", "style", "consent_at", "consent_version", "consent_scope")
OPTIONAL = ("count", "group")
CONSENT = ("consent_at", "consent_version", "consent_scope")


class ManifestError(ValueError):
    """A manifest that cannot be used; the text has one line for everything that is wrong."""


@dataclass(frozen=True)
class Row:
    """One person in one look. ``photos`` and ``style`` are folders, ``count`` the portraits wanted, 1–16.

    ``consent_at``: when they agreed, in ISO 8601; "declined", or empty where nobody has asked: nothing is then read of
    this person but the row itself.
    """

    line: int
    person_id: str
    photos: Path
    style: Path
    count: int
    consent_at: str
    consent_version: str
    consent_scope: str
    group: str = ""

    @property
    def consented(self) -> bool:
        """Whether the person agreed."""
        return self.consent_at not in ("", DECLINED)

    @property
    def allows_cloud(self) -> bool:
        """Whether ``consent_scope``, items between commas, semicolons, "+" or "|", names the cloud as one of them."""
        return CLOUD in (item.strip().lower() for item in re.split(r"[,;+|]", self.consent_scope))

    def as_dict(self) -> dict[str, object]:
        """Give plain values, as JSON takes them."""
        return {f.name: str(v) if isinstance(v := getattr(self, f.name), Path) else v for f in fields(self)}

    @classmethod
    def from_dict(cls, values: dict) -> "Row":
        """Read what ``as_dict`` gave."""
        return cls(**{**values, "photos": Path(values["photos"]), "style": Path(values["style"])})


@dataclass(frozen=True)
class Manifest:
    """All rows in their order, and the columns that nobody asked for, which are not read."""

    rows: tuple[Row, ...]
    unused: tuple[str, ...] = ()

    @property
    def agreed(self) -> list[Row]:
        """The rows of those who agreed."""
        return [row for row in self.rows if row.consented]

    @property
    def people(self) -> list[str]:
        """Everyone's id, once, in order."""
        return list(dict.fromkeys(row.person_id for row in self.rows))

    @property
    def skipped(self) -> list[str]:
        """The ids of those who declined or have not been asked: counted, and nothing else."""
        return list(dict.fromkeys(row.person_id for row in self.rows if not row.consented))


def read_manifest(path: Path, photos: Path) -> Manifest:
    """Read CSV (UTF-8 with or without BOM, or cp932; commas, semicolons or tabs) or JSONL; folders lie in ``photos``.

    Raises ``ManifestError`` that names the line and column of everything that is wrong.
    """
    text = _text(path)
    table = list(_json_rows(text) if path.suffix.lower() in (".jsonl", ".ndjson") else _csv_rows(text))
    if not table:
        raise ManifestError(f"{path.name} has no rows: it needs one per person, with {', '.join(REQUIRED)}.")
    rows, wrong = [], []
    for line, values in table:
        faults = list(_faults(values))
        wrong += [f"line {line}, column {column}: {reason}" for column, reason in faults]
        if not faults:
            rows.append(_row(line, values, photos))
    wrong += _contradictions(rows)
    if wrong:
        raise ManifestError("\n".join([f"{path.name} cannot be used:", *wrong]))
    seen = dict.fromkeys(name for _, values in table for name in values)
    return Manifest(tuple(rows), tuple(name for name in seen if name not in REQUIRED + OPTIONAL))


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"The manifest {path.name} cannot be read: {error.strerror}.") from error
    for encoding in ("utf-8-sig", "cp932"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
    raise ManifestError(f"{path.name} is neither UTF-8 nor cp932 (line {line}): save it as CSV in UTF-8.")


def _csv_rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Give each row with the line that it ends on."""
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        _require_columns(names)
        for values in reader:
            if len(values) > len(names):
                count = f"{len(values)} values for {len(names)} columns"
                raise ManifestError(f"line {reader.line_num}, column {len(names) + 1}: {count}.")
            if any(value.strip() for value in values):
                padded = values + [""] * (len(names) - len(values))
                yield reader.line_num, {name: value.strip() for name, value in zip(names, padded, strict=True)}
    except csv.Error as error:
        raise ManifestError(f"line {reader.line_num}: this is no CSV ({error}).") from error


def _json_rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    for line, written in enumerate(text.split("\n"), start=1):
        if not written.strip():
            continue
        try:
            values = json.loads(written)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ManifestError(f"line {line}, column {getattr(error, 'colno', 1)}: this is no JSON object.") from error
        if not isinstance(values, dict):
            raise ManifestError(f"line {line}, column 1: this is no JSON object.")
        for name, value in values.items():
            if not isinstance(value, str | int | None) or isinstance(value, bool):
                raise ManifestError(f"line {line}, column {name}: a text or a whole number is expected.")
        yield line, {name.strip().lower(): "" if v is None else str(v).strip() for name, v in values.items()}


def _require_columns(names: list[str]) -> None:
    if lacking := [name for name in REQUIRED if name not in names]:
        raise ManifestError(f"line 1: the columns {', '.join(lacking)} are missing.")
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise ManifestError(f"line 1: the columns {', '.join(twice)} stand there twice.")


def _faults(values: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Give the column and the reason of everything that is wrong with one row."""
    if not PERSON_ID.fullmatch(values.get("person_id", "")):
        yield "person_id", "an id of letters, digits and . _ - @ + is needed, at most 64 of them."
    if (misspelt := _misspelt_consent(values)) is not None:
        yield (
            misspelt,
            "if this says when they agreed, call it consent_at; where nobody asked, add an empty consent_at.",
        )
    consent = values.get("consent_at", "")
    if consent.lower() in ("", DECLINED):
        return
    moment = _moment(consent)
    if moment is None:
        yield "consent_at", f'{consent!r} is no date: write it as 2026-11-24, or "{DECLINED}".'
    elif moment > datetime.now(UTC) + timedelta(days=1):
        yield "consent_at", f"{consent!r} lies in the future."
    for column in ("photos", "style", "consent_version", "consent_scope"):
        if not values.get(column):
            yield column, "it is empty."
    count = values.get("count") or str(USUAL_COUNT)
    if not (count.isascii() and count.isdigit() and 1 <= int(count[:9]) <= MAX_COUNT):
        yield "count", f"a whole number from 1 to {MAX_COUNT} is needed; it is {count[:20]!r}."


def _moment(text: str) -> datetime | None:
    """Read a day, or a moment, as ISO 8601 or with slashes; without a zone it counts as UTC."""
    parts = DAY.fullmatch(text)
    if not parts:
        return None
    year, month, day, rest = parts.groups()
    try:
        moment = datetime.fromisoformat(f"{year}-{month:0>2}-{day:0>2}{rest}")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _misspelt_consent(values: dict[str, str]) -> str | None:
    """Find what was perhaps to be ``consent_at`` in a row that has none, which counts as not asked."""
    if "consent_at" in values:
        return None
    alike = [name for name in values if name not in CONSENT and get_close_matches(name[:7], ["consent"], cutoff=0.7)]
    return next((name for name in alike if get_close_matches(name[:40], CONSENT, n=1) == ["consent_at"]), None)


def _row(line: int, values: dict[str, str], photos: Path) -> Row:
    consent = values.get("consent_at", "")
    moment = None if consent.lower() in ("", DECLINED) else _moment(consent)
    return Row(
        line,
        values["person_id"],
        photos / values.get("photos", ""),
        photos / values.get("style", ""),
        int(values.get("count") or USUAL_COUNT) if moment else 0,
        moment.isoformat() if moment else consent.lower(),
        values.get("consent_version", ""),
        values.get("consent_scope", ""),
        values.get("group", ""),
    )


def _contradictions(rows: list[Row]) -> Iterator[str]:
    """Find rows that do not go together: consent given and not, a look twice, two people with one folder."""
    first: dict[str, Row] = {}
    looks: dict[tuple[str, Path], Row] = {}
    owners: dict[Path, Row] = {}
    for row in rows:
        before = first.setdefault(row.person_id, row)
        if before.consented != row.consented:
            yield f"line {row.line}, column consent_at: {row.person_id} says otherwise in line {before.line}."
        if before.group != row.group:
            yield f"line {row.line}, column group: {row.person_id} has another one in line {before.line}."
        if not row.consented:
            continue
        if (same := looks.setdefault((row.person_id, row.style), row)) is not row:
            yield f"line {row.line}, column style: {row.person_id} has this style in line {same.line} already."
        if (owner := owners.setdefault(row.photos, row)).person_id != row.person_id:
            yield f"line {row.line}, column photos: these are the photos of {owner.person_id} (line {owner.line})."
