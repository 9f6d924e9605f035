"""The way through the tabs: which of them is done, and the button at the end of each that leads to the next."""

from dataclasses import dataclass
from functools import partial

import gradio as gr

from magicapture.messages import Message, joined
from magicapture.photos.references import CheckedSet
from magicapture.server.workspace import Workspace
from magicapture.ui.events import AT_ONCE
from magicapture.ui.html import section
from magicapture.ui.language import say
from magicapture.ui.readiness import counted, what_is_wrong
from magicapture.ui.session import Session

TABS = {"references": "References", "train": "Train", "portraits": "Portraits", "adapters": "My adapters"}
"""The titles of the tabs by their ids, in their order."""
NO_ADAPTER = "There is no adapter yet: train one, or choose one in the tab My adapters."
NO_PORTRAIT = "No portrait waits for your choice: draw some above."


@dataclass(frozen=True, eq=False)
class Step:
    """The button that goes on, and beside it what it leads to, or why it does not yet."""

    said: gr.HTML
    button: gr.Button

    def update(self, reason: str, otherwise: str) -> tuple[str, gr.Button]:
        """Give both anew: closed for ``reason``, or open if there is none."""
        return section("", reason or otherwise), gr.Button(interactive=not reason)


def build_step(label: str, reason: str, elem_id: str) -> Step:
    """Lay the end of a tab out, closed for ``reason`` at first."""
    with gr.Row(elem_classes="magi-step"):
        said = gr.HTML(section("", reason), elem_id=f"{elem_id}-said")
        button = gr.Button(label, variant="primary", interactive=False, min_width=180, elem_id=elem_id)
    return Step(said, button)


@dataclass(frozen=True, eq=False)
class Way:
    """The tabs in which there is something to be done, and the steps between them."""

    tabs: gr.Tabs
    references: gr.Tab
    train: gr.Tab
    portraits: gr.Tab
    to_training: Step
    to_portraits: Step
    keep: Step


def connect(way: Way, session: Session, pictures: gr.State) -> None:
    """Show how far the visitor is whenever that may have changed; ``pictures``: the portraits that are listed."""
    # Two changes at once must not leave what was true after the first.
    latest = AT_ONCE | {"trigger_mode": "always_last"}
    changes = [part.change for part in (session.person, session.style, session.noun, session.adapter, pictures)]
    steps = [part for step in (way.to_training, way.to_portraits, way.keep) for part in (step.said, step.button)]
    known = [session.visitor, session.person, session.style, session.noun, session.adapter]
    gr.on(changes, partial(look, way), known, [way.references, way.train, way.portraits, *steps], **latest)
    for step, tab in ((way.to_training, "train"), (way.to_portraits, "portraits")):
        step.button.click(lambda tab=tab: gr.Tabs(selected=tab), outputs=way.tabs, **AT_ONCE)


def look(
    way: Way, visitor: Workspace | None, person: CheckedSet | None, style: CheckedSet | None, noun: str, adapter: str
) -> tuple:
    """Give the titles of the tabs, with a tick where all is done, and the steps as they stand."""
    wrong = what_is_wrong(person, style, noun)
    portraits = visitor.portraits() if visitor else []
    kept = sum(portrait.kept for portrait in portraits)
    waiting = len(portraits) - kept
    done = {"references": not wrong or adapter, "train": adapter, "portraits": kept}
    titles = [gr.Tab(label=_title(TABS[tab], bool(is_done))) for tab, is_done in done.items()]
    undecided = "{n} portraits wait for your choice: keep or reject each, or keep them all."
    if waiting == 1:
        undecided = "One portrait waits for your choice."
    return (
        *titles,
        *way.to_training.update(wrong, counted(person, style) if not wrong else ""),
        *way.to_portraits.update("" if adapter else NO_ADAPTER, "An adapter is ready to draw with."),
        *way.keep.update("" if waiting else NO_PORTRAIT, Message(undecided, n=waiting)),
    )


def _title(title: str, is_done: bool) -> str:
    return say(joined(" ", title, "✓" if is_done else ""))
