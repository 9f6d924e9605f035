"""All that one visitor has on disk: photos, portraits, and the shelf of adapters."""

import os
import secrets
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Self

from PIL import Image

from magicapture.drawing.credentials import withheld
from magicapture.drawing.portrait import Portrait, read_facts
from magicapture.messages import Message
from magicapture.photos.references import Role
from magicapture.server.records import Reason
from magicapture.server.workspace.folder import VisitorFolder, WorkspaceError, remove
from magicapture.server.workspace.portraits import (
    PLACES,
    KeptPortrait,
    PortraitGoneError,
    look_through,
    portrait_files,
    require_likeness,
)
from magicapture.server.workspace.shelf import AdapterShelf
from magicapture.server.workspace.subject import SubjectNotes, known_role
from magicapture.server.workspace.training import TrainingFolder
from magicapture.server.workspace.uploads import check_uploads, take_in, write_zip

CROPS = "crops"
"""The folder beside those of the roles for crops of the person's photos."""
MOST_PORTRAITS = 300
_MOVING = threading.RLock()
"""Held while a portrait is kept, rejected or put in the place of a smaller one."""


@dataclass(frozen=True)
class Workspace:
    """A visitor's photos in ``photos/<role>``, portraits in ``portraits/new`` and ``portraits/kept``, and adapters."""

    place: VisitorFolder

    @classmethod
    def of(cls, key: str, root: Path | None = None) -> Self:
        """Find the workspace of the visitor who knows ``key``: see ``VisitorFolder.of``."""
        return cls(VisitorFolder.of(key, root))

    @classmethod
    def named(cls, name: str, root: Path | None = None) -> Self:
        """Find the workspace whose ``name`` stands in the records: see ``VisitorFolder.named``."""
        return cls(VisitorFolder.named(name, root))

    @property
    def name(self) -> str:
        """What records call the visitor."""
        return self.place.name

    @property
    def folder(self) -> Path:
        """Where all of it lies; there is none before something is put into it."""
        return self.place.folder

    @property
    def shelf(self) -> AdapterShelf:
        """The visitor's adapters."""
        return AdapterShelf(self.place)

    @property
    def subject(self) -> SubjectNotes:
        """What the visitor says of whom or what the photos show."""
        return SubjectNotes(self.place)

    def training(self, job_id: str) -> TrainingFolder:
        """Give the part of the folder that belongs to a training, whether it is there or not."""
        return TrainingFolder(self.place, job_id)

    def close(self) -> None:
        """Let nothing that was started before now put anything into the visitor's folder."""
        self.place.close()

    def delete_everything(self) -> None:
        """Delete all that the visitor has here."""
        self.place.delete_everything()

    def photos(self, role: Role) -> list[Path]:
        """List the photos of ``role`` by name."""
        return self.place.entries("photos", known_role(role))

    def ingest(self, uploads: Sequence[Path], role: Role) -> list[Path]:
        """Make ``uploads`` the photos of ``role``: upright JPEG or PNG files of at most 2048 pixels without metadata.

        Paths may also name photos of the role, which stay as they are; those not named are deleted. Where one is partly
        transparent, its mask is stored beside it (see ``SubjectNotes``). Files that cannot be read as photos are stored
        unchanged: ``check_photos`` says what is wrong with them. Whatever happens, uploads
        are gone afterwards; files outside the installation's root are left alone. Raises ``WorkspaceError``, and
        changes no photo, if there are more than 20, or one is larger than 30 MB or not there for this visitor.
        """
        paths = list(dict.fromkeys(Path(upload).resolve() for upload in uploads))
        folder = self.place.part("photos", known_role(role))
        try:
            check_uploads(self.place, paths)
            photos = [path if path.parent == folder else take_in(self.place, path, folder) for path in paths]
        except FileNotFoundError as error:
            raise WorkspaceError("A photo went away while it was being read: upload it again.") from error
        finally:
            for path in paths:
                self.place.discard_upload(path)
        for dropped in set(self.photos(role)) - set(photos):
            remove(dropped)
            self.subject.forget_mask(dropped)
        self.subject.keep_noun()
        if role == "person":
            remove(self.folder / "photos" / CROPS)
        return photos

    def store_crop(self, name: str, crop: Image.Image) -> Path:
        """Store what training sees of the person's photo ``name``, to be shown; it goes with the photos."""
        path = self.place.part("photos", CROPS) / f"{Path(name).name}.png"
        with self.place.building(path) as file:
            crop.save(file)
        return path

    def forget_photos(self) -> None:
        """Delete the photos of both roles."""
        remove(self.folder / "photos")

    def add_portrait(self, portrait: Portrait, label: bool) -> Path:
        """Store a new portrait, with a visible label in its corner if ``label``; gives its path."""
        if sum(len(self.place.entries("portraits", place)) for place in PLACES) >= MOST_PORTRAITS:
            many = "You have {n} portraits here, which is as many as there is room for: reject some first."
            raise WorkspaceError(Message(many, n=MOST_PORTRAITS))
        path = self.place.part("portraits", "new") / f"seed{portrait.seed}-{secrets.token_hex(8)}.png"
        with self.place.building(path) as file:
            portrait.save(file, label=label)
        return path

    def enlarge_portrait(self, path: Path, larger: Portrait, label: bool) -> Path | None:
        """Put ``larger`` in the place of the portrait that was stored at ``path``, which may be kept by now.

        Gives its path, or None if it is gone. The picture as it was drawn is stored too: ``as_drawn`` finds it.
        """
        waiting = self.place.part("portraits", "larger") / path.name
        with self.place.building(waiting) as file:
            larger.save(file, label=label)
        try:
            with _MOVING:
                current = self.portrait_called(path.name)
                with self.place.building(self.place.part("portraits", "drawn") / path.name) as drawn:
                    copyfile(current, drawn)
                return waiting.replace(current)
        except PortraitGoneError:
            return None
        finally:
            remove(waiting)

    def as_drawn(self, path: Path) -> Path | None:
        """Find the picture of a portrait before it was enlarged; None for one that was not."""
        drawn = self.folder / "portraits" / "drawn" / path.name
        return drawn if drawn.is_file() else None

    def portraits(self) -> list[KeptPortrait]:
        """List all portraits that can be read, best likeness first, those that could not be compared last."""
        return self.look_through()[0]

    def look_through(self) -> tuple[list[KeptPortrait], list[Path]]:
        """Do the same, and list the files of portraits that cannot be read."""
        return look_through(self.place)

    def portrait_called(self, name: str) -> Path:
        """Find a portrait by the name of its file. Raises ``PortraitGoneError`` if the visitor has none like that."""
        for path in portrait_files(self.place):
            if path.name == name:
                return path
        raise PortraitGoneError

    def keep(self, path: Path, min_likeness: float | None) -> Path:
        """Move a portrait to those that are kept; gives its new path.

        Raises ``TooLittleLikenessError`` if its likeness is unknown or below ``min_likeness``, ``PortraitGoneError`` if
        it is not one of this visitor's.
        """
        path = self._own_portrait(path)
        require_likeness(read_facts(path), min_likeness)
        with _MOVING:
            return self._own_portrait(path).replace(self.place.part("portraits", "kept") / path.name)

    def reject(self, path: Path, reason: Reason = "other") -> None:
        """Delete a portrait, and a zip that may hold it. Raises ``PortraitGoneError`` if it is not this visitor's.

        The ``reason`` is for those who asked for the portraits: see ``staff.review_workspace``.
        """
        with _MOVING:
            path = self._own_portrait(path)
            remove(path)
            remove(self.folder / "portraits" / "drawn" / path.name)
            remove(self._portraits_zip)

    def zip_kept(self) -> Path:
        """Pack the portraits that are kept and may leave; one that is rejected meanwhile is not among them.

        The zip counts as old as the oldest portrait in it, so that it is not there for longer than that one. Raises
        ``WorkspaceError`` if there is none.
        """
        while True:
            with suppress(FileNotFoundError):  # one was rejected: again without it
                kept = self._leaving()
                with self.place.building(self._portraits_zip) as package:
                    write_zip(kept, package)
                    oldest = min(path.stat().st_mtime for path in kept)
                    os.utime(package, (oldest, oldest))
                with _MOVING:
                    if all(path.is_file() for path in kept):
                        return self._portraits_zip
                    remove(self._portraits_zip)

    def _leaving(self) -> list[Path]:
        """List the portraits that are kept and may leave. Raises ``WorkspaceError`` if there is none."""
        kept = [portrait.path for portrait in self.portraits() if portrait.kept]
        if not kept:
            raise WorkspaceError("No portrait is kept yet: choose “Keep” on those that you like.")
        reasons = withheld(kept)
        leaving = [path for path in kept if path not in reasons]
        if not leaving:
            raise WorkspaceError(next(iter(reasons.values())))
        return leaving

    @property
    def _portraits_zip(self) -> Path:
        return self.folder / "portraits" / "portraits.zip"

    def _own_portrait(self, path: Path) -> Path:
        path = Path(path).resolve()
        if path.parent not in [self.folder / "portraits" / place for place in PLACES] or not path.is_file():
            raise PortraitGoneError
        return path
