"""An engine whose workers find photos in, and leave results in, a folder that all of them see.

The folder is an address as fsspec takes it (https://filesystem-spec.readthedocs.io): file:///mnt/company, s3://bucket/way.

    ADDRESS/magicapture-<random>/<key>/photos/000, looks/000, files/portrait-1.png, …

A cell's part goes as soon as it is done, all of it when the run ends. RUN/share.json says where it is until then.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from secrets import token_hex

import fsspec
from fsspec.utils import get_protocol

from magicapture.settings import settings
from magicapture.staff.cell import Cell
from magicapture.staff.engines.engine import Engine, EngineError
from magicapture.staff.run_folder import RunFolder
from magicapture.staff.work import Outcome, Pictures, Work

SHARE = "share.json"


class SharedFolder:
    """Files below one address, by their path there. Raises ``OSError`` where they cannot be had."""

    def __init__(self, address: str) -> None:
        """Open ``address``. Raises ``ImportError`` or ``ValueError`` for what fsspec has no driver for."""
        self._system, self._root = fsspec.core.url_to_fs(address)

    def write(self, files: dict[str, bytes]) -> None:
        """Write files, and the folders that they lie in."""
        placed = {f"{self._root}/{name}": data for name, data in files.items()}
        for parent in {path.rpartition("/")[0] for path in placed}:
            with suppress(PermissionError):  # of a bucket, which is there
                self._system.makedirs(parent, exist_ok=True)
        self._system.pipe(placed)

    def read(self, names: Iterable[str]) -> list[bytes]:
        """Read files."""
        return [self._system.cat_file(f"{self._root}/{name}") for name in names]

    def names(self, folder: str) -> list[str]:
        """List the files in ``folder``, sorted."""
        found = self._system.find(f"{self._root}/{folder}")
        return sorted(path[len(self._root) + 1 :] for path in found)

    def delete(self, folder: str = "") -> None:
        """Delete ``folder``, or everything."""
        with suppress(FileNotFoundError):
            self._system.rm(f"{self._root}/{folder}".rstrip("/"), recursive=True)


@dataclass(frozen=True)
class FromFolder:
    """Does ``work`` on what lies in the shared folder at ``address``, and leaves the files of the result there."""

    work: Work
    address: str

    def __call__(self, cell: Cell, photos: Pictures, looks: Pictures) -> Outcome:
        """Give the outcome with empty files."""
        folder = SharedFolder(self.address)
        found = (tuple(folder.read(folder.names(f"{cell.key}/{part}"))) for part in ("photos", "looks"))
        outcome = self.work(cell, *found)
        folder.write({f"{cell.key}/files/{name}": data for name, data in outcome.files.items()})
        return Outcome(outcome.result, dict.fromkeys(outcome.files, b""))


class SharedEngine:
    """Another engine, which gets no picture itself."""

    def __init__(self, address: str, work: Work, start: Callable[[Work], Engine]) -> None:
        """Let the engine that ``start`` gives do ``work`` on what is put at ``address``."""
        self._folder = SharedFolder(address)
        self._engine = start(FromFolder(work, address))

    @property
    def places(self) -> int:
        """How many cells run at a time."""
        return self._engine.places

    def submit(self, cell: Cell, photos: Pictures, looks: Pictures) -> Future[Outcome]:
        """Put the pictures into the folder and start ``cell``."""
        brought: Future[Outcome] = Future()
        parts = {"photos": photos, "looks": looks}
        files = {
            f"{cell.key}/{part}/{n:03d}": data for part, pictures in parts.items() for n, data in enumerate(pictures)
        }
        try:
            self._folder.write(files)
        except Exception as error:  # noqa: BLE001  each kind of folder has errors of its own
            brought.set_exception(error)
        else:
            self._engine.submit(cell, (), ()).add_done_callback(partial(self._bring, cell.key, brought))
        return brought

    def close(self) -> None:
        """End at once, and delete what is in the folder."""
        self._engine.close()
        self._folder.delete()

    def _bring(self, key: str, brought: Future[Outcome], done: Future[Outcome]) -> None:
        try:
            outcome = done.result()
            files = self._folder.read(f"{key}/files/{name}" for name in outcome.files)
            brought.set_result(Outcome(outcome.result, dict(zip(outcome.files, files, strict=True))))
        except BaseException as error:  # noqa: BLE001  whatever it was, whoever waits is told
            brought.set_exception(error)
        finally:
            with suppress(OSError):  # closing tries again
                self._folder.delete(key)


@contextmanager
def sharing(address: str | None, engine: str, folder: RunFolder) -> Iterator[str | None]:
    """Give a place of its own below ``address`` for a run in ``folder``, and delete it afterwards; None without one.

    Raises ``EngineError`` when it cannot be used.
    """
    if address is None:
        yield None
        return
    if engine.partition(":")[0] != "ray":
        raise EngineError(f"The engine {engine} needs no shared folder: leave --share out.")
    if settings().private and ("::" in address or get_protocol(address) != "file"):
        raise EngineError(
            f"MAGICAPTURE_PRIVATE=1: photos would leave this machine for {address}. Leave --share out, or name a "
            "folder of this machine."
        )
    clear_share(folder)
    place = f"{address.rstrip('/')}/magicapture-{token_hex(12)}"
    folder.write_json(SHARE, place)
    try:
        SharedFolder(place).write({"here": b""})
    except Exception as error:
        (folder.folder / SHARE).unlink()
        raise EngineError(f"The shared folder {address} cannot be used: {error}") from error
    try:
        yield place
    finally:
        clear_share(folder)


def clear_share(folder: RunFolder, keys: Iterable[str] | None = None) -> None:
    """Delete what a run has in its shared folder, if anything, or only what belongs to the cells with these ``keys``.

    Raises ``EngineError`` when that cannot be done.
    """
    path = folder.folder / SHARE
    if not path.is_file():
        return
    place = json.loads(path.read_text())
    try:
        shared = SharedFolder(place)
        for part in [""] if keys is None else filter(None, keys):
            shared.delete(part)
    except Exception as error:
        raise EngineError(f"Photos may still lie in {place}, which cannot be reached: {error}") from error
    if keys is None:
        path.unlink(missing_ok=True)
