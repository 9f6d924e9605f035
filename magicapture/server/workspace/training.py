"""One training's part of a visitor's folder: what was asked, how far it is, pictures, the wish to stop, the end."""

from dataclasses import dataclass, replace
from pathlib import Path

from magicapture.drawing.portrait import Portrait
from magicapture.server.workspace.folder import VisitorFolder

PREVIEWS = "previews"


@dataclass(frozen=True)
class TrainingFolder:
    """The folder ``jobs/<id>``. It may be gone: it goes with the visitor's, or when its time is up."""

    place: VisitorFolder
    id: str

    @property
    def folder(self) -> Path:
        """Where all of it lies."""
        return self.place.folder / "jobs" / self.id

    @property
    def plan(self) -> Path:
        """The file with what was asked; it holds photos."""
        return self.folder / "plan.pt"

    @property
    def checkpoint(self) -> Path:
        """The file from which it can go on."""
        return self.folder / "checkpoint.pt"

    @property
    def stop(self) -> Path:
        """The file that is there once the visitor wants it to stop."""
        return self.folder / "stop"

    @property
    def end(self) -> Path:
        """The file that says how it ended, beside the records."""
        return self.folder / "end.bin"

    def make(self) -> None:
        """Make the folder. Raises ``WorkspaceError`` if the visitor has deleted everything meanwhile."""
        self.place.part("jobs", self.id)

    def forget_work(self) -> None:
        """Delete what it needed to go on."""
        self.plan.unlink(missing_ok=True)
        self.checkpoint.unlink(missing_ok=True)

    def previews(self) -> list[Path]:
        """List the quick portraits drawn so far, oldest first."""
        return sorted((self.folder / PREVIEWS).glob("*.png"))

    def add_preview(self, step: int, number: int, portrait: Portrait) -> None:
        """Store the quick portrait with this ``number`` of those drawn after ``step``; whoever looks sees it whole."""
        previews = self.place.part("jobs", self.id, PREVIEWS)
        part = self.folder / "preview.png"
        settings = {**portrait.settings, "step": step}
        replace(portrait, settings=settings).save(part).replace(previews / f"step{step:05d}-{number}.png")
