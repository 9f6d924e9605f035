"""The gallery of portraits with their scores, and a choice for each picture in it: keep it or reject it."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gradio as gr

from magicapture.messages import Message, joined
from magicapture.server.workspace import KeptPortrait, Workspace, WorkspaceError
from magicapture.ui.html import hours, section
from magicapture.ui.language import say, user_error
from magicapture.ui.live import caption
from magicapture.ui.session import AppContext, Session, require_visitor

GALLERY_HINT = "Portraits appear here, the best first, each with its likeness and style score."
CHOOSE_HINT = "Choose a portrait above to keep or reject it."
REASONS = {
    "Does not look like the person": "not_like_me",
    "Is not in the style": "not_the_style",
    "Has visible faults": "artefacts",
    "Another reason": "other",
}


@dataclass(frozen=True, eq=False)
class Gallery:
    """The gallery and what can be done with the portrait chosen in it.

    ``listed``: the paths that it shows; ``enlarged``: the chosen one as it was drawn, and as it is.
    """

    pictures: gr.Gallery
    said: gr.HTML
    chosen: gr.HTML
    enlarged: gr.ImageSlider
    keep: gr.Button
    reject: gr.Button
    reason: gr.Dropdown
    download: gr.DownloadButton
    listed: gr.State
    selected: gr.State


def build(context: AppContext) -> Gallery:
    """Lay the gallery out, and below it what can be done with a portrait; ``connect`` has to follow."""
    pictures = gr.Gallery(
        label="Portraits",
        show_label=False,
        columns=2,
        height=700,
        object_fit="contain",
        fit_columns=False,
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id="portraits",
    )
    said = gr.HTML(section("", GALLERY_HINT), elem_id="portraits-said", min_height=32)
    chosen = gr.HTML(section("", _choose_hint(context)), elem_id="chosen", min_height=32)
    with gr.Row():
        keep_button = gr.Button("Keep", variant="primary", interactive=False, elem_id="keep")
        reject_button = gr.Button("Reject and delete", interactive=False, elem_id="reject")
    reason = gr.Dropdown(list(REASONS.items()), value="not_like_me", label="Reason for rejecting", elem_id="reason")
    download = gr.DownloadButton("Download the kept ones (zip)", interactive=False, elem_id="download-portraits")
    enlarged = gr.ImageSlider(
        label="As drawn ↔ enlarged",
        show_label=False,
        type="filepath",
        format="png",
        interactive=False,
        visible=False,
        buttons=["fullscreen"],
        elem_id="enlarged",
    )
    return Gallery(
        pictures, said, chosen, enlarged, keep_button, reject_button, reason, download, gr.State([]), gr.State()
    )


def connect(gallery: Gallery, context: AppContext, session: Session, arrivals: list[gr.events.Dependency]) -> None:
    """Wire the events. ``arrivals``: those after which there may be other portraits."""
    hidden = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    queued = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
    choice = [gallery.selected, gallery.chosen, gallery.keep, gallery.reject, gallery.enlarged]
    listing = {
        "fn": partial(show, context),
        "inputs": session.visitor,
        "outputs": [gallery.pictures, gallery.listed, gallery.download, *choice],
        **hidden,
    }
    kept = gallery.keep.click(partial(keep, context), [session.visitor, gallery.selected], **queued)
    rejected = gallery.reject.click(
        partial(reject, context), [session.visitor, gallery.selected, gallery.reason], **queued
    )
    for arrival in (*arrivals, kept, rejected):
        arrival.success(**listing)
    gallery.pictures.select(choose, [session.visitor, gallery.listed], choice, **hidden)


def _choose_hint(context: AppContext) -> Message:
    least = context.settings.min_likeness
    rule = "Here only portraits with a likeness of at least {n} can be kept."
    rule = "" if least is None else Message(rule, n=f"{least:.2f}")
    kept = Message("What is neither is deleted after {time}.", time=hours(context.settings.result_hours))
    return joined(" ", CHOOSE_HINT, rule, kept)


def show(context: AppContext, visitor: Workspace | None) -> tuple:
    """Give the gallery anew, with nothing chosen in it, and the zip of what is kept."""
    portraits = visitor.portraits() if visitor else []
    pictures = [(str(portrait.path), say(_caption(portrait))) for portrait in portraits]
    kept = any(portrait.kept for portrait in portraits)
    archive = gr.DownloadButton(value=str(visitor.zip_kept()) if kept else None, interactive=kept)
    off = gr.Button(interactive=False)
    nothing = None, section("", _choose_hint(context)), off, off, gr.ImageSlider(None, visible=False)
    return gr.Gallery(pictures, selected_index=None), [p.path for p in portraits], archive, *nothing


def _caption(portrait: KeptPortrait) -> Message:
    mark = "kept ✓" if portrait.kept else ""
    return joined(" · ", mark, caption(portrait.facts), Message("seed {n}", n=portrait.facts["seed"]))


def choose(visitor: Workspace | None, listed: list[Path], event: gr.SelectData) -> tuple:
    """Note which portrait was chosen, and offer what can be done with it."""
    path = listed[event.index]
    is_kept = path.parent.name == "kept"
    drawn = require_visitor(visitor).as_drawn(path)
    compared = "Below: on the left as drawn, on the right enlarged." if drawn else ""
    number = "Chosen: number {n}, kept." if is_kept else "Chosen: number {n}."
    said = section("", joined(" ", Message(number, n=event.index + 1), compared))
    slider = gr.ImageSlider((str(drawn), str(path)) if drawn else None, visible=drawn is not None)
    return path, said, gr.Button(interactive=not is_kept), gr.Button(interactive=True), slider


def keep(context: AppContext, visitor: Workspace | None, path: Path) -> None:
    """Keep a portrait. Raises ``gr.Error`` when its likeness is too small for this installation."""
    try:
        require_visitor(visitor).keep(path, context.settings.min_likeness)
    except WorkspaceError as error:
        raise user_error(str(error), "Not kept") from error
    context.records.log("portrait_kept")


def reject(context: AppContext, visitor: Workspace | None, path: Path, reason: str) -> None:
    """Delete a portrait at once and note why."""
    try:
        require_visitor(visitor).reject(path, reason)
    except WorkspaceError as error:
        raise user_error(str(error), "Not there") from error
    context.records.log("portrait_rejected", detail=reason)
