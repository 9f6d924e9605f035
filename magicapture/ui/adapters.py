"""The tab My adapters: use one again, rename, download, load, push to the Hub, delete; and delete everything."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MethodType

import gradio as gr

from magicapture.adapters.adapter import AdapterError
from magicapture.messages import Message, joined
from magicapture.server import hub
from magicapture.server.gate.queue import BOUNDED
from magicapture.server.gate.visits import VISITS
from magicapture.server.hub import HubError
from magicapture.server.jobs import delete_everything
from magicapture.server.workspace import StoredAdapter, Workspace, WorkspaceError
from magicapture.ui.html import note, preset_name, section
from magicapture.ui.installation import offers_sign_in
from magicapture.ui.language import say, user_error
from magicapture.ui.live import caption, summary
from magicapture.ui.session import AppContext, Session, require_visitor

NOTHING = "No adapter is here yet: train one, upload a zip that you downloaded before, or load one from the Hub."
DAMAGED = "This adapter is damaged and cannot be used: delete it."
SIGN_OUT = "() => fetch('logout', {method: 'POST'}).finally(() => location.reload())"
CARE = (
    "An adapter can draw the person in it: give it only to people whom that person trusts. Reference photos and face "
    "measurements are never pushed."
)


@dataclass(frozen=True, eq=False)
class Shelf:
    """The parts of the tab that events speak to. ``chosen``: the id of the adapter picked in ``menu``."""

    chosen: gr.State
    menu: gr.Dropdown
    facts: gr.HTML
    use: gr.Button
    title: gr.Textbox
    rename: gr.Button
    download: gr.DownloadButton
    delete: gr.Button
    said: gr.HTML


def build(
    context: AppContext,
    session: Session,
    tabs: gr.Tabs,
    arrivals: list[Callable | gr.events.Dependency],
    gallery: gr.State,
) -> None:
    """Lay the tab out and wire it. ``arrivals``: events after which the list may be out of date."""
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            shelf = _build_shelf()
        with gr.Column(min_width=300):
            upload = gr.UploadButton("Upload an adapter (zip)", file_types=[".zip"], elem_id="upload-adapter")
            if not context.settings.private:
                arrivals = [*arrivals, _build_hub(context, session, shelf, gallery)]
            _build_farewell(context, session)
    hidden = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    queued = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
    shown = [shelf.menu, shelf.facts, shelf.title, shelf.use, shelf.rename, shelf.download, shelf.delete]
    listing = {
        "fn": refresh_list,
        "inputs": [session.visitor, shelf.chosen],
        "outputs": [shelf.chosen, *shown],
        **hidden,
    }
    for arrival in arrivals:
        (arrival.then if isinstance(arrival, gr.events.Dependency) else arrival)(**listing)
    session.adapter.change(**listing | {"fn": list_adapters, "inputs": [session.visitor, session.adapter]})
    shelf.menu.input(**listing | {"fn": list_adapters, "inputs": [session.visitor, shelf.menu]})
    shelf.use.click(use, [session.visitor, shelf.chosen], session.adapter, **queued).success(
        lambda: gr.Tabs(selected="portraits"), outputs=tabs, **hidden
    )
    shelf.rename.click(rename, [session.visitor, shelf.chosen, shelf.title], shelf.said, **queued).success(**listing)
    choice = [session.visitor, shelf.chosen, session.adapter]
    shelf.delete.click(partial(delete, context), choice, [shelf.said, session.adapter], **queued).success(**listing)
    taking = queued | {"concurrency_id": f"{BOUNDED}adapter", "concurrency_limit": 2}
    upload.upload(take_in, [session.visitor, upload], [shelf.chosen, shelf.said], **taking).success(**listing)


def _build_shelf() -> Shelf:
    menu = gr.Dropdown([], label="My adapters", elem_id="adapters-menu")
    facts = gr.HTML(note(NOTHING), elem_id="adapter-facts", min_height=60)
    with gr.Row():
        use_button = gr.Button(
            "Make portraits", variant="primary", interactive=False, min_width=110, elem_id="use-adapter"
        )
        download = gr.DownloadButton("Download (zip)", interactive=False, min_width=110, elem_id="download-chosen")
        delete_button = gr.Button("Delete", interactive=False, min_width=110, elem_id="delete-adapter")
    title = gr.Textbox(label="Title", max_length=60, interactive=False, elem_id="adapter-title")
    rename_button = gr.Button("Rename", interactive=False, size="sm", elem_id="rename-adapter")
    said = gr.HTML("", elem_id="adapters-said", min_height=32)
    return Shelf(gr.State(), menu, facts, use_button, title, rename_button, download, delete_button, said)


def _build_hub(context: AppContext, session: Session, shelf: Shelf, gallery: gr.State) -> gr.events.Dependency:
    """Offer what needs the Hugging Face Hub; gives the event after which there may be another adapter."""
    queued = {"api_visibility": "private", "show_progress_on": shelf.said}
    queued |= {"concurrency_id": f"{BOUNDED}hub", "concurrency_limit": 4}
    gr.HTML(section("Hugging Face Hub", CARE))
    if offers_sign_in():  # elsewhere the button would keep the app from starting
        gr.LoginButton("Sign in with Hugging Face")
    with gr.Accordion("Load from the Hub", open=False, elem_id="load-hub"):
        repository = gr.Textbox(label="Repository", placeholder="account/name", elem_id="hub-repository")
        load = gr.Button("Load", elem_id="load-from-hub")
    with gr.Accordion("Push to my account", open=False, elem_id="push-hub") as opened:
        account = gr.HTML("", elem_id="hub-account", min_height=60)
        name = gr.Textbox(label="Name of the repository", placeholder="my-portraits", elem_id="hub-name")
        private = gr.Checkbox(True, label="Private: only I can see it", elem_id="hub-private")
        pictures = gr.CheckboxGroup(
            [], label="Portraits for its card (kept ones)", visible=False, elem_id="hub-pictures"
        )
        push_button = gr.Button("Push", variant="primary", elem_id="push-to-hub")
    opened.expand(describe_push, session.visitor, [account, pictures], queue=False, api_visibility="private")
    gallery.change(kept_choices, session.visitor, pictures, queue=False, api_visibility="private")
    push_button.click(
        MethodType(push, context), [session.visitor, shelf.chosen, name, pictures, private], shelf.said, **queued
    )
    return load.click(load_from_hub, [session.visitor, repository], [shelf.chosen, shelf.said], **queued)


def _build_farewell(context: AppContext, session: Session) -> None:
    """Offer to delete everything, and ask once more before it happens."""
    gr.HTML(section("Leave nothing behind", "Photos, adapters, portraits and records of yours, all at once."))
    ask = gr.Button("Delete everything now", elem_id="delete-everything")
    with gr.Row(visible=False) as sure:
        really = gr.Button("Yes, delete everything", variant="stop", elem_id="really-delete")
        back = gr.Button("No, keep it", elem_id="keep-everything")
    hidden = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    ask.click(lambda: gr.Row(visible=True), outputs=sure, **hidden)
    back.click(lambda: gr.Row(visible=False), outputs=sure, **hidden)
    leaving = {"concurrency_limit": None, "api_visibility": "private"}
    gone = really.click(MethodType(leave, context), session.visitor, session.key, **leaving)
    gone.success(js="() => location.reload()", fn=None)
    if context.settings.users:
        sign_out = gr.Button("Sign out", size="sm", elem_id="sign-out")
        sign_out.click(None, js=SIGN_OUT, api_visibility="private")


def list_adapters(visitor: Workspace | None, chosen: str | None) -> tuple:
    """Give the list anew, and what is known of the chosen one, or of the newest."""
    stored = {adapter.id: adapter for adapter in visitor.shelf.stored()} if visitor else {}
    adapter = stored.get(chosen) or next(iter(stored.values()), None)
    facts = _facts(adapter) if adapter else ""
    can = bool(facts)
    chosen = adapter.id if adapter else None
    archive = str(visitor.shelf.zip(adapter.id)) if can else None
    said = note(facts, "good") if can else note(DAMAGED, "bad") if adapter else note(NOTHING)
    return (
        chosen,
        gr.Dropdown([(_line(item), item.id) for item in stored.values()], value=chosen),
        said,
        gr.Textbox(adapter.title if can else "", interactive=can),
        gr.Button(interactive=can),
        gr.Button(interactive=can),
        gr.DownloadButton(value=archive, interactive=can),
        gr.Button(interactive=adapter is not None),
    )


def refresh_list(visitor: Workspace | None, chosen: str | None) -> tuple:
    """Give the list anew; leave the choice alone if it stands, for the visitor may have made another meanwhile."""
    now, *rest = list_adapters(visitor, chosen)
    return (gr.skip() if now == chosen else now), *rest


def _line(adapter: StoredAdapter) -> str:
    """Name an adapter in the menu; the titles that training gives hold their date already."""
    day = f"{adapter.created.astimezone():%Y-%m-%d}"
    return adapter.title if day in adapter.title else f"{adapter.title} · {day}"


def _facts(adapter: StoredAdapter) -> Message | str:
    """Say what is known of an adapter; nothing if what it says of itself makes no sense."""
    info = adapter.info
    if info is None:
        return ""
    known = "Preset {preset}, base {base}, licence {licence}."
    known = Message(known, preset=preset_name(info.preset), base=info.base, licence=info.licence)
    return joined(" ", summary(info), known)


def use(visitor: Workspace | None, chosen: str) -> str:
    """Take an adapter into use; gives its id. Raises ``gr.Error`` when it cannot be read."""
    with _user_errors("Not usable"):
        require_visitor(visitor).shelf.load(chosen)
    return chosen


def rename(visitor: Workspace | None, chosen: str, title: str) -> str:
    """Give an adapter another title."""
    with _user_errors("Not renamed"):
        require_visitor(visitor).shelf.rename(chosen, title)
    return section("", "Renamed.")


def delete(context: AppContext, visitor: Workspace | None, chosen: str, used: str) -> tuple[str, str]:
    """Delete an adapter; gives what to say and the adapter that is in use afterwards."""
    with _user_errors("Not deleted"):
        require_visitor(visitor).shelf.delete(chosen)
    context.records.log("adapter_deleted")
    return section("", "Deleted."), "" if used == chosen else used


def take_in(visitor: Workspace | None, path: str) -> tuple[str, str]:
    """Store an uploaded adapter; gives its id and what to say."""
    with _user_errors("Not an adapter"):
        adapter_id = require_visitor(visitor).shelf.import_zip(Path(path))
    return adapter_id, section("", "Uploaded.")


def load_from_hub(visitor: Workspace | None, repository: str, token: gr.OAuthToken | None = None) -> tuple[str, str]:
    """Load an adapter from the Hub; gives its id and what to say."""
    visitor, repository = require_visitor(visitor), repository.strip()
    with _user_errors("Not loaded"), TemporaryDirectory() as place:
        adapter = hub.pull(repository, None, Path(place) / "adapter", token and token.token)
        adapter_id = visitor.shelf.add(adapter, repository)
    return adapter_id, section("", Message("Loaded {repository}.", repository=repository))


def describe_push(visitor: Workspace | None, token: gr.OAuthToken | None = None) -> tuple[str, gr.CheckboxGroup]:
    """Say to whose account a push would go, and offer the portraits that can go with it."""
    account = hub.account(token and token.token)
    if account is None:
        nobody = "Nobody is signed in to the Hub here: download the zip instead."
        if offers_sign_in():
            nobody = "Nobody is signed in to the Hub here: sign in above, or download the zip instead."
        said = note(nobody, "warn")
    else:
        goes = "It goes to the account {name} (known from: {source})."
        said = note(Message(goes, name=account.name, source=Message(account.source)), "good")
    return said, kept_choices(visitor)


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
    stored = {adapter.id: adapter for adapter in visitor.shelf.stored()}.get(chosen)
    if stored is None:
        raise user_error(NOTHING, "Not yet")
    own = {str(portrait.path): portrait.path for portrait in visitor.portraits() if portrait.kept}
    with _user_errors("Not pushed"):
        address = hub.push(
            stored.folder, name.strip(), [own[path] for path in pictures if path in own], token and token.token, private
        )
    context.records.log("adapter_pushed")
    return note(Message("Pushed: {address}", address=address), "good")


def leave(context: AppContext, visitor: Workspace | None, request: gr.Request) -> str:
    """Delete all that the visitor has here; gives the key of a stranger."""
    VISITS.discard_uploads(request.request)
    delete_everything(context.jobs, context.drawings, require_visitor(visitor))
    return ""


@contextmanager
def _user_errors(title: str) -> Iterator[None]:
    """Show errors that are written for visitors."""
    try:
        yield
    except (AdapterError, HubError, WorkspaceError) as error:
        raise user_error(str(error), title) from error
