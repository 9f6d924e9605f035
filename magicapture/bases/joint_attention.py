"""Recording how pictures attend to words in a denoiser whose blocks attend to text and picture together."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from diffusers import Flux2Transformer2DModel
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

REFOCUSED = range(4, 9)
"""The single-stream blocks whose maps are looked at: early ones, around the seventh, which FreeFuse reads in FLUX.2
[klein] 4B. Which are best is not measured."""

CHUNK = 256
"""Places of a picture whose attention to all keys is in memory at a time."""


def refocusing_blocks(denoiser: Flux2Transformer2DModel) -> list[nn.Module]:
    """Give the blocks whose maps the refocusing loss looks at.

    Raises ``ValueError`` when the denoiser has none: the loss would silently be 0.
    """
    blocks = list(denoiser.single_transformer_blocks)[REFOCUSED.start : REFOCUSED.stop]
    if not blocks:
        raise ValueError(f"The denoiser has no single-stream block beyond {REFOCUSED.start}.")
    return blocks


class JointRecorder:
    """Queries and keys of each recorded block, after their norms, and the rotary embedding (cos, sin) of its places."""

    def __init__(self) -> None:
        """Start with nothing recorded."""
        self.blocks: list[dict[str, Any]] = []

    def word_maps(self, positions: Tensor, words: int) -> Tensor:
        """Give how much each place of the picture attends to each of the tokens at ``positions`` (W, B).

        ``words``: length of the text, which comes before the picture. Returns (W, layers, B, heads, N).
        """
        maps = []
        for block in self.blocks:
            query, key, (cos, sin) = block["norm_q"], block["norm_k"], block["rotary"]
            if "norm_added_k" in block:  # a double-stream block projects text and picture apart
                key = torch.cat([block["norm_added_k"], key], dim=1)
            else:
                query = query[:, words:]
            query = apply_rotary_emb(query, (cos[words:], sin[words:]), sequence_dim=1)
            key = apply_rotary_emb(key, (cos, sin), sequence_dim=1)
            maps.append(attention_to_words(query, key, positions))
        return torch.stack(maps, dim=1)


@contextmanager
def record_joint_attention(blocks: list[nn.Module]) -> Iterator[JointRecorder]:
    """Record ``blocks`` while a ``with`` block runs, by hooks beside what they compute, which stays as it is.

    Attention itself remains fused; with gradient checkpointing, too, what is recorded carries its gradient.
    """
    recorder, handles = JointRecorder(), []
    try:
        for block in blocks:
            record: dict[str, Any] = {}
            recorder.blocks.append(record)
            handles.append(block.attn.register_forward_pre_hook(partial(_keep_rotary, record), with_kwargs=True))
            norms = {name: getattr(block.attn, name, None) for name in ("norm_q", "norm_k", "norm_added_k")}
            handles += [
                norm.register_forward_hook(partial(_keep_output, record, name)) for name, norm in norms.items() if norm
            ]
        yield recorder
    finally:
        for handle in handles:
            handle.remove()


def _keep_rotary(record: dict[str, Any], _module: nn.Module, _args: tuple, kwargs: dict[str, Any]) -> None:
    record["rotary"] = kwargs["image_rotary_emb"]


def _keep_output(record: dict[str, Any], name: str, _module: nn.Module, _args: tuple, output: Tensor) -> None:
    record[name] = output


def attention_to_words(query: Tensor, key: Tensor, positions: Tensor, chunk: int = CHUNK) -> Tensor:
    """Give the columns of ``softmax(QKᵀ / √D)`` that belong to a few keys, without the rest of it in memory.

    A probability is ``exp(q·k − log Σ exp(q·k′))``; the sum over all keys is taken for ``chunk`` queries at a time, and
    once more for its gradient. ``query``: (B, N, H, D); ``key``: (B, S, H, D); ``positions``: (W, B), −1 where a prompt
    lacks the word: what is picked then means nothing. Returns (W, B, H, N) in float32.
    """
    query, key = query.float() * query.shape[-1] ** -0.5, key.float()
    index = positions.clamp(min=0).T[:, :, None, None].expand(-1, -1, *key.shape[2:])
    logits = torch.einsum("bnhd,bwhd->wbhn", query, key.gather(1, index))
    parts = [checkpoint(_log_sum_exp, part, key, use_reentrant=False) for part in query.split(chunk, dim=1)]
    return (logits - torch.cat(parts, dim=-1)).exp()


def _log_sum_exp(query: Tensor, key: Tensor) -> Tensor:
    return torch.einsum("bnhd,bshd->bhns", query, key).logsumexp(dim=-1)
