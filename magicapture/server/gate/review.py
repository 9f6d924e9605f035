"""The way in by a personal one-time link: a page with a button, for a link that is merely fetched is not used up.

The token stands behind the link's #, so neither a GET nor a Referer carries it; the page's script puts it into a form,
and what is posted opens the review, once.
"""

import asyncio
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from magicapture.messages import Html
from magicapture.server.gate.answer import language_of
from magicapture.server.gate.visits import VISITS, cookie_header, new_cookie
from magicapture.server.workspace.folder import VisitorFolder
from magicapture.server.workspace.invitation import Invitation, InvitationError, open_once
from magicapture.settings import Settings

PATH = re.compile(r"/review/?")
MOST_BYTES = 4096
REVIEWER = "review:"
"""How users begin whom a link has let in; no name in MAGICAPTURE_USERS can hold a colon."""
NOT_WHOLE = "Open the link from your message once more: here its end is missing."
WITHDRAWN = "You have withdrawn: everything of you is deleted, here and in the company's run. You can close this page."
OPEN = "Open my portraits"
YOURS = "Your portraits are ready. This link opens them once, in this browser; nobody else sees what you do not keep."
PAGE = """<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>MagiCapture</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">
<style>:root {{ color-scheme: light dark }}
body {{ font: 17px/1.5 system-ui, sans-serif; max-width: 34em; margin: 15vh auto; padding: 0 1em;
word-break: auto-phrase; background: light-dark(#faf8f6, #171412); color: light-dark(#292524, #f5f5f4) }}
button {{ font: inherit; font-weight: 600; padding: .6em 1.4em; border: 0; border-radius: .5em; cursor: pointer;
background: #a44f33; color: #fff }}
button[disabled] {{ display: none }}</style></head>
<body><main><h1>MagiCapture</h1><p id="said">{said}</p>
<form method="post" action="review"><input type="hidden" name="token"><button disabled>{open}</button></form></main>
<script>
const token = location.hash.slice(1), form = document.forms[0], withdrawn = token === "withdrawn";
history.replaceState(null, "", location.pathname);
form.elements.token.value = token;
form.querySelector("button").disabled = !(token && {ready}) || withdrawn;
if (withdrawn || !token && {ready}) document.querySelector("#said").textContent = withdrawn ? {withdrawn} : {missing};
</script></body></html>"""


class Review:
    """Answers ``/review``: GET shows the button, POST opens what the token leads to."""

    def __init__(self, app: ASGIApp, *, settings: Settings, translate: Callable[[str, str], str]) -> None:
        self.app, self.settings, self.translate = app, settings, translate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http" or not PATH.fullmatch(scope["path"]):
            return await self.app(scope, receive, send)
        request = Request(scope, receive)
        if scope["method"] == "POST":
            answer = await self._open(request)
        elif scope["method"] in ("GET", "HEAD"):
            answer = self._page(request, YOURS)
        else:
            answer = Response(status_code=405, headers={"allow": "GET, HEAD, POST"})
        return await answer(scope, receive, send)

    async def _open(self, request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MOST_BYTES:
                return Response(status_code=413)
        token = parse_qs(body.decode("latin-1")).get("token", [""])[0]
        try:
            key = open_once(token, self.settings.root)
        except InvitationError as error:
            return self._page(request, str(error), status=403)
        cookie = new_cookie()  # not the browser's old one, which somebody may have given it
        VISITS.invite(cookie, key)
        answer = RedirectResponse(f"{request.scope.get('root_path', '')}/", 303)
        answer.headers.append("set-cookie", cookie_header(cookie, self.settings))
        if self.settings.users:
            self._sign_in(request, answer, key)
        return answer

    def _sign_in(self, request: Request, answer: Response, key: str) -> None:
        """Let the person in without a password, as Gradio's own ``/login`` does, until their review is over."""
        app, token = request.scope["app"], secrets.token_urlsafe(32)
        visitor = VisitorFolder.of(key, self.settings.root)
        app.tokens[token] = f"{REVIEWER}{visitor.name[:16]}"
        invitation = Invitation.of(visitor)
        left = (invitation.expires - datetime.now(UTC)).total_seconds() if invitation else 0.0
        asyncio.get_running_loop().call_later(left, app.tokens.pop, token, None)
        answer.set_cookie(f"access-token-unsecure-{app.cookie_id}", token, httponly=True, samesite="lax")

    def _page(self, request: Request, said: str, status: int = 200) -> Response:
        language = language_of(request.headers)
        language = language if re.fullmatch("[a-z]{2,3}", language) else "en"
        text = {"said": said, "open": OPEN, "missing": NOT_WHOLE, "withdrawn": WITHDRAWN}
        told = {name: self.translate(sentence, language) for name, sentence in text.items()}
        told |= {name: Html(_quoted(told[name])) for name in ("missing", "withdrawn")}
        ready = Html("true" if status == 200 else "false")
        page = Html(PAGE, language=language, ready=ready, **told)
        return HTMLResponse(page, status, {"cache-control": "no-store"})


def _quoted(text: str) -> str:
    """Write one of the program's own sentences as a string of JavaScript."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("<", "\\x3c") + '"'
