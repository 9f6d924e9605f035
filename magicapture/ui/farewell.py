"""The way out: all of a visitor is deleted, once they have said so twice."""

from dataclasses import dataclass
from types import MethodType

import gradio as gr

from magicapture.server.gate.visits import VISITS
from magicapture.server.jobs import delete_everything
from magicapture.server.workspace import Workspace
from magicapture.ui.events import AT_ONCE, user_errors
from magicapture.ui.session import AppContext, Session, require_visitor, workspace_of


@dataclass(frozen=True, eq=False)
class Farewell:
    """The button that asks, and what it opens: the one that means it, and the one that goes back."""

    ask: gr.Button
    sure: gr.Row
    really: gr.Button
    back: gr.Button

    def connect(self, context: AppContext, session: Session, after: str = "location.reload()") -> None:
        """Wire the buttons; once everything is gone the page begins anew, or does what the script ``after`` says."""
        self.ask.click(lambda: gr.Row(visible=True), outputs=self.sure, **AT_ONCE)
        stayed = self.back.click(lambda: gr.Row(visible=False), outputs=self.sure, **AT_ONCE)
        to_ask = f"() => document.getElementById('{self.ask.elem_id}').focus()"  # the button that was pressed is gone
        stayed.success(js=to_ask, fn=None, api_visibility="private")
        leaving = {"concurrency_limit": None, "api_visibility": "private"}
        gone = self.really.click(MethodType(leave, context), [session.visitor, session.key], session.key, **leaving)
        gone.success(js=f"() => {after}", fn=None)


def build_farewell(ask: gr.Button, really: tuple[str, str], back: tuple[str, str]) -> Farewell:
    """Lay out below the button ``ask`` what it opens; ``really`` and ``back``: the label and the id of a button."""
    with gr.Row(visible=False) as sure:
        buttons = gr.Button(really[0], variant="stop", elem_id=really[1]), gr.Button(back[0], elem_id=back[1])
    return Farewell(ask, sure, *buttons)


def leave(context: AppContext, visitor: Workspace | None, key: str, request: gr.Request) -> str:
    """Delete all that the visitor has here, and of who was invited what the run has.

    Gives what the browser is to keep: the key of a stranger, or of what the invited had made here besides.
    """
    visitor = require_visitor(visitor)
    besides = key if key and workspace_of(key, request).name != visitor.name else ""
    VISITS.discard_uploads(request.request)
    with user_errors("Not deleted"):
        delete_everything(context.jobs, context.drawings, visitor)
    return besides
