"""A visitor's adapters: stored, listed, renamed, packed, taken in from a zip."""

import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from magicapture.adapters.adapter import Adapter
from magicapture.adapters.info import INFO_FILE, AdapterError, AdapterInfo, clean_title
from magicapture.messages import Message
from magicapture.server.workspace.folder import (
    TEMPORARY,
    VisitorFolder,
    WorkspaceError,
    remove,
    same_age,
    told_if_full,
)
from magicapture.server.workspace.space import held_bytes
from magicapture.server.workspace.uploads import ADAPTER_FILES, safe_stem, unpack_adapter, write_zip
from magicapture.settings import settings

UNTITLED = "Untitled"
MOST_ADAPTERS = 20
SHARE = 0.1
"""Of what an installation may hold: as much may a visitor's adapters take with one from elsewhere, zips included."""


@dataclass(frozen=True)
class StoredAdapter:
    """An adapter on disk."""

    id: str
    title: str
    created: datetime
    folder: Path
    info: AdapterInfo | None  # None where what it says of itself cannot be read


@dataclass(frozen=True)
class AdapterShelf:
    """The part of a visitor's folder that holds adapters, each in ``adapters/<id>``."""

    place: VisitorFolder

    def add(self, adapter: Adapter, title: str) -> str:
        """Store ``adapter`` under a title of at most 60 characters; gives its id.

        Raises ``WorkspaceError`` if the visitor has 20 already, or the disk is full.
        """
        self.require_room()
        adapter_id = secrets.token_hex(8)
        with self.place.building(self.place.part("adapters") / adapter_id) as folder:
            replace(adapter, info=_called(title, adapter.info)).save(folder)
        return adapter_id

    def take_in(self, adapter: Adapter, title: str) -> str:
        """Store an adapter that comes from elsewhere, as ``add`` does.

        Raises ``WorkspaceError`` also if the installation has no space for it, or the visitor's adapters would take
        more than a tenth of what it may hold.
        """
        size = 2 * adapter.nbytes  # a copy is for other tools
        self.place.require_space(size)
        held, most = held_bytes(self.place.folder / "adapters"), int(SHARE * settings().disk_bytes)
        if held + size > most:
            large = "Your adapters would take {n} MB here, and there is room for {m} MB: delete one first."
            raise WorkspaceError(Message(large, n=(held + size) // 2**20, m=most // 2**20))
        return self.add(adapter, title)

    def require_room(self) -> None:
        """Raise ``WorkspaceError`` unless there is room for one more adapter."""
        if len(self.place.entries("adapters")) >= MOST_ADAPTERS:
            many = "You have {n} adapters here, which is as many as there is room for: delete one first."
            raise WorkspaceError(Message(many, n=MOST_ADAPTERS))

    def stored(self) -> list[StoredAdapter]:
        """List what is stored, newest first; what cannot be read is there without facts, to be deleted."""
        found = []
        for folder in self.place.entries("adapters"):
            with suppress(FileNotFoundError):  # deleted while this looks
                created = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
                info = _read_info(folder)
                found.append(StoredAdapter(folder.name, _title(folder, info), created, folder, info))
        return sorted(found, key=lambda stored: stored.created, reverse=True)

    def load(self, adapter_id: str) -> Adapter:
        """Read an adapter. Raises ``AdapterError`` if there is none with this id."""
        return Adapter.load(self._adapter(adapter_id))

    def rename(self, adapter_id: str, title: str) -> None:
        """Give an adapter another title. Raises ``AdapterError`` if there is none with this id."""
        folder = self._adapter(adapter_id)
        info = _read_info(folder)
        if info is None:
            damaged = "The adapter in {name} is damaged: {file} cannot be read."
            raise AdapterError(Message(damaged, name=folder.name, file=INFO_FILE))
        info = _called(title, info)
        with same_age(folder):
            for named_as_before in folder.glob("*.zip"):
                remove(named_as_before)
            with self.place.building(folder / INFO_FILE) as file:
                file.write_text(info.as_json())

    def zip(self, adapter_id: str) -> Path:
        """Pack an adapter; the zip is named after its title and lies beside its files, to be deleted with them.

        Raises ``AdapterError`` if there is none with this id, ``WorkspaceError`` if there is no space for the zip.
        """
        folder = self._adapter(adapter_id)
        target = folder / f"{safe_stem(_title(folder, _read_info(folder)))}.zip"
        files = [folder / name for name in ADAPTER_FILES if (folder / name).is_file()]
        before = target.stat().st_size if target.is_file() else 0
        if (more := sum(file.stat().st_size for file in files) - before) > 0:
            self.place.require_space(more)
        with same_age(folder), self.place.building(target) as package:
            write_zip(files, package)
        return target

    def delete(self, adapter_id: str) -> None:
        """Delete an adapter. Raises ``AdapterError`` if there is none with this id."""
        remove(self._adapter(adapter_id))

    def import_zip(self, path: Path) -> str:
        """Store the adapter in an uploaded zip; gives its id. The upload is gone afterwards, whatever happens.

        Raises ``AdapterError`` if the zip holds anything but a sound adapter, ``WorkspaceError`` if it is not there for
        this visitor, and as ``take_in`` does.
        """
        path = Path(path).resolve()
        try:
            self.place.check_access(path)
            self.require_room()
            with told_if_full(), TemporaryDirectory(prefix=TEMPORARY, dir=self.place.part()) as place:
                adapter = unpack_adapter(self.place, path, Path(place) / safe_stem(path.stem))
                return self.take_in(adapter, adapter.info.title or path.stem)
        finally:
            self.place.discard_upload(path)

    def _adapter(self, adapter_id: str) -> Path:
        """Find an adapter's folder; an id that could lead elsewhere is as unknown as one that never was."""
        folder = self.place.folder / "adapters" / str(adapter_id)
        if not (re.fullmatch(r"[0-9a-f]{16}", str(adapter_id)) and folder.is_dir()):
            raise AdapterError("This adapter is not there any more: it was deleted, or its time was up.")
        return folder


def _read_info(folder: Path) -> AdapterInfo | None:
    """Give what an adapter says of itself; None if that cannot be read."""
    try:
        return AdapterInfo.read(folder)
    except (OSError, AdapterError):
        return None


def _called(title: str, info: AdapterInfo) -> AdapterInfo:
    return replace(info, title=clean_title(title) or UNTITLED)


def _title(folder: Path, info: AdapterInfo | None) -> str:
    return clean_title((info and info.title) or folder.name)
