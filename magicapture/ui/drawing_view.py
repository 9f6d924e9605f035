"""What the tab Portraits shows of a drawing, on the page that asked for it or on another one, until it is over."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from magicapture.config import GenerateConfig
from magicapture.drawing.portrait import Portrait
from magicapture.messages import Message, joined
from magicapture.server.drawings import STOPPED, Drawing, Drawings
from magicapture.server.gate.answer import address_of
from magicapture.server.workspace import Workspace
from magicapture.ui.events import user_errors
from magicapture.ui.gallery import Gallery
from magicapture.ui.html import duration, section
from magicapture.ui.language import user_error
from magicapture.ui.session import AppContext, require_visitor

ASK_SECONDS, ASKS = 1.0, 10
"""How often a waiting visitor is told where they stand, and how often it is looked in between whether it has ended."""
IN_THE_FILE = "Seed and settings are kept in each PNG."


@dataclass(frozen=True, eq=False)
class DrawingView:
    """The parts that tell how a drawing goes; ``arrived`` lets the browser go to the portraits."""

    pictures: Gallery
    stop: gr.Button
    arrived: gr.Textbox

    @property
    def parts(self) -> list[Component]:
        """All that ``tell`` may change."""
        return [self.pictures.said, *self.pictures.shown, self.stop, self.arrived]

    async def tell(self, drawing: Drawing) -> AsyncIterator[dict[Component, object]]:
        """Give what is to be shown of a drawing, by the parts that show it, until it is over.

        Raises ``gr.Error`` if it failed.
        """
        shown = False
        async for over in watch(drawing):
            kept = IN_THE_FILE if drawing.drawn.is_set() else ""
            said = joined(" ", result(drawing), kept) if over else standing(drawing)
            update: dict[Component, object] = {
                self.pictures.said: section("", said),
                self.stop: gr.Button(interactive=not over and not drawing.stopped.is_set()),
            }
            if drawing.drawn.is_set() and not shown:  # once: whoever chooses meanwhile is not to be disturbed
                update |= await asyncio.to_thread(self.pictures.show, drawing.workspace)
                update[self.arrived] = secrets.token_hex(4)
                shown = True
            yield update
        if drawing.error and not shown:
            raise user_error(drawing.error, "No portraits")

    async def follow(self, drawings: Drawings, visitor: Workspace) -> AsyncIterator[dict[Component, object]]:
        """Tell the same of what a visitor's page that has just been opened finds being drawn."""
        yield {self.stop: gr.Button(interactive=False)}  # of events that yield nothing, Gradio clears the parts
        for drawing in drawings.of(visitor.name)[-1:]:
            async for update in self.tell(drawing):
                yield update


def start_drawing(
    context: AppContext,
    visitor: Workspace | None,
    adapter_id: str,
    config: GenerateConfig,
    label: bool,
    request: gr.Request,
) -> Drawing:
    """Start to draw portraits into the visitor's folder. Raises ``gr.Error``."""
    visitor = require_visitor(visitor)
    with user_errors("No portraits"):
        return context.drawings.start(
            visitor, adapter_id, config, label=label, address=address_of(request.request.scope)
        )


async def watch(drawing: Drawing) -> AsyncIterator[bool]:
    """Tell now and then, and when it has drawn or is stopped, whether a drawing is over; true comes once, at the end.

    It holds no thread while it waits, for many may wait at once.
    """
    while not is_over(drawing):
        yield False
        before = _state(drawing)
        for _ in range(ASKS):
            if _state(drawing) == before:
                await asyncio.sleep(ASK_SECONDS / ASKS)
    yield True


def is_over(drawing: Drawing) -> bool:
    """Tell whether nothing more comes of a drawing, though one that was stopped may not have noticed yet."""
    return drawing.ended.is_set() or (drawing.stopped.is_set() and not drawing.drawn.is_set())


def _state(drawing: Drawing) -> tuple[bool, ...]:
    return drawing.drawn.is_set(), drawing.stopped.is_set(), drawing.ended.is_set()


def stop_drawing(context: AppContext, visitor: Workspace | None) -> None:
    """Let the visitor's drawings end without a result."""
    context.drawings.stop(require_visitor(visitor).name)


def standing(drawing: Drawing) -> Message | str:
    """Say where a drawing stands that has not ended."""
    ticket = drawing.ticket
    if drawing.stopped.is_set():
        return STOPPED
    if drawing.drawn.is_set():
        left = ticket.expected_wait + ticket.seconds_left() if ticket else 0.0
        larger = "They are being enlarged, which takes about {time}: choose meanwhile, or stop it."
        return joined(" ", _as_drawn(drawing.portraits), Message(larger, time=duration(left)))
    if ticket is None or ticket.started:
        return "Drawing …"
    waiting = "One is before you; your turn comes in about {time}."
    if ticket.ahead != 1:
        waiting = "{n} are before you; your turn comes in about {time}."
    return Message(waiting, n=ticket.ahead, time=duration(ticket.expected_wait))


def result(drawing: Drawing) -> Message | str:
    """Say what came of a drawing that is over."""
    if not drawing.drawn.is_set():
        return drawing.error or STOPPED
    portraits = drawing.portraits
    larger = [portrait for portrait in portraits if portrait.drawn]
    if not larger:
        return joined(" ", _as_drawn(portraits), drawing.error)
    enlarged = "{n} portraits of {w} × {h} pixels, enlarged by {upscaler}."
    if len(larger) == 1:
        enlarged = "{n} portrait of {w} × {h} pixels, enlarged by {upscaler}."
    (width, height), upscaler = larger[0].image.size, larger[0].settings["upscaler"]
    said = Message(enlarged, n=len(larger), w=width, h=height, upscaler=upscaler)
    left = len(portraits) - len(larger)
    return joined(" ", said, Message("Not enlarged: {n}.", n=left) if left else "", drawing.error)


def _as_drawn(portraits: list[Portrait]) -> Message:
    (width, height), count = portraits[0].image.size, len(portraits)
    drawn = "{n} portraits of {w} × {h} pixels." if count > 1 else "{n} portrait of {w} × {h} pixels."
    return Message(drawn, n=count, w=width, h=height)
