"""The visitor's portraits, the best one large, each with what can be done with it: keep, reject, compare, download."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MethodType
from typing import cast, get_args

import gradio as gr
from gradio.components import Component

from magicapture.drawing.credentials import withheld
from magicapture.messages import Message, joined
from magicapture.photos.references import CheckedSet
from magicapture.photos.subjects import load_subject
from magicapture.scoring import nearest
from magicapture.server.records import Reason
from magicapture.server.workspace import TooLittleLikenessError, Workspace, WorkspaceError
from magicapture.ui.events import QUEUED, after, user_errors
from magicapture.ui.html import hours, note, section
from magicapture.ui.photo_grid import build_grid, told
from magicapture.ui.portrait_grid import portrait_grid
from magicapture.ui.session import AppContext, Session, require_visitor
from magicapture.ui.steps import NO_PORTRAIT, Step, build_step

GALLERY_HINT = "Portraits appear here, the best first, each with its likeness and style score."
NO_PHOTO = "No photo is here to compare it with."
NO_FACE = "No face was found in this portrait, so no photo is nearest to it."
BESIDE_ITSELF = "Left it is as drawn, right enlarged."
NOTHING_BESIDE = "It is not enlarged: there is nothing to compare it with."
TO_COMPARED = "() => document.querySelector('#compared').scrollIntoView({block: 'nearest', behavior: 'smooth'})"


@dataclass(frozen=True, eq=False)
class Gallery:
    """The parts that events speak to.

    ``listed``: the paths of what the grid shows; ``beside``: the name of the portrait in the slider, or nothing.
    """

    grid: gr.HTML
    said: gr.HTML
    compared: gr.HTML
    slider: gr.ImageSlider
    keep_all: Step
    download: gr.DownloadButton
    listed: gr.State
    beside: gr.State

    @property
    def shown(self) -> list[Component]:
        """All that ``show`` may change."""
        return [self.grid, self.listed, self.download]

    @property
    def comparison(self) -> list[Component]:
        """All that comparing may change."""
        return [self.compared, self.slider, self.beside]

    def show(self, visitor: Workspace | None) -> dict[Component, object]:
        """Give the gallery anew, and the zip of what is kept; says what may not leave."""
        portraits, damaged = visitor.look_through() if visitor else ([], [])
        kept = [portrait.path for portrait in portraits if portrait.kept]
        archive, faults = None, list(withheld(kept).values())
        if visitor and kept:
            try:
                archive = str(visitor.zip_kept())
            except WorkspaceError as error:
                faults.append(str(error))
        notes = [note(fault, "bad") for fault in dict.fromkeys(faults)]
        return {
            self.grid: "\n".join([*notes, portrait_grid(portraits, damaged)]),
            self.listed: [str(portrait.path) for portrait in portraits],
            self.download: gr.DownloadButton(value=archive, interactive=archive is not None),
        }

    def refresh(self, visitor: Workspace | None, beside: str) -> dict[Component, object]:
        """Do the same, and close a comparison whose portrait is gone: another one stays as the visitor looks at it."""
        shown = self.show(visitor)
        if beside in {Path(path).name for path in cast("list[str]", shown[self.listed])}:
            return shown
        return {**shown, **dict(zip(self.comparison, ("", gr.ImageSlider(None, visible=False), ""), strict=True))}


def build(context: AppContext) -> Gallery:
    """Lay the gallery out; ``connect`` has to follow."""
    said = gr.HTML(section("", GALLERY_HINT), elem_id="portraits-said", min_height=32)
    grid = build_grid("", "portraits")
    compared = gr.HTML("", elem_id="compared")
    slider = gr.ImageSlider(
        label="The photo ↔ the portrait",
        show_label=False,
        type="filepath",
        format="png",
        interactive=False,
        visible=False,
        buttons=["fullscreen"],
        elem_id="comparison",
    )
    gr.HTML(section("", _rules(context)))
    keep_all = build_step("Keep these", NO_PORTRAIT, "keep-these")
    download = gr.DownloadButton("Download the kept ones (zip)", interactive=False, elem_id="download-portraits")
    return Gallery(grid, said, compared, slider, keep_all, download, gr.State([]), gr.State(""))


def connect(
    gallery: Gallery, context: AppContext, session: Session, arrivals: list[Callable | gr.events.Dependency]
) -> None:
    """Wire the events. ``arrivals``: those after which there may be other portraits."""
    listing = {
        "fn": gallery.refresh,
        "inputs": [session.visitor, gallery.beside],
        "outputs": [*gallery.shown, *gallery.comparison],
        **QUEUED,
    }
    # MethodType, not partial: Gradio looks for the event's data in the annotations.
    decided = (
        gallery.grid.keep(MethodType(keep, context), session.visitor, **QUEUED),
        gallery.grid.reject(MethodType(reject, context), session.visitor, **QUEUED),
        gallery.keep_all.button.click(partial(keep_all, context), session.visitor, gallery.said, **QUEUED),
    )
    after((*arrivals, *decided), listing)
    gallery.grid.compare(
        MethodType(compare, context), [session.visitor, session.person], gallery.comparison, **QUEUED
    ).success(None, js=TO_COMPARED, api_visibility="private")


def _rules(context: AppContext) -> Message:
    least = context.settings.min_likeness
    above = "Here only portraits with a likeness of at least {n} can be kept."
    rule = "" if least is None else Message(above, n=f"{least:.2f}")
    kept = Message("All are deleted here after {time}.", time=hours(context.settings.result_hours))
    keys = "On a picture, the key K keeps it, R rejects it, and C compares it."
    return joined(" ", rule, kept, keys)


def keep(context: AppContext, visitor: Workspace | None, event: gr.EventData) -> None:
    """Keep the portrait that the event names. Raises ``gr.Error`` when it is too unlike the person for here."""
    visitor = require_visitor(visitor)
    with user_errors("Not kept"):
        visitor.keep(visitor.portrait_called(told(event, "name")), context.settings.min_likeness)
    context.records.log("portrait_kept")


def keep_all(context: AppContext, visitor: Workspace | None) -> str:
    """Keep every portrait that may be kept here; says how many."""
    visitor, kept, unlike = require_visitor(visitor), 0, 0
    for portrait in visitor.portraits():
        try:
            if not portrait.kept:
                visitor.keep(portrait.path, context.settings.min_likeness)
                context.records.log("portrait_kept")
                kept += 1
        except TooLittleLikenessError:
            unlike += 1
        except WorkspaceError:  # deleted on another page at this moment
            continue
    refused = Message("{n} have too little likeness to be kept here.", n=unlike) if unlike else ""
    return section("", joined(" ", Message("Kept: {n}.", n=kept), refused))


def reject(context: AppContext, visitor: Workspace | None, event: gr.EventData) -> None:
    """Delete the portrait that the event names, at once, and note why."""
    visitor, given = require_visitor(visitor), told(event, "reason")
    other: Reason = "other"
    reason = next((reason for reason in get_args(Reason) if reason == given), other)
    with user_errors("Not there"):
        visitor.reject(visitor.portrait_called(told(event, "name")), reason)
    context.records.log("portrait_rejected", detail=reason)


def compare(
    context: AppContext, visitor: Workspace | None, person: CheckedSet | None, event: gr.EventData
) -> tuple[str, gr.ImageSlider, str]:
    """Put the portrait that the event names beside the nearest photo, or where there is none beside itself as drawn.

    Gives what to say, the slider, and the name of the portrait that is in it.
    """
    visitor = require_visitor(visitor)
    with user_errors("Not there"):
        path = visitor.portrait_called(told(event, "name"))
    there = {photo.name for photo in visitor.photos("person")}
    references = [reference for reference in person.references if reference.name in there] if person else []
    subject = load_subject(person.subject) if person else context.engine
    found = nearest(path, references, subject)
    if found is None:
        beside = visitor.as_drawn(path)
        said = joined(" ", NO_FACE if references else NO_PHOTO, BESIDE_ITSELF if beside else NOTHING_BESIDE)
    else:
        reference, likeness = found
        beside = visitor.store_crop(reference.name, reference.image)
        nearest_photo = "Left the photo that is nearest to it, {name} (likeness {n}), right the portrait."
        said = Message(nearest_photo, name=reference.name, n=f"{likeness:.2f}")
    pair = (str(beside), str(path)) if beside else None
    return section("", said), gr.ImageSlider(pair, visible=beside is not None), path.name if beside else ""
