"""Which files are shown, and to whom; and which browser it is that asks."""

import json
import re
from contextlib import suppress
from pathlib import Path

import anyio
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from magicapture.drawing.credentials import CredentialsError, make_outgoing
from magicapture.server.gate.answer import refuse
from magicapture.server.gate.visits import VISITS, cookie_header, cookie_of, new_cookie
from magicapture.server.workspace.served import crops_visitor, is_result, is_visitors_file
from magicapture.settings import Settings

FILE = re.compile(r"(/gradio_api)?/file[=/](?P<path>.*)", re.DOTALL)


class Files:
    """Shows crops of photos, and uploads, only to the browser whose they are, results to who knows their path."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self.app, self.served, self.root = app, settings.served, settings.root
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say that there is no such file."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        asker = HTTPConnection(scope)
        if found := FILE.fullmatch(scope["path"]):
            if not self._may_see(asker, found["path"]):
                return await refuse(404, "Not here.", scope, receive, send)
            if why := await anyio.to_thread.run_sync(self._held_back, found["path"]):
                return await refuse(409, why, scope, receive, send)
        if scope["method"] == "POST" and scope["path"].rstrip("/") == "/gradio_api/upload":
            return await self.app(scope, receive, self._noting(asker, send))
        if scope["method"] == "GET" and scope["path"] == "/" and not cookie_of(asker):
            return await self.app(scope, receive, self._giving_cookie(send))
        return await self.app(scope, receive, send)

    def _may_see(self, asker: HTTPConnection, written: str) -> bool:
        try:
            path = Path(written).resolve()
        except (OSError, ValueError):
            return False
        if not path.is_relative_to(self.root):
            return True  # Gradio knows which of the program's own are shown
        if not path.is_relative_to(self.served):
            return False
        within = self._within(path)
        if visitor := crops_visitor(within):
            return VISITS.is_theirs(asker, visitor)
        if is_visitors_file(within):
            return is_result(within)
        return VISITS.may_see(asker, path)

    def _held_back(self, written: str) -> str:
        """Say why a portrait may not leave, where this installation signs them; nothing for one that may."""
        path = Path(written).resolve()
        if path.suffix == ".png" and path.is_relative_to(self.served) and is_result(self._within(path)):
            try:
                make_outgoing(path)
            except CredentialsError as error:
                return str(error)
            except FileNotFoundError:  # deleted meanwhile
                return ""
        return ""

    def _within(self, path: Path) -> str:
        return path.relative_to(self.served).as_posix()

    def _noting(self, asker: HTTPConnection, send: Send) -> Send:
        """Note the paths that an upload is answered with."""
        body = bytearray()

        async def note_and_send(message: Message) -> None:
            if message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
                if not message.get("more_body"):
                    with suppress(ValueError, TypeError):  # a refusal in words
                        VISITS.uploaded(asker, [Path(path) for path in json.loads(body)])
            await send(message)

        return note_and_send

    def _giving_cookie(self, send: Send) -> Send:
        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                cookie = cookie_header(new_cookie(), self.settings).encode()
                message["headers"] = [*message.get("headers", []), (b"set-cookie", cookie)]
            await send(message)

        return send_with_cookie
