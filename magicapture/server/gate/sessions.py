"""A page session is its browser's alone: what it hears, when it ends, what of it is cancelled."""

import json
import re
from contextlib import suppress
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from magicapture.server.gate.answer import NOT_YOURS, refuse
from magicapture.server.gate.visits import VISITS

LISTENING = re.compile(r"/gradio_api/queue/data/?")
STAYING = re.compile(r"/gradio_api/heartbeat/(?P<session>[^/]+)")
"""When this stream is cut, the session ends with all that it waits for."""
CANCELLING = re.compile(r"/gradio_api/cancel/?")


class Sessions:
    """Lets a page session be listened to, ended and cancelled only by the browser that opened it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say that the session is somebody else's."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        asker, sessions = Request(scope, receive), []
        if LISTENING.fullmatch(scope["path"]):
            sessions = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("session_hash", [])
        elif staying := STAYING.fullmatch(scope["path"]):
            sessions = [staying["session"]]
        elif CANCELLING.fullmatch(scope["path"]):
            body = await asker.body()  # a small one: see ``Bodies``
            receive, sessions = _replay(body), _named(body)
        if not all(VISITS.may_listen(asker, session) for session in sessions):
            return await refuse(403, NOT_YOURS, scope, receive, send)
        return await self.app(scope, receive, send)


def _named(body: bytes) -> list[str]:
    """Give the session that a wish to cancel names; none if it is no such wish, which Gradio will say."""
    with suppress(ValueError, RecursionError, TypeError, LookupError):
        return [str(json.loads(body)["session_hash"])]
    return []


def _replay(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
