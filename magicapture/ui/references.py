"""The tab References: consent first, then photos, with a verdict on each beside them."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MethodType

import gradio as gr

from magicapture.bases import BaseError, load_base
from magicapture.faces import load_engine
from magicapture.photos.references import CheckedSet, Role, check_photos
from magicapture.server.gate.queue import BOUNDED
from magicapture.server.metrics import STAGE
from magicapture.server.workspace import Workspace, WorkspaceError
from magicapture.ui import consent
from magicapture.ui.examples import Offer, build_examples
from magicapture.ui.html import cards, note, section
from magicapture.ui.language import user_error
from magicapture.ui.session import AppContext, Session, require_visitor

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

GONE = "This example is not there any more: reload the page."

Photos = list[tuple[str, str | None]]


@dataclass(frozen=True, eq=False)
class RolePart:
    """One half of the tab."""

    role: Role
    photos: gr.Gallery
    verdicts: gr.HTML
    taken: gr.State  # where uploads went: the gallery may name one once more after it has been taken in


@dataclass(frozen=True, eq=False)
class References:
    """The tab: the consent, its two halves, and the examples on offer."""

    agreed: gr.Checkbox
    below: gr.Column
    parts: list[RolePart]
    examples: list[Offer]


def build(context: AppContext) -> References:
    """Lay the tab out; ``connect`` has to follow."""
    gr.HTML(section("Before you begin", consent.terms(context.settings)))
    # Until the visitor is recognised it cannot be ticked: the answer of an earlier visit would undo it.
    agreed = gr.Checkbox(label=consent.QUESTION, value=False, interactive=False, elem_id="consent")
    with gr.Column(visible=False) as below:
        offers = build_examples()
        parts = []
        with gr.Row(equal_height=False):
            for role in ROLES:
                with gr.Column(min_width=300):
                    parts.append(_build_role(role))
    return References(agreed, below, parts, offers)


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
        height=290,
        object_fit="cover",
        fit_columns=False,
        buttons=["fullscreen"],
        elem_id=f"{role}-photos",
    )
    verdicts = gr.HTML(note(nothing), elem_id=f"{role}-verdicts", min_height=60)
    return RolePart(role, photos, verdicts, gr.State({}))


def connect(
    tab: References, context: AppContext, session: Session, base: gr.Dropdown, entered: gr.events.Dependency
) -> None:
    """Check the photos of a role when they change, and again when the base does: it decides the size of the crops."""
    hidden = {"show_progress": "hidden", "api_visibility": "private"}
    photos = [part.photos for part in tab.parts]
    tab.agreed.input(
        partial(agree, context), [tab.agreed, session.visitor], [tab.below, *photos], queue=False, **hidden
    )
    shown = [piece for part in tab.parts for piece in (part.photos, getattr(session, part.role), part.verdicts)]
    # It may check photos anew, so few at once, but nobody who enters is refused.
    entering = hidden | {"concurrency_limit": 4}
    entered.then(partial(return_to, context), [session.visitor, base], [*shown, tab.below, tab.agreed], **entering)
    for part in tab.parts:
        changes = [part.photos.upload, part.photos.change, part.photos.delete, base.change]
        gr.on(changes, **_checking(part, context, session, base))
    for offer in tab.examples:
        parts = [part for part in tab.parts if part.role in offer.roles]
        # MethodType, not partial: Gradio looks for the event's data in the annotations.
        take, galleries = MethodType(take_examples, (context, offer)), [part.photos for part in parts]
        loaded = offer.click(take, session.visitor, galleries, queue=False, **hidden)
        for part in parts:
            loaded.then(**_checking(part, context, session, base))


def _checking(part: RolePart, context: AppContext, session: Session, base: gr.Dropdown) -> dict:
    """Give the settings of an event that checks the photos of ``part``."""
    state = getattr(session, part.role)
    return {
        "fn": partial(check, context, part.role),
        "inputs": [part.photos, base, session.visitor, state, part.taken],
        "outputs": [part.photos, state, part.verdicts, part.taken],
        "trigger_mode": "always_last",
        "show_progress": "minimal",
        "show_progress_on": part.verdicts,
        # A gallery tells of one change twice: the second has to find the first.
        "concurrency_id": f"{BOUNDED}check-{part.role}",
        "concurrency_limit": 1,
        "api_visibility": "private",
    }


def agree(context: AppContext, agreed: bool, visitor: Workspace | None) -> tuple:
    """Write the consent down; without it no photo can be added, and those that were are deleted."""
    visitor = require_visitor(visitor)
    if not agreed:
        visitor.forget_photos()
        return gr.Column(visible=False), *[None for _ in ROLES]
    consent.give_consent(context.records, visitor)
    return gr.Column(visible=True), *[gr.skip() for _ in ROLES]


def return_to(context: AppContext, visitor: Workspace, base: str) -> tuple:
    """Give the tab as the visitor left it: photos that are still there, and the consent to this very text.

    All in one answer and the checkbox with it: until then nothing can be added that it would overwrite.
    """
    agreed = consent.is_given(context.records, visitor)
    shown = []
    for role in ROLES:
        paths = visitor.photos(role)
        shown += [[str(path) for path in paths] or None, *_judge(role, paths, base)]
    return *shown, gr.Column(visible=agreed), gr.Checkbox(agreed, interactive=True)


def take_examples(
    here: tuple[AppContext, Offer], visitor: Workspace | None, event: gr.EventData
) -> list[list[str]] | list[str]:
    """Give the visitor copies of the pictures that were clicked; gives a gallery per role of the offer.

    Raises ``gr.Error`` without consent, and for what is not on offer.
    """
    (context, offer), visitor = here, require_visitor(visitor)
    if not consent.is_given(context.records, visitor):
        raise user_error(consent.MISSING, "Not yet")
    pictures = offer.chosen(event)
    if not pictures:
        raise user_error(GONE, "Not there")
    galleries = [[str(path) for path in visitor.ingest(paths, role)] for role, paths in pictures.items()]
    return galleries if len(galleries) > 1 else galleries[0]


def check(
    context: AppContext,
    role: Role,
    photos: Photos | None,
    base: str,
    visitor: Workspace | None,
    before: CheckedSet | None,
    taken: dict[str, Path],
) -> tuple[object, CheckedSet | None, str, dict[str, Path]]:
    """Take photos of one role in and check them.

    Gives the gallery, the ``CheckedSet`` or None, the verdicts, and where each upload lies now.
    """
    visitor = require_visitor(visitor)
    if photos and not consent.is_given(context.records, visitor):
        return None, None, note(consent.MISSING, "bad"), taken
    named = list(dict.fromkeys(taken.get(path, Path(path)) for path, _ in photos or ()))
    try:
        paths = visitor.ingest(named, role)
    except WorkspaceError as error:
        return [str(path) for path in visitor.photos(role)], None, note(str(error), "bad"), taken
    taken = {**taken, **{str(name): path for name, path in zip(named, paths, strict=True)}} if paths else {}
    shown = gr.skip() if [str(path) for path in paths] == [path for path, _ in photos or ()] else [*map(str, paths)]
    return shown, *_judge(role, paths, base, before), taken


def _judge(role: Role, paths: list[Path], base: str, before: CheckedSet | None = None) -> tuple:
    """Check photos, unless ``before`` is of these very ones; gives a ``CheckedSet`` or None, and the verdicts."""
    if not paths:
        return None, note(ROLES[role][2])
    try:
        size = load_base(base).resolution
    except BaseError as error:
        return None, note(str(error), "bad")
    if before is not None and _is_of(before, paths, size):
        return before, gr.skip()
    with STAGE.labels("check").time():
        checked = check_photos(paths, role, load_engine(), size)
    return checked, cards(checked)


def _is_of(checked: CheckedSet, paths: list[Path], size: int) -> bool:
    """Tell whether these very photos have been checked already: showing them anew asks for it a second time."""
    same = [verdict.name for verdict in checked.verdicts] == [path.name for path in paths]
    return same and all(reference.image.width == size for reference in checked.references)
