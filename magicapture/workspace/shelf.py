"""A visitor's adapters: stored, listed, renamed, packed, taken in from a zip."""

import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from magicapture.adapters.adapter import Adapter
from magicapture.adapters.info import INFO_FILE, AdapterError, AdapterInfo
from magicapture.workspace.folder import TEMPORARY, VisitorFolder, remove, same_age
from magicapture.workspace.uploads import ADAPTER_FILES, safe_stem, unpack_adapter, write_zip

LONGEST_TITLE = 60


@dataclass(frozen=True)
class StoredAdapter:
    """An adapter on disk."""

    id: str
    title: str
    created: datetime
    folder: Path
    info: AdapterInfo


class AdapterShelf(VisitorFolder):
    """The part of a visitor's folder that holds adapters, each in ``adapters/<id>``."""

    def add_adapter(self, adapter: Adapter, title: str) -> str:
        """Store ``adapter`` under a title of at most 60 characters; gives its id."""
        adapter_id = secrets.token_hex(8)
        with self._building(self.part("adapters") / adapter_id) as folder:
            replace(adapter, info=replace(adapter.info, title=_one_line(title))).save(folder)
        return adapter_id

    def adapters(self) -> list[StoredAdapter]:
        """List what is stored, newest first."""
        found = []
        for folder in self.entries("adapters"):
            with suppress(FileNotFoundError, AdapterError):  # deleted while this looks, or damaged
                info = AdapterInfo.read(folder)
                created = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
                found.append(StoredAdapter(folder.name, info.title or folder.name, created, folder, info))
        return sorted(found, key=lambda stored: stored.created, reverse=True)

    def load_adapter(self, adapter_id: str) -> Adapter:
        """Read an adapter. Raises ``AdapterError`` if there is none with this id."""
        return Adapter.load(self._adapter(adapter_id))

    def rename(self, adapter_id: str, title: str) -> None:
        """Give an adapter another title. Raises ``AdapterError`` if there is none with this id."""
        folder = self._adapter(adapter_id)
        info = replace(AdapterInfo.read(folder), title=_one_line(title))
        with same_age(folder):
            for named_as_before in folder.glob("*.zip"):
                remove(named_as_before)
            with self._building(folder / INFO_FILE) as file:
                file.write_text(info.as_json())

    def zip_adapter(self, adapter_id: str) -> Path:
        """Pack an adapter; the zip is named after its title and lies beside its files, to be deleted with them.

        Raises ``AdapterError`` if there is none with this id.
        """
        folder = self._adapter(adapter_id)
        target = folder / f"{safe_stem(AdapterInfo.read(folder).title or folder.name)}.zip"
        with same_age(folder), self._building(target) as package:
            write_zip([folder / name for name in ADAPTER_FILES if (folder / name).is_file()], package)
        return target

    def delete_adapter(self, adapter_id: str) -> None:
        """Delete an adapter. Raises ``AdapterError`` if there is none with this id."""
        remove(self._adapter(adapter_id))

    def import_zip(self, path: Path) -> str:
        """Store the adapter in an uploaded zip; gives its id. The upload is gone afterwards, whatever happens.

        Raises ``AdapterError`` if the zip holds anything but a sound adapter, ``WorkspaceError`` if it is not there for
        this visitor.
        """
        path = Path(path).resolve()
        try:
            self._check_access(path)
            with TemporaryDirectory(prefix=TEMPORARY, dir=self.part()) as place:
                adapter = unpack_adapter(path, Path(place) / safe_stem(path.stem))
                return self.add_adapter(adapter, adapter.info.title or path.stem)
        finally:
            self._discard_upload(path)

    def _adapter(self, adapter_id: str) -> Path:
        """Find an adapter's folder; an id that could lead elsewhere is as unknown as one that never was."""
        folder = self.folder / "adapters" / str(adapter_id)
        if not (re.fullmatch(r"[0-9a-f]{16}", str(adapter_id)) and folder.is_dir()):
            raise AdapterError("This adapter is not there any more: it was deleted, or its time was up.")
        return folder


def _one_line(title: str) -> str:
    return " ".join(title.split())[:LONGEST_TITLE] or "Untitled"
