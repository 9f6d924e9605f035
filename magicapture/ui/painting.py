"""Painting over a photo what training shall learn of it: one photo after the other, until each has its mask."""

from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.components import Component
from gradio.components.image_editor import EditorData
from PIL import Image

from magicapture.messages import Message
from magicapture.photos.reading import PhotoError, read_photo
from magicapture.photos.references import CheckedSet
from magicapture.server.workspace import Workspace
from magicapture.server.workspace.subject import PHOTO_GONE
from magicapture.things.painting import PaintingError, painted_mask
from magicapture.ui.events import AT_ONCE, QUEUED, user_errors
from magicapture.ui.html import section
from magicapture.ui.language import user_error
from magicapture.ui.photo_grid import told
from magicapture.ui.readiness import called
from magicapture.ui.session import Session, require_visitor

CANVAS_SIDE = 1024
"""Photos are painted over at so many pixels on the long side: what a phone can hold, and sends at once."""
PAINT = (64, 255, 128)
TO_CANVAS = "() => document.querySelector('#painting').scrollIntoView({block: 'start', behavior: 'smooth'})"


@dataclass(frozen=True, eq=False)
class Painting:
    """The parts that events speak to. ``name``: of the photo that is open."""

    place: gr.Column
    said: gr.HTML
    canvas: gr.ImageEditor
    use: gr.Button
    cancel: gr.Button
    name: gr.State

    @property
    def parts(self) -> list[Component | gr.Column]:
        """All that ``opened`` and ``closed`` give."""
        return [self.place, self.said, self.canvas, self.name]


def build_painting() -> Painting:
    """Lay the canvas out, closed."""
    with gr.Column(visible=False, elem_id="painting") as place:
        said = gr.HTML("")
        canvas = gr.ImageEditor(
            label="The photo to paint over",
            show_label=False,
            sources=(),
            transforms=(),
            layers=False,
            buttons=[],
            brush=gr.Brush(default_size=24, colors=[(f"rgb{PAINT}", 0.6)], color_mode="fixed"),
            eraser=gr.Eraser(default_size=24),
            canvas_size=(CANVAS_SIDE, CANVAS_SIDE),
            elem_id="canvas",
        )
        # It would decode what a browser sends, however large. Events give it values alone: of updates Gradio makes a
        # new editor for the page, which does that again.
        canvas.preprocess = _as_sent  # type: ignore[method-assign]
        with gr.Row():
            use = gr.Button("Use this mask", variant="primary", min_width=140, elem_id="use-mask")
            cancel = gr.Button("Cancel", min_width=100, elem_id="cancel-mask")
    return Painting(place, said, canvas, use, cancel, gr.State(""))


def connect_painting(painting: Painting, session: Session, grid: gr.HTML, again: dict) -> None:
    """Wire the events. ``grid``: of the photos; ``again``: the event that looks at them anew."""
    p = painting
    grid.paint(open_named, session.visitor, p.parts, **QUEUED).success(None, js=TO_CANVAS, api_visibility="private")
    used = p.use.click(store, [session.visitor, p.name, p.canvas], **QUEUED).success(**again)
    used.success(next_without, [session.visitor, session.person], p.parts, **QUEUED)
    p.cancel.click(closed, None, p.parts, **AT_ONCE)
    grid.remove(closed, None, p.parts, **AT_ONCE)


def opened(visitor: Workspace, photo: Path) -> tuple:
    """Give the canvas with ``photo``, and what was painted over it before."""
    try:
        picture = read_photo(photo)[0]
    except PhotoError as error:
        raise user_error(str(error), "Not possible") from error
    picture.thumbnail((CANVAS_SIDE, CANVAS_SIDE), Image.Resampling.LANCZOS)
    layers = []
    if before := visitor.subject.masks("person").get(photo.name):
        with Image.open(before) as stored:
            covered = stored.convert("L").resize(picture.size).point(lambda value: 153 * (value > 127))
        layer = Image.new("RGBA", picture.size, PAINT)
        layer.putalpha(covered)
        layers = [str(visitor.store_crop(f"layer-{photo.name}", layer))]
    ground = str(visitor.store_crop(f"canvas-{photo.name}", picture))
    what = Message("{name}: paint over the {noun}, or draw a line around it.", **_named(visitor, photo))
    return (
        gr.Column(visible=True),
        section("", what),
        {"background": ground, "layers": layers, "composite": None},
        photo.name,
    )


def closed() -> tuple:
    """Give the canvas with nothing on it."""
    return gr.Column(visible=False), "", None, ""


def open_named(visitor: Workspace | None, event: gr.EventData) -> tuple:
    """Open the photo that the event names. Raises ``gr.Error`` if it is not there."""
    visitor = require_visitor(visitor)
    return opened(visitor, _photo(visitor, told(event, "name")))


def store(visitor: Workspace | None, name: str, drawing: EditorData | None) -> None:
    """Make what was painted over the photo ``name`` its mask. Raises ``gr.Error`` if that is nothing, or all of it."""
    visitor = require_visitor(visitor)
    files = [drawing.background, drawing.composite, *drawing.layers] if drawing else []
    paths = [Path(file.path) for file in files if file is not None]
    try:
        layers = drawing.layers if drawing else []  # the canvas sends none that is empty
        mask = painted_mask(Path(layers[0].path) if layers else None)
        with user_errors("Not possible"):
            visitor.subject.store_mask(_photo(visitor, name), mask)
    except PaintingError as error:
        raise user_error(str(error), "Not yet") from error
    finally:
        for path in paths:
            visitor.place.discard_upload(path)


def next_without(visitor: Workspace | None, checked: CheckedSet | None) -> tuple:
    """Open the next photo that lacks a mask, or close the canvas."""
    visitor = require_visitor(visitor)
    lacking = {v.name for v in checked.verdicts if any(p.code == "no_mask" for p in v.problems)} if checked else set()
    photo = next((path for path in visitor.photos("person") if path.name in lacking), None)
    return opened(visitor, photo) if photo else closed()


def _as_sent(payload: EditorData | None) -> EditorData | None:
    """Give the files that were painted as they came, for ``store`` to look at."""
    return payload


def _photo(visitor: Workspace, name: str) -> Path:
    """Find a photo of the visitor's. Raises ``gr.Error`` if there is none of this name."""
    for path in visitor.photos("person"):
        if path.name == name:
            return path
    raise user_error(PHOTO_GONE, "Not there")


def _named(visitor: Workspace, photo: Path) -> dict[str, str]:
    return {"name": photo.name, "noun": called(visitor.subject.noun)}
