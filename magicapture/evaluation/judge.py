"""An independent judge of likeness: a face recogniser that no loss and no choice of a state looks at."""

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import dlib
import numpy as np
from PIL import Image

from magicapture.faces import Face, FaceEngine, load_engine

Judge = Callable[[Image.Image, FaceEngine], np.ndarray | None]
"""Gives the descriptor (D,) of the largest face in a picture, or None when the engine finds none."""

MODELS_PACKAGE = "face_recognition_models"
LARGE_FACE = 200
"""Width in pixels to which smaller faces are enlarged: dlib's landmarks were trained on faces of about that size."""


@lru_cache(maxsize=1)
def _models() -> tuple[dlib.shape_predictor, dlib.face_recognition_model_v1]:
    """Load dlib's models from their PyPI package without importing it, which would fail."""
    spec = importlib.util.find_spec(MODELS_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "The judge needs the packages dlib-bin and face-recognition-models: pip install both."
        )
    folder = Path(spec.submodule_search_locations[0]) / "models"
    return (
        dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat")),
        dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat")),
    )


def dlib_descriptor(image: Image.Image, engine: FaceEngine) -> np.ndarray | None:
    """Give dlib's descriptor (128,) of the largest face in ``image``, or None when ``engine`` finds none."""
    faces = engine.detect(image)
    if not faces:
        return None
    scale = max(1.0, LARGE_FACE / faces[0].width)
    large = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    predictor, network = _models()
    pixels = np.ascontiguousarray(large.convert("RGB"))
    return np.array(network.compute_face_descriptor(pixels, predictor(pixels, _square(faces[0], scale))))


def _square(face: Face, scale: float) -> dlib.rectangle:
    """Give the square that dlib's own detector would put on a face: from brows to chin."""
    centre = face.landmarks.mean(axis=0) * scale
    half = 1.25 * scale * float(np.linalg.norm(face.landmarks[1] - face.landmarks[0]))
    left, top = (centre - half).round().astype(int)
    return dlib.rectangle(int(left), int(top), int(left + 2 * half), int(top + 2 * half))


def builtin_descriptor(image: Image.Image, engine: FaceEngine) -> np.ndarray | None:
    """Give the embedding by the built-in engine, of length 1, or None when ``engine`` or it finds no face."""
    faces = engine.detect(image) and load_engine("builtin").detect(image)
    return faces[0].embedding if faces else None


JUDGES: dict[str, Judge] = {"dlib": dlib_descriptor, "builtin": builtin_descriptor}
"""By name. dlib's is in no engine; the built-in one serves where insightface stands in the loss."""


DLIB_SAME_PERSON = 0.454
"""Closeness by dlib from which two photos show one person: one in a thousand pairs of strangers reaches it."""


def closeness(found: np.ndarray, known: np.ndarray) -> float:
    """Give the mean of 1 − distance between a descriptor (D,) and those of photos (N, D).

    By dlib two photos of one person have about 0.6, of different people about 0.2.
    """
    return float(np.mean(1 - np.linalg.norm(known - found, axis=1)))
