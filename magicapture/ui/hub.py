"""The part of My adapters that needs the Hugging Face Hub: load an adapter from there, or push one."""

from pathlib import Path
from tempfile import TemporaryDirectory
from types import MethodType

import gradio as gr

from magicapture.messages import Message, joined
from magicapture.server import hub
from magicapture.server.gate.queue import BOUNDED
from magicapture.server.workspace import Workspace
from magicapture.settings import settings
from magicapture.ui.events import AT_ONCE, user_errors
from magicapture.ui.html import note, section
from magicapture.ui.language import say, user_error
from magicapture.ui.live import caption
from magicapture.ui.session import AppContext, Session, require_visitor

NOTHING = "No adapter is here yet: train one, upload a zip that you downloaded before, or load one from the Hub."
CARE = (
    "An adapter can draw the person in it: give it only to people whom that person trusts. Reference photos and face "
    "measurements are never pushed."
)


ASKS_HUB = {"api_visibility": "private", "concurrency_id": f"{BOUNDED}hub", "concurrency_limit": 4}
"""Settings of an event that asks the Hub."""


def build(
    context: AppContext, session: Session, chosen: gr.State, said: gr.HTML, portraits: gr.State
) -> tuple[gr.Button, gr.Textbox]:
    """Lay it out and wire it; gives the button that loads an adapter, and the field with its repository.

    ``chosen``: the id of the adapter to push; ``said``: where what came of it is told; ``portraits``: those listed.
    """
    gr.HTML(section("Hugging Face Hub", CARE))
    if context.settings.sign_in:  # elsewhere the button would keep the app from starting
        gr.LoginButton("Sign in with Hugging Face")
    with gr.Accordion("Load from the Hub", open=False, elem_id="load-hub"):
        repository = gr.Textbox(label="Repository", placeholder="account/name", elem_id="hub-repository")
        load = gr.Button("Load", interactive=False, elem_id="load-from-hub")
    with gr.Accordion("Push to my account", open=False, elem_id="push-hub") as opened:
        account = gr.HTML("", elem_id="hub-account", min_height=60)
        name = gr.Textbox(label="Name of the repository", placeholder="my-portraits", elem_id="hub-name")
        private = gr.Checkbox(True, label="Private: only I can see it", elem_id="hub-private")
        pictures = gr.CheckboxGroup(
            [], label="Portraits for its card (kept ones)", visible=False, elem_id="hub-pictures"
        )
        push_button = gr.Button("Push", variant="primary", interactive=False, elem_id="push-to-hub")
    repository.change(may_load, repository, load, **AT_ONCE)
    told = [account, pictures, push_button]
    opened.expand(describe_push, session.visitor, told, queue=False, api_visibility="private")
    portraits.change(kept_choices, session.visitor, pictures, queue=False, api_visibility="private")
    pushed = [session.visitor, chosen, name, pictures, private]
    push_button.click(MethodType(push, context), pushed, said, show_progress_on=said, **ASKS_HUB)
    return load, repository


def may_load(repository: str | None) -> gr.Button:
    """Give the button that loads, closed until a repository is named."""
    return gr.Button(interactive=bool((repository or "").strip()))


def load_from_hub(visitor: Workspace, repository: str, token: gr.OAuthToken | None) -> str:
    """Load an adapter from the Hub; gives its id. Raises ``gr.Error``."""
    with user_errors("Not loaded"), TemporaryDirectory() as place:
        adapter = hub.pull(repository, Path(place) / "adapter", token and token.token)
        return visitor.shelf.take_in(adapter, repository)


def describe_push(
    visitor: Workspace | None, token: gr.OAuthToken | None = None
) -> tuple[str, gr.CheckboxGroup, gr.Button]:
    """Say to whose account a push would go, and offer the portraits that can go with it, and the push itself."""
    account = hub.account(token and token.token)
    if account is None:
        nobody = "Nobody is signed in to the Hub here: download the zip instead."
        if settings().sign_in:
            nobody = "Nobody is signed in to the Hub here: sign in above, or download the zip instead."
        said = note(nobody, "warn")
    else:
        goes = "It goes to the account {name} (known from: {source})."
        said = note(Message(goes, name=account.name, source=Message(account.source)), "good")
    return said, kept_choices(visitor), gr.Button(interactive=account is not None)


def kept_choices(visitor: Workspace | None) -> gr.CheckboxGroup:
    """Offer the portraits that are kept, where there are any; none is ticked until the visitor does."""
    kept = [portrait for portrait in visitor.portraits() if portrait.kept] if visitor else []
    choices = [
        (say(joined(" · ", caption(p.facts), Message("seed {n}", n=p.facts["seed"]))), str(p.path)) for p in kept
    ]
    return gr.CheckboxGroup(choices, value=[], visible=bool(choices))


def push(
    context: AppContext,
    visitor: Workspace | None,
    chosen: str | None,
    name: str,
    pictures: list[str],
    private: bool,
    token: gr.OAuthToken | None = None,
) -> str:
    """Push the chosen adapter; says where it is now. Raises ``gr.Error``; nothing here is lost by it."""
    visitor = require_visitor(visitor)
    stored = {adapter.id: adapter for adapter in visitor.shelf.stored()}.get(chosen or "")
    if stored is None:
        raise user_error(NOTHING, "Not yet")
    own = {str(portrait.path): portrait.path for portrait in visitor.portraits() if portrait.kept}
    with user_errors("Not pushed"):
        address = hub.push(
            stored.folder, name.strip(), [own[path] for path in pictures if path in own], token and token.token, private
        )
    context.records.log("adapter_pushed")
    return note(Message("Pushed: {address}", address=address), "good")
