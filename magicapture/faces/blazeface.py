"""BlazeFace (Bazarevsky et al., 2019), the detector of MediaPipe with an input of 256 px, run by ONNX Runtime."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

WEIGHTS = Path(__file__).parent / "weights"
DETECTOR: Path = WEIGHTS / "blazeface.onnx"
DETECTOR_SIDE = 256
"""Side in pixels of the square that the network takes."""
GRIDS = ((16, 2), (8, 6))
"""The network's two grids of anchors: cells per side, anchors per cell."""
OVERLAP = 0.3
"""Detections that share more than this (intersection over union) are one face."""


@lru_cache(maxsize=8)
def load_session(path: Path) -> onnxruntime.InferenceSession:
    """Open an ONNX file for the CPU, once per process.

    One thread only: a session without a thread pool goes on working in a forked process, such as a ZeroGPU worker.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def find_faces(image: Image.Image, region: tuple[float, float, float], threshold: float) -> np.ndarray:
    """Look for faces in one square of a picture.

    ``image``: RGB. ``region``: left, top and side in pixels; what lies outside the picture is black.
    Returns (N, 13): left, top, right, bottom, score (``threshold``–1), then x and y of the viewer's left eye, the
    right eye, the nose and the middle of the mouth, in pixels of the picture. The same face may come several times.
    """
    left, top, side = region
    pixels = np.asarray(_cut(image, region), dtype=np.float32) / 127.5 - 1
    session = load_session(DETECTOR)
    values, logits = session.run(None, {session.get_inputs()[0].name: pixels[None]})
    scores = 1 / (1 + np.exp(-logits[0, :, 0].clip(-50, 50)))
    sure = scores > threshold
    # Each row: centre, size and six key points, in input pixels; all but the size are counted from the anchor.
    points = values[0, sure].reshape(-1, 8, 2) / DETECTOR_SIDE
    points[:, [0, 2, 3, 4, 5]] += _anchors()[sure, None]
    points *= side
    centre, half = points[:, 0] + (left, top), points[:, 1] / 2
    landmarks = (points[:, 2:6] + (left, top)).reshape(-1, 8)
    return np.hstack([centre - half, centre + half, scores[sure, None], landmarks])


def suppress(found: np.ndarray) -> np.ndarray:
    """Keep the surest of the detections (N, 13) that overlap: non-maximum suppression."""
    kept: list[np.ndarray] = []
    for row in found[np.argsort(-found[:, 4])]:
        if all(_overlap(row, other) <= OVERLAP for other in kept):
            kept.append(row)
    return np.array(kept).reshape(-1, 13)


def _cut(image: Image.Image, region: tuple[float, float, float]) -> Image.Image:
    """Give a square of the picture at the size of the network's input."""
    left, top, side = region
    scale = DETECTOR_SIDE / side
    box = (max(left, 0), max(top, 0), min(left + side, image.width), min(top + side, image.height))
    shape = (max(1, round((box[2] - box[0]) * scale)), max(1, round((box[3] - box[1]) * scale)))
    part = image.resize(shape, Image.Resampling.BILINEAR, box, reducing_gap=2.0)
    square = Image.new("RGB", (DETECTOR_SIDE, DETECTOR_SIDE))
    square.paste(part, (round((box[0] - left) * scale), round((box[1] - top) * scale)))
    return square


@lru_cache(maxsize=1)
def _anchors() -> np.ndarray:
    """Give the centres of all anchors, (N, 2) in 0–1, row by row."""
    grids = []
    for cells, repeats in GRIDS:
        middle = (np.arange(cells) + 0.5) / cells
        centres = np.stack(np.meshgrid(middle, middle), axis=-1).reshape(-1, 2)
        grids.append(np.repeat(centres, repeats, axis=0))
    return np.concatenate(grids).astype(np.float32)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
