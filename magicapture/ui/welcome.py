"""The first screen: what the app does in one picture that moves on, and a finished example to try at once."""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import gradio as gr

from magicapture.adapters.adapter import Adapter, AdapterError
from magicapture.bases import MINI
from magicapture.messages import Html, Message
from magicapture.server.drawings import Drawings
from magicapture.server.gate.queue import BOUNDED
from magicapture.server.workspace import Workspace
from magicapture.ui import examples
from magicapture.ui.events import AT_ONCE, QUEUED, user_errors
from magicapture.ui.examples import set_name
from magicapture.ui.html import file_address, pieces, section
from magicapture.ui.language import say
from magicapture.ui.session import AppContext, Session, require_visitor

SCRIPT = (Path(__file__).parent / "welcome.js").read_text()
PICTURES, SCORES, FINISHED = "welcome", "scores.json", "adapter"
"""Below the folder of examples: the pictures, among them the likeness of each portrait; and the finished adapter."""
CAPTION = Message(
    "Nobody here exists: the embedded demo model, {n} px, drew these people. Their portraits, each the best of eight, "
    "are by adapters that learned for minutes on two CPU cores. The pictures of the looks show other drawn people.",
    n=MINI.resolution,
)
OFFER = "No photo needed: draw four portraits with an adapter that is already trained."
TITLE = "A finished example"
DRAW = """added => {
    const press = (tries) => {
        const draw = document.querySelector("#draw");
        if (draw?.checkVisibility() && !draw.disabled) draw.click();
        else if (tries) setTimeout(press, 100, tries - 1);
    };
    if (!added || window.magicaptureDrawn === added) return;
    window.magicaptureDrawn = added;
    press(100);
}"""
"""Presses the button of the tab Portraits, as soon as that can be pressed: once for each adapter that was taken in,
however often the button of the example is clicked on a page."""


@dataclass(frozen=True)
class Showcase:
    """A picture of each person and of each look by the names of their sets, and a portrait of every pair."""

    people: dict[str, Path]
    looks: dict[str, Path]
    portraits: dict[tuple[str, str], Path]
    likeness: dict[tuple[str, str], float]

    @classmethod
    def read(cls, folder: Path) -> "Showcase | None":
        """Read what ``magicapture.evaluation.showcase`` drew; None unless there is a portrait of every pair."""
        people, looks = (
            {path.stem: path for path in sorted(folder.glob(f"{role}-*.webp")) if "_" not in path.stem}
            for role in ("person", "style")
        )
        portraits = {(person, look): folder / f"{person}_{look}.webp" for person in people for look in looks}
        if not portraits or not all(path.is_file() for path in portraits.values()):
            return None
        scores = json.loads((folder / SCORES).read_text()) if (folder / SCORES).is_file() else {}
        likeness = {pair: scores[path.stem] for pair, path in portraits.items() if path.stem in scores}
        return cls(people, looks, portraits, likeness)


@dataclass(frozen=True, eq=False)
class Welcome:
    """The parts that events speak to; ``added`` tells the browser the id of an example that was taken in."""

    moving: gr.Column
    shows: bool
    button: gr.Button
    added: gr.Textbox
    finished: Adapter | None


def build(context: AppContext) -> Welcome:
    """Lay the first screen out, of what there is to show; ``connect`` has to follow."""
    showcase, finished = Showcase.read(examples.EXAMPLES / PICTURES), finished_example(context)
    with gr.Column(visible=showcase is not None, elem_id="welcome") as moving:
        if showcase is not None:
            gr.HTML(picture(showcase), js_on_load=SCRIPT, apply_default_css=False)
    with gr.Row(visible=finished is not None, elem_classes="magi-finished"):
        gr.HTML(section("", OFFER))
        button = gr.Button("Try the finished example", min_width=180, elem_id="try-finished")
    return Welcome(moving, showcase is not None, button, gr.Textbox(label=TITLE, visible="hidden"), finished)


