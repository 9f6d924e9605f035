"""A disk that is full, or a visitor's share of it, is told in plain words, and what was there stays."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import gradio as gr
import httpx
import pytest
from page_session import PageSession
from PIL import Image
from running import PATIENCE, running_app
from safetensors import SafetensorError
from visitor import files, portrait, small_adapter, uploaded

from magicapture.adapters.adapter import Adapter
from magicapture.drawing.portrait import Portrait
from magicapture.server.workspace import Workspace, WorkspaceError, shelf, visitor
from magicapture.server.workspace.space import held_bytes
from magicapture.settings import settings
from magicapture.ui.adapters import build_shelf


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def full_for_weights(*_: object, **__: object) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("act", "fault"),
    [
        ("add_adapter", full),
        ("add_adapter", full_for_weights),
        ("add_portrait", full),
        ("ingest", full),
        ("zip_kept", full),
    ],
)
def test_a_full_disk_is_told_and_nothing_is_lost(
    root: Path, mine: Workspace, act: str, fault: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine.keep(mine.add_portrait(portrait(), label=False), None)
    mine.shelf.add(small_adapter(), "first")
    photos = mine.ingest([uploaded(root)], "person")
    before = {path: path.read_bytes() for path in files(root)}
    upload = uploaded(root)
    acts = {
        "add_adapter": lambda: mine.shelf.add(small_adapter(), "second"),
        "add_portrait": lambda: mine.add_portrait(portrait(8), label=False),
        "ingest": lambda: mine.ingest([*photos, upload], "person"),
        "zip_kept": mine.zip_kept,
    }
    for thing in (Adapter, Portrait, Image.Image):
        monkeypatch.setattr(thing, "save", fault)
    monkeypatch.setattr(visitor, "write_zip", full)
    with pytest.raises(WorkspaceError, match=r"disk is full\. Nothing of yours is lost"):
        acts[act]()
    assert {path: path.read_bytes() for path in files(root) if path != upload} == before


def test_everything_can_be_deleted_from_a_disk_without_room_for_another_name(
    root: Path, mine: Workspace, other: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for space in (mine, other):
        space.ingest([uploaded(root)], "person")
        space.shelf.add(small_adapter(), "first")
    with monkeypatch.context() as patch:
        for place, act in ((os, "mkdir"), (os, "rename")):
            patch.setattr(place, act, full)
        with pytest.raises(WorkspaceError, match=r"disk is full\. Nothing of yours is lost"):
            other.place.part("portraits", "new")
        mine.delete_everything()
        other.forget_photos()
        other.shelf.delete(other.shelf.stored()[0].id)
    assert files(root) == []
    assert not mine.folder.exists()


def test_a_folder_of_which_others_delete_parts_goes_as_a_whole(
    root: Path, mine: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlink_twice(*path: object, **options: object) -> None:
        unlink(*path, **options)
        unlink(*path, **options)

    mine.ingest([uploaded(root, "a.jpg"), uploaded(root, "b.jpg")], "person")
    unlink = os.unlink
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", unlink_twice)
        mine.delete_everything()
    assert list((root / "served").iterdir()) == []


def test_what_is_held_is_added_up_while_folders_vanish(
    root: Path, mine: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scan(folder: str) -> object:
        if Path(folder).name == "person":
            raise FileNotFoundError(folder)
        return scandir(folder)

    mine.ingest([uploaded(root)], "person")
    drawn, scandir = mine.add_portrait(portrait(), label=False), os.scandir
    size = drawn.stat().st_size + sum(path.stat().st_size for path in root.rglob("*") if path.is_dir())
    monkeypatch.setattr(os, "scandir", scan)
    assert held_bytes(root) == size


def test_what_one_visitor_may_hold_is_bounded(mine: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "MOST_ADAPTERS", 1)
    monkeypatch.setattr(visitor, "MOST_PORTRAITS", 2)
    mine.shelf.add(small_adapter(), "first")
    with pytest.raises(WorkspaceError, match=r"1 adapters here.* delete one first"):
        mine.shelf.add(small_adapter(), "second")
    mine.keep(mine.add_portrait(portrait(), label=False), None)
    mine.add_portrait(portrait(8), label=False)
    with pytest.raises(WorkspaceError, match=r"2 portraits here.* reject some first"):
        mine.add_portrait(portrait(9), label=False)


def test_nothing_more_is_taken_in_than_an_installation_may_hold_and_what_was_computed_is_kept(
    root: Path, mine: Workspace, other: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine.shelf.add(small_adapter(), "first")
    photos = mine.ingest([uploaded(root)], "person")
    monkeypatch.setenv("MAGICAPTURE_DISK_GB", "0.000001")
    settings.cache_clear()
    example, upload = uploaded(root.parent / "examples"), uploaded(root)
    for take in (
        lambda: other.shelf.take_in(small_adapter(), "an example"),
        lambda: mine.ingest([*photos, example], "person"),
        lambda: mine.ingest([*photos, upload], "person"),
    ):
        with pytest.raises(WorkspaceError, match=r"disk is full\. Nothing of yours is lost"):
            take()
    assert mine.photos("person") == photos
    assert not files(other.folder)
    mine.shelf.add(small_adapter(), "trained meanwhile")
    mine.keep(mine.add_portrait(portrait(), label=False), None)
    assert mine.zip_kept().is_file()
    mine.delete_everything()


def test_adapters_from_elsewhere_take_no_more_than_a_visitors_share(
    tmp_path: Path, mine: Workspace, other: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = other.shelf.zip(other.shelf.add(small_adapter(), "first")).rename(tmp_path / "first.zip")
    monkeypatch.setenv("MAGICAPTURE_DISK_GB", "0.001")
    settings.cache_clear()
    imports = (mine.shelf.import_zip(package) for _ in range(shelf.MOST_ADAPTERS))
    with pytest.raises(WorkspaceError, match=r"would take \d+ MB here.* delete one first"):
        list(imports)
    assert 2 <= len(mine.shelf.stored()) < shelf.MOST_ADAPTERS
    mine.shelf.add(small_adapter(), "trained here")
    other.shelf.import_zip(package)


def test_where_there_is_no_space_a_zip_is_neither_unpacked_nor_made_and_the_list_is_shown(
    root: Path, mine: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = mine.shelf.add(small_adapter(), "first")
    upload = uploaded(root, "anna.zip", format="JPEG")
    upload.write_bytes(mine.shelf.zip(kept).read_bytes())
    assert mine.shelf.zip(kept).is_file(), "made anew it takes no more"
    mine.shelf.rename(kept, "second")
    monkeypatch.setenv("MAGICAPTURE_DISK_GB", "0.000001")
    settings.cache_clear()
    monkeypatch.setattr(ZipFile, "extractall", lambda *_: pytest.fail("unpacked"))
    for act in (lambda: mine.shelf.import_zip(upload), lambda: mine.shelf.zip(kept)):
        with pytest.raises(WorkspaceError, match=r"disk is full\. Nothing of yours is lost"):
            act()
    assert not upload.exists()
    assert not list(mine.folder.rglob("*.zip"))
    with gr.Blocks():
        parts = build_shelf()
    shown = parts.show(mine, kept)
    assert "disk is full" in shown[parts.facts]
    assert not shown[parts.download].interactive
    assert shown[parts.use].interactive
    assert shown[parts.delete].interactive


@pytest.fixture(scope="module")
def address(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of an app that may hold two megabytes."""
    with running_app(tmp_path_factory.mktemp("small"), examples, MAGICAPTURE_DISK_GB="0.002") as address:
        yield address


def test_uploads_in_sum_are_bounded(address: str) -> None:
    def upload(size: int) -> httpx.Response:
        files = {"files": ("me.jpg", b"x" * size)}
        return httpx.post(f"{address}/gradio_api/upload", files=files, timeout=PATIENCE)

    answers = [upload(500_000) for _ in range(6)]
    assert answers[0].is_success
    assert answers[-1].status_code == 507
    assert "Nothing of yours is lost" in answers[-1].text
    assert httpx.get(address, timeout=PATIENCE).is_success


def test_examples_are_taken_only_where_there_is_room_for_them(address: str) -> None:
    page = PageSession(address)
    page.enter()
    page.send("input", "consent", consent=True)
    while page.http.post("/gradio_api/upload", files={"files": ("me.jpg", b"x" * 50_000)}).is_success:
        pass
    answer = page.send("click", "load_examples")
    assert answer.status_code == 500
    assert "Nothing of yours is lost" in answer.text
