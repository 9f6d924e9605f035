"""Counting what a computation would cost on a GPU: its tensors are on the device "meta", of which only shapes exist."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
import torch.utils._pytree as pytree
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

META = torch.device("meta")
aten = torch.ops.aten

MOVES = (aten._to_copy.default, aten.copy_.default)


class Meter(TorchDispatchMode):
    """Counts operations on tensors of the device "meta", which stands for a GPU; other tensors are the host's own.

    ``operations``: what PyTorch dispatches, views among them; ``kernels``: those that compute or copy something;
    ``waits``: how often the host waits until the device is done: it reads a value from there, or sends one there
    without ``non_blocking``; ``live`` and ``peak``: bytes of all tensors that exist there, now and at most;
    ``saved``: bytes that forward passes keep for backward ones; ``flops``: additions and multiplications of products.
    What the host reads is zeros. (PyTorch's own counter of FLOPs keeps what is computed once more alive.)
    """

    def __init__(self) -> None:
        """Start at nothing."""
        super().__init__()
        self.operations = self.kernels = self.waits = self.live = self.peak = self.saved = self.flops = 0
        self._kept = WeakIdKeyDictionary()
        self._known = WeakIdKeyDictionary()

    def reset(self) -> None:
        """Count anew; what exists already goes on counting as that."""
        self.operations = self.kernels = self.waits = self.saved = self.flops = 0
        self.peak = self.live
        self._known = WeakIdKeyDictionary()
        self._known.update(self._kept)

    def __torch_dispatch__(
        self, func: Any, types: tuple[type, ...], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count one operation and let it happen."""
        kwargs = kwargs or {}
        given = [value for value in pytree.tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        if func in (aten._local_scalar_dense.default, aten.nonzero.default) and given[0].is_meta:
            self.waits += 1
            return 0 if func is aten._local_scalar_dense.default else torch.zeros(1, given[0].ndim, dtype=torch.long)
        if func in MOVES and given[-1].is_meta and _destination(func, given, kwargs).type == "cpu":
            self.waits += 1
            return given[0].zero_() if func is aten.copy_.default else _on_host(given[0], kwargs)
        result = func(*args, **kwargs)
        made = [value for value in pytree.tree_leaves(result) if isinstance(value, Tensor) and value.is_meta]
        if made or any(value.is_meta for value in given):
            self.operations += 1
            self.kernels += not _is_view(func)
            self.waits += _blocks(func, given, kwargs, made)
            if count := flop_registry.get(func.overloadpacket):
                self.flops += count(*args, **kwargs, out_val=result)
        for value in made:
            self._track(value)
        return result

    def _track(self, value: Tensor) -> None:
        storage = value.untyped_storage()
        if storage in self._kept:
            return
        self._kept[storage] = _Gone(self, storage.nbytes())
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)

    def keep(self, value: Tensor) -> Tensor:
        """Count ``value`` as saved for a backward pass, unless it was there before the last reset."""
        storage = value.untyped_storage()
        if value.is_meta and storage not in self._known:
            self._known[storage] = True
            self.saved += storage.nbytes()
        return value


class _Gone:
    """Lives as long as a storage and takes its bytes off when it goes."""

    def __init__(self, meter: Meter, size: int) -> None:
        self._meter, self._size = meter, size

    def __del__(self) -> None:
        self._meter.live -= self._size


def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attend with the kernels that a GPU would take: on "meta" PyTorch would write the whole matrix out.

    FlashAttention, or the memory-efficient kernel where there is a mask; (B, heads, L, D) each.
    """
    if enable_gqa:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    if attn_mask is None:
        return aten._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal, scale=scale)[0]
    if attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill(~attn_mask, float("-inf"))
    bias = attn_mask.expand(*query.shape[:3], key.shape[2])
    training = query.requires_grad or key.requires_grad or value.requires_grad
    return aten._scaled_dot_product_efficient_attention(
        query, key, value, bias, training, dropout_p, is_causal, scale=scale
    )[0]


@contextmanager
def metered() -> Iterator[Meter]:
    """Count what happens on "meta" while the block runs."""
    meter = Meter()
    devices = ["cpu", "cuda", META.type]  # clipping and AdamW take all parameters at once on a GPU: so here
    with (
        warnings.catch_warnings(),
        mock.patch("torch.optim.optimizer._get_fused_kernels_supported_devices", return_value=devices),
        mock.patch("torch.utils._foreach_utils._get_foreach_kernels_supported_devices", return_value=devices),
        meter,
        mock.patch.object(F, "scaled_dot_product_attention", fused_attention),
        torch.autograd.graph.saved_tensors_hooks(meter.keep, lambda value: value),
    ):
        warnings.filterwarnings("ignore", message=".*to a meta parameter")  # nothing is there to be copied
        yield meter


def _destination(func: Any, given: list[Tensor], kwargs: dict[str, Any]) -> torch.device:
    if func is aten.copy_.default:
        return given[0].device
    return torch.device(kwargs.get("device") or given[0].device)


def _on_host(value: Tensor, kwargs: dict[str, Any]) -> Tensor:
    return torch.zeros(value.shape, dtype=kwargs.get("dtype") or value.dtype)


def _blocks(func: Any, given: list[Tensor], kwargs: dict[str, Any], made: list[Tensor]) -> bool:
    """Tell whether the host sends something to the device and waits for it."""
    if func in MOVES:
        from_host = given[-1].device.type == "cpu" and given[-1].ndim > 0
        return bool(made) and from_host and not kwargs.get("non_blocking", False)
    if func is aten.index.Tensor:
        return given[0].is_meta and any(index.device.type == "cpu" for index in given[1:])
    return False


def _is_view(func: Any) -> bool:
    """Tell whether ``func`` only looks at a tensor in another way; of one kind its schema does not say so."""
    if func is aten._unsafe_view.default:
        return True
    returned = func._schema.returns
    return bool(returned) and all(r.alias_info is not None and not r.alias_info.is_write for r in returned)
