"""All that one visitor has on disk: photos, portraits, and the shelf of adapters."""

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, get_args

from PIL import Image

from magicapture.drawing.credentials import CredentialsError, make_outgoing
from magicapture.drawing.portrait import Portrait, read_facts
from magicapture.messages import Message, joined
from magicapture.photos.reading import PhotoError
from magicapture.photos.references import MAX_PHOTOS, Role
from magicapture.server.records import Reason
from magicapture.server.workspace.folder import VisitorFolder, WorkspaceError, remove
from magicapture.server.workspace.shelf import AdapterShelf
from magicapture.server.workspace.uploads import MAX_PHOTO_BYTES, bare_photo, unused_path, write_zip

PLACES = ("new", "kept")
"""The folders of portraits, by whether they are kept."""
CROPS = "crops"
"""The folder beside those of the roles for crops of the person's photos."""
MOST_PORTRAITS = 300
PORTRAIT_GONE = "This portrait is not there any more: it was deleted, or its time was up."


class TooLittleLikenessError(WorkspaceError):
    """A portrait that may not be kept here because it is too unlike the person."""


@dataclass(frozen=True)
class KeptPortrait:
    """A portrait on disk; ``facts`` is what ``read_facts`` gives, ``kept`` says whether the visitor keeps it."""

    path: Path
    facts: dict
    kept: bool


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

    def close(self) -> None:
        """Let nothing that was started before now put anything into the visitor's folder."""
        self.place.close()

    def delete_everything(self) -> None:
        """Delete all that the visitor has here."""
        self.place.delete_everything()

    def photos(self, role: Role) -> list[Path]:
        """List the photos of ``role`` by name."""
        return self.place.entries("photos", _known(role))

    def ingest(self, uploads: Sequence[Path], role: Role) -> list[Path]:
        """Make ``uploads`` the photos of ``role``: upright JPEG or PNG files of at most 2048 pixels without metadata.

        Paths may also name photos of the role, which stay as they are; those not named are deleted. Files that cannot
        be read as photos are stored unchanged: ``check_photos`` says what is wrong with them. Whatever happens, uploads
        are gone afterwards; files outside the installation's root are left alone. Raises ``WorkspaceError``, and
        changes no photo, if there are more than 20, or one is larger than 30 MB or not there for this visitor.
        """
        paths = list(dict.fromkeys(Path(upload).resolve() for upload in uploads))
        folder = self.place.part("photos", _known(role))
        try:
            self._check_photos(paths)
            photos = [path if path.parent == folder else self._take_in(path, folder) for path in paths]
        except FileNotFoundError as error:
            raise WorkspaceError("A photo went away while it was being read: upload it again.") from error
        finally:
            for path in paths:
                self.place.discard_upload(path)
        for dropped in set(self.photos(role)) - set(photos):
            remove(dropped)
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
        """Store a new portrait, with a visible label in its corner if ``label``; gives its path.

        Of one that was enlarged, the picture as it was drawn is stored too: ``as_drawn`` finds it.
        """
        if sum(len(self.place.entries("portraits", place)) for place in PLACES) >= MOST_PORTRAITS:
            many = "You have {n} portraits here, which is as many as there is room for: reject some first."
            raise WorkspaceError(Message(many, n=MOST_PORTRAITS))
        path = self.place.part("portraits", "new") / f"seed{portrait.seed}-{secrets.token_hex(8)}.png"
        if portrait.drawn is not None:
            with self.place.building(self.place.part("portraits", "drawn") / path.name) as file:
                replace(portrait, image=portrait.drawn).save(file, label=label)
        with self.place.building(path) as file:
            portrait.save(file, label=label)
        return path

    def as_drawn(self, path: Path) -> Path | None:
        """Find the picture of a portrait before it was enlarged; None for one that was not."""
        drawn = self.folder / "portraits" / "drawn" / path.name
        return drawn if drawn.is_file() else None

    def portraits(self) -> list[KeptPortrait]:
        """List all portraits, best likeness first, those that could not be compared last."""
        found = []
        for kept in (False, True):
            for path in self.place.entries("portraits", PLACES[kept]):
                with suppress(FileNotFoundError):  # deleted while this looks
                    found.append(KeptPortrait(path, read_facts(path), kept))
        return sorted(found, key=lambda portrait: (_likeness(portrait.facts), portrait.path.name), reverse=True)

    def portrait_called(self, name: str) -> Path:
        """Find a portrait by the name of its file. Raises ``WorkspaceError`` if this visitor has none of that name."""
        for path in (path for place in PLACES for path in self.place.entries("portraits", place)):
            if path.name == name:
                return path
        raise WorkspaceError(PORTRAIT_GONE)

    def keep(self, path: Path, min_likeness: float | None) -> Path:
        """Move a portrait to those that are kept; gives its new path.

        Raises ``TooLittleLikenessError`` if its likeness is unknown or below ``min_likeness``, ``WorkspaceError`` if it
        is not one of this visitor's.
        """
        path = self._own_portrait(path)
        likeness = _likeness(read_facts(path))
        if min_likeness is not None and likeness < min_likeness:
            found = "Portraits can be kept here from a likeness of {n}; this one has {m}."
            if likeness < -1:
                found = (
                    "Portraits can be kept here from a likeness of {n}; this one cannot be compared with the person."
                )
            found = Message(found, n=f"{min_likeness:.2f}", m=f"{likeness:.2f}")
            raise TooLittleLikenessError(joined(" ", found, "Draw more, or turn the dial towards the person."))
        return path.replace(self.place.part("portraits", "kept") / path.name)

    def reject(self, path: Path, reason: Reason = "other") -> None:
        """Delete a portrait, and a zip that may hold it. Raises ``WorkspaceError`` if it is not this visitor's.

        The ``reason`` is for those who asked for the portraits: see ``staff.review_workspace``.
        """
        path = self._own_portrait(path)
        remove(path)
        remove(self.folder / "portraits" / "drawn" / path.name)
        remove(self._portraits_zip)

    def zip_kept(self) -> Path:
        """Pack the portraits that are kept. Raises ``WorkspaceError`` if there is none, or one may not leave.

        The zip counts as old as the oldest portrait in it, so that it is not there for longer than that one.
        """
        kept = self.place.entries("portraits", "kept")
        if not kept:
            raise WorkspaceError("No portrait is kept yet: choose “Keep” on those that you like.")
        try:
            for path in kept:
                make_outgoing(path)
        except CredentialsError as error:
            raise WorkspaceError(str(error)) from error
        with self.place.building(self._portraits_zip) as package:
            write_zip(kept, package)
            oldest = min(path.stat().st_mtime for path in kept)
            os.utime(package, (oldest, oldest))
        return self._portraits_zip

    @property
    def _portraits_zip(self) -> Path:
        return self.folder / "portraits" / "portraits.zip"

    def _own_portrait(self, path: Path) -> Path:
        path = Path(path).resolve()
        if path.parent not in [self.folder / "portraits" / place for place in PLACES] or not path.is_file():
            raise WorkspaceError(PORTRAIT_GONE)
        return path

    def _check_photos(self, paths: list[Path]) -> None:
        if len(paths) > MAX_PHOTOS:
            many = "These are {n} photos; use at most {m}, the best ones."
            raise WorkspaceError(Message(many, n=len(paths), m=MAX_PHOTOS))
        for path in paths:
            self.place.check_access(path)
            if path.stat().st_size > MAX_PHOTO_BYTES:
                large = "{name} has more than {n} MB: use a smaller copy."
                raise WorkspaceError(Message(large, name=path.name, n=MAX_PHOTO_BYTES // 2**20))

    def _take_in(self, source: Path, folder: Path) -> Path:
        try:
            picture, suffix = bare_photo(source)
        except PhotoError as error:
            if not self.place.is_upload(source):
                raise WorkspaceError(Message("{name}: {reason}", name=source.name, reason=str(error))) from error
            return source.rename(unused_path(folder, source.stem, source.suffix))
        target = unused_path(folder, source.stem, suffix)
        with self.place.building(target) as file:
            picture.save(file, quality=95)
        return target


def _known(role: Role) -> Role:
    if role not in get_args(Role):
        raise ValueError(f"A role is one of {', '.join(get_args(Role))}; this is {role!r}.")
    return role


def _likeness(facts: dict) -> float:
    """Give the likeness to sort and judge by; unknown is less than any."""
    return -2.0 if facts["likeness"] is None else facts["likeness"]
