"""What Gradio always offers and would leak here: its routes besides the page, and how it takes files in."""

import re
from secrets import token_bytes

import gradio as gr
from gradio import processing_utils, route_utils
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLOSED = re.compile(r"/gradio_api/(deep_link|file[=/]https?:|proxy=)")
"""A page's state written to disk; what lies at another address, fetched by this server."""

ONLY_FROM_HERE = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
"""To the browser: load nothing from elsewhere (https://developer.mozilla.org/docs/Web/HTTP/Guides/CSP)."""


class Gate:
    """A layer around the server. ``private``: tell browsers, too, to leave the network alone."""

    def __init__(self, app: ASGIApp, *, private: bool) -> None:
        self.app, self.private = app, private

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say that there is nothing."""

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", ONLY_FROM_HERE.encode())]
            await send(message)

        if scope["type"] == "http" and CLOSED.search(scope["path"]):
            await PlainTextResponse("Not here.", 404)(scope, receive, send)
        else:
            await self.app(scope, receive, send_with_policy if self.private else send)


class _Upload(route_utils.GradioUploadFile):
    """An upload that is stored under an unguessable name, even if another one has the same content."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self.sha.update(token_bytes(32))


async def _refuse_download(url: str, *_where: object, **_options: object) -> str:
    raise gr.Error(f"Nothing is fetched from elsewhere: upload {url} as a file.", print_exception=False)


def guard_uploads() -> None:
    """Let every visitor's upload lie apart, and let this server fetch nothing for them.

    Gradio stores equal files once, so when one visitor's upload has been dealt with, another's would be gone. And where
    an event names an address as a file, it would fetch that, of any size, before the event's function is asked.
    """
    route_utils.GradioUploadFile = _Upload
    processing_utils.async_ssrf_protected_download = _refuse_download
