"""Portraits stay with what is known of them; only those that a visitor wants, and only for that visitor."""

import errno
import io
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import gradio as gr
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from visitor import files, portrait, uploaded

from magicapture.drawing.portrait import FACTS, Portrait, read_facts
from magicapture.faces import FaceEngine
from magicapture.server.workspace import TooLittleLikenessError, Workspace, WorkspaceError
from magicapture.server.workspace import visitor as visitor_module
from magicapture.settings import Settings
from magicapture.ui import gallery
from magicapture.ui.portrait_grid import portrait_grid


def test_portraits_say_how_they_were_drawn_and_the_best_comes_first(mine: Workspace) -> None:
    likenesses = (0.1, None, 0.7)
    paths = [mine.add_portrait(portrait(seed, likeness), label=True) for seed, likeness in enumerate(likenesses)]
    assert paths[0].name.startswith("seed0-")
    assert paths[0] != mine.add_portrait(portrait(0, 0.2), label=False), "the seed alone would be guessed"
    assert [kept.facts["likeness"] for kept in mine.portraits()] == [0.7, 0.2, 0.1, None]
    assert mine.portraits()[0].facts == read_facts(paths[2])
    assert mine.portraits()[0].facts["prompt"] == "with a hat"


def test_a_portrait_is_kept_only_if_it_is_like_the_person(mine: Workspace) -> None:
    alike, unlike, unknown = (mine.add_portrait(portrait(1, likeness), label=False) for likeness in (0.5, 0.2, None))
    kept = mine.keep(alike, 0.4)
    assert [found.path for found in mine.portraits() if found.kept] == [kept]
    assert not alike.exists()
    assert mine.keep(kept, 0.4) == kept
    with pytest.raises(TooLittleLikenessError, match=r"0\.40; this one has 0\.20"):
        mine.keep(unlike, 0.4)
    with pytest.raises(TooLittleLikenessError, match="cannot be compared"):
        mine.keep(unknown, 0.4)
    assert unlike.is_file()
    assert mine.keep(unknown, None).is_file()


def test_a_rejected_portrait_is_gone_also_from_the_zip(mine: Workspace, root: Path) -> None:
    kept = mine.keep(mine.add_portrait(portrait(), label=False), None)
    assert mine.zip_kept().is_file()
    mine.reject(kept)
    assert files(root) == []
    with pytest.raises(WorkspaceError, match="not there any more"):
        mine.reject(kept)


def test_the_zip_holds_the_kept_portraits_and_nothing_else(mine: Workspace) -> None:
    mine.add_portrait(portrait(), label=False)
    with pytest.raises(WorkspaceError, match="No portrait is kept"):
        mine.zip_kept()
    kept = mine.keep(mine.add_portrait(portrait(), label=False), None)
    package = ZipFile(mine.zip_kept())
    assert package.namelist() == [kept.name]
    assert package.read(kept.name) == kept.read_bytes()


@pytest.mark.parametrize("rejected", [0, 1])
def test_a_portrait_that_is_rejected_while_the_zip_is_written_is_not_in_it(
    mine: Workspace, monkeypatch: pytest.MonkeyPatch, rejected: int
) -> None:
    kept = [mine.keep(mine.add_portrait(portrait(seed), label=False), None) for seed in range(2)]
    write_zip = visitor_module.write_zip

    def reject_meanwhile(paths: list[Path], target: Path) -> None:
        if kept[rejected].exists():
            with suppress(FileNotFoundError):  # before it was read, or after
                write_zip(paths, target)
                mine.reject(kept[rejected])
                return
            mine.reject(kept[rejected])
        write_zip(paths, target)

    monkeypatch.setattr(visitor_module, "write_zip", reject_meanwhile)
    assert ZipFile(mine.zip_kept()).namelist() == [kept[1 - rejected].name]


