"""In what numbers a device multiplies fast, and how to train in them."""

import torch
from torch import Tensor

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


def descend(
    loss: Tensor, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, max_grad_norm: float = 1.0
) -> None:
    """Take one step down the gradient of ``loss``, clipped to a norm of ``max_grad_norm`` over all parameters.

    ``scaler``: see ``Base.grad_scaler``; a step whose gradients overflow in float16 is left out.
    """
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
