"""The tab References: photos in, a verdict on each beside them."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gradio as gr

from magicapture.bases import BaseUnavailableError, load_base
from magicapture.faces import load_engine
from magicapture.references import Role, check_photos
from magicapture.ui.examples import examples
from magicapture.ui.session import Session
from magicapture.ui.words import cards, note, section

ROLES: dict[Role, tuple[str, str, str]] = {
    "person": (
        "The person",
        "Four to six photos of one person: face well lit and seen from the front, different days and backgrounds.",
        "Add photos of the person: drop them into the frame, take one with the camera, or paste from the clipboard.",
    ),
    "style": (
        "The style",
        "Four to six portraits in the look you want, of anyone: paintings, engravings, studio shots.",
        "Add portraits in the look you want: drop them into the frame, or paste them from the clipboard.",
    ),
}
"""Heading, explanation, and what to do while there is nothing."""

Photos = list[tuple[str, str | None]]


@dataclass(frozen=True, eq=False)
class RolePart:
    """One half of the tab."""

    role: Role
    photos: gr.Gallery
    verdicts: gr.HTML


@dataclass(frozen=True, eq=False)
class References:
    """The tab: its halves, and the buttons that load examples, each with its pictures by role."""

    parts: list[RolePart]
    buttons: list[tuple[gr.Button, dict[Role, list[Path]]]]


def build() -> References:
    """Lay the tab out; ``connect`` has to follow."""
    buttons = _build_examples()
    parts = []
    with gr.Row(equal_height=False):
        for role in ROLES:
            with gr.Column(min_width=300):
                parts.append(_build_role(role))
    return References(parts, buttons)


def _build_role(role: Role) -> RolePart:
    heading, explanation, nothing = ROLES[role]
    gr.HTML(section(heading, explanation))
    photos = gr.Gallery(
        label=heading,
        show_label=False,
        sources=["upload", "webcam", "clipboard"],
        file_types=["image", ".heic", ".heif", ".avif"],
        type="filepath",
        interactive=True,
        columns=4,
        height=260,
        object_fit="cover",
        fit_columns=False,
        buttons=["fullscreen"],
        elem_id=f"{role}-photos",
    )
    verdicts = gr.HTML(note(nothing), elem_id=f"{role}-verdicts", min_height=60)
    return RolePart(role, photos, verdicts)


def _build_examples() -> list[tuple[gr.Button, dict[Role, list[Path]]]]:
    """Offer one button for everything at once, and one per set where a role has several; none where there are none."""
    sets = {role: examples(role) for role in ROLES}
    if not all(sets.values()):
        return []
    with gr.Row(elem_classes="magi-examples"):
        gr.HTML(section("", "No photos at hand? These people do not exist: the embedded model drew them."))
        first = {role: next(iter(found.values())) for role, found in sets.items()}
        buttons = [(gr.Button("Load the examples", size="sm", elem_id="load-examples", min_width=120), first)]
        for role, found in sets.items():
            for name, pictures in found.items() if len(found) > 1 else ():
                buttons.append((gr.Button(f"{role.capitalize()}: {name}", size="sm", min_width=120), {role: pictures}))
    return buttons


def connect(tab: References, session: Session, base: gr.Dropdown) -> None:
    """Check the photos of a role when they change, and again when the base does: it decides the size of the crops."""
    for part in tab.parts:
        changes = [part.photos.upload, part.photos.change, part.photos.delete, base.change]
        gr.on(changes, **_checking(part, session, base))
    for button, pictures in tab.buttons:
        parts = [part for part in tab.parts if part.role in pictures]
        loaded = button.click(
            lambda found=[pictures[part.role] for part in parts]: found if len(found) > 1 else found[0],
            outputs=[part.photos for part in parts],
            queue=False,
            api_visibility="private",
        )
        for part in parts:  # a gallery that was empty does not say that it changed
            loaded.then(**_checking(part, session, base))


def _checking(part: RolePart, session: Session, base: gr.Dropdown) -> dict:
    """Give the settings of an event that checks the photos of ``part``."""
    return {
        "fn": partial(check, part.role),
        "inputs": [part.photos, base],
        "outputs": [getattr(session, part.role), part.verdicts],
        "trigger_mode": "always_last",
        "concurrency_id": "check",
        "concurrency_limit": 2,
        "show_progress": "minimal",
        "show_progress_on": part.verdicts,
        "api_visibility": "private",
    }


def check(role: Role, photos: Photos | None, base: str) -> tuple[object, str]:
    """Check the photos of one role; gives the ``CheckedSet``, or None, and what the page says of it."""
    if not photos:
        return None, note(ROLES[role][2])
    try:
        size = load_base(base).resolution
    except BaseUnavailableError as error:
        return None, note(str(error), "bad")
    checked = check_photos([Path(path) for path, _ in photos], role, load_engine(), size)
    return checked, cards(checked)
