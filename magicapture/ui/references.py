"""The tab References: consent first, then photos, each once and with its verdict."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MethodType

import gradio as gr
from anyio import to_thread
from gradio.components import Component

from magicapture.photos.references import CheckedSet, Role
from magicapture.server.consent import consent_for, give_consent
from magicapture.server.gate.queue import BOUNDED
from magicapture.server.jobs import NO_CONSENT
from magicapture.server.workspace import Workspace, WorkspaceError
from magicapture.ui import consent
from magicapture.ui.events import AT_ONCE, QUEUED, user_errors
from magicapture.ui.examples import Examples, Offer, build_examples
from magicapture.ui.html import note, section
from magicapture.ui.judging import ROLES, judge, judge_again
from magicapture.ui.language import user_error
from magicapture.ui.painting import Painting, build_painting, connect_painting
from magicapture.ui.photo_grid import build_grid, told
from magicapture.ui.readiness import what_is_wrong
from magicapture.ui.session import AppContext, Session, require_visitor
from magicapture.ui.steps import Step, build_step
from magicapture.ui.subject import SubjectChoice, build_choice, connect_choice, settle_noun, standing

GONE = "This example is not there any more: reload the page."

Uploads = list[tuple[str, str | None]]


@dataclass(frozen=True, eq=False)
class RolePart:
    """One half of the tab: where photos of a role come in, and those that are there."""

    role: Role
    heading: gr.HTML
    photos: gr.Gallery
    verdicts: gr.HTML
    taken: gr.State  # the uploads taken in last: the gallery tells of them twice


@dataclass(frozen=True, eq=False)
class References:
    """The tab: the consent, what the photos are of, its two halves, the canvas, and the examples on offer."""

    terms: gr.HTML
    agreed: gr.Checkbox
    below: gr.Column
    choice: SubjectChoice
    parts: list[RolePart]
    painting: Painting
    examples: Examples | None
    onwards: Step

    def about(self, session: Session) -> list[Component]:
        """All that ``standing`` gives."""
        return [*self.choice.parts, session.noun, *(part.heading for part in self.parts)]


def build(context: AppContext) -> References:
    """Lay the tab out; ``connect`` has to follow."""
    terms = gr.HTML(consent.shown_terms(context.settings, given=False), elem_id="terms")
    # Until the visitor is recognised it cannot be ticked: the answer of an earlier visit would undo it.
    agreed = gr.Checkbox(label=consent.QUESTION, value=False, interactive=False, elem_id="consent")
    with gr.Column(visible=False) as below:
        offered = build_examples()
        choice = build_choice(context.base.spec.name)
        parts = []
        with gr.Row(equal_height=False):
            for role in ROLES:
                with gr.Column(min_width=300):
                    parts.append(_build_role(role))
        painting = build_painting()
        onwards = build_step("Train with these", what_is_wrong(None, None), "to-training")
    return References(terms, agreed, below, choice, parts, painting, offered, onwards)


def _build_role(role: Role) -> RolePart:
    heading, explanation, nothing = ROLES[role]
    headed = gr.HTML(section(heading, explanation))
    photos = gr.Gallery(
        [],  # not None: the clipboard adds to a list
        label=heading,
        show_label=False,
        sources=["upload", "clipboard"],  # a phone offers its camera where it asks for the files
        file_types=["image", ".heic", ".heif", ".avif"],
        type="filepath",
        interactive=True,
        columns=6,
        height=132,
        object_fit="cover",
        fit_columns=False,
        buttons=[],
        elem_id=f"{role}-photos",
        elem_classes="magi-drop",
    )
    verdicts = build_grid(note(nothing), f"{role}-verdicts")
    return RolePart(role, headed, photos, verdicts, gr.State(()))


def connect(
    tab: References, context: AppContext, session: Session, base: gr.Dropdown, entered: gr.events.Dependency
) -> None:
    """Check the photos of a role when they change, and again when the base does: it decides the size of the crops."""
    shown = [piece for part in tab.parts for piece in (getattr(session, part.role), part.verdicts)]
    agreeing = [tab.below, tab.terms, tab.agreed, *shown, *tab.about(session)]
    asked = [tab.agreed, session.visitor, base, session.noun]
    # The state that was left last counts, however quickly the mark is set and taken away.
    tab.agreed.input(partial(agree, context), asked, agreeing, **QUEUED | {"trigger_mode": "always_last"})
    returning = [*shown, tab.below, tab.terms, tab.agreed, *tab.about(session)]
    # Nobody who enters is refused, nor waits for others' photos.
    entered.then(partial(return_to, context), [session.visitor, base], returning, **QUEUED)
    for part in tab.parts:
        checking, state = _checking(part), getattr(session, part.role)
        part.photos.change(
            partial(add, context, part.role),
            [part.photos, base, session.visitor, state, part.taken, session.noun],
            [part.photos, state, part.verdicts, part.taken],
            **checking,
        )
        # MethodType, not partial: Gradio looks for the event's data in the annotations.
        part.verdicts.remove(
            MethodType(remove, part.role),
            [base, session.visitor, state, session.noun],
            [state, part.verdicts],
            **checking,
        )
        base.change(**_looking_again(part, session, base))
    if tab.examples is not None:
        connect_examples(tab.examples, tab.parts, context, session, base)
    again = [_looking_again(part, session, base) for part in tab.parts]
    connect_choice(tab.choice, context, session, base, tab.about(session), tab.agreed, again)
    connect_painting(tab.painting, session, tab.parts[0].verdicts, again[0])


def connect_examples(
    offered: Examples, parts: list[RolePart], context: AppContext, session: Session, base: gr.Dropdown
) -> None:
    """Let each offer load its pictures, and be there while nothing of the visitor's own would go for it."""
    asked, hidden = [session.visitor, session.noun], {"show_progress": "hidden", "api_visibility": "private"}
    for offer in offered.offers:
        loaded = offer.part.click(MethodType(take_examples, (context, offer)), asked, **hidden)
        for part in parts:
            if part.role in offer.roles:
                loaded.success(**_looking_again(part, session, base))
    changes = [session.person.change, session.style.change]
    gr.on(changes, offered.show, session.visitor, offered.parts, **AT_ONCE | {"trigger_mode": "always_last"})


