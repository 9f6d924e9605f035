"""What an installation may set: environment variables, read once when asked for."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Self, TypeVar

LOOPBACK = "127.0.0.1,::1"
WITHIN_THE_HUB = f"{LOOPBACK},10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fc00::/7"
"""Networks that are nobody's on the internet: what a Space is asked from by the Hub's own proxies."""
TEMPORARY_FILES = "tmp"
"""The folder below the root for what libraries write for a moment."""
MOST = 1_000_000
"""Of hours, gigabytes, seconds and the like: a number above it is a slip, and some would not fit into a date."""

Number = TypeVar("Number", int, float)
Default = TypeVar("Default", int, float, None)


@dataclass(frozen=True)
class Settings:
    """One installation's choices. Each field names the variable that sets it."""

    root: Path  # MAGICAPTURE_ROOT: visitors' folders and the records; nothing else may lie in it
    database_url: str  # DATABASE_URL: where consents, jobs and the log are kept; SQLite in ``root`` if unset
    server_name: str  # GRADIO_SERVER_NAME: the address that the page is served at
    server_port: int  # GRADIO_SERVER_PORT: the port there
    proxies: str  # FORWARDED_ALLOW_IPS: whose word on a visitor's address is taken, as uvicorn writes it
    hosts: frozenset[str]  # MAGICAPTURE_HOSTS: names that the page is served under, besides addresses
    base: str  # MAGICAPTURE_BASE: the base model; empty: the best that this machine can use
    face_engine: str  # MAGICAPTURE_FACE_ENGINE
    face_pack: str  # MAGICAPTURE_FACE_PACK: insightface's pack, or a folder with one
    examples: str  # MAGICAPTURE_EXAMPLES: the folder of example photos; empty: those of the repository
    upscaler: str  # MAGICAPTURE_UPSCALER: a file with its weights; empty: those of the package
    thing_network: str  # MAGICAPTURE_THING_NETWORK: a DINOv2 model that compares things, "auto" or "imagenet"
    segmenter: str  # MAGICAPTURE_SEGMENTER: a CLIPSeg model that finds things in photos; none if empty
    space: str  # SPACE_ID: the Space that this is; empty elsewhere
    space_host: str  # SPACE_HOST: the name that it is served under
    sign_in: bool  # OAUTH_CLIENT_ID, which a Space with ``hf_oauth`` has: visitors can sign in with Hugging Face
    host_token: bool  # MAGICAPTURE_HOST_TOKEN=1: visitors may act on the Hub with the token of whoever runs this
    disk_gb: float  # MAGICAPTURE_DISK_GB: what ``root`` may hold in all
    private: bool  # MAGICAPTURE_PRIVATE=1: no outgoing connection, licence-clean faces only, sign-in
    engine: str  # MAGICAPTURE_ENGINE: where visitors' work is computed: local, ray, or ray:ADDRESS
    users: dict[str, str]  # MAGICAPTURE_USERS: "name:password" separated by spaces; who may sign in
    photo_hours: float  # MAGICAPTURE_PHOTO_HOURS: photos that no training has used up
    result_hours: float  # MAGICAPTURE_RESULT_HOURS: adapters and portraits
    jobs_per_visitor: int  # MAGICAPTURE_JOBS_PER_VISITOR: waiting or running at a time
    jobs_per_address: int  # MAGICAPTURE_JOBS_PER_ADDRESS: the same, of all visitors at one address
    drawings_per_address: int  # MAGICAPTURE_DRAWINGS_PER_ADDRESS: requests for portraits that wait or run there
    min_likeness: float | None  # MAGICAPTURE_MIN_LIKENESS: portraits below it cannot be kept
    slice_seconds: float  # MAGICAPTURE_SLICE_SECONDS: longest declared GPU time at once, on ZeroGPU, signed out
    slice_seconds_signed_in: float  # MAGICAPTURE_SLICE_SECONDS_SIGNED_IN: the same for visitors with an account
    c2pa_cert: str  # MAGICAPTURE_C2PA_CERT: the chain of certificates that portraits are signed with; none if empty
    c2pa_key: str = field(repr=False)  # MAGICAPTURE_C2PA_KEY: the key to it
    c2pa_time_stamps: str  # MAGICAPTURE_C2PA_TIME_STAMPS: the address of a server that confirms when; none if empty
    metrics_port: int  # MAGICAPTURE_METRICS_PORT: where loopback serves /metrics; 0: nowhere

    @classmethod
    def from_environment(cls) -> Self:
        """Read the variables; one that is empty counts as not set.

        Raises ``ValueError`` that names the variable with a value that cannot be used, and what can.
        """
        root = Path(_text("ROOT", str(Path(tempfile.gettempdir()) / "magicapture"))).resolve()
        private = _flag("PRIVATE")
        users = dict(_user(word) for word in _text("USERS", "").split())
        if private and not users:
            raise ValueError('MAGICAPTURE_PRIVATE=1 needs MAGICAPTURE_USERS: "name:password", separated by spaces.')
        space, engine = os.environ.get("SPACE_ID") or "", _text("ENGINE", "local")
        if engine.partition(":")[0] not in ("local", "ray") or engine.startswith("local:"):
            raise ValueError(f"MAGICAPTURE_ENGINE must be local, ray or ray:ADDRESS; it is {engine!r}.")
        if private and engine != "local":
            raise ValueError("MAGICAPTURE_PRIVATE=1 cannot hold back Ray's own sockets: unset MAGICAPTURE_ENGINE.")
        if private and _text("C2PA_TIME_STAMPS", ""):
            raise ValueError("MAGICAPTURE_PRIVATE=1 asks no time-stamp server: unset MAGICAPTURE_C2PA_TIME_STAMPS.")
        if bool(_text("C2PA_CERT", "")) != bool(_text("C2PA_KEY", "")):
            raise ValueError("MAGICAPTURE_C2PA_CERT and MAGICAPTURE_C2PA_KEY are set together, or neither is.")
        return cls(
            root=root,
            database_url=os.environ.get("DATABASE_URL") or f"sqlite:///{root / 'records.sqlite'}",
            server_name=os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1",
            server_port=whole_number("GRADIO_SERVER_PORT", 7860, 0, 65535),
            proxies=os.environ.get("FORWARDED_ALLOW_IPS") or (WITHIN_THE_HUB if space else LOOPBACK),
            hosts=frozenset(_text("HOSTS", "").lower().split()),
            base=_text("BASE", ""),
            face_engine=_text("FACE_ENGINE", "auto"),
            face_pack=_text("FACE_PACK", "buffalo_l"),
            examples=_text("EXAMPLES", ""),
            upscaler=_text("UPSCALER", ""),
            thing_network=_text("THING_NETWORK", "auto"),
            segmenter=_text("SEGMENTER", ""),
            space=space,
            space_host=os.environ.get("SPACE_HOST") or "",
            sign_in=bool(os.environ.get("OAUTH_CLIENT_ID")),
            host_token=_flag("HOST_TOKEN"),
            disk_gb=_above_zero("DISK_GB", 20),
            private=private,
            engine=engine,
            users=users,
            photo_hours=_above_zero("PHOTO_HOURS", 1),
            result_hours=_above_zero("RESULT_HOURS", 24),
            jobs_per_visitor=whole_number("MAGICAPTURE_JOBS_PER_VISITOR", 1, 1),
            jobs_per_address=whole_number("MAGICAPTURE_JOBS_PER_ADDRESS", 3, 1),
            drawings_per_address=whole_number("MAGICAPTURE_DRAWINGS_PER_ADDRESS", 24, 1),
            min_likeness=_likeness("MIN_LIKENESS"),
            slice_seconds=_above_zero("SLICE_SECONDS", 80),
            slice_seconds_signed_in=_above_zero("SLICE_SECONDS_SIGNED_IN", 200),
            c2pa_cert=_text("C2PA_CERT", ""),
            c2pa_key=_text("C2PA_KEY", ""),
            c2pa_time_stamps=_text("C2PA_TIME_STAMPS", ""),
            metrics_port=whole_number("MAGICAPTURE_METRICS_PORT", 0, 0, 65535),
        )

    @property
    def lends_host_token(self) -> bool:
        """Whether visitors act on the Hub with the token of whoever runs this: it is them, or it was allowed."""
        alone = is_loopback(self.server_name) and not self.hosts and not self.space
        return self.host_token or alone

    @property
    def disk_bytes(self) -> int:
        """What ``root`` may hold in all, in bytes."""
        return int(self.disk_gb * 2**30)

    @property
    def served(self) -> Path:
        """The folder whose files the page may show: one folder per visitor, and Gradio's own cache."""
        return self.root / "served"


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Give the choices of this process."""
    return Settings.from_environment()


def make_root(root: Path) -> None:
    """Make the installation's root, which nobody else on this machine may look into.

    Raises ``PermissionError`` if it belongs to somebody else, who could read all that is put into it.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "geteuid") and root.stat().st_uid != os.geteuid():
        raise PermissionError(f"{root} belongs to another user here: set MAGICAPTURE_ROOT to another folder.")
    root.chmod(0o700)
    (root / TEMPORARY_FILES).mkdir(mode=0o700, exist_ok=True)


