"""The synthetic people and looks that a visitor can try: a picture of each set to choose by."""

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import gradio as gr
from gradio.components import Component

from magicapture.messages import Html, Message
from magicapture.photos.reading import photos_in
from magicapture.photos.references import Role
from magicapture.server.workspace import Workspace
from magicapture.server.workspace.uploads import QUALITY, bare_photo
from magicapture.settings import settings
from magicapture.ui.html import file_address, pieces, section
from magicapture.ui.photo_grid import told

EXAMPLES = Path(settings().examples or Path(__file__).parents[2] / "examples").resolve()
ROLES: dict[Role, str] = {"person": "People", "style": "Looks"}
"""What the sets of a role are headed by."""
NOBODY = (
    "No photos at hand? These people do not exist: the embedded model drew them, and some of the looks are filters."
)
CHOOSE = """
element.addEventListener("click", ({target}) => {
    const chosen = target.closest("[data-set]");
    if (chosen) trigger("click", {set: chosen.dataset.set});
});
"""
"""Tells which set was clicked."""

Pictures = dict[Role, list[Path]]


@dataclass(frozen=True, eq=False)
class Offer:
    """A part of the page whose click loads examples: the pictures by role, for each name that a click may give."""

    part: gr.HTML | gr.Button
    sets: dict[str, Pictures]

    @property
    def roles(self) -> set[Role]:
        """The roles that it loads pictures of."""
        return {role for pictures in self.sets.values() for role in pictures}

    def chosen(self, event: gr.EventData) -> Pictures:
        """Give what a click asks for; nothing for what is not on offer."""
        return self.sets.get(told(event, "set"), {})


@dataclass(frozen=True, eq=False)
class Examples:
    """What is on offer, in its ``place`` and below what is ``said`` of it."""

    place: gr.Column
    said: gr.HTML
    offers: list[Offer]

    @property
    def parts(self) -> list[Component | gr.Column]:
        """All that ``show`` gives."""
        return [self.place, self.said, *(offer.part for offer in self.offers)]

    def show(self, visitor: Workspace | None) -> list:
        """Offer what takes the place of no photo of the visitor's own: one click would delete theirs."""
        own = {role for role in ROLES if visitor and has_own(visitor.photos(role))}
        free = [not own & offer.roles for offer in self.offers]
        return [gr.update(visible=visible) for visible in (any(free), not own, *free)]


def has_own(photos: list[Path]) -> bool:
    """Tell whether some of a visitor's photos are none of the examples."""
    stored = as_stored(EXAMPLES) if photos else frozenset()
    sizes = {len(content) for content in stored}
    with suppress(FileNotFoundError):
        return any(path.stat().st_size not in sizes or path.read_bytes() not in stored for path in photos)
    return False  # they are being deleted


@cache
def as_stored(folder: Path) -> frozenset[bytes]:
    """Give what the files of all examples are once they are a visitor's photos."""
    contents = set()
    for path in (path for role in ROLES for one in folder.glob(f"{role}-*/") for path in photos_in(one)):
        picture, _, suffix = bare_photo(path)
        picture.save(file := BytesIO(), "PNG" if suffix == ".png" else "JPEG", quality=QUALITY)
        contents.add(file.getvalue())
    return frozenset(contents)


def examples(role: Role) -> dict[str, list[Path]]:
    """Give the pictures of the example sets of a role by the names of their folders, such as ``person-anna``."""
    return {folder.name: found for folder in sorted(EXAMPLES.glob(f"{role}-*/")) if (found := photos_in(folder))}


def set_name(folder: str) -> Message:
    """Name a set as visitors read it: ``style-oil-painting`` is "Oil painting", and ``person-1`` "Person 1"."""
    role, _, name = folder.partition("-")
    if name.isdigit():
        return Message("Person {n}" if role == "person" else "Look {n}", n=name)
    return Message(re.sub(r"[-_]+", " ", name).capitalize())


def build_examples() -> Examples | None:
    """Offer one set of each role at once, and where there are several each by its first picture."""
    sets = {role: examples(role) for role in ROLES}
    if not all(sets.values()):
        return None
    first: Pictures = {role: next(iter(found.values())) for role, found in sets.items()}
    with gr.Column(elem_classes="magi-examples") as place:
        said = gr.HTML(section("", NOBODY))
        with gr.Row():
            thumbnails = {role: _build_sets(role, found) for role, found in sets.items() if len(found) > 1}
        everything = gr.Button("Load the examples", size="sm", elem_id="load-examples", min_width=120)
    offers = [Offer(everything, {"": first})]
    for role, part in thumbnails.items():
        offers.append(Offer(part, {name: {role: pictures} for name, pictures in sets[role].items()}))
    return Examples(place, said, offers)


def _build_sets(role: Role, found: dict[str, list[Path]]) -> gr.HTML:
    shown = '<h3>{heading}</h3><div class="magi-sets" role="group" aria-label="{heading}">{sets}</div>'
    sets = pieces(_thumbnail(name, pictures[0]) for name, pictures in found.items())
    html = Html(shown, heading=Message(ROLES[role]), sets=sets)
    return gr.HTML(html, js_on_load=CHOOSE, apply_default_css=False, elem_id=f"{role}-sets", min_width=300)


def _thumbnail(folder: str, picture: Path) -> Html:
    html = (
        '<button type="button" data-set="{folder}">'
        '<img src="{picture}" alt="" loading="lazy"><span>{name}</span></button>'
    )
    return Html(html, folder=folder, picture=file_address(picture), name=set_name(folder))
