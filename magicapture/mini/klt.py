"""An encoder without training: the Karhunen–Loève transform of pictures, written into a stock ``AutoencoderKL``.

Each stride-2 convolution takes 2 × 2 blocks to their principal components (PCA), the leading ones where there is no
room for all; after four of them the leading components of 16 × 16 pixels are left, uncorrelated and in the order of how
much they say. Before, colours are turned into lightness and two opponent colours, which weigh more. Every residual
branch is silent, so that the trunk is linear, and what diffusers puts behind the trunk, a group normalisation and a
SiLU, is undone: see ``_write_end``. A decoder and a denoiser can then learn side by side.
"""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

OPPONENTS = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (-1.0, 2.0, -1.0))
"""Lightness and two opponent colours, by their shares of red, green and blue; at right angles to each other."""

COLOUR_WEIGHT = 2.0
"""How much more an error of colour counts than one of lightness: with 1, a pink jacket comes back orange."""

STEADY = 30.0
"""Channels of ±30 beside the latents make each group's spread the same for every picture, to 0.1 %."""


@torch.no_grad()
def write_klt(vae: AutoencoderKL, images: Tensor) -> None:
    """Write the transform that suits ``images`` (N, 3, S, S) in [-1, 1] into the encoder of ``vae``.

    Latents have mean 0 and, on average over the channels, spread 1; each channel's is the square root of what it is in
    the pictures, so that the first ones stay the strongest. ``quant_conv`` and ``post_quant_conv`` pass them on.
    """
    encoder, latents = vae.encoder, vae.config.latent_channels
    for block in encoder.modules():
        if isinstance(block, ResnetBlock2D):
            for parameter in (*block.conv1.parameters(), *block.conv2.parameters()):
                nn.init.zeros_(parameter)
    opponents = F.normalize(torch.tensor(OPPONENTS), dim=1)
    opponents[1:] *= COLOUR_WEIGHT
    _clear(encoder.conv_in)
    encoder.conv_in.weight[:3, :, 1, 1] = opponents
    components = torch.einsum("oc,nchw->nohw", opponents, images)
    for block in encoder.down_blocks[:-1]:
        for resnet in block.resnets:
            if resnet.conv_shortcut is not None:
                _pass_on(resnet.conv_shortcut, components.shape[1])
        components = _write_components(block.downsamplers[0].conv, components)
    spread = components[:, :latents].std(dim=(0, 2, 3))
    wanted = spread.sqrt() / spread.mean().sqrt()
    _write_end(vae, spread, wanted)
    _pass_on(vae.quant_conv, 2 * latents)
    _pass_on(vae.post_quant_conv, latents)


def _pass_on(conv: nn.Conv2d, channels: int) -> None:
    """Let a convolution copy its first ``channels`` channels and give 0 in all others."""
    _clear(conv)
    middle, index = conv.kernel_size[0] // 2, torch.arange(channels)
    conv.weight[index, index, middle, middle] = 1


def _write_components(conv: nn.Conv2d, maps: Tensor) -> Tensor:
    """Let a stride-2 convolution give the principal components of the 2 × 2 blocks of ``maps`` (N, C, h, w).

    Returns them, (N, min(4 C, its channels), h / 2, w / 2), centred.
    """
    known = maps.shape[1]
    blocks = F.pixel_unshuffle(maps, 2).permute(0, 2, 3, 1).reshape(-1, 4 * known).double()
    mean = blocks.mean(dim=0)
    _, vectors = torch.linalg.eigh((blocks - mean).T @ (blocks - mean))
    chosen = vectors.flip(1)[:, : conv.out_channels]
    count = chosen.shape[1]
    bias = _clear(conv)
    conv.weight[:count, :known, :2, :2] = chosen.T.reshape(count, known, 2, 2).float()
    bias[:count] = -(mean @ chosen).float()
    padded = F.pad(maps, (0, 1, 0, 1))  # as diffusers does before this convolution
    return F.conv2d(padded, conv.weight[:count, :known], bias[:count], stride=2)


def _clear(conv: nn.Conv2d) -> Tensor:
    """Let a convolution give 0; gives its bias."""
    assert conv.bias is not None
    nn.init.zeros_(conv.weight)
    return nn.init.zeros_(conv.bias)


def _write_end(vae: AutoencoderKL, spread: Tensor, wanted: Tensor) -> None:
    """Lead the first components, whose spreads are ``spread`` (K,), through the encoder's end with spreads ``wanted``.

    Each stands there as x and −x: their mean is 0, and SiLU(x) − SiLU(−x) = x. All other channels of a group are
    ``±STEADY``, so that the group's normalisation divides by a constant.
    """
    encoder, groups = vae.encoder, vae.config.norm_num_groups
    last, norm, out = encoder.down_blocks[-1].resnets[0].conv_shortcut, encoder.conv_norm_out, encoder.conv_out
    for layer in (last, norm, out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    width, each = last.out_channels // groups, -(-len(spread) // groups)  # channels, and latents, of a group
    for group in range(groups):
        here = range(group * each, min((group + 1) * each, len(spread)))
        start, steady = group * width, (width - 2 * len(here)) // 2 * 2
        for place, latent in enumerate(here):
            plus, minus = start + 2 * place, start + 2 * place + 1
            last.weight[plus, latent], last.weight[minus, latent] = 1 / spread[latent], -1 / spread[latent]
            out.weight[latent, plus, 1, 1], out.weight[latent, minus, 1, 1] = wanted[latent], -wanted[latent]
        constant = torch.tensor([STEADY, -STEADY]).repeat(steady // 2)
        last.bias[start + 2 * len(here) : start + 2 * len(here) + steady] = constant
        norm.weight[start : start + 2 * len(here)] = ((steady * STEADY**2 + 2 * len(here)) / width) ** 0.5
    out.bias[len(spread) :] = -10.0  # the latents' log-variance: as good as certain
