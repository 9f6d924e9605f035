"""Private mode's promise: whatever a library may try, no connection leaves this machine."""

import os
import sys
from ipaddress import ip_address
from socket import AF_INET, AF_INET6

LOOK_UPS = {"socket.getaddrinfo", "socket.gethostbyname"}
CONNECTIONS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
"""What Python announces before it happens (https://docs.python.org/3/library/audit_events.html)."""

QUIET = {
    "HF_HUB_OFFLINE": "1",  # transformers and diffusers obey it too
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
}


class OutgoingConnectionError(ConnectionRefusedError):
    """A connection that would have left this machine; to libraries it is like an unplugged cable."""


def go_offline() -> None:
    """Refuse every outgoing connection and name look-up, from now on and for as long as the process lives.

    Call it before gradio and huggingface_hub are imported: they read then some of what it sets. Requests that come in
    are answered, and connections to this very machine stay possible.
    """
    os.environ.update(QUIET)
    sys.addaudithook(_refuse_outgoing)


def _refuse_outgoing(event: str, arguments: tuple) -> None:
    if event in LOOK_UPS:
        host = arguments[0]
    elif event in CONNECTIONS and arguments[0].family in (AF_INET, AF_INET6) and arguments[1]:
        host = arguments[1][0]
    else:
        return
    if not is_here(host):
        raise OutgoingConnectionError(f"MAGICAPTURE_PRIVATE=1: no connection is opened to {host!r}.")


def is_here(host: str | bytes | None) -> bool:
    """Tell whether ``host`` is this machine: its loopback addresses, and the name that the page is served under."""
    name = host.decode(errors="replace") if isinstance(host, bytes) else host
    if name in (None, "", "localhost", os.environ.get("GRADIO_SERVER_NAME")):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
