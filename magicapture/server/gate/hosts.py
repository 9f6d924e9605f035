"""Under which names the page answers, and to the scripts of which pages.

A page of a stranger can let its visitors' browsers ask addresses on their own machine or network: by a name that leads
there (DNS rebinding), which shows in ``Host``, or across origins, which shows in ``Origin``.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from magicapture.server.gate.answer import refuse
from magicapture.settings import Settings, is_address

WRONG_HOST = (
    "This page is not served under that name. Ask for it by its address, or let whoever runs it set MAGICAPTURE_HOSTS."
)
WRONG_ORIGIN = "Scripts of other pages may not ask this one. If this is its own name, set MAGICAPTURE_HOSTS to it."


class Hosts:
    """Answers only under names that are this installation's, and only its own page or programs outside a browser."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say that it asks under a wrong name."""
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_ours(_name(host)):
            return await refuse(421, WRONG_HOST, scope, receive, send)
        if origin is not None and not self._is_own(origin, host, headers):
            return await refuse(403, WRONG_ORIGIN, scope, receive, send)
        return await self.app(scope, receive, send)

    def _is_ours(self, name: str) -> bool:
        """Tell this installation's names. An address leads nowhere else; on a Space the proxy sees to that."""
        return bool(self.settings.space) or name in {"localhost", *self.settings.hosts} or is_address(name)

    def _is_own(self, origin: str, host: str, headers: Headers) -> bool:
        name = urlsplit(origin).netloc
        own = {host, *self.settings.hosts}
        if self.settings.space:
            own |= {headers.get("x-forwarded-host", ""), self.settings.space_host}
        return name != "" and (name in own or _name(name) in self.settings.hosts)


def _name(host: str) -> str:
    """Give a ``Host`` without its port."""
    return (urlsplit(f"//{host}").hostname or "").lower() if host.isprintable() else ""
