"""Portraits can be seen and chosen as soon as they are drawn, whatever becomes of enlarging them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image
from visitor import small_adapter

from magicapture.config import GenerateConfig
from magicapture.drawing.generation import enlarged
from magicapture.drawing.portrait import Portrait
from magicapture.server import drawings as drawings_module
from magicapture.server.drawings import Drawing, Drawings
from magicapture.server.gpu import QUEUE, GpuError
from magicapture.server.queue import Limits
from magicapture.server.records import Records
from magicapture.server.workspace import Workspace
from magicapture.ui.api_responses import of_drawing
from magicapture.ui.drawing_view import DrawingView, result, standing
from magicapture.ui.portraits import MAX_SEED, next_seed

SMALL, LARGE = (32, 32), (128, 128)
Enlarge = Callable[..., Iterator[Portrait]]
PICTURES = SimpleNamespace(said="said", shown=["grid"], show=lambda visitor: {"grid": len(visitor.portraits())})
VIEW = DrawingView(PICTURES, "stop", "arrived")
"""What tells of drawings, with names for the parts of the page."""


@pytest.fixture
def drawings(root: Path) -> Drawings:
    """Give the drawings of a process."""
    root.mkdir()
    return Drawings(Records(f"sqlite:///{root / 'records.sqlite'}"), Limits(9, 9, 9))


@pytest.fixture
def start(drawings: Drawings, mine: Workspace, monkeypatch: pytest.MonkeyPatch) -> Callable[[Enlarge], Drawing]:
    """Give what starts to draw three portraits, that take no time, and to enlarge them as it is told."""
    monkeypatch.setattr(drawings_module, "draw", lambda *_: [Image.new("RGB", SMALL)] * 3)
    monkeypatch.setattr(drawings_module, "chosen", lambda pictures, *_: [made(picture) for picture in pictures])
    adapter = mine.shelf.add(small_adapter(), "mine")

    def start(enlarge: Enlarge, upscale: int = 4) -> Drawing:
        monkeypatch.setattr(drawings_module, "enlarge", enlarge)
        return drawings.start(mine, adapter, GenerateConfig(count=3, upscale=upscale), label=False)

    return start


def made(picture: Image.Image) -> Portrait:
    return Portrait(picture, 0, 0.5, 0.5, {"upscale": 4})


def larger(portraits: list[Portrait], *_: object) -> Iterator[Portrait]:
    for portrait in portraits:
        yield enlarged(portrait, Image.new("RGB", LARGE), "a stand-in")


def larger_after(go_on: threading.Event) -> Enlarge:
    def slowly(portraits: list[Portrait], *_: object) -> Iterator[Portrait]:
        assert go_on.wait(20)
        yield from larger(portraits)

    return slowly


def told(updates: AsyncIterator[dict], meanwhile: Callable[[], object] = lambda: None) -> list[dict]:
    """Give all that the page is told, and let something happen after each part of it."""

    async def listen() -> list[dict]:
        return [(update, meanwhile())[0] async for update in updates]

    return asyncio.run(listen())


def sizes(workspace: Workspace) -> list[tuple[int, int]]:
    return sorted(Image.open(portrait.path).size for portrait in workspace.portraits())


def test_a_visitor_chooses_while_the_portraits_are_enlarged(
    mine: Workspace, start: Callable[[Enlarge], Drawing]
) -> None:
    go_on = threading.Event()
    drawing = start(larger_after(go_on))
    assert drawing.drawn.wait(20)
    assert sizes(mine) == [SMALL] * 3
    assert "being enlarged" in standing(drawing)
    first, second, _ = drawing.paths
    kept = mine.keep(first, None)
    mine.reject(second)
    go_on.set()
    assert drawing.ended.wait(20)
    assert sizes(mine) == [LARGE] * 2
    assert [portrait.path for portrait in mine.portraits() if portrait.kept] == [kept]
    assert result(drawing) == "2 portraits of 128 × 128 pixels, enlarged by a stand-in. Not enlarged: 1."


def test_whoever_waits_to_draw_does_not_wait_for_others_to_be_enlarged(start: Callable[[Enlarge], Drawing]) -> None:
    go_on = threading.Event()
    slowly = larger_after(go_on)
    with QUEUE.join(1) as before:
        assert before.wait(0)
        first, second = start(slowly), start(slowly)
        while not (first.ticket and second.ticket):
            pass
    assert first.drawn.wait(20)
    assert second.drawn.wait(5)
    assert not first.ended.is_set()
    go_on.set()
    assert first.ended.wait(20)
    assert second.ended.wait(20)


def test_portraits_stay_as_drawn_when_enlarging_them_is_stopped(
    mine: Workspace, start: Callable[[Enlarge], Drawing]
) -> None:
    def once(portraits: list[Portrait], *_: object) -> Iterator[Portrait]:
        for number, portrait in enumerate(larger(portraits)):
            if number == 1:
                drawing.stopped.set()
            yield portrait

    with QUEUE.join(1) as before:
        assert before.wait(0)
        drawing = start(once)
    assert drawing.ended.wait(20)
    assert sizes(mine) == [SMALL] * 2 + [LARGE]
    assert result(drawing) == "1 portrait of 128 × 128 pixels, enlarged by a stand-in. Not enlarged: 2."
    described = of_drawing(drawing, 4).values()
    assert [row["fault"] for row in described] == ["", "The drawing was stopped.", "The drawing was stopped."]


@pytest.mark.parametrize(
    ("error", "said"),
    [(GpuError("Too little quota."), "Too little quota."), (RuntimeError("x"), "RuntimeError: the rest stays")],
)
def test_portraits_stay_as_drawn_when_they_cannot_be_enlarged(
    mine: Workspace, start: Callable[[Enlarge], Drawing], error: Exception, said: str
) -> None:
    def fail(*_: object) -> Iterator[Portrait]:
        raise error
        yield

    drawing = start(fail)
    assert drawing.ended.wait(20)
    assert sizes(mine) == [SMALL] * 3
    assert result(drawing).startswith(f"3 portraits of 32 × 32 pixels. {said}")
    assert all(row["fault"].startswith(said) for row in of_drawing(drawing, 4).values())


def test_a_program_is_told_of_what_is_still_there(mine: Workspace, start: Callable[[Enlarge], Drawing]) -> None:
    drawing = start(larger)
    assert drawing.ended.wait(20)
    first, second, third = drawing.paths
    kept = mine.keep(first, None)
    mine.reject(second)
    described = of_drawing(drawing, 4)
    assert list(described) == [kept, third]
    assert [(row["name"], row["fault"]) for row in described.values()] == [(kept.name, ""), (third.name, "")]


@pytest.mark.parametrize("upscale", [1, 4])
def test_portraits_come_into_view_once_enlarged_or_not(start: Callable[..., Drawing], upscale: int) -> None:
    updates = told(VIEW.tell(start(larger, upscale)))
    assert [update["grid"] for update in updates if "arrived" in update] == [3]
    assert "3 portraits" in updates[-1]["said"]


def test_who_draws_again_sees_other_portraits() -> None:
    first = GenerateConfig(count=4, best_of=3, seed=7)
    second = replace(first, seed=next_seed(first))
    assert not {*first.seeds} & {*second.seeds}
    assert next_seed(replace(first, seed=MAX_SEED - 1)) <= MAX_SEED


def test_who_stops_a_drawing_is_told_so_at_once_and_of_no_fault(start: Callable[..., Drawing]) -> None:
    with QUEUE.join(1) as before:
        assert before.wait(0)
        drawing = start(larger)
        first, last = told(VIEW.tell(drawing), drawing.stopped.set)
    assert first["stop"].interactive
    assert "The drawing was stopped." in last["said"]
    assert not last["stop"].interactive
    assert drawing.ended.wait(20)


def test_who_stops_while_it_draws_does_not_wait_for_its_end(
    start: Callable[..., Drawing], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(drawings_module, "draw", lambda *_: go_on.wait(20) and [Image.new("RGB", SMALL)])
    drawing = start(larger)
    drawing.stopped.set()
    assert "The drawing was stopped." in told(VIEW.tell(drawing))[-1]["said"]
    assert not drawing.ended.is_set()
    go_on.set()
    assert drawing.ended.wait(20)
    assert not drawing.paths


def test_a_drawing_that_failed_no_longer_says_that_it_draws(
    start: Callable[..., Drawing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawings_module, "draw", lambda *_: 1 / 0)
    drawing, updates = start(larger), []

    async def listen() -> None:
        async for update in VIEW.tell(drawing):
            updates.append(update)  # noqa: PERF401  for what comes before the error

    with pytest.raises(gr.Error, match="nothing was drawn"):
        asyncio.run(listen())
    assert "nothing was drawn" in updates[-1]["said"]


def test_a_refresh_does_not_lose_sight_of_what_is_being_drawn(
    drawings: Drawings, mine: Workspace, other: Workspace, start: Callable[..., Drawing]
) -> None:
    go_on = threading.Event()
    drawing = start(larger_after(go_on))
    assert [[*update] for update in told(VIEW.follow(drawings, other))] == [["stop"]]
    updates = told(VIEW.follow(drawings, mine), go_on.set)
    assert [update["grid"] for update in updates if "arrived" in update] == [3]
    assert "enlarged by a stand-in" in updates[-1]["said"]
    assert drawing.ended.wait(20)
    assert [[*update] for update in told(VIEW.follow(drawings, mine))] == [["stop"]]
