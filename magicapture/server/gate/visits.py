"""Which browser is whose: who knows a path, or the name of a page's session, is not yet its visitor.

Every browser gets a cookie that says nothing. What is bound to it, for as long as the process lives: the visitors whose
key it has shown, the page sessions that it has opened, and the files that it has uploaded and nobody has taken in.
"""

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import route_utils
from gradio.blocks import BlockFunction
from gradio.data_classes import PredictBodyInternal
from gradio.exceptions import ComponentProcessingError
from gradio.routes import App
from gradio.state_holder import StateHolder
from pydantic import ValidationError
from starlette.requests import HTTPConnection

from magicapture.messages import Message
from magicapture.server.gate.answer import NOT_YOURS, address_of, language_of
from magicapture.settings import Settings

COOKIE = "magicapture"
MOST = 20_000
"""So many browsers, sessions and uploads are remembered; the oldest are forgotten first."""
VISITORS_PER_BROWSER = 20
PAGES_PER_ADDRESS, PAGES_IN_ALL = 100, 1000
"""So many open pages keep what they know of their visitor in memory: photos as training sees them among it."""
PATIENCE_S = 10
"""How old an upload without a cookie is before whoever deletes everything at its address takes it along, in seconds."""
TOO_FEW = "This takes {n} values, and {m} came: look at the description of the API."
UNFIT = (
    "A field holds something that it cannot take, such as a number beyond its bounds: fill it in again. Nothing of "
    "yours is lost."
)


class _UnfitError(Exception):
    """A value that a field of the page cannot take."""


class Visits:
    """What is bound to which cookie; empty for programs, which have none."""

    def __init__(self) -> None:
        self._visitors: dict[str, tuple[str, ...]] = {}
        self._sessions: dict[str, tuple[str, str | None]] = {}
        self._places: dict[str, str] = {}
        self._uploads: dict[Path, tuple[str, str, float]] = {}
        self._invitations: dict[str, str] = {}

    def invite(self, cookie: str, key: str) -> None:
        """Note that a browser has opened a one-time link, which leads to the visitor with ``key``."""
        _remember(self._invitations, cookie, key)

    def invitation_of(self, connection: HTTPConnection) -> str | None:
        """Give the key that a browser's one-time link led to."""
        return self._invitations.get(cookie_of(connection))

    def enter(self, connection: HTTPConnection, visitor: str) -> None:
        """Note that a browser has shown the key of ``visitor``, which is the name of their folder."""
        if cookie := cookie_of(connection):
            before = [other for other in self._visitors.get(cookie, ()) if other != visitor]
            _remember(self._visitors, cookie, (*before[1 - VISITORS_PER_BROWSER :], visitor))

    def leave(self, connection: HTTPConnection) -> None:
        """Forget whose a browser is."""
        self._visitors.pop(cookie_of(connection), None)
        self._invitations.pop(cookie_of(connection), None)

    def is_theirs(self, connection: HTTPConnection, visitor: str) -> bool:
        """Tell whether a browser has shown the key of ``visitor``."""
        return visitor in self._visitors.get(cookie_of(connection), ())

    def owns_session(self, connection: HTTPConnection, session: str, username: str | None) -> bool:
        """Tell whether a page session is this browser's and this user's; the first to ask is who opened it."""
        asker = cookie_of(connection), username
        if session not in self._sessions:
            _remember(self._sessions, session, asker)
            _remember(self._places, session, address_of(connection.scope))
        return self._sessions[session] == asker

    def make_room(self, pages: StateHolder, session: str) -> None:
        """Let those at the address of a page session that are used least forget what they know of their visitor.

        They have to be loaded again; nothing of the visitors' is lost.
        """
        place = self._places.get(session)
        near = [other for other in pages.session_data if other != session and self._places.get(other) == place]
        for other in near[: max(len(near) - PAGES_PER_ADDRESS + 1, 0)]:
            _forget(pages, other)

    def may_listen(self, connection: HTTPConnection, session: str) -> bool:
        """Tell whether what happens in a page session may be told to this browser."""
        return session not in self._sessions or self._sessions[session][0] == cookie_of(connection)

    def uploaded(self, connection: HTTPConnection, paths: list[Path]) -> None:
        """Note who has sent files in."""
        for path in paths:
            upload = cookie_of(connection), address_of(connection.scope), time.monotonic()
            _remember(self._uploads, path, upload)

    def may_see(self, connection: HTTPConnection, path: Path) -> bool:
        """Tell whether a file that was uploaded may be shown to this browser: it sent it in itself."""
        return path not in self._uploads or self._uploads[path][0] == cookie_of(connection) != ""

    def discard_uploads(self, connection: HTTPConnection) -> None:
        """Delete what was uploaded from here and not taken in."""
        cookie, address, now = cookie_of(connection), address_of(connection.scope), time.monotonic()
        for path, (sender, place, when) in list(self._uploads.items()):
            is_mine = sender == cookie if sender else place == address and now - when > PATIENCE_S
            if is_mine:
                del self._uploads[path]
                path.unlink(missing_ok=True)


