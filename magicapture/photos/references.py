"""Photos become references: aligned crops with a mask, landmarks and an embedding, and a verdict in plain words."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from magicapture.faces import Face, FaceEngine
from magicapture.faces.square import Square
from magicapture.messages import Message, joined
from magicapture.photos.quality import MEASURED_SIDE, count_problems, light_problems, roll, view_problems
from magicapture.photos.reading import MAX_PHOTOS, PhotoError, Problem, read_photo

__all__ = [
    "CheckedSet",
    "PhotoError",
    "Problem",
    "Reference",
    "Role",
    "Verdict",
    "aligned_square",
    "check_photos",
    "mean_embedding",
    "read_photo",
]

Role = Literal["person", "style"]
FEW_PHOTOS = 4
"""The method was published with 4–6 photos; with fewer it still runs, and learns less."""
WIDER = 1.2
"""The crop is this much larger than FFHQ's, like the portraits that the embedded base was trained on."""
UPRIGHT = 60.0
"""A head that leans more than this many degrees is in a picture that lies on its side."""
SURE = 0.85
"""If only a turned picture shows a face, it must be as certain as this: turned landscapes reach 0.83."""
MASK_SIDE = 256
"""The mask is drawn on a crop of at least this many pixels: the mesh takes 192 for the face alone."""
LOOKING = threading.BoundedSemaphore(2)
"""So many photos are looked at in full size at a time, whoever sent them."""
SAME_PHOTO = 4.0
"""Mean difference (0–255) of two small grey crops of one photo; two photos of one sitting differ by more than 16."""
SAME_PERSON = 0.4
"""Cosine to the mean of the others: hard pairs of one person reach 0.49, strangers 0.38 once in a thousand."""


@dataclass(frozen=True, eq=False)
class Reference:
    """A photo as training takes it.

    ``image``: RGB, size × size, the face upright in the middle. ``mask``: (size, size) float32, 1 on the face.
    ``landmarks``: (5, 2) float32 in pixels of ``image``: the viewer's left eye, right eye, nose, left and right corner
    of the mouth. ``embedding``: (D,) float32 of length 1, by the engine, of the original photo.
    """

    name: str
    image: Image.Image
    mask: np.ndarray
    landmarks: np.ndarray
    embedding: np.ndarray


@dataclass(frozen=True, eq=False)
class Verdict:
    """What became of one photo. ``reference`` is None exactly if it is unusable; ``notes`` tell of conversions."""

    name: str
    reference: Reference | None
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> Literal["usable", "warning", "unusable"]:
        """The worst of the problems."""
        if self.reference is None:
            return "unusable"
        return "warning" if self.problems else "usable"

    @property
    def sentence(self) -> str:
        """The verdict for visitors: which photo, what is wrong, what to do."""
        said = [joined(" ", problem.message, problem.advice) for problem in self.problems] or [Message("Good.")]
        return joined(" ", Message("{name}:", name=self.name), *said, *self.notes)


@dataclass(frozen=True, eq=False)
class CheckedSet:
    """All photos of one role. ``warnings`` and ``refused`` concern the set as a whole."""

    role: Role
    verdicts: tuple[Verdict, ...]
    warnings: tuple[str, ...] = ()
    refused: str = ""

    @property
    def references(self) -> list[Reference]:
        """What training takes: everything usable, each photo once."""
        return [v.reference for v in self.verdicts if v.reference and all(p.code != "duplicate" for p in v.problems)]

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


def check_photos(paths: Sequence[Path], role: Role, engine: FaceEngine, size: int) -> CheckedSet:
    """Turn photos into references of ``size`` pixels a side, with a verdict each, in the order of ``paths``.

    For the role "style" different people are normal, and dark or soft pictures are judged with leniency. No photo at
    all, or more than 20, gives a set that is ``refused`` and not looked at.
    """
    if not paths:
        return CheckedSet(role, (), refused="Add at least one photo.")
    if len(paths) > MAX_PHOTOS:
        refused = Message("These are {n} photos; use at most {m}, the best ones.", n=len(paths), m=MAX_PHOTOS)
        return CheckedSet(role, (), refused=refused)
    verdicts = _mark_duplicates([_check_photo(Path(path), role, engine, size) for path in paths])
    if role == "person":
        verdicts = _mark_strangers(verdicts)
    checked = CheckedSet(role, tuple(verdicts))
    count = len(checked.references)
    if 0 < count < FEW_PHOTOS:
        few = (
            "Only {n} usable photos: the result will be better with {m} to 6."
            if count > 1
            else "Only {n} usable photo: the result will be better with {m} to 6."
        )
        return replace(checked, warnings=(Message(few, n=count, m=FEW_PHOTOS),))
    return checked


def aligned_square(landmarks: np.ndarray) -> Square:
    """Give the square around a face by FFHQ's rule (Karras et al., 2019), 1.2 times as large, from landmarks (5, 2)."""
    eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
    across, down = landmarks[1] - landmarks[0], mouth - eyes
    direction = across + np.array([down[1], -down[0]])
    half = WIDER * max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down))
    return Square(eyes + 0.1 * down, direction / np.hypot(*direction) * 2 * half)


