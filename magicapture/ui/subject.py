"""What the photos are of: a person, or a thing that the visitor names, where the base model knows more than people."""

from dataclasses import dataclass
from functools import partial

import gradio as gr
from gradio.components import Component

from magicapture.bases import resolve_base
from magicapture.messages import Message
from magicapture.server.consent import consent_for, give_consent
from magicapture.server.workspace import Workspace
from magicapture.subject import PERSON_NOUN, THING_NOUN, noun_of
from magicapture.ui import consent
from magicapture.ui.events import AT_ONCE, QUEUED, user_errors
from magicapture.ui.html import section
from magicapture.ui.judging import roles_of
from magicapture.ui.language import user_error
from magicapture.ui.session import AppContext, Session, require_visitor

KINDS = {"A person": PERSON_NOUN, "A thing or an animal": THING_NOUN}
PEOPLE_ALONE = "This base model knows people, not things."
LONGEST_NOUN = 40


@dataclass(frozen=True, eq=False)
class SubjectChoice:
    """The parts that say what the photos are of. ``alone``: the sentence where people alone can be trained."""

    alone: gr.HTML
    kind: gr.Radio
    noun: gr.Textbox

    @property
    def parts(self) -> list[Component]:
        """What ``standing`` gives first, before the noun."""
        return list(vars(self).values())


def build_choice(base: str) -> SubjectChoice:
    """Lay the choice out, as ``base`` has it at first."""
    offered = resolve_base(base).things
    with gr.Row(elem_classes="magi-subject"):
        alone = gr.HTML(section("", PEOPLE_ALONE), visible=not offered, elem_id="people-alone")
        kind = gr.Radio(
            list(KINDS.items()),
            value=PERSON_NOUN,
            label="The photos show",
            visible=offered,
            min_width=220,
            elem_id="kind",
        )
        noun = gr.Textbox(
            label="What is it?",
            placeholder="such as: dog, teapot",
            max_length=LONGEST_NOUN,
            visible=False,
            min_width=160,
            elem_id="noun",
        )
    return SubjectChoice(alone, kind, noun)


def standing(base: str, noun: str | None) -> tuple:
    """Give ``parts`` for photos of a ``noun`` and a ``base``, then the noun, and what heads the photos of each role."""
    noun = noun or PERSON_NOUN  # of a page that was open for long, nothing is known any more
    is_thing = noun != PERSON_NOUN
    offered = is_thing or resolve_base(base).things
    text = gr.Textbox("" if noun == THING_NOUN or not is_thing else noun, visible=is_thing)
    kind = gr.Radio(value=THING_NOUN if is_thing else PERSON_NOUN, visible=offered)
    headings = (section(heading, explanation) for heading, explanation, _ in roles_of(noun).values())
    return gr.HTML(visible=not offered), kind, text, noun, *headings


def connect_choice(
    choice: SubjectChoice,
    context: AppContext,
    session: Session,
    base: gr.Dropdown,
    about: list[Component],
    agreed: gr.Checkbox,
    again: list[dict],
) -> None:
    """Wire the events. ``about``: all that ``standing`` gives; ``again``: the events that look at the photos anew."""
    said = [choice.kind.input, choice.noun.submit, choice.noun.blur]
    asked = [session.visitor, choice.kind, choice.noun, base, session.noun]
    gr.on(said, partial(choose, context), asked, [*about, agreed], **QUEUED)
    for look in again:
        session.noun.change(**look)
    base.change(standing, [base, session.noun], about, **AT_ONCE)


def choose(context: AppContext, visitor: Workspace | None, kind: str, text: str, base: str, before: str) -> tuple:
    """Let the visitor's photos show what they say; the consent is to that from now on, if it was ``before``.

    Raises ``gr.Error`` for what is no name of a thing, and changes nothing.
    """
    visitor = require_visitor(visitor)
    try:
        noun = noun_of(text or "") if kind == THING_NOUN else PERSON_NOUN
    except ValueError as error:
        raise user_error(str(error), "Not a name") from error
    settle_noun(visitor, noun)
    if PERSON_NOUN in (noun, before) and noun != before and consent_for(context.records, visitor, before):
        give_consent(context.records, visitor, noun)
    return *standing(base, noun), gr.Checkbox(label=consent.question(noun))


def settle_noun(visitor: Workspace | None, noun: str) -> Workspace:
    """Give the visitor's workspace, in which the photos show what the page says: it forgets that with the photos.

    Raises ``gr.Error``.
    """
    visitor = require_visitor(visitor)
    if visitor.subject.noun != noun:
        with user_errors("Not possible"):
            visitor.subject.name(noun)
    return visitor


def shows(noun: str) -> Message | str:
    """Say that an adapter shows a thing, and which; nothing of one that shows a person."""
    return "" if noun == PERSON_NOUN else Message("It shows a thing: {noun}.", noun=noun)
