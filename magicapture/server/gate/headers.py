"""What every answer tells the browser (https://developer.mozilla.org/docs/Web/HTTP/Guides/CSP)."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from magicapture.settings import Settings

ONLY_FROM_HERE = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
"""Load nothing from elsewhere."""
FRAMES = "frame-ancestors 'self'"
SPACE_FRAMES = "frame-ancestors 'self' https://huggingface.co https://*.hf.space"
"""Who may show the page within theirs: a Space is shown within its page on the Hub."""


class Headers:
    """Adds the headers that keep browsers from guessing types, from being framed, and in private mode from roaming."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        frames = SPACE_FRAMES if settings.space else FRAMES
        policy = f"{ONLY_FROM_HERE}; {frames}" if settings.private else frames
        self.app = app
        self.headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with the headers added."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self.headers]
            await send(message)

        await self.app(scope, receive, send_with_headers)
