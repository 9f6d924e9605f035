"""The wall of portraits: a scored gallery, and a choice for each picture in it: keep it or reject it."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gradio as gr

from magicapture.messages import Message, joined
from magicapture.ui.language import complaint, say
from magicapture.ui.live import caption
from magicapture.ui.session import House, Session, require_visitor
from magicapture.ui.words import hours, section
from magicapture.workspace import KeptPortrait, Workspace, WorkspaceError

GALLERY_HINT = "Portraits appear here, the best first, each with its likeness and style score."
CHOOSE_HINT = "Choose a portrait above to keep or reject it."
REASONS = {
    "Does not look like the person": "not_like_me",
    "Is not in the style": "not_the_style",
    "Has visible faults": "artefacts",
    "Another reason": "other",
}


@dataclass(frozen=True, eq=False)
class Wall:
    """The gallery and what can be done with the portrait chosen in it.

    ``listed``: the paths that it shows; ``enlarged``: the chosen one as it was drawn, and as it is.
    """

    gallery: gr.Gallery
    said: gr.HTML
    chosen: gr.HTML
    enlarged: gr.ImageSlider
    keep: gr.Button
    reject: gr.Button
    reason: gr.Dropdown
    download: gr.DownloadButton
    listed: gr.State
    selected: gr.State


def build(house: House) -> Wall:
    """Lay the gallery out, and below it what can be done with a portrait; ``connect`` has to follow."""
    gallery = gr.Gallery(
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
    chosen = gr.HTML(section("", _choose_hint(house)), elem_id="chosen", min_height=32)
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
    return Wall(gallery, said, chosen, enlarged, keep_button, reject_button, reason, download, gr.State([]), gr.State())


def connect(wall: Wall, house: House, session: Session, arrivals: list[gr.events.Dependency]) -> None:
    """Wire the events. ``arrivals``: those after which there may be other portraits."""
    hidden = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    queued = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
    choice = [wall.selected, wall.chosen, wall.keep, wall.reject, wall.enlarged]
    listing = {
        "fn": partial(show, house),
        "inputs": session.visitor,
        "outputs": [wall.gallery, wall.listed, wall.download, *choice],
        **hidden,
    }
    kept = wall.keep.click(partial(keep, house), [session.visitor, wall.selected], **queued)
    rejected = wall.reject.click(partial(reject, house), [session.visitor, wall.selected, wall.reason], **queued)
    for arrival in (*arrivals, kept, rejected):
        arrival.success(**listing)
    wall.gallery.select(choose, [session.visitor, wall.listed], choice, **hidden)


def _choose_hint(house: House) -> Message:
    least = house.settings.min_likeness
    rule = "Here only portraits with a likeness of at least {n} can be kept."
    rule = "" if least is None else Message(rule, n=f"{least:.2f}")
    kept = Message("What is neither is deleted after {time}.", time=hours(house.settings.result_hours))
    return joined(" ", CHOOSE_HINT, rule, kept)


def show(house: House, visitor: Workspace | None) -> tuple:
    """Give the gallery anew, with nothing chosen in it, and the zip of what is kept."""
    portraits = visitor.portraits() if visitor else []
    pictures = [(str(portrait.path), say(_caption(portrait))) for portrait in portraits]
    kept = any(portrait.kept for portrait in portraits)
    archive = gr.DownloadButton(value=str(visitor.zip_kept()) if kept else None, interactive=kept)
    off = gr.Button(interactive=False)
    nothing = None, section("", _choose_hint(house)), off, off, gr.ImageSlider(None, visible=False)
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


def keep(house: House, visitor: Workspace | None, path: Path) -> None:
    """Keep a portrait. Raises ``gr.Error`` when its likeness is too small for this installation."""
    try:
        require_visitor(visitor).keep(path, house.settings.min_likeness)
    except WorkspaceError as error:
        raise complaint(str(error), "Not kept") from error
    house.records.log("portrait_kept")


def reject(house: House, visitor: Workspace | None, path: Path, reason: str) -> None:
    """Delete a portrait at once and note why."""
    try:
        require_visitor(visitor).reject(path)
    except WorkspaceError as error:
        raise complaint(str(error), "Not there") from error
    house.records.log("portrait_rejected", detail=reason)
