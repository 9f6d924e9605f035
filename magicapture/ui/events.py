"""How the page's events run, and how what goes wrong in them is told."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from gradio.events import Dependency

from magicapture.adapters.info import AdapterError
from magicapture.bases import BaseError
from magicapture.server.hub import HubError
from magicapture.server.jobs import JobError
from magicapture.server.queue import BusyError
from magicapture.server.workspace import WorkspaceError
from magicapture.ui.language import user_error

AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Settings of an event that only changes what the page shows."""
QUEUED: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
"""Settings of an event that may raise or change a state: Gradio shows errors, and notices changed states, only after
events that are queued."""


@contextmanager
def user_errors(title: str) -> Iterator[None]:
    """Show errors that are written for visitors, under ``title``."""
    try:
        yield
    except (AdapterError, BaseError, BusyError, HubError, JobError, WorkspaceError) as error:
        raise user_error(str(error), title) from error


def after(arrivals: Iterable[Dependency | Callable], event: dict[str, Any]) -> None:
    """Let an ``event`` follow each of ``arrivals``: others, also where they failed, or what a component is told of."""
    for arrival in arrivals:
        (arrival.then if isinstance(arrival, Dependency) else arrival)(**event)
