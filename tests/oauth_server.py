"""Signing in to a Hub on this machine: the part of huggingface.co that a Space's sign-in button talks to.

Follows https://huggingface.co/docs/hub/spaces-oauth and OpenID Connect's authorization code flow.
"""

import base64
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

from hub_server import serving
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "the-space", "the-secret"
ALGORITHM = "RS256"


class Provider(ThreadingHTTPServer):
    """Signs in whoever comes, as ``account``, and lends the Space at ``space_host`` the right of ``token``."""

    daemon_threads = True

    def __init__(self, space_host: str, account: str, token: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.space_host, self.account, self.token = space_host, account, token
        self.key = RSAKey.generate_key(2048, {"kid": "1"})
        self.grants: dict[str, dict[str, str]] = {}  # what was asked for, by the code that it can be fetched with
        self.asked: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def environment(self, scopes: str) -> dict[str, str]:
        """Give the variables that tell a Space where to send its visitors, and what to ask them for."""
        return {
            "SYSTEM": "spaces",
            "SPACE_ID": "lisa/studio",
            "SPACE_HOST": self.space_host,
            "OAUTH_CLIENT_ID": CLIENT,
            "OAUTH_CLIENT_SECRET": SECRET,
            "OAUTH_SCOPES": scopes,
            "OPENID_PROVIDER_URL": self.url,
        }


class Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        match url.path:
            case "/.well-known/openid-configuration":
                self._send_json(self._metadata())
            case "/oauth/jwks":
                self._send_json({"keys": [self.server.key.as_dict(private=False)]})
            case "/oauth/authorize":
                self._authorize(dict(parse_qsl(url.query)))
            case _:
                self.send_error(404)

    def do_POST(self) -> None:
        form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        known = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        asked = self.server.grants.pop(form["code"], None)
        if self.headers["Authorization"] != f"Basic {known}" or not asked:
            return self.send_error(401)
        if form["redirect_uri"] != asked["redirect_uri"]:
            return self.send_error(400)
        return self._send_json(self._grant(asked))

    def log_message(self, *_: object) -> None:
        pass

    def _metadata(self) -> dict:
        places = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        return {
            "issuer": self.server.url,
            **{name: f"{self.server.url}/oauth/{place}" for name, place in places.items()},
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        }

    def _authorize(self, asked: dict[str, str]) -> None:
        """Send the visitor back, unless the Space asks to have them sent somewhere else."""
        self.server.asked.append(asked)
        back = f"https://{self.server.space_host}/login/callback?"
        if asked["client_id"] != CLIENT or not asked["redirect_uri"].startswith(back):
            return self.send_error(400)
        code = secrets.token_urlsafe()
        self.server.grants[code] = asked
        # In front of a Space something speaks https to browsers and http to the app; here nothing does.
        address = "http" + asked["redirect_uri"].removeprefix("https")
        self.send_response(302)
        self.send_header("Location", f"{address}&{urlencode({'code': code, 'state': asked['state']})}")
        self.send_header("Content-Length", "0")
        return self.end_headers()

    def _grant(self, asked: dict[str, str]) -> dict:
        now, account, url = int(time.time()), self.server.account, self.server.url
        claims = {"iss": url, "sub": account, "aud": CLIENT, "iat": now, "exp": now + 3600, "nonce": asked["nonce"]}
        claims |= {"name": account.title(), "preferred_username": account}
        claims |= {"profile": f"{url}/{account}", "picture": f"{url}/{account}.png"}
        return {
            "access_token": self.server.token,
            "token_type": "bearer",
            "expires_in": 3600,
            "scope": asked["scope"],
            "id_token": jwt.encode({"alg": ALGORITHM, "kid": "1"}, claims, self.server.key),
        }

    def _send_json(self, content: dict) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def running_provider(space_host: str, account: str, token: str) -> Iterator[Provider]:
    """Answer on a free port for the length of a ``with`` block."""
    with Provider(space_host, account, token) as provider, serving(provider):
        yield provider
