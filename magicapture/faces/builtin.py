"""The face engine that comes with the app: small, licence-clean and without downloads."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from magicapture.faces.blazeface import WEIGHTS, find_faces, load_session, suppress
from magicapture.faces.engine import FaceEngine
from magicapture.faces.face import Face
from magicapture.faces.mesh import FACE_FOUND, face_mesh, five_landmarks, oval_mask
from magicapture.faces.recogniser import Recogniser, align, load_recogniser
from magicapture.square import Square

CANDIDATE = 0.4
"""Detections above this are looked at with the mesh, which then decides."""
SIDE_VIEW = 0.75
"""Detections in the whole picture above this are faces even where the mesh finds none: side views."""
MOUTH_TO_EYES = 0.8
"""Width of a mouth as a share of the distance of the eyes: in side views only the middle of the mouth is known."""
TILE = 0.5
"""Side of the tiles, as a share of the picture's long side, that are searched when the whole picture shows no face."""
LARGEST_TILED = 4.0
"""Pictures longer than this many times their short side are not tiled."""
ALIGN_SIDE = 256
"""Faces are shrunk to a square of this many pixels before they are aligned, so that no detail is thinned out."""
ALIGN_MARGIN = 1.6
"""That square is this much larger than the face."""


@dataclass(frozen=True)
class RecogniserFile:
    """A recogniser on disk: an ONNX file that takes 8-bit RGB values as ``(x - mean) / std``."""

    path: Path
    mean: float
    std: float

    def load(self) -> Recogniser:
        """Give it as a differentiable torch module."""
        return load_recogniser(self.path, self.mean, self.std)

    def embed(self, image: Image.Image, landmarks: np.ndarray, extent: float) -> np.ndarray:
        """Embed one face of an RGB picture, (D,) float32 of length 1.

        ``landmarks``: (5, 2) in pixels; ``extent``: the larger side of the face's box in pixels. This runs in ONNX
        Runtime, so that it does not matter where the torch module has been moved to.
        """
        square = Square(landmarks.mean(axis=0), np.array([extent * ALIGN_MARGIN, 0.0]))
        pixels = np.asarray(square.cut(image, ALIGN_SIDE), dtype=np.float32) / 127.5 - 1
        faces = align(
            torch.from_numpy(pixels.transpose(2, 0, 1))[None],
            torch.from_numpy(square.to_square(landmarks, ALIGN_SIDE))[None],
        )
        session = load_session(self.path)
        values = ((faces + 1) * 127.5 - self.mean) / self.std
        embedding = session.run(None, {session.get_inputs()[0].name: values.numpy()})[0].reshape(-1)
        return embedding / np.linalg.norm(embedding)


RECOGNISER = RecogniserFile(WEIGHTS / "fr_feature.onnx", 127.0, 128.0)


class BuiltinEngine(FaceEngine):
    """BlazeFace finds, MediaPipe's mesh outlines, and a small ArcFace-type network recognises."""

    name = "builtin"
    licence = "The built-in face models are under Apache-2.0 and MIT: commercial use is allowed."

    def detect(self, image: Image.Image) -> list[Face]:
        """Give the faces in the RGB picture ``image``, the largest first.

        Looks at the whole picture; if that shows nobody, in overlapping tiles for people far away; and if those do not
        either, takes the side views, which the detector sees and the mesh does not.
        """
        whole, tiles = _whole(*image.size), _tiles(*image.size)
        for regions, with_mesh in ((whole, True), (tiles, True), (whole, False)):
            found = [np.empty((0, 13)), *(find_faces(image, region, CANDIDATE) for region in regions)]
            look = _face if with_mesh else _side_view
            faces = [face for row in suppress(np.concatenate(found)) if (face := look(image, row))]
            if faces:
                return sorted(_distinct(faces), key=lambda face: -face.width * face.height)
        return []

    def face_mask(self, image: Image.Image, face: Face) -> np.ndarray:
        """Give the oval of ``face`` in ``image``, (H, W) float32 in 0–1."""
        return mesh_mask(image, face)

    def recogniser(self) -> Recogniser:
        """Give the network behind the embeddings as a differentiable torch module."""
        return RECOGNISER.load()


def mesh_mask(image: Image.Image, face: Face) -> np.ndarray:
    """Outline ``face`` with the mesh, or with the ellipse in its box where the mesh does not fit (a side view).

    Returns (H, W) float32, 1 inside and 0 outside.
    """
    points, sure = face_mesh(image, face.box, face.landmarks[:2])
    if sure >= FACE_FOUND:
        return oval_mask(points, image.size)
    x, y = np.meshgrid(np.arange(image.width), np.arange(image.height))
    centre, half = (face.box[:2] + face.box[2:]) / 2, (face.box[2:] - face.box[:2]) / 2
    return ((((x - centre[0]) / half[0]) ** 2 + ((y - centre[1]) / half[1]) ** 2) <= 1).astype(np.float32)


def _face(image: Image.Image, row: np.ndarray) -> Face | None:
    """Make a face of one detection (13,), or None if the mesh does not fit."""
    mesh, sure = face_mesh(image, row[:4], row[5:9].reshape(2, 2))
    if sure < FACE_FOUND:
        return None
    return _embedded(image, np.concatenate([mesh.min(axis=0), mesh.max(axis=0)]), row[4], five_landmarks(mesh))


def _side_view(image: Image.Image, row: np.ndarray) -> Face | None:
    """Make a face of one detection (13,) and its own points, or None if it is not sure enough."""
    if row[4] < SIDE_VIEW:
        return None
    left_eye, right_eye, nose, mouth = row[5:].reshape(4, 2)
    half_mouth = (right_eye - left_eye) * MOUTH_TO_EYES / 2
    landmarks = np.stack([left_eye, right_eye, nose, mouth - half_mouth, mouth + half_mouth])
    return _embedded(image, row[:4], row[4], landmarks)


def _embedded(image: Image.Image, box: np.ndarray, score: float, landmarks: np.ndarray) -> Face:
    box, landmarks = box.astype(np.float32), landmarks.astype(np.float32)
    return Face(box, float(score), landmarks, RECOGNISER.embed(image, landmarks, float(max(box[2:] - box[:2]))))


def _distinct(faces: list[Face]) -> list[Face]:
    """Drop faces whose middle lies inside a surer one: the mesh can pull two detections onto the same face."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        middle = face.landmarks.mean(axis=0)
        if not any((other.box[:2] < middle).all() and (middle < other.box[2:]).all() for other in kept):
            kept.append(face)
    return kept


def _whole(width: int, height: int) -> list[tuple[float, float, float]]:
    """Give the square around a picture, and one with a margin for faces that fill it, as (left, top, side)."""
    side = max(width, height)
    return [((width - s) / 2, (height - s) / 2, s) for s in (side, side * 1.6)]


def _tiles(width: int, height: int) -> list[tuple[float, float, float]]:
    """Cover a picture with half overlapping squares, as (left, top, side)."""
    if max(width, height) > LARGEST_TILED * min(width, height):
        return []
    side = max(width, height) * TILE
    columns, rows = (max(1, int(np.ceil(2 * length / side)) - 1) for length in (width, height))
    return [(x, y, side) for x in np.linspace(0, width - side, columns) for y in np.linspace(0, height - side, rows)]
