"""The tab My adapters: use one again, rename, download, load, push to the Hub, delete; and delete everything."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from magicapture.messages import Message, joined
from magicapture.server.gate.queue import BOUNDED
from magicapture.server.workspace import StoredAdapter, Workspace
from magicapture.ui import hub
from magicapture.ui.events import AT_ONCE, QUEUED, after, user_errors
from magicapture.ui.farewell import build_farewell
from magicapture.ui.html import note, preset_name, section
from magicapture.ui.hub import NOTHING
from magicapture.ui.live import packed, summary
from magicapture.ui.session import AppContext, Session, require_visitor
from magicapture.ui.subject import shows

DAMAGED = "This adapter is damaged and cannot be used: delete it."
SIGN_OUT = "() => fetch('logout', {method: 'POST'}).finally(() => location.reload())"


@dataclass(frozen=True, eq=False)
class Shelf:
    """The parts of the tab that events speak to. ``chosen``: the id of the adapter picked in ``menu``."""

    chosen: gr.State
    menu: gr.Dropdown
    facts: gr.HTML
    use: gr.Button
    title: gr.Textbox
    retitle: gr.Button
    download: gr.DownloadButton
    delete: gr.Button
    said: gr.HTML

    @property
    def listed(self) -> list[Component]:
        """All that ``show`` may change."""
        return [part for part in vars(self).values() if part is not self.said]

    def show(self, visitor: Workspace | None, chosen: str | None) -> dict[Component, object]:
        """Give the list anew, and what is known of the chosen one, or of the newest, by the parts that show it."""
        stored = {adapter.id: adapter for adapter in visitor.shelf.stored()} if visitor else {}
        adapter = stored.get(chosen or "") or next(iter(stored.values()), None)
        facts = _facts(adapter) if adapter else ""
        can = bool(facts)
        chosen = adapter.id if adapter else None
        archive, why_not = packed(visitor.shelf, adapter.id) if visitor and adapter and can else (None, "")
        return {
            self.chosen: chosen,
            self.menu: gr.Dropdown([(_line(item), item.id) for item in stored.values()], value=chosen),
            self.facts: _told(facts, why_not) if can else note(DAMAGED, "bad") if adapter else note(NOTHING),
            self.title: gr.Textbox(adapter.title if adapter and can else "", interactive=can),
            self.use: gr.Button(interactive=can),
            self.retitle: gr.Button(interactive=can),
            self.download: gr.DownloadButton(value=archive, interactive=archive is not None),
            self.delete: gr.Button(interactive=adapter is not None),
        }

    def after(self, visitor: Workspace | None, chosen: str | None, said: str) -> dict[Component, object]:
        """Say what was done, and give the list as it is since then: one answer, so that none comes late."""
        return {**self.show(visitor, chosen), self.said: section("", said)}

    def rename(self, visitor: Workspace | None, chosen: str, title: str) -> dict[Component, object]:
        """Give an adapter another title."""
        with user_errors("Not renamed"):
            require_visitor(visitor).shelf.rename(chosen, title)
        return self.after(visitor, chosen, "Renamed.")

    def take_in(self, visitor: Workspace | None, path: str) -> dict[Component, object]:
        """Store an uploaded adapter, and choose it."""
        with user_errors("Not an adapter"):
            adapter_id = require_visitor(visitor).shelf.import_zip(Path(path))
        return self.after(visitor, adapter_id, "Uploaded.")

    def load(
        self, visitor: Workspace | None, repository: str, token: gr.OAuthToken | None = None
    ) -> dict[Component, object]:
        """Load an adapter from the Hub, and choose it."""
        visitor, repository = require_visitor(visitor), repository.strip()
        adapter_id = hub.load_from_hub(visitor, repository, token)
        return self.after(visitor, adapter_id, Message("Loaded {repository}.", repository=repository))

    def refresh(self, visitor: Workspace | None, chosen: str | None) -> dict[Component, object]:
        """Give the list anew, but no choice that stands: the visitor may have made another meanwhile."""
        shown = self.show(visitor, chosen)
        return {part: value for part, value in shown.items() if part is not self.chosen or value != chosen}


def build(
    context: AppContext,
    session: Session,
    tabs: gr.Tabs,
    arrivals: list[Callable | gr.events.Dependency],
    portraits: gr.State,
) -> None:
    """Lay the tab out and wire it. ``arrivals``: events after which the list may be out of date.

    ``portraits``: the paths of the visitor's portraits, as they are listed.
    """
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            shelf = build_shelf()
        with gr.Column(min_width=300):
            upload = gr.UploadButton("Upload an adapter (zip)", file_types=[".zip"], elem_id="upload-adapter")
            if not context.settings.private:
                load, repository = hub.build(context, session, shelf.chosen, shelf.said, portraits)
                loading = hub.ASKS_HUB | {"show_progress_on": shelf.said}
                load.click(shelf.load, [session.visitor, repository], [*shelf.listed, shelf.said], **loading)
            _build_farewell(context, session)
    listing = {
        "fn": shelf.refresh,
        "inputs": [session.visitor, shelf.chosen],
        "outputs": shelf.listed,
        **AT_ONCE,
    }
    after(arrivals, listing)
    session.adapter.change(**listing | {"fn": shelf.show, "inputs": [session.visitor, session.adapter]})
    shelf.menu.input(**listing | {"fn": shelf.show, "inputs": [session.visitor, shelf.menu]})
    shelf.use.click(use, [session.visitor, shelf.chosen], session.adapter, **QUEUED).success(
        lambda: gr.Tabs(selected="portraits"), outputs=tabs, **AT_ONCE
    )
    done = [*shelf.listed, shelf.said]
    shelf.retitle.click(shelf.rename, [session.visitor, shelf.chosen, shelf.title], done, **QUEUED)
    choice = {session.visitor, shelf.chosen, session.adapter}
    shelf.delete.click(partial(delete, context, session, shelf), choice, [*done, session.adapter], **QUEUED)
    taking = QUEUED | {"concurrency_id": f"{BOUNDED}adapter", "concurrency_limit": 2}
    upload.upload(shelf.take_in, [session.visitor, upload], done, **taking)


def build_shelf() -> Shelf:
    """Lay out the visitor's adapters and what can be done with the chosen one."""
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
    return Shelf(
        chosen=gr.State(),
        menu=menu,
        facts=facts,
        use=use_button,
        title=title,
        retitle=rename_button,
        download=download,
        delete=delete_button,
        said=said,
    )


