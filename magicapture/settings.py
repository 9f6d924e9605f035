"""What an installation may set: environment variables, read once when asked for."""

import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Settings:
    """One installation's choices. Each field names the variable that sets it."""

    root: Path  # MAGICAPTURE_ROOT: visitors' folders and the records; nothing else may lie in it
    database_url: str  # DATABASE_URL: where consents, jobs and the log are kept; SQLite in ``root`` if unset
    private: bool  # MAGICAPTURE_PRIVATE=1: no outgoing connection, licence-clean faces only, sign-in
    users: dict[str, str]  # MAGICAPTURE_USERS: "name:password" separated by spaces; who may sign in
    photo_hours: float  # MAGICAPTURE_PHOTO_HOURS: photos that no training has used up
    result_hours: float  # MAGICAPTURE_RESULT_HOURS: adapters and portraits
    jobs_per_visitor: int  # MAGICAPTURE_JOBS_PER_VISITOR: waiting or running at a time
    min_likeness: float | None  # MAGICAPTURE_MIN_LIKENESS: portraits below it cannot be kept
    slice_seconds: float  # MAGICAPTURE_SLICE_SECONDS: longest declared GPU time at once, on ZeroGPU, signed out
    slice_seconds_signed_in: float  # MAGICAPTURE_SLICE_SECONDS_SIGNED_IN: the same for visitors with an account

    @classmethod
    def from_environment(cls) -> Self:
        """Read the variables. Raises ``ValueError`` that names the variable with a value that cannot be used."""
        root = Path(_text("ROOT", str(Path(tempfile.gettempdir()) / "magicapture"))).resolve()
        private = _text("PRIVATE", "0") == "1"
        users = dict(_user(word) for word in _text("USERS", "").split())
        if private and not users:
            raise ValueError('MAGICAPTURE_PRIVATE=1 needs MAGICAPTURE_USERS: "name:password", separated by spaces.')
        return cls(
            root=root,
            database_url=os.environ.get("DATABASE_URL") or f"sqlite:///{root / 'records.sqlite'}",
            private=private,
            users=users,
            photo_hours=_number("PHOTO_HOURS", 1),
            result_hours=_number("RESULT_HOURS", 24),
            jobs_per_visitor=int(_number("JOBS_PER_VISITOR", 1)),
            min_likeness=_number("MIN_LIKENESS", None),
            slice_seconds=_number("SLICE_SECONDS", 80),
            slice_seconds_signed_in=_number("SLICE_SECONDS_SIGNED_IN", 200),
        )

    @property
    def served(self) -> Path:
        """The folder whose files the page may show: one folder per visitor, and Gradio's own cache."""
        return self.root / "served"


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Give the choices of this process."""
    return Settings.from_environment()


def _text(name: str, default: str) -> str:
    return os.environ.get(f"MAGICAPTURE_{name}") or default


def _number(name: str, default: float | None) -> float | None:
    text = _text(name, "")
    try:
        return float(text) if text else default
    except ValueError:
        raise ValueError(f"MAGICAPTURE_{name} must be a number; it is {text!r}.") from None


def _user(word: str) -> tuple[str, str]:
    name, colon, password = word.partition(":")
    if not (name and colon and password):
        raise ValueError(f"MAGICAPTURE_USERS must hold name:password, separated by spaces; one entry reads {word!r}.")
    return name, password
