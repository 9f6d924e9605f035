"""What training and drawing would cost on GPUs that are not here: counted on tensors without values."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from magicapture.bases import Base, BaseError, BaseSpec
from magicapture.bases.lora import lora_layers
from magicapture.config import GenerateConfig, Term
from magicapture.drawing.generation import draw
from magicapture.evaluation.bench import dreambooth_lora_step, noise_reference
from magicapture.evaluation.meter import Meter, metered
from magicapture.faces.builtin import BuiltinEngine
from magicapture.faces.recogniser import Recogniser
from magicapture.method.objective import Phase
from magicapture.method.training import Training


@dataclass(frozen=True)
class Gpu:
    """How fast a GPU multiplies large matrices in half precision with sums in float32, in TFLOP/s, without sparsity.

    ``peak``: by its maker; ``realistic``: as measured for large matrices, which is as good as it gets.
    """

    name: str
    peak: float
    realistic: float


GPUS = (
    # https://www.nvidia.com/en-us/data-center/tesla-t4/, https://forums.developer.nvidia.com/t/264462
    Gpu("T4", 65, 24),
    # https://www.nvidia.com/en-us/data-center/l4/, https://github.com/zzc0721/torch-performance-test-data/issues/120
    Gpu("L4", 121, 59),
    # https://github.com/zzc0721/torch-performance-test-data/issues/126: its maker's figure is what was measured
    Gpu("A10G", 70, 69),
    # The next three: https://github.com/stas00/ml-engineering/tree/master/compute/accelerator
    Gpu("A100", 312, 271),
    Gpu("H100", 989, 794),
    Gpu("H200", 989, 794),
    # 4,000 TOPS in sparse FP4 by its maker, an eighth of it here;
    # https://github.com/zzc0721/torch-performance-test-data/issues/162
    Gpu("RTX PRO 6000", 504, 417),
)
"""Whole GPUs: on ZeroGPU a visitor has half of the last one."""


class MetaEngine(BuiltinEngine):
    """The recogniser of the built-in engine, as a copy that may lose its weights."""

    name = "meta"

    def recogniser(self) -> Recogniser:
        """Give the copy."""
        return copy.deepcopy(super().recogniser())


@dataclass(frozen=True)
class Cost:
    """What a computation costs; see ``Meter`` for the counts. Memory in GB holds the base's weights too."""

    operations: int
    kernels: int
    waits: int
    tflop: float
    saved_gb: float
    peak_memory_gb: float


def forecast(spec: BaseSpec) -> dict[str, object]:
    """Count one step of each kind of ``quick`` and four portraits, and give their floors in seconds by GPU.

    A floor is what the products alone would take at the GPU's realistic rate: nothing can be faster, much is slower.
    Raises ``BaseError`` for a base of which the sizes are not known here.
    """
    quick = spec.presets["quick"]
    token_step, (identity_step, lora_step) = step_costs(spec, "tokens", 1)[0], step_costs(spec, "lora", 2)
    preview = portraits_cost(spec, GenerateConfig(count=quick.preview_images, steps=quick.preview_steps))
    portraits = portraits_cost(spec, GenerateConfig())
    step = lora_step.tflop + (identity_step.tflop - lora_step.tflop) / quick.identity_every
    training = token_step.tflop * quick.token_steps + step * quick.lora_steps + preview.tflop * quick.previews
    return {
        "token_step": vars(token_step),
        "lora_step": vars(lora_step),
        "lora_step_with_identity": vars(identity_step),
        "dreambooth_lora_step": vars(dreambooth_lora_cost(spec)),
        "cached_dreambooth_lora_step": vars(dreambooth_lora_cost(spec, cached=True)),
        "portraits": vars(portraits),
        "floor_seconds": {
            gpu.name: {
                "step": round(step / gpu.realistic, 4),
                "quick": round(training / gpu.realistic, 1),
                "portraits": round(portraits.tflop / gpu.realistic, 2),
            }
            for gpu in GPUS
        },
    }


def skeleton(spec: BaseSpec) -> Base:
    """Give ``spec`` without weights. Raises ``BaseError`` when its size is not known here."""
    if spec.parts is None:
        raise BaseError(f"What {spec.name} looks like inside is not known without its weights: bench it as it is.")
    return spec.family.skeleton(spec)


def step_costs(spec: BaseSpec, phase: Phase, steps: int) -> list[Cost]:
    """Count each of ``steps`` training steps of ``phase``: in the second one identity is judged in the first of them.

    The batch is ``quick``'s; identity finds a sample to judge whenever it is due, and every second step it is.
    """
    off: frozenset[Term] = frozenset({"tokens"}) if phase == "lora" else frozenset()
    config = replace(spec.presets["quick"], previews=0, off=off, identity_every=2)
    config = replace(config, identity_from=0.0, identity_limit=1.0)
    with metered() as (meter, flops):
        base = skeleton(spec)
        references = [noise_reference(base.resolution, seed) for seed in range(4)]
        with Training(base, MetaEngine(), references, references, config) as training:
            events = iter(training)
            next(events), next(events)  # the optimizer makes room for its state
            return [counted(meter, flops, lambda: next(events)) for _ in range(steps)]


def dreambooth_lora_cost(spec: BaseSpec, *, cached: bool = False) -> Cost:
    """Count a step of DreamBooth-LoRA: see ``dreambooth_lora_step``."""
    with metered() as (meter, flops), dreambooth_lora_step(skeleton(spec), cached=cached) as step:
        step()
        return counted(meter, flops, step)


def portraits_cost(spec: BaseSpec, settings: GenerateConfig) -> Cost:
    """Count what drawing ``settings.count`` portraits with an adapter takes, side by side."""
    with metered() as (meter, flops), torch.no_grad():
        base = skeleton(spec)
        rows = base.initial_rows(0.0, torch.Generator())
        with base.concept_tokens(rows), lora_layers(base.denoiser, spec.presets["quick"].rank, spec.lora_targets):
            return counted(meter, flops, lambda: list(draw(base, list(range(settings.count)), settings)))


def counted(meter: Meter, flops: FlopCounterMode, call: Callable[[], object]) -> Cost:
    """Give what ``call`` costs."""
    meter.reset()
    before = flops.get_total_flops()
    call()
    tflop = (flops.get_total_flops() - before) / 1e12
    counts = meter.operations, meter.kernels, meter.waits
    return Cost(*counts, round(tflop, 3), round(meter.saved / 1e9, 2), round(meter.peak / 1e9, 2))
