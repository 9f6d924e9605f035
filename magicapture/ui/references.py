"""The tab References: photos in, a verdict on each beside them."""

from dataclasses import dataclass
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
        "Add portraits in the look you want, or load an example.",
    ),
}
"""Heading, explanation, and what to do while there is nothing."""

Photos = list[tuple[str, str | None]]


@dataclass(frozen=True)
class RolePart:
    """One half of the tab."""

    role: Role
    photos: gr.Gallery
    verdicts: gr.HTML


def build(session: Session) -> list[RolePart]:
    """Lay the tab out; ``connect`` has to follow. Clicking an example loads its pictures."""
    del session
    parts = []
    with gr.Row(equal_height=False):
        for role in ROLES:
            with gr.Column(min_width=300):
                parts.append(_build_role(role))
    _build_examples(parts)
    return parts


def _build_role(role: Role) -> RolePart:
    heading, explanation, nothing = ROLES[role]
    gr.HTML(section(heading, explanation))
    photos = gr.Gallery(
        label=f"Photos of the {role}",
        sources=["upload", "webcam", "clipboard"],
        file_types=["image", ".heic", ".heif", ".avif"],
        type="filepath",
        interactive=True,
        columns=4,
        height=300,
        object_fit="cover",
        buttons=["fullscreen"],
        elem_id=f"{role}-photos",
    )
    verdicts = gr.HTML(note(nothing), elem_id=f"{role}-verdicts", min_height=60)
    return RolePart(role, photos, verdicts)


def _build_examples(parts: list[RolePart]) -> None:
    """Offer a button for everything at once, and one per set where there are several."""
    sets = {part.role: examples(part.role) for part in parts}
    if not all(sets.values()):
        return
    gr.HTML(section("No photos at hand?", "These people do not exist: the embedded model drew them."))
    with gr.Row():
        both = gr.Button("Load the examples", elem_id="load-examples")
        both.click(
            lambda: [next(iter(sets[part.role].values())) for part in parts],
            outputs=[part.photos for part in parts],
            queue=False,
            api_visibility="private",
        )
        for part in parts:
            if len(sets[part.role]) > 1:
                for name, pictures in sets[part.role].items():
                    button = gr.Button(f"{part.role.capitalize()}: {name}")
                    button.click(lambda p=pictures: p, outputs=part.photos, queue=False, api_visibility="private")


def connect(parts: list[RolePart], session: Session, base: gr.Dropdown) -> None:
    """Check the photos of a role when they change, and again when the base does: it decides the size of the crops."""
    for part in parts:
        gr.on(
            [part.photos.change, base.change],
            lambda photos, name, role=part.role: check(role, photos, name),
            inputs=[part.photos, base],
            outputs=[getattr(session, part.role), part.verdicts],
            trigger_mode="always_last",
            concurrency_id="check",
            concurrency_limit=2,
            show_progress="minimal",
            show_progress_on=part.verdicts,
            api_visibility="private",
        )


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