def picture(showcase: Showcase) -> Html:
    """Draw the moving picture: a person, a look and the portrait, and below each what there is to choose from."""
    stage = '<figure><div class="frame">{pictures}</div><figcaption>{caption}{scores}</figcaption></figure>'
    people = pieces(_shown(path, set_name(name), person=name) for name, path in showcase.people.items())
    looks = pieces(_shown(path, set_name(name), style=name) for name, path in showcase.looks.items())
    alts = {
        (person, look): Message("A portrait of {person}, {look}", person=set_name(person), look=set_name(look))
        for person, look in showcase.portraits
    }
    portraits = pieces(_shown(path, alts[pair], *pair) for pair, path in showcase.portraits.items())
    scores = pieces(_score(likeness, *pair) for pair, likeness in showcase.likeness.items())
    person = Html(stage, pictures=people, caption=Message("Photos of a person"), scores=Html(""))
    look = Html(stage, pictures=looks, caption=Message("Pictures in a look"), scores=Html(""))
    drawn = Html(stage, pictures=portraits, caption=Message("The person in that look"), scores=scores)
    html = (
        '<div class="magi-welcome"><div class="stage">{person}<span aria-hidden="true">+</span>{look}'
        '<span aria-hidden="true">→</span>{portrait}</div><div class="choices">{people}{looks}'
        '<button type="button" class="pause" aria-pressed="true" aria-label="{pause}" title="{pause}"></button></div>'
        "<p>{caption}</p></div>"
    )
    return Html(
        html,
        person=person,
        look=look,
        portrait=drawn,
        people=_choices("person", Message("People"), showcase.people),
        looks=_choices("style", Message("Looks"), showcase.looks),
        pause=Message("Pause the pictures"),
        caption=CAPTION,
    )


def _shown(path: Path, alt: Message, person: str = "", style: str = "") -> Html:
    of = Html(' data-person="{person}"', person=person) if person else Html("")
    of = pieces([of, Html(' data-style="{style}"', style=style)]) if style else of
    return Html('<img src="{picture}" alt="{alt}"{of}>', picture=file_address(path), alt=alt, of=of)


def _score(likeness: float, person: str, style: str) -> Html:
    score = Message("likeness {n}", n=f"{likeness:.2f}")
    html = '<span data-score data-person="{person}" data-style="{style}" hidden>{score}</span>'
    return Html(html, person=person, style=style, score=score)


def _choices(role: str, heading: Message, found: dict[str, Path]) -> Html:
    html = '<div role="radiogroup" aria-label="{heading}">{choices}</div>'
    one = (
        '<label title="{name}"><input type="radio" name="welcome-{role}" data-role="{role}" value="{folder}"{on}>'
        '<img src="{picture}" alt="{name}"></label>'
    )
    choices = [
        Html(
            one,
            role=role,
            folder=name,
            name=set_name(name),
            picture=file_address(path),
            on=Html("" if place else " checked"),
        )
        for place, (name, path) in enumerate(found.items())
    ]
    return Html(html, heading=heading, choices=pieces(choices))


def connect(welcome: Welcome, context: AppContext, session: Session, agreed: gr.Checkbox, tabs: gr.Tabs) -> None:
    """Let the picture make room once the visitor has agreed, and the button lead to portraits."""
    if welcome.shows:
        agreed.change(lambda given: gr.Column(visible=not given), agreed, welcome.moving, **AT_ONCE)
    if welcome.finished is None:
        return
    adding = QUEUED | {"concurrency_id": f"{BOUNDED}adapter", "concurrency_limit": 2}
    take = partial(take_finished, welcome.finished, context.drawings)
    taken = welcome.button.click(take, session.visitor, [session.adapter, welcome.added], **adding)
    there = taken.success(lambda: gr.Tabs(selected="portraits"), outputs=tabs, **AT_ONCE)
    there.success(None, welcome.added, js=DRAW, show_progress="hidden", api_visibility="private")


def finished_example(context: AppContext) -> Adapter | None:
    """Read the adapter that ships with the app; None where there is none, or where it was trained on another base."""
    try:
        adapter = Adapter.load(examples.EXAMPLES / FINISHED)
    except AdapterError:
        return None
    return adapter if adapter.info.base == context.base.spec.name else None


def take_finished(adapter: Adapter, drawings: Drawings, visitor: Workspace | None) -> tuple[str, object]:
    """Give the visitor the finished adapter, unless they have it; gives its id, and once more if it is to draw.

    Whoever had it already, and has portraits or waits for some, goes to them without more being drawn.
    Raises ``gr.Error`` where there is no room for it.
    """
    visitor = require_visitor(visitor)
    for stored in visitor.shelf.stored():
        if stored.info and replace(stored.info, title=None) == replace(adapter.info, title=None):
            return stored.id, gr.skip() if visitor.portraits() or drawings.of(visitor.name) else stored.id
    with user_errors("Not loaded"):
        adapter_id = visitor.shelf.take_in(adapter, say(TITLE))
    return adapter_id, adapter_id
