"""Embedding a thing by what is seen of it inside its mask, differentiably."""

import torch
import torch.nn.functional as F
from torch import Tensor

from magicapture.subject import Critic
from magicapture.things.networks import ThingNetwork


class ThingCritic(Critic):
    """Cuts a square around each thing and brings it to the network's size, so that things of any size compare."""

    def __init__(self, network: ThingNetwork) -> None:
        """Embed with ``network``."""
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, landmarks: Tensor, masks: Tensor) -> Tensor:
        """See ``Critic.forward``; ``landmarks``: (B, 4, 2), the corners of each thing's box."""
        masks = F.interpolate(masks.float(), size=images.shape[-2:], mode="bilinear")
        places = [_place(square, *images.shape[-2:]) for square in _squares(landmarks)]
        side = self.network.side
        things, weights = (
            torch.cat([_scaled(pictures[i, None, :, rows, columns], side) for i, (rows, columns) in enumerate(places)])
            for pictures in (images.float(), masks)
        )
        return self.network(things, weights)

    def window(self, landmarks: Tensor, height: int, width: int, scale: int) -> tuple[slice, slice]:
        """See ``Critic.window``: all squares, and one latent more, which keeps the decoder's padding out of them."""
        squares = _squares(landmarks) / scale
        left, top = (max(0, int(value)) for value in (squares[:, :2].amin(dim=0) - 1).floor())
        right, bottom = (squares[:, 2:].amax(dim=0) + 2).ceil().int().tolist()
        return slice(top, min(height, bottom)), slice(left, min(width, right))


def _squares(landmarks: Tensor) -> Tensor:
    """Give left, top, right and bottom (B, 4) of the squares around boxes with the corners ``landmarks`` (B, 4, 2)."""
    low, high = landmarks.amin(dim=1), landmarks.amax(dim=1)
    middle, half = (low + high) / 2, (high - low).amax(dim=1, keepdim=True) / 2
    return torch.cat([middle - half, middle + half], dim=1)


def _place(square: Tensor, height: int, width: int) -> tuple[slice, slice]:
    """Give the rows and columns of a square (4,), at least one pixel each, inside a picture."""
    left, top = square[:2].floor().int().tolist()
    right, bottom = square[2:].ceil().int().tolist()
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return slice(top, min(max(bottom + 1, top + 1), height)), slice(left, min(max(right + 1, left + 1), width))


def _scaled(picture: Tensor, side: int) -> Tensor:
    return F.interpolate(picture, size=(side, side), mode="bilinear", antialias=True)
