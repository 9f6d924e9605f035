"""In what numbers a device multiplies fast."""

import torch

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
