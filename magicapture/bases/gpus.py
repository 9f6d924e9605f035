"""The GPUs whose speed is known: for what is counted without them, and for what is foretold on them."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """How fast a GPU multiplies large matrices in half precision with sums in float32, in TFLOP/s, without sparsity.

    ``peak``: by its maker; ``realistic``: as measured for large matrices, which is as good as it gets;
    ``memory_gb``: in gigabytes.
    """

    name: str
    peak: float
    realistic: float
    memory_gb: float


GPUS = (
    # https://www.nvidia.com/en-us/data-center/tesla-t4/, https://forums.developer.nvidia.com/t/264462
    Gpu("T4", 65, 24, 16),
    # https://www.nvidia.com/en-us/data-center/l4/, https://github.com/zzc0721/torch-performance-test-data/issues/120
    Gpu("L4", 121, 59, 24),
    # https://github.com/zzc0721/torch-performance-test-data/issues/126: its maker's figure is what was measured
    Gpu("A10G", 70, 69, 24),
    # The next three: https://github.com/stas00/ml-engineering/tree/master/compute/accelerator
    Gpu("A100", 312, 271, 80),
    Gpu("H100", 989, 794, 80),
    Gpu("H200", 989, 794, 141),
    # 4,000 TOPS in sparse FP4 by its maker, an eighth of it here;
    # https://github.com/zzc0721/torch-performance-test-data/issues/162
    Gpu("RTX PRO 6000", 504, 417, 96),
)
"""Whole GPUs: on ZeroGPU a visitor has half of the last one."""

ZERO_GPU_PEAK = GPUS[-1].peak / 2


def gpu_called(name: str) -> Gpu | None:
    """Find the GPU that PyTorch calls ``name``, such as "NVIDIA A100-SXM4-80GB"; None if it is not known, or a part."""
    if "MIG" in name:
        return None
    return next((gpu for gpu in GPUS if re.search(rf"\b{gpu.name}\b", name)), None)
