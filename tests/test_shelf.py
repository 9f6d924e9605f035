"""A visitor's adapters come back as they were, under their titles, and to nobody else."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from visitor import earlier_adapter, files, make_old, portrait, small_adapter, uploaded

from magicapture.adapters.adapter import Adapter, AdapterError
from magicapture.drawing.portrait import Portrait
from magicapture.server.workspace import Workspace


@pytest.fixture
def adapter() -> Adapter:
    return small_adapter()


def test_an_adapter_comes_back_as_it_was(mine: Workspace, adapter: Adapter) -> None:
    found = mine.shelf.load(mine.shelf.add(adapter, "  Anna,\nengraved "))
    assert found.info == replace(adapter.info, title="Anna, engraved")
    assert torch.equal(found.rows["clip_l"], adapter.rows["clip_l"])
    assert all(torch.equal(found.lora[key], value) for key, value in adapter.lora.items())
    assert torch.equal(found.targets.person, adapter.targets.person)


def test_a_new_title_does_not_make_an_adapter_younger(mine: Workspace, adapter: Adapter) -> None:
    first = mine.shelf.add(adapter, "first")
    make_old(mine.folder / "adapters" / first, 2)
    second = mine.shelf.add(adapter, "second")
    created = mine.shelf.stored()[1].created
    mine.shelf.zip(first)
    mine.shelf.rename(first, "still the first")
    assert [(stored.id, stored.title) for stored in mine.shelf.stored()] == [
        (second, "second"),
        (first, "still the first"),
    ]
    assert mine.shelf.stored()[1].created == created
    assert [path.name for path in mine.shelf.stored()[1].folder.glob("*.zip")] == [], "it would bear the old title"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("family \U0001f468\u200d\U0001f469\u200d\U0001f467", "family \U0001f468\u200d\U0001f469\u200d\U0001f467"),
        ("हिन्दी\u200c", "हिन्दी\u200c"),
        ("\u200fשלום\u200e", "\u200fשלום\u200e"),
        ("soft\u00adhyphen \U0001faea", "soft\u00adhyphen \U0001faea"),
        ("in two\u2028lines\r\nor\tthree", "in two lines or three"),
        ("a\x00 b\x1b[31m \ud83d", "a b[31m"),
        ("\u202egnp.exe\u202c \u2066x\u2069", "gnp.exe x"),
        ("x" * 99, "x" * 60),
        ("\u202e\x07", "Untitled"),
    ],
)
def test_no_title_costs_the_adapter_whatever_script_it_is_in(
    mine: Workspace, adapter: Adapter, written: str, read: str
) -> None:
    kept = mine.shelf.add(adapter, "Anna")
    mine.shelf.rename(kept, written)
    assert mine.shelf.stored()[0].title == mine.shelf.load(kept).info.title == read
    facts = mine.folder / "adapters" / kept / "magicapture.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"title": written}))  # as it was written before
    assert (mine.shelf.load(kept).info.title or "Untitled") == read
    assert mine.shelf.zip(kept).is_file()
    mine.shelf.rename(kept, "Berta")
    assert mine.shelf.load(mine.shelf.add(adapter, written)).info.title == read


def test_a_downloaded_adapter_can_be_uploaded_again(
    root: Path, mine: Workspace, other: Workspace, adapter: Adapter
) -> None:
    package = mine.shelf.zip(mine.shelf.add(adapter, "Anna: engraved"))
    assert package.name == "Anna_engraved.zip"
    upload = uploaded(root, "x.jpg").with_name("anna.zip")
    upload.write_bytes(package.read_bytes())
    imported = other.shelf.import_zip(upload)
    assert not upload.exists()
    assert [(stored.id, stored.title) for stored in other.shelf.stored()] == [(imported, "Anna: engraved")]
    assert torch.equal(other.shelf.load(imported).rows["clip_l"], adapter.rows["clip_l"])
    assert {path.parent for path in files(other.folder)} == {other.folder / "adapters" / imported}


def test_a_deleted_adapter_leaves_nothing(root: Path, mine: Workspace, adapter: Adapter) -> None:
    deleted = mine.shelf.add(adapter, "Anna")
    mine.shelf.zip(deleted)
    mine.shelf.delete(deleted)
    assert files(root) == []
    with pytest.raises(AdapterError, match="not there any more"):
        mine.shelf.load(deleted)


def test_one_of_an_earlier_embedded_base_is_listed_and_leaves_but_is_not_used(mine: Workspace) -> None:
    kept = mine.shelf.add(earlier_adapter(), "Anna")
    (stored,) = mine.shelf.stored()
    assert (stored.title, stored.info.base_source) == ("Anna", "mini")
    with pytest.raises(AdapterError, match=r"trained on an earlier embedded demo model .* train it again"):
        mine.shelf.load(kept)
    mine.shelf.rename(kept, "Berta")
    assert mine.shelf.zip(kept).name == "Berta.zip"
    mine.shelf.delete(kept)
    assert mine.shelf.stored() == []


def test_no_id_leads_out_of_the_folder(root: Path, mine: Workspace, other: Workspace, adapter: Adapter) -> None:
    theirs = other.shelf.add(adapter, "theirs")
    mine.shelf.add(adapter, "mine")
    before = files(root)
    for wrong in (theirs, f"../../{other.name}/adapters/{theirs}", "..", "", ".", None, "0" * 16):
        for act in (mine.shelf.load, mine.shelf.zip, mine.shelf.delete, lambda name: mine.shelf.rename(name, "x")):
            with pytest.raises(AdapterError, match="not there any more"):
                act(wrong)
    assert files(root) == before


def test_an_adapter_for_scores_that_cannot_be_compared_is_stored_too(mine: Workspace, adapter: Adapter) -> None:
    assert mine.shelf.load(mine.shelf.add(replace(adapter, targets=None), "")).targets is None
    assert mine.shelf.stored()[0].title == "Untitled"


@pytest.mark.parametrize("act", ["add_adapter", "add_portrait", "ingest"])
def test_a_fault_while_writing_leaves_nothing_half_written(
    root: Path, mine: Workspace, adapter: Adapter, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(thing: object, path: Path, *_: object, **__: object) -> None:
        assert path.parent.parent == mine.folder, "it must not be where a reader looks"
        (path / "half" if isinstance(thing, Adapter) else path).parent.mkdir(exist_ok=True)
        (path / "half" if isinstance(thing, Adapter) else path).write_text("half")
        raise OSError("disk full")

    upload = uploaded(root)
    for thing in (Adapter, Portrait, Image.Image):
        monkeypatch.setattr(thing, "save", half)
    acts = {
        "add_adapter": lambda: mine.shelf.add(adapter, "Anna"),
        "add_portrait": lambda: mine.add_portrait(portrait(), label=False),
        "ingest": lambda: mine.ingest([upload], "person"),
    }
    with pytest.raises(OSError, match="disk full"):
        acts[act]()
    assert [path for path in files(root) if path != upload] == []
    assert mine.shelf.stored() == mine.portraits() == mine.photos("person") == []
