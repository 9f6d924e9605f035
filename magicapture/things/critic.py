"""Embedding a thing by the image features inside its mask, differentiably."""

import torch
import torch.nn.functional as F
from torch import Tensor

from magicapture.features import image_features, pooled_features
from magicapture.subject import Critic

SIDE = 96
"""A thing's box is brought to a square of so many pixels a side, so that things of any size compare."""


class FeatureCritic(Critic):
    """Averages ImageNet features over a thing's mask: its colours, materials and parts, not how they are arranged."""

    def __init__(self) -> None:
        """Take the network that comes with the app."""
        super().__init__()
        self.network = image_features()

    def forward(self, images: Tensor, landmarks: Tensor, masks: Tensor) -> Tensor:
        """See ``Critic.forward``; ``landmarks``: (B, 4, 2), the corners of each thing's box. Gives (B, 192)."""
        masks = F.interpolate(masks.float(), size=images.shape[-2:], mode="bilinear")
        boxes = [_box(corners, *images.shape[-2:]) for corners in landmarks]
        things, weights = (
            torch.cat([_squared(pictures[i, None, :, rows, columns]) for i, (rows, columns) in enumerate(boxes)])
            for pictures in (images.float(), masks)
        )
        return pooled_features(self.network, things, weights)

    def window(self, landmarks: Tensor, height: int, width: int, scale: int) -> tuple[slice, slice]:
        """See ``Critic.window``: all boxes, and one latent more, which keeps the decoder's padding out of them."""
        corners = landmarks.flatten(0, 1) / scale
        left, top = (max(0, int(value)) for value in (corners.amin(dim=0) - 1).floor())
        right, bottom = (corners.amax(dim=0) + 2).ceil().int().tolist()
        return slice(top, min(height, bottom)), slice(left, min(width, right))


def _box(corners: Tensor, height: int, width: int) -> tuple[slice, slice]:
    """Give the rows and columns of a box, at least one pixel each, inside a picture."""
    left, top = corners.amin(dim=0).floor().int().tolist()
    right, bottom = corners.amax(dim=0).ceil().int().tolist()
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return slice(top, min(max(bottom + 1, top + 1), height)), slice(left, min(max(right + 1, left + 1), width))


def _squared(picture: Tensor) -> Tensor:
    return F.interpolate(picture, size=(SIDE, SIDE), mode="bilinear", antialias=True)
