"""Which browser is whose: who knows a path, or the name of a page's session, is not yet its visitor.

Every browser gets a cookie that says nothing. What is bound to it, for as long as the process lives: the visitors whose
key it has shown, the page sessions that it has opened, and the files that it has uploaded and nobody has taken in.
"""

import secrets
import time
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import route_utils
from gradio.blocks import BlockFunction
from gradio.data_classes import PredictBodyInternal
from gradio.routes import App
from starlette.requests import HTTPConnection

from magicapture.server.gate.answer import address_of
from magicapture.settings import Settings

COOKIE = "magicapture"
MOST = 20_000
"""So many browsers, sessions and uploads are remembered; the oldest are forgotten first."""
PATIENCE_S = 10
"""How old an upload without a cookie is before whoever deletes everything at its address takes it along, in seconds."""
TOO_FEW = "This takes {n} values, and {m} came: look at the description of the API."
NOT_YOURS = "This page was opened by someone else: reload it."


class Visits:
    """What is bound to which cookie; empty for programs, which have none."""

    def __init__(self) -> None:
        self._visitors: dict[str, set[str]] = {}
        self._sessions: dict[str, tuple[str, str | None]] = {}
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
            _remember(self._visitors, cookie, self._visitors.get(cookie, set()) | {visitor})

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
        return self._sessions[session] == asker

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


def guard_events() -> None:
    """Let Gradio run an event of a page session only for the browser and the user that opened it.

    And only with as many values as it takes: of too few, Gradio writes all into the log, a visitor's key among them.
    """
    run = route_utils.call_process_api

    async def run_guarded(
        app: App, body: PredictBodyInternal, gr_request: Any, fn: BlockFunction, **options: Any
    ) -> dict:
        if len(body.data) < len(fn.inputs):
            raise gr.Error(TOO_FEW.format(n=len(fn.inputs), m=len(body.data)), print_exception=False)
        asker = getattr(gr_request, "request", None)
        if asker is not None and body.session_hash is not None:
            own = VISITS.owns_session(asker, body.session_hash, gr_request.username)
            if not own:
                raise gr.Error(NOT_YOURS, print_exception=False)
        return await run(app=app, body=body, gr_request=gr_request, fn=fn, **options)

    route_utils.call_process_api = run_guarded


def _remember(things: dict, key: object, value: object) -> None:
    things[key] = value
    while len(things) > MOST:
        things.pop(next(iter(things)))
