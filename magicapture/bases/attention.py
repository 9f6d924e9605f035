"""Recording the cross-attention maps of chosen layers of a U-Net."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor


def refocusing_layers(unet: UNet2DConditionModel, side: int) -> list[str]:
    """Name the cross-attention layers in down and up blocks whose maps are ``side`` × ``side``.

    For Stable Diffusion 1.5 at 512 px and ``side=16`` these are the five layers that MagiCapture uses.
    Raises ``ValueError`` as ``cross_attention`` does.
    """
    depth = len(unet.config.block_out_channels)
    sides = {f"down_blocks.{i}.": unet.config.sample_size >> i for i in range(depth)}
    sides |= {f"up_blocks.{depth - 1 - i}.": unet.config.sample_size >> i for i in range(depth)}
    wanted = tuple(prefix for prefix, this in sides.items() if this == side)
    try:
        return cross_attention(unet, wanted)
    except ValueError as error:
        raise ValueError(f"The denoiser has no cross-attention layer with maps of {side} × {side}.") from error


def cross_attention(unet: UNet2DConditionModel, prefixes: tuple[str, ...]) -> list[str]:
    """Name the cross-attention layers below ``prefixes``.

    Raises ``ValueError`` when there are none: a loss on their maps would silently be 0.
    """
    layers = [name for name, _ in unet.named_modules() if name.endswith("attn2") and name.startswith(prefixes)]
    if not layers:
        raise ValueError(f"The denoiser has no cross-attention layer below {', '.join(prefixes)}.")
    return layers


class AttentionRecorder:
    """An attention processor that computes its softmax in the open and keeps the probabilities, with their gradient."""

    def __init__(self) -> None:
        """Start with no map recorded."""
        self.maps: list[Tensor] = []

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        **_: object,
    ) -> Tensor:
        """Attend from ``hidden_states`` (B, Q, C) to the text (B, L, D); records (B, heads, Q, L)."""
        query, key, value = (
            projected.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for projected in (
                attn.to_q(hidden_states),
                attn.to_k(encoder_hidden_states),
                attn.to_v(encoder_hidden_states),
            )
        )
        probabilities = (query @ key.transpose(-1, -2) * attn.scale).float().softmax(dim=-1)
        self.maps.append(probabilities)
        attended = (probabilities.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](attended))

    def take(self) -> list[Tensor]:
        """Give the maps recorded since the last call and forget them."""
        maps, self.maps = self.maps, []
        return maps


@contextmanager
def record_attention(unet: UNet2DConditionModel, layers: list[str]) -> Iterator[AttentionRecorder]:
    """Record the maps of ``layers`` while the block runs; every other layer keeps its fused attention."""
    recorder = AttentionRecorder()
    modules = [unet.get_submodule(name) for name in layers]
    before = [module.processor for module in modules]
    try:
        for module in modules:
            module.processor = recorder
        yield recorder
    finally:
        for module, processor in zip(modules, before, strict=True):
            module.processor = processor


def pick_words(maps: list[Tensor], positions: Tensor) -> Tensor:
    """Pick each word's map per sample out of every recorded layer.

    ``maps``: layers of (B, heads, Q, L), Q the same in all; ``positions``: (W, B), index of each word in each prompt,
    −1 where the prompt lacks it: what is picked then means nothing. Returns (W, layers, B, heads, Q).
    """
    words = positions.clamp(min=0).T[:, None, None]  # (B, 1, 1, W)
    picked = [m.gather(3, words.expand(-1, *m.shape[1:3], -1)) for m in maps]
    return torch.stack(picked).movedim(-1, 0)
