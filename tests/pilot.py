"""A run with portraits, without the computing: what review, report, export and forget do with it is the same."""

from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image

from magicapture.config import GenerateConfig, TrainConfig
from magicapture.drawing.portrait import Portrait
from magicapture.server.workspace import Workspace
from magicapture.server.workspace.invitation import open_once
from magicapture.staff.cell import CellResult, DrawnPortrait, Problem, Recipe
from magicapture.staff.decisions import KEPT, REJECTED
from magicapture.staff.invite import invite
from magicapture.staff.manifest import Row
from magicapture.staff.review_workspace import ReviewWorkspace
from magicapture.staff.run_folder import Entry, RunFolder

RECIPE = Recipe("tiny", "builtin", TrainConfig(), GenerateConfig())


@dataclass(frozen=True)
class Member:
    """One row of the manifest, and what became of it. ``decisions``: "kept" or a reason, for each portrait."""

    person_id: str
    decisions: tuple[str, ...] = ("", "")
    group: str = ""
    consent_at: str = "2026-11-03T00:00:00+00:00"
    unusable: str = ""
    style: str = "oil"


@dataclass
class Pilot:
    """A run of ``members`` in ``folder``."""

    folder: Path
    members: list[Member]
    run: RunFolder = field(init=False)

    def __post_init__(self) -> None:
        self.run = RunFolder(self.folder)
        numbers = self.run.number_of(member.person_id for member in self.members)
        entries = []
        for place, member in enumerate(self.members):
            number = numbers[member.person_id]
            consented = member.consent_at not in ("", "declined")
            row = Row(
                place + 2,
                member.person_id,
                Path("photos") / member.person_id,
                Path(member.style),
                2,
                member.consent_at,
                "v1",
                "intranet",
                member.group,
            )
            entries.append(Entry(row, number, f"{place:032x}" if consented else ""))
        self.run.write_entries(entries)
        for entry, member in zip(entries, self.members, strict=True):
            if entry.key:
                self._store(entry, member)

    def _store(self, entry: Entry, member: Member) -> None:
        if member.unusable:
            problem = Problem("person", 1, member.unusable, "unusable", "Use another.")
            result = CellResult(entry.key, entry.person, member.style, "unusable", {"check": 1.0}, (), (problem,))
            self.run.store(result, {})
            return
        drawn = tuple(
            DrawnPortrait(f"portrait-{n}.png", 10 * entry.person + n, 0.9 - 0.1 * n, 0.5)
            for n in range(1, len(member.decisions) + 1)
        )
        seconds = {"check": 1.0, "train": 100.0, "draw": 7.0}
        files = {one.file: picture(one) for one in drawn}
        self.run.store(CellResult(entry.key, entry.person, member.style, "done", seconds, drawn), files)
        for one, decision in zip(drawn, member.decisions, strict=True):
            facts = {"key": entry.key, "file": one.file}
            if decision == "kept":
                self.run.log(KEPT, entry.person, **facts)
            elif decision:
                self.run.log(REJECTED, entry.person, **facts, reason=decision)

    def number(self, person_id: str) -> int:
        return self.run.numbers()[person_id]

    def opened(self, person_id: str, root: Path) -> ReviewWorkspace:
        """Invite a person and open their link."""
        token, _ = invite(self.run, self.number(person_id))
        workspace = ReviewWorkspace.if_invited(Workspace.of(open_once(token, root), root))
        assert isinstance(workspace, ReviewWorkspace)
        workspace.note_opened()
        return workspace


def picture(drawn: DrawnPortrait, side: int = 64) -> bytes:
    """Give a portrait's file; its colour tells portraits apart."""
    image = Image.new("RGB", (side, side), (drawn.seed % 256, 90, 120))
    return png(Portrait(image, drawn.seed, drawn.likeness, drawn.style, {"prompt": ""}))


def png(portrait: Portrait) -> bytes:
    written = BytesIO()
    written.name = "portrait.png"

    class Target:
        def write_bytes(self, data: bytes) -> None:
            written.write(data)

    portrait.save(Target())
    return written.getvalue()