def is_address(name: str) -> bool:
    """Tell a numeric address from a name."""
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def is_loopback(name: str) -> bool:
    """Tell whether ``name`` is reached from this machine alone."""
    return name == "localhost" or (is_address(name) and ip_address(name.strip("[]")).is_loopback)


def whole_number(variable: str, default: int, least: int, most: int = MOST) -> int:
    """Read ``variable``. Raises ``ValueError`` unless it is a whole number from ``least`` to ``most``, or not set."""
    allowed = f"a whole number from {least} to {most}"
    return _checked(variable, default, int, lambda number: least <= number <= most, allowed)


def _text(name: str, default: str) -> str:
    return os.environ.get(f"MAGICAPTURE_{name}") or default


def _above_zero(name: str, default: float) -> float:
    allowed = f"a number above 0 and at most {MOST}"
    return _checked(f"MAGICAPTURE_{name}", default, float, lambda number: 0 < number <= MOST, allowed)


def _likeness(name: str) -> float | None:
    return _checked(
        f"MAGICAPTURE_{name}", None, float, lambda number: -1 <= number <= 1, "a number from -1 to 1, such as 0.7"
    )


def _flag(name: str) -> bool:
    text = _text(name, "0")
    if text not in ("0", "1"):
        raise ValueError(f"MAGICAPTURE_{name} must be 0 or 1; it is {text!r}.")
    return text == "1"


def _checked(
    variable: str,
    default: Default,
    parse: Callable[[str], Number],
    fits: Callable[[Number], bool],
    allowed: str,
) -> Number | Default:
    text = os.environ.get(variable)
    if not text:
        return default
    with suppress(ValueError):
        if fits(number := parse(text)):
            return number
    raise ValueError(f"{variable} must be {allowed}; it is {text!r}.")


def _user(word: str) -> tuple[str, str]:
    name, colon, password = word.partition(":")
    if not (name and colon and password):
        raise ValueError(f"MAGICAPTURE_USERS must hold name:password, separated by spaces; one entry reads {word!r}.")
    return name, password
