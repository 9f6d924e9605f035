"""Private mode's promise: whatever a library may try, no connection leaves this machine."""

import os
import sys
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_STREAM

LOOK_UPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
PROGRAMS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn"}
"""Another program would not be watched."""
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
    """Refuse every outgoing connection, name look-up and other program, for as long as the process lives.

    Call it before gradio and huggingface_hub are imported: they read then some of what it sets. Requests that come in
    are answered, and connections to this very machine stay possible. Native code that opens sockets itself, past
    Python, is not held: that takes a firewall.
    """
    os.environ.update(QUIET)
    sys.addaudithook(_refuse_outgoing)


def _refuse_outgoing(event: str, arguments: tuple) -> None:
    if event in LOOK_UPS:
        host = arguments[0]
    elif event in CONNECTIONS and arguments[0].family in (AF_INET, AF_INET6) and arguments[1]:
        host = arguments[1][0]
    elif event == "socket.getnameinfo":
        host = arguments[0][0]
    elif event == "socket.__new__" and not _is_ordinary(*arguments[1:3]):
        raise OutgoingConnectionError("MAGICAPTURE_PRIVATE=1: no socket is opened past the usual protocols.")
    elif event in PROGRAMS:
        raise OutgoingConnectionError("MAGICAPTURE_PRIVATE=1: no other program is started.")
    else:
        return
    if not is_here(host):
        raise OutgoingConnectionError(f"MAGICAPTURE_PRIVATE=1: no connection is opened to {host!r}.")


def _is_ordinary(family: int, kind: int) -> bool:
    """Tell a socket whose connections are announced; -1 stands for the usual, or for one that is there already."""
    return family in (-1, AF_INET, AF_INET6, AF_UNIX) and (kind == -1 or kind & 0xF in (SOCK_STREAM, SOCK_DGRAM))


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
