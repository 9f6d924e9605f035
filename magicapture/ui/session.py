"""What the page knows of one visitor, and the few things that all visitors share."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Self

import gradio as gr
import torch

from magicapture.bases import Base, BaseSpec
from magicapture.faces import FaceEngine
from magicapture.server.drawings import Drawings
from magicapture.server.gate.visits import VISITS
from magicapture.server.jobs import Jobs
from magicapture.server.records import Records
from magicapture.server.workspace import Workspace, new_key
from magicapture.settings import Settings
from magicapture.staff.review_workspace import ReviewWorkspace
from magicapture.subject import PERSON_NOUN
from magicapture.ui.language import user_error

HOUR = 3600


@dataclass(frozen=True)
class OwnBase:
    """What the page says of the installation's own base. The weights are the registry's, which may need their room."""

    spec: BaseSpec
    device: torch.device
    resolution: int

    @classmethod
    def of(cls, base: Base) -> Self:
        """Tell it of a ``base`` that is loaded."""
        return cls(base.spec, base.device, base.resolution)


@dataclass(frozen=True, eq=False)
class AppContext:
    """What the process has once for everyone."""

    base: OwnBase
    engine: FaceEngine
    settings: Settings
    records: Records
    jobs: Jobs
    drawings: Drawings


@dataclass(frozen=True)
class Session:
    """The states that the tabs share. All but ``key`` stay on the server, so a visitor cannot forge them.

    ``key``: the visitor's secret, kept by their browser; ``visitor``: their ``Workspace``; ``person`` and ``style``:
    ``CheckedSet`` or None; ``noun``: what the photos show; ``job``: the id of the training that is shown; ``adapter``:
    the id of the one in use.
    """

    key: gr.BrowserState
    visitor: gr.State
    person: gr.State
    style: gr.State
    noun: gr.State
    job: gr.State
    adapter: gr.State


def new_session(settings: Settings) -> Session:
    """Create the states; call it while the page is being built."""
    photos, results = settings.photo_hours * HOUR, settings.result_hours * HOUR
    return Session(
        # Both fixed, or every restart would make strangers of all visitors.
        key=gr.BrowserState("", storage_key="magicapture", secret="magicapture-key"),  # noqa: S106  it hides nothing
        visitor=gr.State(time_to_live=results),
        person=gr.State(time_to_live=photos),
        style=gr.State(time_to_live=photos),
        noun=gr.State(PERSON_NOUN, time_to_live=results),  # as long as the page shows it
        job=gr.State("", time_to_live=results),
        adapter=gr.State("", time_to_live=results),
    )


def enter(key: str, request: gr.Request) -> tuple[str, Workspace]:
    """Recognise a visitor by what their browser kept, or greet a new one; gives the key and their workspace."""
    try:
        workspace = workspace_of(key, request)
    except ValueError:
        key = new_key()
        workspace = workspace_of(key, request)
    invited = VISITS.invitation_of(request.request)
    if invited and isinstance(reviewed := workspace_of(invited, request), ReviewWorkspace):
        if not workspace.folder.is_dir():  # else the browser keeps the key of what the visitor made before
            key = invited
        workspace = reviewed
    VISITS.enter(request.request, workspace.name)
    return key, workspace


def workspace_of(key: str, request: gr.Request) -> Workspace:
    """Find the workspace of whoever knows ``key``. Raises ``ValueError`` unless it looks like one that was given out.

    Where visitors sign in, the name counts too: two people at one browser have nothing in common. What was prepared for
    somebody's review goes by its key alone, which only their link gave.
    """
    workspace = ReviewWorkspace.if_invited(Workspace.of(key))
    if not request.username or isinstance(workspace, ReviewWorkspace):
        return workspace
    digest = hashlib.sha256(f"{request.username}\n{key}".encode()).digest()
    return Workspace.of(base64.urlsafe_b64encode(digest).decode().rstrip("="))


def require_visitor(workspace: Workspace | None) -> Workspace:
    """Give the visitor's workspace. Raises ``gr.Error`` on a page that was open for too long."""
    if workspace is None:
        raise user_error("This page has been open for very long: reload it.", "Reload")
    return workspace


def adapter_in_use(visitor: Workspace | None, adapter: str) -> str:
    """Give the id of the ``adapter`` in use, or on a page that has just been opened of the visitor's newest, if any."""
    stored = visitor.shelf.stored() if visitor and not adapter else []
    return adapter or next((newest.id for newest in stored if newest.info), "")