def _checking(part: RolePart) -> dict:
    """Give the settings of an event that checks the photos of ``part``."""
    return {
        "show_progress": "minimal",
        "show_progress_on": part.verdicts,
        # A gallery tells of one change twice: the second has to find the first.
        "concurrency_id": f"{BOUNDED}check-{part.role}",
        "concurrency_limit": 1,
        "api_visibility": "private",
    }


def _looking_again(part: RolePart, session: Session, base: gr.Dropdown) -> dict:
    state = getattr(session, part.role)
    look = {
        "fn": partial(look_again, part.role),
        "inputs": [base, session.visitor, state, session.noun],
        "outputs": [state, part.verdicts],
    }
    return look | _checking(part)


def look_again(
    role: Role, base: str, visitor: Workspace | None, before: CheckedSet | None, noun: str
) -> tuple[CheckedSet | None, str]:
    """Check the photos of one role as ``judge`` does, as photos of a ``noun``, which is what the page says."""
    return judge(role, base, settle_noun(visitor, noun), before)


def agree(context: AppContext, agreed: bool, visitor: Workspace | None, base: str, noun: str) -> tuple:
    """Write the consent to photos of a ``noun`` down, as the page asks for it.

    Without it no photo can be added, those that were are deleted, and nothing is trained.
    """
    visitor = require_visitor(visitor)
    if not agreed:
        context.jobs.withdraw_consent(visitor)
        nothing = [gone for role in ROLES for gone in (None, note(ROLES[role][2]))]
        noun = visitor.subject.noun
    else:
        give_consent(context.records, visitor, noun)
        nothing = [gr.skip() for _ in ROLES for _ in range(2)]
    terms, question = consent.shown_terms(context.settings, given=agreed), gr.Checkbox(label=consent.question(noun))
    return gr.Column(visible=agreed), terms, question, *nothing, *standing(base, noun)


async def return_to(context: AppContext, visitor: Workspace, base: str) -> tuple:
    """Give the tab as the visitor left it: photos that are still there, and the consent to this very text.

    All in one answer and the checkbox with it: until then nothing can be added that it would overwrite.
    """
    shown = await judge_again(base, visitor)
    return await to_thread.run_sync(_left, context, visitor, base, shown)


def _left(context: AppContext, visitor: Workspace, base: str, shown: list) -> tuple:
    noun = visitor.subject.noun
    agreed = consent_for(context.records, visitor, noun) is not None
    terms = consent.shown_terms(context.settings, given=agreed)
    question = gr.Checkbox(agreed, label=consent.question(noun), interactive=True)
    return *shown, gr.Column(visible=agreed), terms, question, *standing(base, noun)


def take_examples(here: tuple[AppContext, Offer], visitor: Workspace | None, noun: str, event: gr.EventData) -> None:
    """Make copies of the pictures that were clicked the visitor's photos.

    Raises ``gr.Error`` without consent, and for what is not on offer.
    """
    (context, offer), visitor = here, require_visitor(visitor)
    if consent_for(context.records, visitor, noun) is None:
        raise user_error(NO_CONSENT, "Not yet")
    pictures = offer.chosen(event)
    if not pictures:
        raise user_error(GONE, "Not there")
    settle_noun(visitor, noun)
    with user_errors("Not loaded"):
        for role, paths in pictures.items():
            visitor.ingest(paths, role)


def add(
    context: AppContext,
    role: Role,
    uploads: Uploads | None,
    base: str,
    visitor: Workspace | None,
    before: CheckedSet | None,
    taken: tuple[str, ...],
    noun: str,
) -> tuple[object, CheckedSet | None, str, tuple[str, ...]]:
    """Add uploads to the photos of one role and check them all as photos of a ``noun``, which is what the page says.

    Gives the empty gallery, the ``CheckedSet`` or None, the verdicts, and which uploads these were.
    """
    new = tuple(dict.fromkeys(path for path, _ in uploads or () if path not in taken))
    visitor = require_visitor(visitor)
    if not new:
        return ([] if uploads else gr.skip()), gr.skip(), gr.skip(), gr.skip()
    if consent_for(context.records, visitor, noun) is None:
        return [], None, note(NO_CONSENT, "bad"), taken
    settle_noun(visitor, noun)
    try:
        visitor.ingest([*visitor.photos(role), *map(Path, new)], role)
    except WorkspaceError as error:
        checked, verdicts = judge(role, base, visitor)
        return [], checked, note(str(error), "bad") + verdicts, taken
    return [], *judge(role, base, visitor, before), new


def remove(
    role: Role, base: str, visitor: Workspace | None, before: CheckedSet | None, noun: str, event: gr.EventData
) -> tuple[CheckedSet | None, str]:
    """Delete the photo whose name the event tells and check the others; what is no photo of theirs changes nothing."""
    visitor, name = settle_noun(visitor, noun), told(event, "name")
    visitor.ingest([path for path in visitor.photos(role) if path.name != name], role)
    return judge(role, base, visitor, before)