def mean_embedding(references: list[Reference]) -> np.ndarray:
    """Give the mean (D,) of the references' embeddings, of length 1: what the identity loss pulls towards."""
    mean = np.mean([reference.embedding for reference in references], axis=0)
    return mean / np.linalg.norm(mean)


def _check_photo(path: Path, role: Role, engine: FaceEngine, size: int) -> Verdict:
    with LOOKING:
        return _look_at(path, role, engine, size)


def _look_at(path: Path, role: Role, engine: FaceEngine, size: int) -> Verdict:
    try:
        photo, notes = read_photo(path)
    except PhotoError as error:
        return Verdict(path.name, None, (error.problem,))
    upright, faces = _find_upright(photo, engine)
    if upright is not photo:
        notes.append("The photo lay on its side and was turned.")
    problems = count_problems(faces)
    if faces:
        square = aligned_square(faces[0].landmarks)
        crop, landmarks = square.cut(upright, MEASURED_SIDE), square.to_square(faces[0].landmarks, MEASURED_SIDE)
        problems += view_problems(faces[0]) + light_problems(crop, landmarks, is_photo=role == "person")
    if any(problem.severity == "unusable" for problem in problems):
        return Verdict(path.name, None, tuple(problems), tuple(notes))
    return Verdict(path.name, _reference(path.name, upright, faces[0], engine, size), tuple(problems), tuple(notes))


def _find_upright(photo: Image.Image, engine: FaceEngine) -> tuple[Image.Image, list[Face]]:
    """Look for faces, also in the turned photo if need be; give the photo as it has to be turned, and the faces."""
    faces = engine.detect(photo)
    if _is_upright(faces):
        return photo, faces
    best, least = (photo, faces), 0.0 if faces else SURE
    for turn in (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_180):
        turned = photo.transpose(turn)  # one at a time: they may be large
        found = engine.detect(turned)
        # Upside down, faces are found too, but with less certainty.
        if _is_upright(found) and found[0].score >= least and (best[0] is photo or found[0].score > best[1][0].score):
            best = turned, found
    return best


def _is_upright(faces: list[Face]) -> bool:
    return bool(faces) and abs(roll(faces[0].landmarks)) <= UPRIGHT


def _reference(name: str, photo: Image.Image, face: Face, engine: FaceEngine, size: int) -> Reference:
    square = aligned_square(face.landmarks)
    side = max(size, MASK_SIDE)
    middle = square.to_square((face.box[:2] + face.box[2:])[None] / 2, side)[0]
    half = (face.box[2:] - face.box[:2]) / 2 * (side / square.side)
    box = np.concatenate([middle - half, middle + half])
    in_crop = replace(face, box=box, landmarks=square.to_square(face.landmarks, side))
    large = Image.fromarray(engine.face_mask(square.cut(photo, side), in_crop))
    mask = np.asarray(large.resize((size, size), Image.Resampling.BOX))
    landmarks = square.to_square(face.landmarks, size)
    return Reference(name, square.cut(photo, size), mask, landmarks, face.embedding)


def _with_problem(verdict: Verdict, problem: Problem) -> Verdict:
    return replace(verdict, problems=(*verdict.problems, problem))


def _mark_duplicates(verdicts: list[Verdict]) -> list[Verdict]:
    """Warn about photos whose crop was seen before in the list, whatever their file, size or format."""
    seen: list[tuple[str, np.ndarray]] = []
    marked = list(verdicts)
    for place, verdict in enumerate(verdicts):
        if verdict.reference is None:
            continue
        small = np.asarray(verdict.reference.image.convert("L").resize((32, 32)), dtype=np.float32)
        first = next((name for name, other in seen if np.abs(small - other).mean() < SAME_PHOTO), None)
        if first:
            message = Message("This is the same photo as {first}.", first=first)
            duplicate = Problem("duplicate", "warning", message, "It is left out; add another one.")
            marked[place] = _with_problem(verdict, duplicate)
        seen.append((verdict.name, small))
    return marked


def _mark_strangers(verdicts: list[Verdict]) -> list[Verdict]:
    """Warn about faces unlike those of the largest group of photos that look alike."""
    found = [v.reference.embedding for v in verdicts if v.reference is not None]
    if len(found) < 2:
        return verdicts
    alike = np.array(found) @ np.array(found).T >= SAME_PERSON
    group = alike[alike.sum(axis=1).argmax()]
    mean = np.array(found)[group].mean(axis=0)
    mean /= np.linalg.norm(mean)
    advice = "Leave it out unless it is the same person."
    stranger = Problem("other_person", "warning", "This face does not match the other photos.", advice)
    return [
        v if v.reference is None or v.reference.embedding @ mean >= SAME_PERSON else _with_problem(v, stranger)
        for v in verdicts
    ]
