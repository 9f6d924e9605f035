"""Whatever lies in a visitor's folder, My adapters opens, and its delete button works."""

import json
from contextlib import suppress

import gradio as gr
import pytest
from visitor import small_adapter

from magicapture.adapters.adapter import AdapterError
from magicapture.server.workspace import Workspace
from magicapture.ui.adapters import Shelf, build_shelf
from magicapture.ui.portraits import describe

NOTHING_SCORED = [{"step": 1, "likeness": None, "style": None}]
JUNK = [
    None,
    b"",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"{}",
    b"[" * 100_000,
    {"scores": NOTHING_SCORED, "best_step": None},
    {"scores": NOTHING_SCORED},
    {"scores": [{"step": 1}], "best_step": 1},
    {"scores": [{"step": 1, "likeness": float("nan"), "style": "high"}], "best_step": 1},
    {"scores": {"step": 1}, "best_step": 1},
    {"scores": [[1, 2]], "best_step": 1},
    {"scores": [{"step": 1, "likeness": float("-inf"), "style": 1}], "best_step": 1},
    {"scores": [{"step": 1, "likeness": -2, "style": 1}], "best_step": 1},
    {"scores": 7, "title": ["a"], "preset": {"b": 1}, "steps": "many", "base": 3},
    {"latent_mean": [10**400]},
    {"title": None},
    {"title": "x" * 10_000, "steps": None},
]


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    """Give the parts of My adapters."""
    with gr.Blocks():
        return build_shelf()


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
def test_no_stored_adapter_breaks_the_tab_or_its_delete_button(mine: Workspace, shelf: Shelf, junk: object) -> None:
    sound = mine.shelf.add(small_adapter(), "sound")
    broken = mine.shelf.add(small_adapter(), "broken")
    info = mine.folder / "adapters" / broken / "magicapture.json"
    if junk is None:
        info.unlink()
    elif isinstance(junk, bytes):
        info.write_bytes(junk)
    else:
        info.write_text(json.dumps(json.loads(info.read_text()) | junk))
    assert {stored.id for stored in mine.shelf.stored()} == {sound, broken}
    shown = shelf.show(mine, broken)
    assert shown[shelf.chosen] == broken
    assert shown[shelf.delete].interactive
    assert shelf.show(mine, sound)[shelf.chosen] == sound
    assert describe(mine, broken, [])
    with suppress(AdapterError):  # and nothing else
        mine.shelf.load(broken)
    mine.shelf.delete(broken)
    assert [stored.id for stored in mine.shelf.stored()] == [sound]


def test_what_is_no_adapter_at_all_can_be_deleted_too(mine: Workspace, shelf: Shelf) -> None:
    mine.place.part("adapters", "0" * 16, "deep")
    assert shelf.show(mine, None)[shelf.chosen] == "0" * 16
    mine.shelf.delete("0" * 16)
    assert mine.shelf.stored() == []
