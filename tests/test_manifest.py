"""Who takes part: a table that is read wrongly makes portraits of people who did not agree to them."""

import json
from pathlib import Path

import pytest

from magicapture.staff.manifest import ManifestError, Row, read_manifest

HEAD = "person_id,photos,style,count,consent_at,consent_version,consent_scope,group\n"
ANNA = "E1,anna,oil,2,2026-11-03,v2,intranet,\n"


def read(tmp_path: Path, text: str | bytes, name: str = "people.csv") -> tuple[Row, ...]:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_manifest(path, tmp_path).rows


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_is_read_as_spreadsheets_write_it(tmp_path: Path, encoding: str, separator: str) -> None:
    text = (HEAD + "E001,写真/花子,油絵,3,2026/11/3,第2版,社内,営業\r\n\r\n").replace(",", separator)
    (row,) = read(tmp_path, text.encode(encoding))
    assert (row.person_id, row.photos, row.style) == ("E001", tmp_path / "写真/花子", tmp_path / "油絵")
    assert (row.count, row.consent_at, row.group) == (3, "2026-11-03T00:00:00+00:00", "営業")
    assert Row.from_dict(json.loads(json.dumps(row.as_dict()))) == row


def test_json_lines_say_the_same_and_absolute_folders_stay(tmp_path: Path) -> None:
    values = {"person_id": 17, "photos": "/data/anna", "style": "oil", "consent_at": "2026-11-03T09:00:00+09:00"}
    text = json.dumps({**values, "consent_version": "v2", "consent_scope": "intranet", "group": None})
    (row,) = read(tmp_path, text, "people.jsonl")
    assert (row.person_id, row.photos, row.count) == ("17", Path("/data/anna"), 4)


@pytest.mark.parametrize("written", ["consent", "consentAt", "Consent at", "concent_at", "consent_date"])
def test_a_misspelt_consent_is_named_and_not_taken_for_nobody_asked(tmp_path: Path, written: str) -> None:
    values = {"photos": "anna", "style": "oil", "consent_version": "v2", "consent_scope": "intranet"}
    rows = [
        {"person_id": "E1", **values, "consent_at": "2026-11-03"},
        {"person_id": "E2", **values, written: "2026-11-03"},
    ]
    rows += [
        {"person_id": "E3"},
        {"person_id": "E4", "consent_at": None, "consent_note": "on leave", "department": "IT"},
    ]
    with pytest.raises(ManifestError) as refused:
        read(tmp_path, "\n".join(map(json.dumps, rows)), "people.jsonl")
    (_, said) = str(refused.value).splitlines()
    assert said.startswith(f"line 2, column {written.lower()}: if this says when they agreed, call it consent_at;")
    rows[1] = {"person_id": "E2", **values, "contact": "e2@example.org"}
    assert len(read(tmp_path, "\n".join(map(json.dumps, rows)), "people.jsonl")) == 4


def test_who_has_not_agreed_is_left_out_and_needs_no_photos(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(HEAD + ANNA + "E2,,,,Declined,,,\nE3\n")
    manifest = read_manifest(tmp_path / "p.csv", tmp_path)
    assert [row.person_id for row in manifest.agreed] == ["E1"]
    assert manifest.skipped == ["E2", "E3"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("../../etc,anna,oil,2,2026-11-03,v2,all,", "line 3, column person_id: an id of letters"),
        (".hidden,anna,oil,2,2026-11-03,v2,all,", "line 3, column person_id"),
        ("E2,,oil,2,2026-11-03,v2,all,", "line 3, column photos: it is empty"),
        ("E2,ben,oil,none,2026-11-03,v2,all,", "line 3, column count: a whole number from 1 to 16"),
        ("E2,ben,oil,17,2026-11-03,v2,all,", "line 3, column count"),
        ("E2,ben,oil,²,2026-11-03,v2,all,", "line 3, column count"),
        ("E2,ben,oil,2,yes,v2,all,", "line 3, column consent_at: 'yes' is no date"),
        ("E2,ben,oil,2,2026-13-03,v2,all,", "line 3, column consent_at"),
        ("E2,ben,oil,2,2999-01-01,v2,all,", "line 3, column consent_at: '2999-01-01' lies in the future"),
        ("E2,ben,oil,2,2026-11-03,,all,", "line 3, column consent_version"),
        ("E2,ben,oil,2,2026-11-03,v2,,", "line 3, column consent_scope"),
        ("E1,anna,oil,2,2026-11-03,v2,all,", "line 3, column style: E1 has this style in line 2 already"),
        ("E1,anna,pen,2,declined,v2,all,", "line 3, column consent_at: E1 says otherwise in line 2"),
        ("E2,anna,oil,2,2026-11-03,v2,all,", r"line 3, column photos: these are the photos of E1 \(line 2\)"),
        ("E2,ben,oil,2,2026-11-03,v2,all,,,", "line 3, column 9: 10 values for 8 columns"),
        ('E2,"ben,oil', "line 3: this is no CSV"),
    ],
)
def test_a_broken_row_names_its_line_and_column(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        read(tmp_path, HEAD + ANNA + line + "\n")


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        read(tmp_path, HEAD + ",anna,oil,0,2026-11-03,v2,all,\n" + "E2,ben,oil,2,soon,v2,all,\n")
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()[1:]] == [
        "line 2, column person_id",
        "line 2, column count",
        "line 3, column consent_at",
    ]


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("", "p.csv", "line 1: the columns person_id, .* are missing"),
        (HEAD, "p.csv", "has no rows"),
        ("person_id,person_id," + HEAD, "p.csv", "person_id stand there twice"),
        (b"\xff\xfe" + HEAD.encode("utf-16-le"), "p.csv", "line 1"),
        (b"\n\n\x81 ", "p.csv", r"neither UTF-8 nor cp932 \(line 3\)"),
        ('{"person_id": ', "p.jsonl", "line 1, column 15: this is no JSON object"),
        ("[1]", "p.jsonl", "line 1, column 1: this is no JSON object"),
        ('\n{"person_id": ["E1"]}', "p.jsonl", "line 2, column person_id: a text"),
        ("[" * 100_000, "p.jsonl", "line 1, column 1"),
    ],
)
def test_what_is_no_manifest_is_refused_in_a_sentence(tmp_path: Path, text: str | bytes, name: str, said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        read(tmp_path, text, name)


def test_columns_of_other_systems_are_named_and_not_read(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("full name," + HEAD + "Anna A.," + ANNA)
    manifest = read_manifest(tmp_path / "p.csv", tmp_path)
    assert manifest.unused == ("full name",)
    assert "Anna A." not in str(manifest)


def test_a_manifest_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"The manifest people\.csv cannot be read: No such file"):
        read_manifest(tmp_path / "people.csv", tmp_path)
