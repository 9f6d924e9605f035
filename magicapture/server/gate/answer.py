"""How a layer says no, by what address it knows who asks, and in which language they read."""

import re
from ipaddress import IPv6Address, ip_address

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

NOT_YOURS = "This page was opened by someone else: reload it."


async def refuse(status: int, why: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with ``status`` and one sentence."""
    await PlainTextResponse(why, status)(scope, receive, send)


def address_of(scope: Scope) -> str:
    """Give the address that a request came from; of IPv6 the network, which is one household's.

    Behind a proxy it is the visitor's if uvicorn trusts that proxy (``Settings.proxies``).
    """
    host = scope["client"][0] if scope.get("client") else ""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and not address.ipv4_mapped:
        return ":".join(address.exploded.split(":")[:4])
    return str(address)


def language_of(headers: Headers) -> str:
    """Give the language that a browser asks for first, such as "en"; an empty text if it asks for none."""
    return re.split("[-,;]", headers.get("accept-language", "")[:100])[0].strip().lower()
