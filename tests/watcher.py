"""Writes down every connection or name look-up of a Python process that would leave the machine, and refuses it.

As ``sitecustomize`` on ``PYTHONPATH`` it is there before any other code; the file is named by ``WATCHER_LOG``.
"""

import os
import socket
from collections.abc import Callable
from functools import wraps
from pathlib import Path

HERE = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "", None)


def note(line: str) -> None:
    with Path(os.environ["WATCHER_LOG"]).open("a") as log:
        log.write(line + "\n")


def watched(function: Callable, place: int) -> Callable:
    """Wrap ``function``, whose argument number ``place`` is a host or an address."""

    @wraps(function)
    def watching(*arguments: object, **options: object) -> object:
        address = arguments[place] if len(arguments) > place else options.get("host")
        host = address[0] if isinstance(address, tuple) else address
        is_unix_socket = isinstance(arguments[0], socket.socket) and arguments[0].family == socket.AF_UNIX
        if is_unix_socket or (host.decode() if isinstance(host, bytes) else host) in HERE:
            return function(*arguments, **options)
        note(f"{function.__name__} {address}")
        raise OSError("no network here")

    return watching


for name in ("connect", "connect_ex"):
    setattr(socket.socket, name, watched(getattr(socket.socket, name), 1))
socket.socket.sendto = watched(socket.socket.sendto, -1)
for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "create_connection"):
    setattr(socket, name, watched(getattr(socket, name), 0))
note("watching")
