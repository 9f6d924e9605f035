"""What a visitor left here goes when they say so, and when its time is up."""

import logging
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError
from visitor import HOUR, files, make_old, portrait, small_adapter, uploaded

from magicapture.adapters.adapter import Adapter
from magicapture.server.records import Records
from magicapture.server.workspace import Workspace, retention
from magicapture.server.workspace.retention import keep_sweeping, sweep
from magicapture.settings import Settings


@pytest.fixture
def adapter() -> Adapter:
    return small_adapter()


def test_delete_everything_leaves_no_byte(root: Path, mine: Workspace, other: Workspace, adapter: Adapter) -> None:
    for space in (mine, other):
        space.ingest([uploaded(root)], "person")
        space.keep(space.add_portrait(portrait(), label=True), None)
        space.zip_kept()
        space.shelf.zip(space.shelf.add(adapter, "Anna"))
        (space.place.part("jobs", "1") / "checkpoint").write_text("latents")
    theirs = files(other.folder)
    mine.delete_everything()
    assert files(root) == theirs
    assert mine.name not in " ".join(str(path) for path in root.rglob("*"))
    mine.delete_everything()
    assert mine.shelf.stored() == []


def test_each_kind_of_thing_goes_by_its_own_clock(root: Path, mine: Workspace, adapter: Adapter) -> None:
    mine.ingest([uploaded(root)], "person")
    mine.keep(mine.add_portrait(portrait(), label=False), None)
    mine.zip_kept()
    mine.shelf.add(adapter, "Anna")
    (mine.place.part("jobs", "1") / "checkpoint").write_text("latents")
    upload, half_upload = uploaded(root), root / "served" / "tmp123"
    half_upload.write_text("half")
    (mine.place.part(".tmp-crashed") / "half").write_text("half")
    everything = files(root)
    make_old(root, 2)

    assert sweep(root, 3, 24) == {"uploads": 2}
    assert files(root) == [path for path in everything if path not in (upload, half_upload)]
    assert sweep(root, 1, 24) == {"photos": 1, "unfinished": 1}
    assert not upload.parent.exists()
    assert mine.photos("person") == []
    assert len(mine.portraits()) == len(mine.shelf.stored()) == 1
    assert (mine.folder / "jobs/1/checkpoint").is_file()

    counts = sweep(root, 1, 24, now=time.time() + 23 * HOUR)
    assert counts == {"portraits": 1, "downloads": 1, "adapters": 1, "jobs": 1, "visitors": 1}
    assert list((root / "served").iterdir()) == []
    assert not sweep(root / "nothing", 1, 24)


def test_what_a_crash_left_of_a_checkpoint_or_a_library_goes_too(root: Path, mine: Workspace) -> None:
    (mine.place.part("jobs", "1") / "checkpoint.part").write_text("latents")
    (root / "tmp").mkdir()
    (root / "tmp/half").write_text("a face")
    make_old(root, 2)
    assert sweep(root, 1, 24) == {"plans": 1, "unfinished": 1, "visitors": 1}
    assert files(root) == []


def test_packing_does_not_prolong_what_is_packed(root: Path, mine: Workspace, adapter: Adapter) -> None:
    mine.keep(mine.add_portrait(portrait(), label=False), None)
    stored = mine.shelf.add(adapter, "Anna")
    make_old(mine.folder, 25)
    mine.zip_kept()
    mine.shelf.zip(stored)
    sweep(root, 1, 24)
    assert files(root) == []


def test_sweeping_spares_the_folder_of_a_visitor_who_comes_back(root: Path, mine: Workspace) -> None:
    mine.place.part("photos", "person")
    make_old(root, 2)
    mine.place.part("photos", "person")
    assert not sweep(root, 1, 24)
    assert (mine.folder / "photos/person").is_dir()


def test_a_portrait_kept_for_a_while_is_as_old_as_when_it_was_drawn(root: Path, mine: Workspace) -> None:
    drawn = mine.add_portrait(portrait(), label=False)
    make_old(drawn, 25)
    mine.keep(drawn, None)
    assert sweep(root, 1, 24)["portraits"] == 1


def test_what_vanishes_or_cannot_be_deleted_keeps_nothing_else_on_the_disk(
    root: Path, mine: Workspace, other: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for space in (mine, other):
        space.ingest([uploaded(root, "a.jpg"), uploaded(root, "b.jpg"), uploaded(root, "c.jpg")], "person")
    (root / "tmp").mkdir()
    for name in "abc":
        (root / "tmp" / name).write_text("a face")
    make_old(root, 2)
    real_stat, real_remove = Path.stat, retention.remove

    def stat(path: Path, **options: bool) -> object:
        if path.name in ("a", "a.jpg"):
            raise FileNotFoundError
        return real_stat(path, **options)

    def remove(path: Path) -> None:
        if path.name in ("b", "b.jpg"):
            raise PermissionError("belongs to somebody else")
        real_remove(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", stat)
        patch.setattr(retention, "remove", remove)
        assert sweep(root, 1, 24) == {"photos": 2, "unfinished": 1}
    assert [path.name for path in files(root)] == ["a.jpg", "b.jpg"] * 2 + ["a", "b"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3
    assert "belongs to somebody else" in caplog.text


def test_after_a_sweep_that_failed_there_is_another(
    root: Path, mine: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_once(*_: object) -> None:
        monkeypatch.setattr(Records, "purge", purge)
        mine.ingest([uploaded(root)], "person")
        make_old(mine.folder, 2)
        raise OperationalError("DELETE", {}, Exception("database is locked"))

    def nap(_: float) -> None:
        naps.append(mine.photos("person"))
        if len(naps) >= 2:  # or more, if a thread of an earlier test that failed sleeps, too
            raise EOFError

    naps, purge = [], Records.purge
    monkeypatch.setattr(Records, "purge", fail_once)
    monkeypatch.setattr(time, "sleep", nap)
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.run)
    monkeypatch.setenv("MAGICAPTURE_ROOT", str(root))
    records = Records(f"sqlite:///{root / 'records.sqlite'}")
    with pytest.raises(EOFError):
        keep_sweeping(Settings.from_environment(), records)
    assert [len(photos) for photos in naps] == [1, 0]
    assert "database is locked" in caplog.text
    records.close()
