"""From a photo to the face that training takes: upright, judged, cut out."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from magicapture.faces.face import Face
from magicapture.faces.quality import MEASURED_SIDE, count_problems, light_problems, roll, view_problems
from magicapture.square import Square, ellipse
from magicapture.subject import NO_FACE, Problem, Reference, Sighting

if TYPE_CHECKING:
    from magicapture.faces.engine import FaceEngine

WIDER = 1.2
"""The crop is this much larger than FFHQ's, like the portraits that the embedded base was trained on."""
UPRIGHT = 60.0
"""A head that leans more than this many degrees is in a picture that lies on its side."""
SURE = 0.85
"""If only a turned picture shows a face, it must be as certain as this: turned landscapes reach 0.83."""
MASK_SIDE = 256
"""The mask is drawn on a crop of at least this many pixels: the mesh takes 192 for the face alone."""
SAME_PERSON = 0.4
"""Cosine to the mean of the others: hard pairs of one person reach 0.49, strangers 0.38 once in a thousand."""
USUAL_FACE = np.array([[0.398, 0.475], [0.600, 0.476], [0.501, 0.595], [0.416, 0.699], [0.581, 0.701]])
"""Where the landmarks (5, 2) of a face lie in its crop, as shares of the side: means over a few thousand portraits."""
USUAL_OVAL = (0.33, 0.32, 0.67, 0.80)
"""Left, top, right and bottom of an oval around them, from above the brows to the chin, likewise as shares."""
NO_FACE_IN_LOOK = Problem(
    NO_FACE,
    "warning",
    "No face was found: all of the picture but its middle teaches the look.",
    "Pictures of people teach more: how the look draws hair and clothes.",
)
STRANGER = Problem(
    "other_person",
    "warning",
    "This face does not match the other photos.",
    "Leave it out unless it is the same person.",
)


def look_for_face(engine: "FaceEngine", name: str, photo: Image.Image, size: int, *, own: bool) -> Sighting:
    """See ``Subject.look``."""
    upright, faces = _find_upright(photo, engine)
    if not faces and not own:
        return Sighting(_without_face(name, photo, engine, size), (NO_FACE_IN_LOOK,))
    notes = () if upright is photo else ("The photo lay on its side and was turned.",)
    problems = count_problems(faces)
    if faces:
        square = aligned_square(faces[0].landmarks)
        crop, landmarks = square.cut(upright, MEASURED_SIDE), square.to_square(faces[0].landmarks, MEASURED_SIDE)
        problems += view_problems(faces[0]) + light_problems(crop, landmarks, is_photo=own)
    if any(problem.severity == "unusable" for problem in problems):
        return Sighting(None, tuple(problems), notes)
    return Sighting(_reference(name, upright, faces[0], engine, size), tuple(problems), notes)


def aligned_square(landmarks: np.ndarray) -> Square:
    """Give the square around a face by FFHQ's rule (Karras et al., 2019), 1.2 times as large, from landmarks (5, 2)."""
    eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
    across, down = landmarks[1] - landmarks[0], mouth - eyes
    direction = across + np.array([down[1], -down[0]])
    half = WIDER * max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down))
    return Square(eyes + 0.1 * down, direction / np.hypot(*direction) * 2 * half)


def strangers(embeddings: np.ndarray) -> np.ndarray:
    """Tell which faces are unlike those of the largest group that look alike; (N, D) gives (N,) bool."""
    alike = embeddings @ embeddings.T >= SAME_PERSON
    mean = embeddings[alike[alike.sum(axis=1).argmax()]].mean(axis=0)
    return embeddings @ (mean / np.linalg.norm(mean)) < SAME_PERSON


def _find_upright(photo: Image.Image, engine: "FaceEngine") -> tuple[Image.Image, list[Face]]:
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


def _reference(name: str, photo: Image.Image, face: Face, engine: "FaceEngine", size: int) -> Reference:
    square = aligned_square(face.landmarks)
    side = max(size, MASK_SIDE)
    middle = square.to_square((face.box[:2] + face.box[2:])[None] / 2, side)[0]
    half = (face.box[2:] - face.box[:2]) / 2 * (side / square.side)
    box = np.concatenate([middle - half, middle + half])
    in_crop = replace(face, box=box, landmarks=square.to_square(face.landmarks, side))
    large = Image.fromarray(engine.face_mask(square.cut(photo, side), in_crop))
    mask = np.asarray(large.resize((size, size), Image.Resampling.BOX))
    landmarks = square.to_square(face.landmarks, size)
    return Reference(name, square.cut(photo, size), mask, landmarks, face.embedding, engine.name)


def _without_face(name: str, photo: Image.Image, engine: "FaceEngine", size: int) -> Reference:
    """Take the middle of a look's picture that shows nobody, as if a face were where it usually is."""
    mask = ellipse((size, size), tuple(size * share for share in USUAL_OVAL))
    landmarks = (USUAL_FACE * size - 0.5).astype(np.float32)
    nobody = np.zeros(0, np.float32)
    return Reference(name, Square.middle_of(photo).cut(photo, size), mask, landmarks, nobody, engine.name)
