"""A face recogniser as a differentiable torch module, and the alignment that feeds it.

The identity loss needs gradients with respect to pixels, which ONNX Runtime cannot give; ``onnx2torch`` turns the
very file that an engine uses for its embeddings into a torch module.
"""

from functools import lru_cache
from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from onnx2torch import convert
from torch import Tensor, nn

FACE_SIZE = 112
"""Side in pixels of the square that ArcFace-type recognisers take."""

ARCFACE_TEMPLATE = torch.tensor(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where the eyes, the nose and the corners of the mouth belong in that square (insightface, ``face_align.py``)."""


class Recogniser(nn.Module):
    """Frozen ArcFace-type network (Deng et al., 2019) that takes aligned faces and gives unit embeddings."""

    def __init__(self, path: Path, mean: float, std: float) -> None:
        """Load the network in the ONNX file ``path``; it expects 8-bit RGB values as ``(x - mean) / std``."""
        super().__init__()
        self.network = convert(_with_batch_dimension(onnx.load(path))).eval().requires_grad_(False)
        self.mean, self.std = mean, std

    def forward(self, faces: Tensor) -> Tensor:
        """Embed aligned ``faces`` of shape (B, 3, 112, 112), RGB in [-1, 1], as (B, D) vectors of length 1."""
        pixels = (faces + 1) * 127.5
        return F.normalize(self.network((pixels - self.mean) / self.std), dim=1)


@lru_cache(maxsize=2)
def load_recogniser(path: Path, mean: float, std: float) -> Recogniser:
    """Give the recogniser in ``path``, converted once per process."""
    return Recogniser(path, mean, std)


def _with_batch_dimension(model: onnx.ModelProto) -> onnx.ModelProto:
    """Mend a final reshape that was exported for one face, so that a batch stays a batch."""
    last = model.graph.node[-1]
    if last.op_type == "Reshape":
        last.op_type = "Flatten"
        del last.input[1:]
    return model


def align(images: Tensor, landmarks: Tensor) -> Tensor:
    """Warp faces onto the ArcFace template, differentiably.

    ``images``: (B, 3, H, W); ``landmarks``: (B, 5, 2), x and y in pixels of these images.
    Returns (B, 3, 112, 112). Pixels from outside the image are black (-1).
    """
    height, width = images.shape[-2:]
    template = ARCFACE_TEMPLATE.to(landmarks).expand(len(landmarks), 5, 2)
    matrix = similarity_transform(template, landmarks)
    # affine_grid speaks of corners at ±1 (align_corners=False): pixel p of n lies at (2p + 1) / n - 1.
    to_pixels = landmarks.new_tensor([[FACE_SIZE / 2, 0, (FACE_SIZE - 1) / 2], [0, FACE_SIZE / 2, (FACE_SIZE - 1) / 2]])
    to_pixels = torch.cat([to_pixels, landmarks.new_tensor([[0, 0, 1]])])
    to_unit = landmarks.new_tensor([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]])
    bottom = landmarks.new_tensor([0, 0, 1]).expand(len(landmarks), 1, 3)
    theta = (to_unit @ torch.cat([matrix, bottom], dim=1) @ to_pixels)[:, :2].to(images, non_blocking=True)
    grid = F.affine_grid(theta, [len(images), 3, FACE_SIZE, FACE_SIZE], align_corners=False)
    return F.grid_sample(images + 1, grid, mode="bilinear", align_corners=False) - 1


def similarity_transform(source: Tensor, target: Tensor) -> Tensor:
    """Give the rotation, scale and shift that map ``source`` points onto ``target`` points, in the least squares.

    Both (B, N, 2); returns (B, 2, 3). In two dimensions Umeyama's solution (1991) is linear: with centred points
    written as complex numbers, scale and rotation are ``Σ conj(s)·t / Σ |s|²``.
    """
    source_mean, target_mean = source.mean(dim=1, keepdim=True), target.mean(dim=1, keepdim=True)
    s, t = source - source_mean, target - target_mean
    norm = s.square().sum(dim=(1, 2))
    a = (s * t).sum(dim=(1, 2)) / norm
    b = (s[..., 0] * t[..., 1] - s[..., 1] * t[..., 0]).sum(dim=1) / norm
    rotation = torch.stack([torch.stack([a, -b], dim=-1), torch.stack([b, a], dim=-1)], dim=-2)
    shift = target_mean.squeeze(1) - (rotation @ source_mean.transpose(1, 2)).squeeze(-1)
    return torch.cat([rotation, shift.unsqueeze(-1)], dim=-1)
