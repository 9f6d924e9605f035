"""Photos become references: aligned crops with a mask, landmarks and an embedding, and a verdict in plain words."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from magicapture.messages import Message, joined
from magicapture.photos.reading import MAX_PHOTOS, PhotoError, read_layers, read_photo
from magicapture.subject import PERSON_NOUN, Problem, Reference, Subject

__all__ = [
    "CheckedSet",
    "PhotoError",
    "Problem",
    "Reference",
    "Role",
    "Verdict",
    "check_photos",
    "mean_embedding",
    "read_photo",
]

Role = Literal["person", "style"]
FEW_PHOTOS = 4
"""The method was published with 4–6 photos; with fewer it still runs, and learns less."""
LOOKING = threading.BoundedSemaphore(2)
"""So many photos are looked at in full size at a time, whoever sent them."""
DUPLICATE = "duplicate"
"""The code of a photo that is there already."""
SAME_PHOTO = 4.0
"""Mean difference (0–255) of two small grey crops of one photo; two photos of one sitting differ by more than 16."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """What became of one photo. ``reference`` is None if nothing can be cut out; ``notes`` tell of conversions."""

    name: str
    reference: Reference | None
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> Literal["usable", "warning", "unusable"]:
        """Whether training takes it, and without reserve: the copy of another photo is left out."""
        if self.reference is None or any(problem.code == DUPLICATE for problem in self.problems):
            return "unusable"
        return "warning" if self.problems else "usable"

    @property
    def sentence(self) -> str:
        """The verdict for visitors: which photo, what is wrong, what to do."""
        said = [joined(" ", problem.message, problem.advice) for problem in self.problems] or [Message("Good.")]
        return joined(" ", Message("{name}:", name=self.name), *said, *self.notes)


@dataclass(frozen=True, eq=False)
class CheckedSet:
    """All photos of one role. ``warnings`` and ``refused`` concern the set as a whole; ``subject``: its noun."""

    role: Role
    verdicts: tuple[Verdict, ...]
    warnings: tuple[str, ...] = ()
    refused: str = ""
    subject: str = PERSON_NOUN

    @property
    def references(self) -> list[Reference]:
        """What training takes: everything usable, each photo once."""
        return [v.reference for v in self.verdicts if v.reference and v.status != "unusable"]

    @property
    def problem(self) -> str:
        """Why the set cannot be used, or an empty text."""
        if self.refused or self.references:
            return self.refused
        return "None of these photos can be used. The list says what is wrong with each."

    @property
    def usable(self) -> bool:
        """Whether training can start with this set."""
        return not self.problem


def check_photos(
    paths: Sequence[Path], role: Role, subject: Subject, size: int, masks: Mapping[str, Path] | None = None
) -> CheckedSet:
    """Turn photos into references of ``size`` pixels a side, with a verdict each, in the order of ``paths``.

    For the role "style" different subjects are normal, and dark or soft pictures are judged with leniency. No photo at
    all, or more than 20, gives a set that is ``refused`` and not looked at. ``masks``: pictures in mode L, by the names
    of the photos whose subject they show, for those that are not transparent around it.
    """
    if not paths:
        return CheckedSet(role, (), refused="Add at least one photo.", subject=subject.noun)
    if len(paths) > MAX_PHOTOS:
        refused = Message("These are {n} photos; use at most {m}, the best ones.", n=len(paths), m=MAX_PHOTOS)
        return CheckedSet(role, (), refused=refused, subject=subject.noun)
    known = masks or {}
    verdicts = _mark_duplicates([_check_photo(path, known.get(path.name), role, subject, size) for path in paths])
    if role == "person":
        verdicts = _mark_strangers(verdicts, subject)
    checked = CheckedSet(role, tuple(verdicts), subject=subject.noun)
    count = len(checked.references)
    if 0 < count < FEW_PHOTOS:
        few = (
            "Only {n} usable photos: the result will be better with {m} to 6."
            if count > 1
            else "Only {n} usable photo: the result will be better with {m} to 6."
        )
        return replace(checked, warnings=(Message(few, n=count, m=FEW_PHOTOS),))
    return checked


def mean_embedding(references: list[Reference]) -> np.ndarray:
    """Give the mean (D,) of the references' embeddings, of length 1: what the identity loss pulls towards."""
    mean = np.mean([reference.embedding for reference in references], axis=0)
    return mean / np.linalg.norm(mean)


def _check_photo(path: Path, mask: Path | None, role: Role, subject: Subject, size: int) -> Verdict:
    with LOOKING:
        try:
            photo, cutout, notes = read_layers(path)
        except PhotoError as error:
            return Verdict(path.name, None, (error.problem,))
        if mask is not None:
            cutout = _stored_mask(mask, photo.size) or cutout
        seen = subject.look(path.name, photo, cutout, size, own=role == "person")
    return Verdict(path.name, seen.reference, seen.problems, (*notes, *seen.notes))


def _stored_mask(path: Path, size: tuple[int, int]) -> Image.Image | None:
    """Read a mask; None if it was deleted meanwhile."""
    with suppress(FileNotFoundError), Image.open(path) as mask:
        return mask.convert("L").resize(size)
    return None


def _with_problem(verdict: Verdict, problem: Problem) -> Verdict:
    return replace(verdict, problems=(*verdict.problems, problem))


def _mark_duplicates(verdicts: list[Verdict]) -> list[Verdict]:
    """Leave out photos whose crop was seen before in the list, whatever their file, size or format."""
    seen: list[tuple[str, np.ndarray]] = []
    marked = list(verdicts)
    for place, verdict in enumerate(verdicts):
        if verdict.reference is None:
            continue
        small = np.asarray(verdict.reference.image.convert("L").resize((32, 32)), dtype=np.float32)
        first = next((name for name, other in seen if np.abs(small - other).mean() < SAME_PHOTO), None)
        if first:
            message = Message("This is the same photo as {first}.", first=first)
            duplicate = Problem(DUPLICATE, "warning", message, "It is left out; add another one.")
            marked[place] = _with_problem(verdict, duplicate)
        seen.append((verdict.name, small))
    return marked


def _mark_strangers(verdicts: list[Verdict], subject: Subject) -> list[Verdict]:
    """Warn about those that do not show what most of the others show."""
    found = [verdict.reference.embedding for verdict in verdicts if verdict.reference is not None]
    if len(found) < 2:
        return verdicts
    told = subject.strangers(np.array(found))
    if told is None:
        return verdicts
    which, problem = iter(told[0]), told[1]
    return [v if v.reference is None or not next(which) else _with_problem(v, problem) for v in verdicts]
