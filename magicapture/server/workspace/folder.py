"""The folder of one visitor: where it lies, who may name what in it, and writing that nobody sees half done."""

import errno
import os
import re
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Self

from safetensors import SafetensorError

from magicapture.messages import Message
from magicapture.server.workspace.space import FULL, SPACE
from magicapture.settings import settings

TEMPORARY = ".tmp-"
"""How folders begin that hold something half-written or half-deleted."""
NAME = r"[0-9a-f]{64}"
"""How visitors' folders are called; Gradio calls those for uploads so too."""


class WorkspaceError(ValueError):
    """Something that cannot be done with a visitor's files; the text says why and what to do."""


def new_key() -> str:
    """Draw a visitor's secret: 256 random bits as text."""
    return secrets.token_urlsafe(32)


def remove(path: Path) -> None:
    """Delete a file or folder. Not to be there is fine.

    Whoever looks meanwhile sees all of it or nothing, unless a full disk has no room for another name.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    with suppress(OSError):
        path = path.rename(path.with_name(f"{TEMPORARY}{secrets.token_hex(16)}"))
    rmtree(path, onerror=_unless_gone)


def _unless_gone(_function: object, _path: str, raised: tuple) -> None:
    """Go on where a part is gone already, because somebody else deletes it, too."""
    if not isinstance(raised[1], FileNotFoundError):
        raise raised[1]


def served_folder(root: Path | None) -> Path:
    """Give the folder of all visitors' folders, below the installation's root unless told."""
    return (replace(settings(), root=root.resolve()) if root else settings()).served


def is_visitors(folder: Path) -> bool:
    """Tell a visitor's folder, in which there are only folders, from Gradio's, which hold files."""
    return bool(re.fullmatch(NAME, folder.name)) and all(entry.is_dir() for entry in folder.iterdir())


@contextmanager
def told_if_full() -> Iterator[None]:
    """Say it in a visitor's words when there is no room on the disk; nothing half-written stays."""
    try:
        yield
    except (OSError, SafetensorError) as error:  # the latter tells a system's error in its text alone
        if not any(error.args[:1] == (n,) or f"(os error {n})" in str(error) for n in (errno.ENOSPC, errno.EDQUOT)):
            raise
        raise WorkspaceError(FULL) from error


@contextmanager
def same_age(folder: Path) -> Iterator[None]:
    """Let the files in ``folder`` change without making it younger: it is deleted by the time it was made."""
    before = folder.stat()
    yield
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))


_LEFT: Counter[str] = Counter()
"""How often each visitor deleted everything; what was started before finds no folder again."""
_CHANGING = threading.RLock()
"""Held while a visitor's folder is made or taken away."""


@dataclass(frozen=True)
class VisitorFolder:
    """A visitor's ``folder``, below the served one of ``settings``. It is made when something is first put into it.

    ``visit``: how often the visitor had deleted everything when this was made; once they do it again, nothing more can
    be put into the folder through this.
    """

    folder: Path
    visit: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Note which visit this belongs to."""
        object.__setattr__(self, "visit", _LEFT.get(self.folder.name, 0))

    @classmethod
    def of(cls, key: str, root: Path | None = None) -> Self:
        """Find the folder of the visitor who knows ``key``, below the installation's root unless told.

        Raises ``ValueError`` unless ``key`` looks like one that ``new_key`` draws.
        """
        if not (isinstance(key, str) and re.fullmatch(r"[A-Za-z0-9_-]{43}", key)):
            raise ValueError("This is no key that a visitor is given: reload the page to get a new one.")
        return cls.named(sha256(key.encode()).hexdigest(), root)

    @classmethod
    def named(cls, name: str, root: Path | None = None) -> Self:
        """Find the folder whose ``name`` stands in the records. Raises ``ValueError`` for what cannot be one."""
        if not re.fullmatch(NAME, name):
            raise ValueError(f"{name!r} is not the name of a visitor's folder.")
        return cls(served_folder(root) / name)

    @property
    def name(self) -> str:
        """What records call the visitor; the key cannot be found from it."""
        return self.folder.name

    def part(self, *names: str) -> Path:
        """Give a folder below the visitor's, made if need be.

        Raises ``WorkspaceError`` if the visitor has deleted everything meanwhile, or the disk is full.
        """
        part = self.folder.joinpath(*names)
        with _CHANGING, told_if_full():
            if self.visit != _LEFT.get(self.folder.name, 0):
                raise WorkspaceError("Everything of yours was deleted meanwhile: reload the page to begin anew.")
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self.folder.touch()  # so that an empty one is not swept while something is about to be put into it
            part.mkdir(parents=True, exist_ok=True)
        return part

    def entries(self, *names: str) -> list[Path]:
        """List by name what lies in a folder below the visitor's; nothing if there is no such folder."""
        folder = self.folder.joinpath(*names)
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def require_space(self, size: int) -> None:
        """Raise ``WorkspaceError`` unless the installation may take ``size`` more bytes, which are about to come."""
        if not SPACE.take(size, self.folder.parents[1], settings().disk_bytes):
            raise WorkspaceError(FULL)

    def close(self) -> None:
        """Let nothing that was started before now put anything into the visitor's folder."""
        with _CHANGING:
            if self.folder.is_dir():
                _LEFT[self.folder.name] += 1

    def delete_everything(self) -> None:
        """Delete all that the visitor has here."""
        self.close()
        with _CHANGING:
            remove(self.folder)

    @contextmanager
    def building(self, target: Path) -> Iterator[Path]:
        """Give a path to write a file or folder at; it appears at ``target`` once the ``with`` block has ended well."""
        with told_if_full(), TemporaryDirectory(prefix=TEMPORARY, dir=self.part()) as place:
            yield Path(place) / target.name
            (Path(place) / target.name).replace(target)

    def check_access(self, path: Path) -> None:
        """Refuse, with one sentence for both, what is not there and what is another visitor's."""
        elsewhere = not path.is_relative_to(self.folder.parents[1])
        if not ((elsewhere or self.is_upload(path) or path.is_relative_to(self.folder)) and path.is_file()):
            raise WorkspaceError(Message("{name} is not there any more. Upload it again.", name=path.name))

    def is_upload(self, path: Path) -> bool:
        """Tell Gradio's uploads, ``served/<hash of the content>/<name>``, from visitors' files, which lie deeper."""
        return path.parent.parent == self.folder.parent

    def discard_upload(self, path: Path) -> None:
        """Delete an upload that was taken in, or will not be; leave all else alone."""
        if self.is_upload(path) and not path.is_dir():
            path.unlink(missing_ok=True)
            with suppress(OSError):  # one folder may hold several uploads of the same content
                path.parent.rmdir()
