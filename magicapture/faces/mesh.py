"""The 468 points that MediaPipe's face mesh (Kartynnik et al., 2019) lays over a face, and what is read from them."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from magicapture.faces.blazeface import WEIGHTS, load_session
from magicapture.square import Square

MESH: Path = WEIGHTS / "face_mesh.onnx"
MESH_SIDE = 192
"""Side in pixels of the square that the network takes."""
MARGIN = 1.5
"""The network was trained on squares this much larger than the face."""
FACE_FOUND = 0.5
"""The mesh holds a face for real above this certainty; side views and things that are no faces come out near 0."""
SMOOTH = 4
"""The oval is drawn this much larger and then averaged, so that its edge is soft by one pixel."""

# fmt: off
OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149,
        150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
# fmt: on
LEFT_EYE = (33, 133, 159, 145)
RIGHT_EYE = (362, 263, 386, 374)
"""Corners and lids of the eyes, as the viewer sees left and right."""
NOSE = (1, 4)
"""Below and on the tip: recognisers were trained with the point between them."""
MOUTH = (61, 291)


def face_mesh(image: Image.Image, box: np.ndarray, eyes: np.ndarray) -> tuple[np.ndarray, float]:
    """Lay the mesh over the face in ``box``, roughly and then once more where it was found.

    ``image``: RGB; ``box``: (4,) left, top, right, bottom; ``eyes``: (2, 2), the viewer's left eye first; in pixels.
    Returns the points, (468, 2) float32 in pixels, and the certainty that there is a face, 0–1.
    """
    points, sure = _fit(image, box, eyes)
    if sure < FACE_FOUND:
        return points, sure
    return _fit(image, np.concatenate([points.min(axis=0), points.max(axis=0)]), five_landmarks(points)[:2])


def five_landmarks(points: np.ndarray) -> np.ndarray:
    """Give the two eyes, the tip of the nose and the corners of the mouth, (5, 2), from a mesh (468, 2)."""
    middles = [points[list(part)].mean(axis=0) for part in (LEFT_EYE, RIGHT_EYE, NOSE)]
    return np.concatenate([middles, points[list(MOUTH)]])


def oval_mask(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Fill the oval of a mesh (468, 2) in a picture of ``size`` (width, height): (H, W) float32, 1 inside."""
    outline = (points[list(OVAL)] + 0.5) * SMOOTH
    large = Image.new("L", (size[0] * SMOOTH, size[1] * SMOOTH))
    ImageDraw.Draw(large).polygon([(float(x), float(y)) for x, y in outline], fill=255)
    return np.asarray(large.reduce(SMOOTH), dtype=np.float32) / 255


def _fit(image: Image.Image, box: np.ndarray, eyes: np.ndarray) -> tuple[np.ndarray, float]:
    level = (eyes[1] - eyes[0]) / max(float(np.hypot(*(eyes[1] - eyes[0]))), 1.0)
    square = Square((box[:2] + box[2:]) / 2, level * max(box[2] - box[0], box[3] - box[1]) * MARGIN)
    pixels = np.asarray(square.cut(image, MESH_SIDE), dtype=np.float32) / 255
    session = load_session(MESH)
    points, logit = session.run(None, {session.get_inputs()[0].name: pixels[None]})
    flat = square.to_picture(points.reshape(468, 3)[:, :2], MESH_SIDE)
    return flat, float(1 / (1 + np.exp(-logit.item())))
