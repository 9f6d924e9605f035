"""What the page says to somebody whose portraits were drawn for them: what to decide, until when, and the way out."""

from dataclasses import dataclass

import gradio as gr

from magicapture.messages import Message, joined
from magicapture.server.workspace import Workspace
from magicapture.staff.review_workspace import ReviewWorkspace
from magicapture.ui.events import AT_ONCE, user_errors
from magicapture.ui.farewell import Farewell, build_farewell
from magicapture.ui.html import section
from magicapture.ui.session import AppContext, Session

YOURS = "These portraits of you were drawn. Keep those that may be used, and reject the others."
PRIVATE = (
    "Nobody is shown what you do not keep, and what you reject is deleted at once. "
    "This page is yours until {moment} (UTC)."
)
WITHDRAW = "If you do not want to take part, withdraw: then everything of you is deleted here and in the company's run."
WITHDRAWN = "location.assign('review#withdrawn')"
"""The way in says then that all is deleted."""


@dataclass(frozen=True, eq=False)
class Review:
    """The parts that events speak to."""

    panel: gr.Column
    said: gr.HTML
    withdrawing: Farewell


def build() -> Review:
    """Lay it out, hidden from ordinary visitors; ``connect`` has to follow."""
    with gr.Column(visible=False, elem_id="review") as panel:
        said = gr.HTML(section("Your portraits", YOURS))
        ask = gr.Button("Withdraw", size="sm", elem_id="withdraw")
        really = "Yes, delete everything of me", "really-withdraw"
        withdrawing = build_farewell(ask, really, ("No, go on", "stay"))
    return Review(panel, said, withdrawing)


def connect(
    review: Review, context: AppContext, session: Session, tabs: gr.Tabs, entered: gr.events.Dependency
) -> None:
    """Show it to somebody who was invited, and let them withdraw."""
    entered.then(show, session.visitor, [review.panel, review.said, tabs], **AT_ONCE)
    review.withdrawing.connect(context, session, WITHDRAWN)


def show(visitor: Workspace | None) -> tuple:
    """Show somebody who was invited what to decide, and open their portraits."""
    if not isinstance(visitor, ReviewWorkspace):
        return gr.skip(), gr.skip(), gr.skip()
    with user_errors("No review"):
        visitor.note_opened()
        until = Message(PRIVATE, moment=f"{visitor.invitation.expires:%Y-%m-%d %H:%M}")
    said = section("Your portraits", joined(" ", YOURS, until, WITHDRAW))
    return gr.Column(visible=True), said, gr.Tabs(selected="portraits")
