"""Signing in with a name and a password: few tries, and an answer that takes as long for names that nobody has."""

import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from magicapture.server.gate.answer import address_of, refuse

TRIES, WINDOW_SECONDS = 10, 600
"""How many wrong passwords an address may send within how long."""
MOST_ADDRESSES = 10_000
ENOUGH = f"Too many wrong passwords came from here: try again in {WINDOW_SECONDS // 60} minutes."


class SignIn:
    """Counts wrong passwords by address, and hears no more of them from there for a while."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._wrong: dict[str, deque[float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say that there were too many tries."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"].rstrip("/") != "/login":
            return await self.app(scope, receive, send)
        address = address_of(scope)
        tries = self._recent(address)
        if len(tries) >= TRIES:
            return await refuse(429, ENOUGH, scope, receive, send)
        tries.append(time.monotonic())  # before it is known to be wrong: many may come at once

        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                self._wrong.pop(address, None)
            await send(message)

        return await self.app(scope, receive, send_and_count)

    def _recent(self, address: str) -> deque[float]:
        if len(self._wrong) >= MOST_ADDRESSES:
            self._wrong.pop(next(iter(self._wrong)))
        tries = self._wrong.setdefault(address, deque(maxlen=TRIES))
        while tries and time.monotonic() - tries[0] > WINDOW_SECONDS:
            tries.popleft()
        return tries


def checks_password(users: dict[str, str]) -> Callable[[str, str], bool]:
    """Give the function that tells whether a name and a password belong together."""
    salt = secrets.token_bytes(16)

    def digest(password: str) -> bytes:
        return hashlib.sha256(salt + password.encode()).digest()

    known, nobody = {name: digest(password) for name, password in users.items()}, secrets.token_bytes(32)

    def is_right(name: str, password: str) -> bool:
        return hmac.compare_digest(known.get(name, nobody), digest(password))

    return is_right
