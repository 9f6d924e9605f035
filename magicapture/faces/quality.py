"""What is wrong with the face in a photo: measurements on an aligned crop, and the problems they amount to.

The thresholds were set on the open development photos: good photos and pictures in four styles on one side, spoilt
uploads on the other. Pictures of styles get half the thresholds of light and sharpness: paintings may be dark and soft.
"""

import numpy as np
from PIL import Image

from magicapture.faces.face import Face
from magicapture.messages import Message
from magicapture.subject import NO_FACE, Problem, Severity

MEASURED_SIDE = 128
"""Light and sharpness are measured on the aligned crop at this size, so that photos of any size compare."""
FACE_ROWS, FACE_COLUMNS = slice(32, 110), slice(32, 96)
"""Where the face lies in that crop."""
SMALL, TINY = 80, 40
"""Faces below ``SMALL`` pixels of width are enlarged noticeably, below ``TINY`` nothing is left to learn from."""
RIVAL, BYSTANDER = 0.6, 0.3
"""A second face at least so wide, as a share of the first: the subject is unclear, or merely not alone."""
SHARP = 0.25
"""Laplacian over contrast; good photos and paintings lie above 0.45, the blurred photo at 0.14."""
DARK = 60
"""Brightness (0–255) that the lightest twentieth of a face must reach; good photos lie above 94, the dark one at 33."""
WHITE, BLOWN_OUT = 250, 0.35
"""Brightness that counts as white, and the share of it that spoils a face; engravings reach 0.22."""
TURNED = 0.75
"""``turn`` from which a face is a side view; three-quarter views end at 0.7, most side views lie above 0.75."""
COVERED = 0.3
"""Eyes darker than this share of the cheeks are behind sunglasses; open eyes lie above 0.4. Light glasses escape."""


def roll(landmarks: np.ndarray) -> float:
    """Say how far the head leans, in degrees clockwise (-180–180), from the five landmarks (5, 2).

    Measured from the eyes to the mouth, because in a side view the eyes lie on top of each other.
    """
    x, y = landmarks[3:].mean(axis=0) - landmarks[:2].mean(axis=0)
    return float(np.degrees(np.arctan2(-x, y)))


def turn(landmarks: np.ndarray) -> float:
    """Say how far the head is turned aside, from the five landmarks (5, 2): 0 frontal, above about 0.75 a side view.

    The nose's distance from the line between the middles of eyes and mouth, over the distance of the eyes.
    """
    middle = landmarks[:2].mean(axis=0)
    down, nose = landmarks[3:].mean(axis=0) - middle, landmarks[2] - middle
    offset = abs(down[0] * nose[1] - down[1] * nose[0]) / np.hypot(*down)
    return float(offset / np.hypot(*(landmarks[1] - landmarks[0])))


def sharpness(grey: np.ndarray) -> float:
    """Give the strength of a face's Laplacian over its contrast; ``grey``: (128, 128) aligned crop, 0–255."""
    laplacian = 4 * grey - sum(np.roll(grey, shift, axis) for shift in (1, -1) for axis in (0, 1))
    face = (FACE_ROWS, FACE_COLUMNS)
    return float(laplacian[face].std() / max(grey[face].std(), 1.0))


def eye_brightness(grey: np.ndarray, landmarks: np.ndarray) -> float:
    """Give the brightness of the lighter eye as a share of the cheek's below it.

    ``grey``: (128, 128) aligned crop, 0–255; ``landmarks``: (5, 2) in its pixels.
    """
    shares = []
    for x, y in landmarks[:2].astype(int):
        eye, cheek = grey[y - 5 : y + 5, x - 7 : x + 7], grey[y + 14 : y + 22, x - 5 : x + 5]
        shares.append(eye.mean() / max(cheek.mean(), 1.0))
    return float(max(shares))


def count_problems(faces: list[Face]) -> list[Problem]:
    """Judge how many people are in a photo; ``faces``: the largest first."""
    if not faces:
        advice = "Use a photo that shows the face from the front, upright and not covered."
        return [Problem(NO_FACE, "unusable", "No face was found.", advice)]
    share = faces[1].width / faces[0].width if len(faces) > 1 else 0.0
    if share >= RIVAL:
        message = "Several people are in the photo: it is unclear who is meant."
        return [Problem("several_people", "unusable", message, "Cut the photo so that only one person is left.")]
    if share >= BYSTANDER:
        advice = "If that is not the right one, cut the photo."
        return [Problem("bystander", "warning", "More than one face is in the photo; the largest was taken.", advice)]
    return []


def view_problems(face: Face) -> list[Problem]:
    """Judge the size and the direction of a face."""
    problems = []
    if face.width < SMALL:
        severity: Severity = "unusable" if face.width < TINY else "warning"
        message = Message("The face is only {n} pixels wide.", n=round(face.width))
        problems.append(Problem("face_too_small", severity, message, "Use a larger photo, or one taken closer."))
    if turn(face.landmarks) > TURNED:
        advice = "Use a photo in which both eyes can be seen."
        problems.append(Problem("turned", "warning", "The face is seen from the side.", advice))
    return problems


def light_problems(crop: Image.Image, landmarks: np.ndarray, is_photo: bool) -> list[Problem]:
    """Judge sharpness, light and open eyes.

    ``crop``: aligned, 128 × 128, RGB; ``landmarks``: (5, 2) in its pixels; ``is_photo``: false for pictures of a style,
    which are judged with leniency and whose eyes may be dark.
    """
    grey = np.asarray(crop.convert("L"), dtype=np.float32)
    face = grey[FACE_ROWS, FACE_COLUMNS]
    strictness = 1.0 if is_photo else 0.5
    problems = []
    if sharpness(grey) < SHARP * strictness:
        problems.append(Problem("blurred", "warning", "The face is blurred.", "Use a sharp photo."))
    if np.percentile(face, 95) < DARK * strictness:
        problems.append(Problem("too_dark", "warning", "The face is very dark.", "Use a photo taken in better light."))
    if (face > WHITE).mean() > BLOWN_OUT / strictness:
        advice = "Use a photo taken in softer light."
        problems.append(Problem("blown_out", "warning", "Large parts of the face are plain white.", advice))
    if is_photo and eye_brightness(grey, landmarks) < COVERED:
        advice = "Use a photo without sunglasses."
        problems.append(Problem("eyes_covered", "warning", "The eyes seem to be covered.", advice))
    return problems