def test_the_last_portrait_that_is_rejected_while_the_zip_is_written_leaves_none(
    mine: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = mine.keep(mine.add_portrait(portrait(), label=False), None)
    write_zip = visitor_module.write_zip
    monkeypatch.setattr(visitor_module, "write_zip", lambda *given: (mine.reject(kept), write_zip(*given)))
    with pytest.raises(WorkspaceError, match="No portrait is kept"):
        mine.zip_kept()
    assert files(mine.folder) == []


def damaged(good: bytes) -> dict[str, bytes]:
    """Give files that are no portraits, by what is wrong with them."""
    plain = io.BytesIO()
    Image.new("RGB", (8, 8)).save(plain, "PNG")
    found = {"empty": b"", "letter": b"Dear all", "cut off": good[:60], "without facts": plain.getvalue()}
    for name, facts in {"no facts": "[1]", "other facts": '{"seed": 1}', "not JSON": "{"}.items():
        picture, text = io.BytesIO(), PngInfo()
        text.add_text(FACTS, facts)
        Image.new("RGB", (8, 8)).save(picture, "PNG", pnginfo=text)
        found[name] = picture.getvalue()
    return found


@pytest.mark.parametrize("place", ["new", "kept"])
def test_a_damaged_portrait_is_named_and_can_be_deleted_and_the_others_are_shown(mine: Workspace, place: str) -> None:
    good = mine.keep(mine.add_portrait(portrait(), label=False), None)
    bad = damaged(good.read_bytes())
    for name, content in bad.items():
        (mine.place.part("portraits", place) / f"{name}.png").write_bytes(content)
    assert [item.path for item in mine.portraits()] == [good]
    assert sorted(path.stem for path in mine.look_through()[1]) == sorted(bad)
    shown = portrait_grid(*mine.look_through())
    assert good.name in shown
    assert all(f"{name}.png is damaged and cannot be shown" in shown for name in bad)
    assert ZipFile(mine.zip_kept()).namelist() == [good.name]
    for name in bad:
        mine.reject(mine.portrait_called(f"{name}.png"))
    assert mine.look_through()[1] == []


def test_a_comparison_stays_open_as_long_as_its_portrait_is_there(mine: Workspace) -> None:
    first, second = (mine.add_portrait(portrait(seed), label=False) for seed in range(2))
    with gr.Blocks():
        shown = gallery.build(SimpleNamespace(settings=Settings.from_environment()))

    def closed(beside: str) -> bool:
        return shown.slider in shown.refresh(mine, beside)

    assert closed("")
    assert not closed(first.name)
    mine.enlarge_portrait(first, enlarged(), label=False)
    mine.keep(first, None)
    mine.reject(second)
    assert not closed(first.name), "it is enlarged, kept, or another one is rejected"
    assert closed(second.name)


def enlarged() -> Portrait:
    return replace(portrait(), image=Image.new("RGB", (64, 64)), drawn=portrait().image)


def test_an_enlarged_portrait_is_compared_with_itself_as_drawn_and_leaves_neither(mine: Workspace) -> None:
    path = mine.add_portrait(portrait(), label=False)
    assert mine.as_drawn(path) is None
    assert mine.enlarge_portrait(path, enlarged(), label=False) == path
    with Image.open(mine.as_drawn(path)) as before, Image.open(path) as after:
        assert (before.size, after.size) == ((32, 32), (64, 64))
    kept = mine.keep(path, None)
    assert [item.path for item in mine.portraits()] == [kept]
    assert mine.as_drawn(kept)
    mine.reject(kept)
    assert files(mine.folder) == []


def test_a_portrait_that_was_kept_before_it_is_enlarged_stays_kept(mine: Workspace) -> None:
    path = mine.add_portrait(portrait(), label=False)
    kept = mine.keep(path, None)
    assert mine.enlarge_portrait(path, enlarged(), label=False) == kept
    with Image.open(kept) as after:
        assert after.size == (64, 64)
    assert [item.path for item in mine.portraits()] == [kept]


def test_a_portrait_that_was_rejected_before_it_is_enlarged_does_not_come_back(
    mine: Workspace, other: Workspace
) -> None:
    path = mine.add_portrait(portrait(), label=False)
    assert other.enlarge_portrait(path, enlarged(), label=False) is None
    mine.reject(path)
    assert mine.enlarge_portrait(path, enlarged(), label=False) is None
    assert files(mine.folder) == files(other.folder) == []
    mine.delete_everything()
    with pytest.raises(WorkspaceError, match="deleted meanwhile"):
        mine.enlarge_portrait(path, enlarged(), label=False)


def test_a_full_disk_leaves_a_portrait_as_it_was_drawn(mine: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    path = mine.add_portrait(portrait(), label=False)
    before = path.read_bytes()
    monkeypatch.setattr(visitor_module, "copyfile", full)
    with pytest.raises(WorkspaceError, match="disk is full"):
        mine.enlarge_portrait(path, enlarged(), label=False)
    assert files(mine.folder) == [path]
    assert path.read_bytes() == before


def test_a_portrait_is_found_by_its_name_alone_and_only_by_whose_it_is(mine: Workspace, other: Workspace) -> None:
    path = mine.add_portrait(portrait(), label=False)
    assert mine.portrait_called(path.name) == path
    kept = mine.keep(path, None)
    assert mine.portrait_called(path.name) == kept
    for name in ("", ".", "..", str(kept), f"../kept/{kept.name}", "portraits.zip"):
        with pytest.raises(WorkspaceError, match="not there any more"):
            mine.portrait_called(name)
    with pytest.raises(WorkspaceError, match="not there any more"):
        other.portrait_called(kept.name)


def test_the_crop_that_a_portrait_is_compared_with_goes_with_the_photos(root: Path, mine: Workspace) -> None:
    photos = mine.ingest([uploaded(root), uploaded(root, "two.jpg")], "person")
    crop = mine.store_crop("../../me.jpg", Image.new("RGB", (8, 8)))
    assert crop.parent.parent == mine.folder / "photos"
    mine.ingest(photos[:1], "person")
    assert not crop.exists()
    crop = mine.store_crop("me.jpg", Image.new("RGB", (8, 8)))
    mine.forget_photos()
    assert not crop.exists()


def test_nobody_can_keep_or_reject_what_is_not_their_portrait(root: Path, mine: Workspace, other: Workspace) -> None:
    theirs, photo = other.add_portrait(portrait(), label=False), mine.ingest([uploaded(root)], "person")[0]
    for path in (theirs, photo, mine.folder, mine.folder / "portraits/new/none.png"):
        for act in (mine.reject, lambda path: mine.keep(path, None)):
            with pytest.raises(WorkspaceError, match="not there any more"):
                act(path)
    assert files(root) == sorted([theirs, photo])


def test_who_gave_no_photos_is_not_told_that_theirs_are_deleted(mine: Workspace, builtin: FaceEngine) -> None:
    path = mine.add_portrait(portrait(), label=False)
    said, *_ = gallery.compare(SimpleNamespace(engine=builtin), mine, None, SimpleNamespace(_data={"name": path.name}))
    assert "No photo is here to compare it with." in said


def test_the_page_does_not_promise_that_what_is_kept_stays() -> None:
    rules = gallery._rules(SimpleNamespace(settings=Settings.from_environment()))
    assert "All are deleted here after 24 hours." in rules
