"""The synthetic people and looks that a visitor can try: a picture of each set to choose by."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from magicapture.messages import Html, Message
from magicapture.photos.reading import photos_in
from magicapture.photos.references import Role
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
    if (!chosen) return;
    for (const each of element.querySelectorAll("[data-set]")) each.setAttribute("aria-pressed", each === chosen);
    trigger("click", {set: chosen.dataset.set});
});
"""
"""Tells which set was clicked, and marks it."""

Pictures = dict[Role, list[Path]]


@dataclass(frozen=True, eq=False)
class Offer:
    """A part of the page whose click loads examples: the pictures by role, for each name that a click may give."""

    click: Callable[..., gr.events.Dependency]
    sets: dict[str, Pictures]

    @property
    def roles(self) -> set[Role]:
        """The roles that it loads pictures of."""
        return {role for pictures in self.sets.values() for role in pictures}

    def chosen(self, event: gr.EventData) -> Pictures:
        """Give what a click asks for; nothing for what is not on offer."""
        return self.sets.get(told(event, "set"), {})


def examples(role: Role) -> dict[str, list[Path]]:
    """Give the pictures of the example sets of a role by the names of their folders, such as ``person-anna``."""
    return {folder.name: found for folder in sorted(EXAMPLES.glob(f"{role}-*/")) if (found := photos_in(folder))}


def set_name(folder: str) -> Message:
    """Name a set as visitors read it: ``style-oil-painting`` is "Oil painting", and ``person-1`` "Person 1"."""
    role, _, name = folder.partition("-")
    if name.isdigit():
        return Message("Person {n}" if role == "person" else "Look {n}", n=name)
    return Message(re.sub(r"[-_]+", " ", name).capitalize())


def build_examples() -> list[Offer]:
    """Offer one set of each role at once, and where there are several each by its first picture."""
    sets = {role: examples(role) for role in ROLES}
    if not all(sets.values()):
        return []
    first: Pictures = {role: next(iter(found.values())) for role, found in sets.items()}
    with gr.Column(elem_classes="magi-examples"):
        gr.HTML(section("", NOBODY))
        with gr.Row():
            thumbnails = {role: _build_sets(role, found) for role, found in sets.items() if len(found) > 1}
        everything = gr.Button("Load the examples", size="sm", elem_id="load-examples", min_width=120)
    offers = [Offer(everything.click, {"": first})]
    for role, part in thumbnails.items():
        offers.append(Offer(part.click, {name: {role: pictures} for name, pictures in sets[role].items()}))
    return offers


def _build_sets(role: Role, found: dict[str, list[Path]]) -> gr.HTML:
    shown = '<h3>{heading}</h3><div class="magi-sets" role="group" aria-label="{heading}">{sets}</div>'
    sets = pieces(_thumbnail(name, pictures[0]) for name, pictures in found.items())
    html = Html(shown, heading=Message(ROLES[role]), sets=sets)
    return gr.HTML(html, js_on_load=CHOOSE, apply_default_css=False, elem_id=f"{role}-sets", min_width=300)


def _thumbnail(folder: str, picture: Path) -> Html:
    html = (
        '<button type="button" data-set="{folder}" aria-pressed="false">'
        '<img src="{picture}" alt="" loading="lazy"><span>{name}</span></button>'
    )
    return Html(html, folder=folder, picture=file_address(picture), name=set_name(folder))
