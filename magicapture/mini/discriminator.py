"""What tells decoded portraits from real ones, place by place, while the embedded base's decoder is refined."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from magicapture.features import image_features

WIDTHS = (32, 96, 192)
"""Channels of the network that looks at pixels, finest first."""


class Discriminator(nn.Module):
    """A small patch network on pixels (Isola et al., 2017) and heads on frozen features (Sauer et al., 2021)."""

    def __init__(self) -> None:
        """Build untrained heads on the early blocks of an ImageNet network."""
        super().__init__()
        self.features = image_features()
        layers, known = [], 3
        for width in WIDTHS:
            layers += [nn.Conv2d(known, width, 4, stride=2, padding=1), nn.GroupNorm(8, width), nn.LeakyReLU(0.2)]
            known = width
        self.patches = nn.Sequential(*layers, nn.Conv2d(known, 1, 3, padding=1))
        with torch.no_grad():
            maps = self.features(torch.zeros(1, 3, 64, 64, device=next(self.features.parameters()).device))
        self.on_features = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(m.shape[1], 64, 3, padding=1), nn.GroupNorm(8, 64), nn.LeakyReLU(0.2), nn.Conv2d(64, 1, 1)
            )
            for m in maps
        )

    def heads(self) -> Iterator[nn.Parameter]:
        """Give what is trained: all but the features."""
        yield from self.patches.parameters()
        yield from self.on_features.parameters()

    def forward(self, images: Tensor) -> Tensor:
        """Judge ``images`` (B, 3, S, S) in [-1, 1]: (B, P), one figure a place and scale, the higher the more real."""
        found = [head(m) for head, m in zip(self.on_features, self.features(images), strict=True)]
        return torch.cat([self.patches(images).flatten(1), *(f.flatten(1) for f in found)], dim=1).float()
