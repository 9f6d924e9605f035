"""A face engine without weights, and references of noise: what training needs when nobody looks at the pictures."""

import re
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image

from magicapture.adapters.adapter import Adapter, applied
from magicapture.adapters.start import Start
from magicapture.bases import Base
from magicapture.config import GenerateConfig, TrainConfig
from magicapture.drawing.generation import draw, generate
from magicapture.evaluation.bench import noise_reference
from magicapture.faces import Face, FaceEngine
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


class StandInEngine(FaceEngine):
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


def assert_learns_and_draws_in_half(base: Base, config: TrainConfig) -> None:
    """Train on a ``base`` in half precision: what is learned is float32, sound and new, and can be drawn with."""
    with training(base, config) as run:
        start = run.checkpoint().weights
        for _ in run:
            pass
        end, adapter = run.checkpoint().weights, run.adapter()
    before, after = start.lora | start.rows, end.lora | end.rows
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in after.values())
    assert not any(torch.equal(before[key], after[key]) for key in after)
    (portrait,) = generate(base, StandInEngine(), adapter, GenerateConfig(count=1, steps=2))
    assert np.asarray(portrait.image).std() > 0


def code_on(card: str) -> str:
    """Give the code on a card to be run here: on the CPU, in full precision, with the autoencoder that is there."""
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    code = re.sub(r"(?m)^pipe\.vae = .*$", "", code)
    return code.replace('"cuda"', '"cpu"').replace("float16", "float32")


def assert_card_draws_our_picture(base: Base, adapter: Adapter, changes: dict[str, str]) -> None:
    """Run the code of the card in this folder, with ``changes`` to it, and draw the same with ``base`` ourselves."""
    code = code_on(Path("README.md").read_text())
    for before, after in changes.items():
        code = code.replace(before, after)
    names = {}
    exec(code.replace("side, side)", "side, side, generator=torch.Generator().manual_seed(7))"), names)
    with applied(base, adapter):
        ours = next(draw(base, [7], GenerateConfig(steps=50), Start(adapter.start.mean)))
    assert np.abs(np.asarray(ours).astype(int) - np.asarray(names["image"])).max() <= 1