def _build_farewell(context: AppContext, session: Session) -> None:
    """Offer to delete everything, and to sign out where people sign in."""
    gr.HTML(section("Leave nothing behind", "Photos, adapters, portraits and records of yours, all at once."))
    ask = gr.Button("Delete everything now", elem_id="delete-everything")
    really = "Yes, delete everything", "really-delete"
    build_farewell(ask, really, ("No, keep it", "keep-everything")).connect(context, session)
    if context.settings.users:
        sign_out = gr.Button("Sign out", size="sm", elem_id="sign-out")
        sign_out.click(None, js=SIGN_OUT, api_visibility="private")


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
    return joined(" ", shows(info.subject), summary(info), known)


def _told(facts: str, why_not: str) -> str:
    """Frame the facts of an adapter, and why it cannot be downloaded if it cannot."""
    return note(joined(" ", facts, why_not), "warn" if why_not else "good")


def use(visitor: Workspace | None, chosen: str) -> str:
    """Take an adapter into use; gives its id. Raises ``gr.Error`` when it cannot be read."""
    with user_errors("Not usable"):
        require_visitor(visitor).shelf.load(chosen)
    return chosen


def delete(context: AppContext, session: Session, shelf: Shelf, values: dict[Component, Any]) -> dict[Component, Any]:
    """Delete the chosen adapter; it is in use no longer."""
    visitor, chosen, used = (values[part] for part in (session.visitor, shelf.chosen, session.adapter))
    with user_errors("Not deleted"):
        require_visitor(visitor).shelf.delete(chosen)
    context.records.log("adapter_deleted")
    return {**shelf.after(visitor, None, "Deleted."), session.adapter: "" if used == chosen else used}
