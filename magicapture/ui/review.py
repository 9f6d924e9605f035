"""What the page says to somebody whose portraits were drawn for them: what to decide, until when, and the way out."""

from dataclasses import dataclass
from types import MethodType

import gradio as gr

from magicapture.messages import Message, joined
from magicapture.server.gate.visits import VISITS
from magicapture.server.jobs import delete_everything
from magicapture.server.workspace import Workspace, WorkspaceError
from magicapture.staff.review_workspace import ReviewWorkspace
from magicapture.ui.html import section
from magicapture.ui.language import user_error
from magicapture.ui.session import AppContext, Session, require_visitor

YOURS = "These portraits of you were drawn. Keep those that may be used, and reject the others."
PRIVATE = "Nobody is shown what you do not keep. Until {moment} (UTC) you can change your mind."
WITHDRAW = "If you do not want to take part, withdraw: then everything of you is deleted here and in the company's run."


@dataclass(frozen=True, eq=False)
class Review:
    """The parts that events speak to."""

    panel: gr.Column
    said: gr.HTML
    ask: gr.Button
    sure: gr.Row
    really: gr.Button
    back: gr.Button


def build() -> Review:
    """Lay it out, hidden from ordinary visitors; ``connect`` has to follow."""
    with gr.Column(visible=False, elem_id="review") as panel:
        said = gr.HTML(section("Your portraits", YOURS))
        ask = gr.Button("Withdraw", size="sm", elem_id="withdraw")
        with gr.Row(visible=False) as sure:
            really = gr.Button("Yes, delete everything of me", variant="stop", elem_id="really-withdraw")
            back = gr.Button("No, go on", elem_id="stay")
    return Review(panel, said, ask, sure, really, back)


def connect(
    review: Review, context: AppContext, session: Session, tabs: gr.Tabs, entered: gr.events.Dependency
) -> None:
    """Show it to somebody who was invited, and let them withdraw."""
    hidden = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    entered.then(show, session.visitor, [review.panel, review.said, tabs], **hidden)
    review.ask.click(lambda: gr.Row(visible=True), outputs=review.sure, **hidden)
    review.back.click(lambda: gr.Row(visible=False), outputs=review.sure, **hidden)
    leaving = {"concurrency_limit": None, "api_visibility": "private"}
    gone = review.really.click(MethodType(withdraw, context), session.visitor, session.key, **leaving)
    gone.success(js="() => location.reload()", fn=None)


def show(visitor: Workspace | None) -> tuple:
    """Show somebody who was invited what to decide, and open their portraits."""
    if not isinstance(visitor, ReviewWorkspace):
        return gr.skip(), gr.skip(), gr.skip()
    try:
        visitor.note_opened()
        until = Message(PRIVATE, moment=f"{visitor.invitation.expires:%Y-%m-%d %H:%M}")
    except WorkspaceError as error:
        raise user_error(str(error), "No review") from error
    said = section("Your portraits", joined(" ", YOURS, until, WITHDRAW))
    return gr.Column(visible=True), said, gr.Tabs(selected="portraits")


def withdraw(context: AppContext, visitor: Workspace | None, request: gr.Request) -> str:
    """Delete all of the person, here and in the run; gives the key of a stranger."""
    VISITS.discard_uploads(request.request)
    try:
        delete_everything(context.jobs, context.drawings, require_visitor(visitor))
    except WorkspaceError as error:
        raise user_error(str(error), "Not deleted") from error
    return ""
