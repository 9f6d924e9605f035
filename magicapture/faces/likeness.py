"""The recogniser that portraits are scored by. No loss looks at it: what pleases a loss is no witness of its success.

MobileFaceNet (Chen et al., 2018, arXiv 1804.07573), whichever engine finds the faces and stands in the loss.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from magicapture.faces.blazeface import WEIGHTS, load_session
from magicapture.faces.recogniser import ARCFACE_TEMPLATE, FACE_SIZE, similarity_transform
from magicapture.square import Square

RECOGNISER = "mobilefacenet"
"""What embeddings made here are called where they are kept: those of other recognisers cannot be compared with them."""
DIMENSIONS = 192
"""Numbers in such an embedding."""
NETWORK: Path = WEIGHTS / "mobilefacenet.onnx"
MEAN, STD = 127.5, 128.0
"""8-bit RGB values reach the network as ``(x − MEAN) / STD``, as its package does it."""


def likeness_embedding(image: Image.Image, landmarks: np.ndarray) -> np.ndarray:
    """Embed one face of an RGB picture as (DIMENSIONS,) float32 of length 1; the cosine of two says how alike they are.

    ``landmarks``: (5, 2) in pixels: eyes, nose, corners of the mouth. The face is aligned on the ArcFace template: of
    the crops tried (docs/findings.md) it tells people apart best.
    """
    pixels = np.asarray(_template_square(landmarks).cut(image, FACE_SIZE), dtype=np.float32)
    faces = (pixels.transpose(2, 0, 1)[None] - MEAN) / STD
    embedding = load_session(NETWORK).run(None, {"faces": faces})[0][0]
    return embedding / np.linalg.norm(embedding)


def _template_square(landmarks: np.ndarray) -> Square:
    """Give the square of the picture that the ArcFace template covers."""
    template, found = (torch.as_tensor(points, dtype=torch.float64)[None] for points in (ARCFACE_TEMPLATE, landmarks))
    matrix = similarity_transform(template, found)[0].numpy()
    middle = np.full(2, (FACE_SIZE - 1) / 2)
    return Square(matrix[:, :2] @ middle + matrix[:, 2], matrix[:, 0] * FACE_SIZE)
