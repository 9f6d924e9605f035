"""In what numbers a device multiplies fast, and how what is learned in float32 takes part in that."""

from collections.abc import Iterable
from typing import Self

import torch
from torch import nn

NATIVE_BF16 = (8, 0)
"""The first compute capability with bfloat16 in its hardware; for earlier ones cuDNN has no convolutions in it at all
(https://github.com/huggingface/diffusers/pull/14129)."""


def fast_dtype() -> torch.dtype:
    """Give what the GPU, or else the CPU, multiplies fast: bfloat16 where it does so natively.

    Older GPUs (Turing, such as the T4) take float16 instead, other CPUs float32.
    """
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.get_device_capability() >= NATIVE_BF16 else torch.float16
    native = torch.cpu.get_capabilities()
    return torch.bfloat16 if native.get("avx512_bf16") or native.get("amx_bf16") else torch.float32


class WorkingCopies:
    """Parameters that are learned in float32 and computed with in another precision.

    Within a ``with`` block, which holds a forward and a backward pass, they are copies in that precision: no layer then
    casts anything. Afterwards they are the float32 ones again, with gradients in float32: small steps are not lost.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], dtype: torch.dtype) -> None:
        """Make room for the copies. Parameters that have the precision ``dtype`` anyhow stay as they are."""
        self._parameters = [parameter for parameter in parameters if parameter.dtype != dtype]
        self._copies = [torch.empty_like(parameter, dtype=dtype) for parameter in self._parameters]
        self._gradients = [torch.empty_like(parameter) for parameter in self._parameters]

    def __enter__(self) -> Self:
        """Put fresh copies in the place of the parameters."""
        self._masters = [parameter.data for parameter in self._parameters]
        if self._parameters:
            torch._foreach_copy_(self._copies, self._masters)
        self._put(self._copies)
        return self

    def __exit__(self, *exception: object) -> None:
        """Put the parameters back, and their gradients into float32."""
        found = [parameter.grad for parameter in self._parameters]
        self._put(self._masters)
        pairs = [(room, grad) for room, grad in zip(self._gradients, found, strict=True) if grad is not None]
        if pairs:
            torch._foreach_copy_(*map(list, zip(*pairs, strict=True)))
        for parameter, room, grad in zip(self._parameters, self._gradients, found, strict=True):
            parameter.grad = None if grad is None else room

    def _put(self, values: list[torch.Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.grad, parameter.data = None, value
