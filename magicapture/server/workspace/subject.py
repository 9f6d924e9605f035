"""What a visitor says of their subject: what it is called, and which part of each photo shows it."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from PIL import Image

from magicapture.photos.references import Role
from magicapture.server.workspace.folder import VisitorFolder, WorkspaceError, remove
from magicapture.subject import NOUN, PERSON_NOUN

OPAQUE = 255
PHOTO_GONE = "This photo is not there any more: it was removed, or its time was up."


@dataclass(frozen=True)
class SubjectNotes:
    """The part of a visitor's folder beside the photos: ``photos/subject/<noun>`` and ``photos/<role>-masks/``.

    It goes when they go.
    """

    place: VisitorFolder

    @property
    def noun(self) -> str:
        """What the photos show; "person" unless the visitor has named a thing."""
        names = (path.name for path in self.place.entries("photos", "subject"))
        return next(filter(NOUN.fullmatch, names), PERSON_NOUN)

    def name(self, noun: str) -> None:
        """Call it by ``noun``, which ``noun_of`` gave."""
        remove(self.place.folder / "photos" / "subject")
        if noun != PERSON_NOUN:
            (self.place.part("photos", "subject") / noun).touch()

    def keep_noun(self) -> None:
        """Let the noun be no older than the photos that were just added."""
        for path in self.place.entries("photos", "subject"):
            path.touch()

    def masks(self, role: Role) -> dict[str, Path]:
        """Give the masks of the photos of ``role`` by the names of the photos."""
        return {path.stem: path for path in self.place.entries("photos", f"{role}-masks")}

    def store_mask(self, photo: Path, mask: Image.Image) -> None:
        """Note which part of one of the visitor's photos shows the subject: ``mask`` in mode L, of any size.

        Raises ``WorkspaceError`` if the photo is not there any more.
        """
        try:
            with Image.open(photo) as picture:
                size = picture.size
        except FileNotFoundError as error:
            raise WorkspaceError(PHOTO_GONE) from error
        folder = self.place.part("photos", f"{photo.parent.name}-masks")
        with self.place.building(folder / f"{photo.name}.png") as file:
            mask.resize(size, Image.Resampling.BILINEAR).save(file)

    def forget_mask(self, photo: Path) -> None:
        """Delete the mask of a photo that is deleted."""
        remove(photo.parent.parent / f"{photo.parent.name}-masks" / f"{photo.name}.png")


def known_role(role: Role) -> Role:
    """Give ``role``. Raises ``ValueError`` for what is none: it names a folder."""
    if role not in get_args(Role):
        raise ValueError(f"A role is one of {', '.join(get_args(Role))}; this is {role!r}.")
    return role
