"""Which of Gradio's routes are there at all: those that the page and its API use."""

import re

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from magicapture.server.gate.answer import refuse
from magicapture.server.gate.visits import VISITS

CLOSED = re.compile(
    r"(/gradio_api)?/("
    r"deep_link|proxy=|file[=/]https?:"  # a page's state written to disk; what lies at another address, fetched
    r"|process_recording|component_server"  # files written outside of the root; methods of components
    r"|call/v2/"  # which breaks off without a word at an argument that it does not know
    r"|stream/|custom_component/|runs|run-history|vibe-|undo-vibe|profiling|dev/|queue/status"
    r"|monitoring|token|docs|redoc|openapi\.json$"
    r")"
)
SIGN_OUT = re.compile(r"/logout/?")


class Routes:
    """Closes what is not used, and lets nobody be signed out by a picture on a stranger's page."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say that there is nothing."""
        if scope["type"] == "http" and CLOSED.match(scope["path"]):
            return await refuse(404, "Not here.", scope, receive, send)
        if scope["type"] == "http" and SIGN_OUT.fullmatch(scope["path"]):
            if not _is_meant(scope):
                return await refuse(405, "Sign out by POST, or with the button on the page.", scope, receive, send)
            VISITS.leave(HTTPConnection(scope))
            scope = {**scope, "method": "GET"}  # what Gradio's own route takes
        return await self.app(scope, receive, send)


def _is_meant(scope: Scope) -> bool:
    """Tell a wish to sign out from a link that someone else's page opens: browsers say where a request comes from."""
    return scope["method"] == "POST" or Headers(scope=scope).get("sec-fetch-site") == "same-origin"
