"""How much a request may bring along, known before it is read or while it comes in."""

import re
import time
from collections import Counter

import anyio
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from magicapture.server.gate.answer import address_of, refuse
from magicapture.server.workspace.space import FULL, SPACE
from magicapture.settings import Settings

MB = 2**20
UPLOAD = re.compile(r"/gradio_api/upload/?")
CARRIES_PICTURES = re.compile(r"/gradio_api/(mcp|call|queue/join|run|api)\b.*")
MAX_UPLOAD = 320 * MB
"""Of one request to upload, an adapter or several photos: they go to the disk as they come."""
MAX_PICTURES = 48 * MB
"""Of one request with pictures as data: URIs, which is held in memory."""
MAX_SMALL = 2 * MB
MAX_HELD = 96 * MB
"""Of all bodies together that are held in memory at a time; small ones count for nothing."""
MAX_HOURLY = 2048 * MB
"""Of uploads from one address within an hour."""
HOUR = 3600

TOO_LARGE = "This request is larger than the {n} MB that are read here: send fewer or smaller files."
BUSY = "Too many large requests are being read at this moment: try again in a few seconds."
ENOUGH = "More than {n} GB were uploaded from here within the last hour: try again later."


class _TooLargeError(MultiPartException):
    """What a reader of forms takes for its own, so that it clears away what has come so far."""


class Bodies:
    """Bounds the body of every request, of all that are held at a time, and what an address uploads in an hour."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self.app, self.root, self.disk_bytes = app, settings.root, settings.disk_bytes
        self._held = 0
        self._uploaded: Counter[str] = Counter()
        self._hour = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say that it brings too much."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return await self.app(scope, receive, send)
        is_upload = UPLOAD.fullmatch(scope["path"]) is not None
        most = MAX_UPLOAD if is_upload else MAX_PICTURES if CARRIES_PICTURES.fullmatch(scope["path"]) else MAX_SMALL
        declared = Headers(scope=scope).get("content-length", "")
        size = int(declared) if declared.isdecimal() else most  # one that does not say it may come to the most
        if declared and size > most:
            return await refuse(413, TOO_LARGE.format(n=most // MB), scope, receive, send)
        held = 0 if is_upload or size <= MAX_SMALL else size
        if self._held + held > MAX_HELD:
            return await refuse(503, BUSY, scope, receive, send)
        if is_upload and (why := await self._no_room(address_of(scope), size)):
            return await refuse(*why, scope, receive, send)
        self._held += held
        try:
            return await self._bounded(most, scope, receive, send)
        finally:
            self._held -= held

    async def _bounded(self, most: int, scope: Scope, receive: Receive, send: Send) -> None:
        came, answered = 0, False

        async def receive_bounded() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > most:
                raise _TooLargeError(f"This exceeds the maximum allowed size of {most // MB} MB.")
            return message

        async def note_and_send(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, receive_bounded, note_and_send)
        except _TooLargeError:
            if not answered:
                await refuse(413, TOO_LARGE.format(n=most // MB), scope, receive, send)

    async def _no_room(self, address: str, size: int) -> tuple[int, str] | None:
        """Say why ``size`` bytes cannot be taken in from ``address``, or count them."""
        now = time.monotonic()
        if now - self._hour > HOUR:
            self._uploaded.clear()
            self._hour = now
        if self._uploaded[address] + size > MAX_HOURLY:
            return 429, ENOUGH.format(n=MAX_HOURLY // 2**30)
        if not await anyio.to_thread.run_sync(SPACE.take, size, self.root, self.disk_bytes):
            return 507, FULL
        self._uploaded[address] += size
        return None
