"""What leaves for the HR system is what people kept, and whoever wants to be forgotten is, everywhere."""

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from certificate import make_certificate
from PIL import Image
from pilot import RECIPE, Member, Pilot

from magicapture.__main__ import main
from magicapture.drawing.credentials import credentials, state
from magicapture.drawing.portrait import Portrait
from magicapture.server.workspace import Workspace, sweep
from magicapture.settings import settings
from magicapture.staff.cell import CellResult
from magicapture.staff.export import MAX_BYTES, ExportError, as_jpeg, export
from magicapture.staff.forget import forget
from magicapture.staff.invite import invite
from magicapture.staff.manifest import read_manifest
from magicapture.staff.recipe import cells_of
from magicapture.staff.run_folder import RunFolder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the page's files lie in the test's own folder."""
    monkeypatch.setenv("MAGICAPTURE_ROOT", str(tmp_path / "root"))
    for cached in (settings, credentials):
        cached.cache_clear()
    yield tmp_path / "root"
    monkeypatch.undo()
    for cached in (settings, credentials):
        cached.cache_clear()


@pytest.fixture
def pilot(tmp_path: Path) -> Pilot:
    members = [
        Member("anna", ("artefacts", "kept")),
        Member("Ben-7", ("kept", "kept")),
        Member("cleo", ("other", "")),
        Member("dora", consent_at="declined"),
    ]
    return Pilot(tmp_path / "run", members)


def table(out: Path) -> list[list[str]]:
    with (out / "photos.csv").open(newline="", encoding="utf-8-sig") as file:
        return list(csv.reader(file))


def everything_below(folder: Path) -> str:
    return "\n".join(
        f"{path.relative_to(folder)} {path.read_bytes()!r}" for path in folder.rglob("*") if path.is_file()
    )


def test_only_what_was_kept_leaves_one_picture_a_person_with_the_table(pilot: Pilot, tmp_path: Path) -> None:
    out = tmp_path / "hr"
    assert main(["staff", "export", str(pilot.folder), "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["Ben-7.jpg", "anna.jpg", "photos.csv"]
    assert table(out) == [["Username", "Filename"], ["anna", "anna.jpg"], ["Ben-7", "Ben-7.jpg"]]
    with Image.open(out / "anna.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (64, 64))
        assert abs(image.getpixel((5, 5))[0] - 12) < 12, "the second of the first person, for the first was rejected"
        assert b"trainedAlgorithmicMedia" in image.info["xmp"]
    assert out.stat().st_mode & 0o077 == 0


def test_all_that_was_kept_leaves_if_it_is_asked_for(pilot: Pilot, tmp_path: Path) -> None:
    assert len(export(pilot.run, tmp_path / "hr", everything=True)) == 3
    assert (tmp_path / "hr" / "Ben-7~2.jpg").is_file()


def test_a_second_export_takes_back_what_was_rejected_since_and_leaves_other_files_alone(
    pilot: Pilot, tmp_path: Path
) -> None:
    out = tmp_path / "hr"
    export(pilot.run, out)
    (out / "logo.jpg").write_bytes(b"not ours")
    pilot.run.log("portrait_rejected", 1, key=f"{0:032x}", file="portrait-2.png", reason="other")
    export(pilot.run, out)
    assert sorted(path.name for path in out.iterdir()) == ["Ben-7.jpg", "logo.jpg", "photos.csv"]


def test_nobody_kept_anything_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    undecided = Pilot(tmp_path / "run", [Member("anna")])
    assert main(["staff", "export", str(undecided.folder), "--out", str(tmp_path / "hr")]) == 1
    assert "Nobody has kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    "person_id", ["../../etc/cron", "a/b", "=cmd|' /C calc'!A0", "+1", "-2", "@SUM(A1)", "\tx", ".x", "CON", "lpt1", ""]
)
def test_an_id_that_would_leave_the_folder_or_open_as_a_formula_is_refused(person_id: str, tmp_path: Path) -> None:
    forged = Pilot(tmp_path / "run", [Member("anna", ("kept",)), Member(person_id, ("kept",))])
    with pytest.raises(ExportError, match="cannot name files"):
        export(forged.run, tmp_path / "hr")
    assert not (tmp_path / "hr").exists()


def test_two_people_never_share_a_file_where_case_does_not_count(tmp_path: Path) -> None:
    twins = Pilot(tmp_path / "run", [Member("anna", ("kept",)), Member("ANNA", ("kept",))])
    with pytest.raises(ExportError, match="anna and ANNA"):
        export(twins.run, tmp_path / "hr")


def test_a_forged_table_deletes_nothing_elsewhere(pilot: Pilot, tmp_path: Path) -> None:
    out = tmp_path / "hr"
    export(pilot.run, out)
    precious = [tmp_path / "precious.jpg", out / "precious.jpg"]
    for path in precious:
        path.write_bytes(b"precious")
    (out / "photos.csv").write_text("Username,Filename\nanna,../precious.jpg\nanna,precious.jpg\n")
    export(pilot.run, out)
    (out / "photos.csv").write_text("Username,Filename\nanna,../precious.jpg\nanna,precious.jpg\n")
    forget(pilot.run, pilot.number("anna"))
    assert all(path.is_file() for path in precious)
    assert not (out / "anna.jpg").exists()


@pytest.mark.parametrize("theirs", ["photos.csv", "anna.jpg"])
def test_a_file_that_no_export_of_the_run_wrote_is_neither_overwritten_nor_deleted(
    theirs: str, pilot: Pilot, tmp_path: Path
) -> None:
    out = tmp_path / "hr"
    out.mkdir()
    (out / theirs).write_text("Username,Filename\nanna,original.jpg\n")
    (out / "original.jpg").write_bytes(b"an original")
    before = everything_below(out)
    for _ in range(2):
        with pytest.raises(ExportError, match=rf"{theirs} was put there by no export of this run: move it away"):
            export(pilot.run, out)
    assert everything_below(out) == before
    forget(pilot.run, pilot.number("anna"))
    assert everything_below(out) == before


def test_two_runs_do_not_take_each_others_pictures_back(pilot: Pilot, tmp_path: Path) -> None:
    export(pilot.run, tmp_path / "hr")
    before = everything_below(tmp_path / "hr")
    with pytest.raises(ExportError, match="no export of this run"):
        export(Pilot(tmp_path / "second", [Member("eva", ("kept",))]).run, tmp_path / "hr")
    assert everything_below(tmp_path / "hr") == before


def test_what_a_killed_export_had_written_can_be_exported_anew_and_forgotten(
    pilot: Pilot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "hr"
    with monkeypatch.context() as patch:
        patch.setattr("magicapture.staff.export._write_table", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            export(pilot.run, out, everything=True)
    assert (out / "Ben-7~2.jpg").is_file()
    forget(pilot.run, pilot.number("Ben-7"))
    assert sorted(path.name for path in out.iterdir()) == ["anna.jpg"]
    export(pilot.run, out)
    assert sorted(path.name for path in out.iterdir()) == ["anna.jpg", "photos.csv"]


def test_what_an_earlier_version_exported_is_replaced_and_forgotten_by_its_table(pilot: Pilot, tmp_path: Path) -> None:
    out = tmp_path / "hr"
    export(pilot.run, out, everything=True)
    (pilot.folder / "exports.json").write_text(json.dumps([str(out)]))
    export(pilot.run, out)
    assert sorted(path.name for path in out.iterdir()) == ["Ben-7.jpg", "anna.jpg", "photos.csv"]
    (pilot.folder / "exports.json").write_text(json.dumps([str(out)]))
    forget(pilot.run, pilot.number("Ben-7"))
    assert sorted(path.name for path in out.iterdir()) == ["anna.jpg", "photos.csv"]


def test_a_large_portrait_is_made_to_fit_and_stays_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c").mkdir()
    certificate = make_certificate(tmp_path / "c")
    noise = np.random.default_rng(0).integers(0, 256, (2048, 2048, 3), dtype=np.uint8)
    path = Portrait(Image.fromarray(noise), 1, 0.5, 0.5, {"prompt": ""}).save(tmp_path / "large.png")
    monkeypatch.setenv("MAGICAPTURE_C2PA_CERT", str(certificate.chain))
    monkeypatch.setenv("MAGICAPTURE_C2PA_KEY", str(certificate.key))
    for cached in (settings, credentials):
        cached.cache_clear()
    data = as_jpeg(path, label=True)
    assert len(data) <= MAX_BYTES
    assert state(data, "image/jpeg") == "Valid"
    assert Image.open(BytesIO(data)).size >= (1024, 1024)


def test_a_forgotten_person_is_gone_everywhere_and_the_log_says_so_without_a_name(
    pilot: Pilot, tmp_path: Path, here: Path, capsys: pytest.CaptureFixture
) -> None:
    exports = [tmp_path / "hr", tmp_path / "intranet"]
    for out in exports:
        export(pilot.run, out, everything=True)
    number = pilot.number("Ben-7")
    earlier = CellResult("e" * 32, number, "ink", "done")
    pilot.run.store(earlier, {"portrait-1.png": b"of another run"})
    invite(pilot.run, number)
    assert len(list((here / "served").iterdir())) == 1
    assert main(["staff", "forget", str(pilot.folder), "Ben-7"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told == {"cells": 2, "exported": 4, "reviews": 1}
    assert list((here / "served").iterdir()) == []
    assert "Ben-7" not in everything_below(pilot.folder)
    for out in exports:
        assert "Ben-7" not in everything_below(out)
        assert (out / "anna.jpg").is_file()
    assert pilot.run.log_lines()[-1].keys() == {"at", "what"}
    assert pilot.run.log_lines()[-1]["what"] == "forgotten"
    assert main(["staff", "forget", str(pilot.folder), "Ben-7"]) == 1


def test_a_forgotten_person_does_not_come_back_with_the_same_manifest_nor_with_a_late_result(
    pilot: Pilot, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    head = "person_id,photos,style,consent_at,consent_version,consent_scope\n"
    (tmp_path / "m.csv").write_text(f"{head}anna,a,s,2026-11-03,v1,x\ncleo,c,s,2026-11-03,v1,x\n")
    number = pilot.number("anna")
    forget(pilot.run, number)
    assert not pilot.run.store(CellResult("f" * 32, number, "oil", "done"), {"portrait-1.png": b"late"})
    assert not pilot.run.cell("f" * 32).exists()
    cells = cells_of(read_manifest(tmp_path / "m.csv", tmp_path), pilot.run, RECIPE)
    assert [cell.person for cell in cells] == [pilot.number("cleo")]
    assert "1 people are left out, as they wished." in capsys.readouterr().err
    assert "anna" not in everything_below(pilot.folder)
    again = datetime.now(UTC) + timedelta(minutes=1)
    (tmp_path / "m.csv").write_text(f"{head}anna,a,s,{again.isoformat()},v1,x\n")
    (cell,) = cells_of(read_manifest(tmp_path / "m.csv", tmp_path), pilot.run, RECIPE)
    assert cell.person > number, "who agreed anew is somebody new"


def test_people_who_withdraw_at_once_are_all_forgotten(tmp_path: Path) -> None:
    names = [f"E{place}" for place in range(12)]
    crowd = Pilot(tmp_path / "run", [Member(name, ("kept",)) for name in names])
    export(crowd.run, tmp_path / "hr")
    for name in names:
        invite(crowd.run, crowd.number(name))
    with ThreadPoolExecutor(12) as pool:
        gone = list(pool.map(lambda number: forget(RunFolder(crowd.folder), number), range(1, 12)))
    assert gone == [{"cells": 1, "exported": 1, "reviews": 1}] * 11
    assert list(crowd.run.numbers()) == ["E11"]
    assert [entry.row.person_id for entry in crowd.run.entries()] == ["E11"]
    assert table(tmp_path / "hr") == [["Username", "Filename"], ["E11", "E11.jpg"]]
    assert len(json.loads((crowd.folder / "forgotten.json").read_text())["hashes"]) == 11
    assert sum(line["what"] == "forgotten" for line in crowd.run.log_lines()) == 11


def test_what_a_killed_process_left_half_written_is_forgotten_too(pilot: Pilot, tmp_path: Path) -> None:
    out, key = tmp_path / "hr", f"{1:032x}"
    export(pilot.run, out)
    torn = [
        pilot.folder / "cells" / f".{key}.0123" / "portrait-1.png",
        pilot.folder / ".manifest.jsonl.0123",
        pilot.folder / ".numbers.json.0123",
        out / ".Ben-7.jpg.0123",
        out / ".photos.csv.0123",
    ]
    pilot.run.discard(key)
    torn[0].parent.mkdir()
    for path in torn:
        path.write_text("Ben-7")
    forget(pilot.run, pilot.number("Ben-7"))
    assert [path for path in torn if path.exists()] == []


def test_who_withdraws_twice_is_counted_once(pilot: Pilot) -> None:
    for _ in range(2):
        forget(pilot.run, 1)
    assert sum(line["what"] == "forgotten" for line in pilot.run.log_lines()) == 1


def test_a_review_dies_with_the_time_of_results(pilot: Pilot, here: Path) -> None:
    token, expires = invite(pilot.run, pilot.number("anna"))
    visitor = next((here / "served").iterdir())
    assert token not in everything_below(here)
    assert token not in everything_below(pilot.folder)
    assert sweep(here, 1, settings().result_hours, now=expires.timestamp() + 60)
    assert not visitor.exists()
    assert RunFolder.existing(pilot.folder).result(f"{0:032x}") is not None
    assert isinstance(Workspace.named(visitor.name, here), Workspace)
