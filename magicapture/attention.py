"""Recording cross-attention maps of chosen layers, and the loss that refocuses them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor


def refocusing_layers(unet: UNet2DConditionModel, side: int) -> list[str]:
    """Name the cross-attention layers in down and up blocks whose maps are ``side`` × ``side``.

    For Stable Diffusion 1.5 at 512 px and ``side=16`` these are the five layers that MagiCapture uses.
    Raises ``ValueError`` when the denoiser has none: the loss would silently be 0.
    """
    depth = len(unet.config.block_out_channels)
    sides = {f"down_blocks.{i}.": unet.config.sample_size >> i for i in range(depth)}
    sides |= {f"up_blocks.{depth - 1 - i}.": unet.config.sample_size >> i for i in range(depth)}
    wanted = tuple(prefix for prefix, this in sides.items() if this == side)
    layers = [name for name, _ in unet.named_modules() if name.endswith("attn2") and name.startswith(wanted)]
    if not layers:
        raise ValueError(f"The denoiser has no cross-attention layer with maps of {side} × {side}.")
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


def token_maps(maps: list[Tensor], positions: Tensor) -> Tensor:
    """Pick one token's map per sample out of every recorded layer and scale each to [0, 1].

    ``maps``: layers of (B, heads, Q, L), Q the same in all; ``positions``: (B,) index of the token in each prompt.
    Returns (layers, B, heads, Q). Minimum and range are constants to the gradient, as in the authors' code.
    """
    index = positions[:, None, None, None]
    picked = torch.stack([m.take_along_dim(index.expand(-1, m.shape[1], m.shape[2], 1), dim=3)[..., 0] for m in maps])
    low = picked.amin(dim=-1, keepdim=True).detach()
    high = picked.amax(dim=-1, keepdim=True).detach()
    return (picked - low) / (high - low + 1e-6)


def refocusing_loss(maps: list[Tensor], positions: Tensor, masks: Tensor) -> Tensor:
    """Attention refocusing (MagiCapture, eq. 5): ``‖S(A) ⊙ (1 − M)‖²``, the mean over samples, layers, heads, places.

    ``positions``: (B,) as in ``token_maps``, −1 where the prompt lacks the token: such samples do not count, and
    without any other the loss is 0. ``masks``: (B, side, side) with 1 where the token may look; inside it the map stays
    free.
    """
    present = positions >= 0
    if not present.any():
        return maps[0].sum() * 0
    scaled = token_maps(maps, positions.clamp(min=0))[:, present]
    return (scaled * (1 - masks[present].flatten(1))[:, None, :]).square().mean()