VISITS = Visits()


def cookie_of(connection: HTTPConnection) -> str:
    """Give the cookie that a browser sends; nothing for programs."""
    return connection.cookies.get(COOKIE, "")[:100]


def new_cookie() -> str:
    """Draw a cookie for a browser."""
    return secrets.token_urlsafe(32)


def cookie_header(cookie: str, settings: Settings) -> str:
    """Give the value of ``Set-Cookie``; on a Space the page is shown within the Hub's."""
    place = "SameSite=None; Secure; Partitioned" if settings.space else "SameSite=Lax"
    return f"{COOKIE}={cookie}; Path=/; HttpOnly; {place}"


def guard_events(translate: Callable[[str, str], str]) -> None:
    """Let Gradio run an event of a page session only for the browser and the user that opened it.

    And only with as many values as it takes, and such as its fields can take: of others, Gradio writes what was sent
    into the log, a visitor's key or words among it. ``translate``: a message into a language.
    """
    run, take = route_utils.call_process_api, gr.Blocks.preprocess_data

    async def take_guarded(page: gr.Blocks, *arguments: Any, **options: Any) -> list:
        try:
            return await take(page, *arguments, **options)
        except (ComponentProcessingError, ValidationError):
            raise _UnfitError from None
        except gr.Error as error:
            if error.print_exception:  # not one of ours
                raise _UnfitError from None
            raise

    async def run_guarded(
        app: App, body: PredictBodyInternal, gr_request: Any, fn: BlockFunction, **options: Any
    ) -> dict:
        asker = getattr(gr_request, "request", None)
        language = language_of(asker.headers) if asker is not None else ""
        if len(body.data) < len(fn.inputs):
            few = Message(TOO_FEW, n=len(fn.inputs), m=len(body.data))
            raise gr.Error(translate(few, language), print_exception=False)
        if asker is not None and body.session_hash is not None:
            own = VISITS.owns_session(asker, body.session_hash, gr_request.username)
            if not own:
                raise gr.Error(translate(NOT_YOURS, language), print_exception=False)
            VISITS.make_room(app.state_holder, body.session_hash)
        try:
            return await run(app=app, body=body, gr_request=gr_request, fn=fn, **options)
        except _UnfitError:
            raise gr.Error(translate(UNFIT, language), print_exception=False) from None
        finally:
            if body.session_hash == body.event_id:  # a program's call, which Gradio opens a session for
                _forget(app.state_holder, body.session_hash)

    route_utils.call_process_api, gr.Blocks.preprocess_data = run_guarded, take_guarded


def _forget(pages: StateHolder, session: str | None) -> None:
    pages.session_data.pop(session, None)
    pages.time_last_used.pop(session, None)


def _remember(things: dict, key: object, value: object) -> None:
    things[key] = value
    while len(things) > MOST:
        things.pop(next(iter(things)))
