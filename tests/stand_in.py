"""A face engine without weights, and references of noise: what training needs when nobody looks at the pictures."""

import numpy as np
import torch
from PIL.Image import Image

from magicapture.bases import Base
from magicapture.config import TrainConfig
from magicapture.evaluation.bench import noise_reference
from magicapture.faces import Face
from magicapture.method.training import Training
from magicapture.photos.references import Reference

DIMENSIONS = 8


class TinyRecogniser(torch.nn.Module):
    """Embeds aligned faces by one random projection of their shrunk pixels; differentiable."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(3 * 7 * 7, DIMENSIONS, generator=generator), requires_grad=False)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        small = torch.nn.functional.avg_pool2d(faces, 16).flatten(1)
        return torch.nn.functional.normalize(small @ self.weight, dim=1)


class StandInEngine:
    """Finds the same face in the middle of every picture."""

    name = "stand-in"
    licence = "none"

    def detect(self, image: Image) -> list[Face]:
        side = image.width
        landmarks = np.array([[0.4, 0.48], [0.6, 0.48], [0.5, 0.59], [0.42, 0.7], [0.58, 0.7]], np.float32) * side
        embedding = np.eye(DIMENSIONS, dtype=np.float32)[0]
        return [Face(np.array([0.25, 0.25, 0.75, 0.87]) * side, 1.0, landmarks, embedding)]

    def face_mask(self, image: Image, face: Face) -> np.ndarray:
        mask = np.zeros((image.height, image.width), np.float32)
        left, top, right, bottom = face.box.astype(int)
        mask[top:bottom, left:right] = 1
        return mask

    def recogniser(self) -> TinyRecogniser:
        return TinyRecogniser()


def training(base: Base, config: TrainConfig) -> Training:
    """Train on references of noise, with the stand-in engine."""
    found = references(base.resolution)
    return Training(base, StandInEngine(), found, found, config)


def references(side: int, count: int = 2) -> list[Reference]:
    """Give ``count`` different references whose embeddings have the length of the stand-in engine's."""
    found = []
    for seed in range(count):
        noise = noise_reference(side, seed)
        embedding = noise.embedding[:DIMENSIONS] / np.linalg.norm(noise.embedding[:DIMENSIONS])
        found.append(Reference(noise.name, noise.image, noise.mask, noise.landmarks, embedding))
    return found
