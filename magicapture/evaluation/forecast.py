"""What training and drawing would cost on GPUs that are not here: counted on tensors without values."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from magicapture.bases import Base, BaseError, BaseSpec
from magicapture.bases.gpus import GPUS, Gpu
from magicapture.bases.lora import lora_layers
from magicapture.config import GenerateConfig, Term
from magicapture.drawing.generation import draw
from magicapture.evaluation.bench import NOT_KNOWN_INSIDE, dreambooth_lora_step, noise_reference
from magicapture.evaluation.meter import Meter, metered
from magicapture.faces.builtin import BuiltinEngine
from magicapture.faces.recogniser import Recogniser
from magicapture.method.objective import Phase
from magicapture.method.training import Training


class MetaEngine(BuiltinEngine):
    """The recogniser of the built-in engine, as a copy that may lose its weights."""

    name = "meta"

    def recogniser(self) -> Recogniser:
        """Give the copy."""
        return copy.deepcopy(super().recogniser())


@dataclass(frozen=True)
class Cost:
    """What a computation costs; see ``Meter`` for the counts. Memory in GB holds the base's weights too.

    Of blocks that are computed once more, ``saved_gb`` knows nothing, ``peak_memory_gb`` all.
    """

    operations: int
    kernels: int
    waits: int
    tflop: float
    saved_gb: float
    peak_memory_gb: float


def forecast(spec: BaseSpec) -> dict[str, object]:
    """Count one step of each kind of ``quick`` and four portraits, and give their floors in seconds by GPU.

    A floor is what the products alone would take at the GPU's realistic rate: nothing can be faster, much is slower.
    ``recomputed``: the same steps where the GPU has too little memory to keep activations. ``fits``: whether the
    dearest step's memory is there. Raises ``BaseError`` for a base of which the sizes are not known here.
    """
    quick, roomy_gb = spec.presets["quick"], spec.family.roomy_bytes / 1e9
    kept = training_costs(spec)
    recomputed = training_costs(spec, roomy=False) if roomy_gb else kept
    preview = portraits_cost(spec, GenerateConfig(count=quick.preview_images, steps=quick.preview_steps))
    portraits = portraits_cost(spec, GenerateConfig())

    def floors(gpu: Gpu) -> dict[str, float | bool]:
        costs = recomputed if gpu.memory_gb < roomy_gb else kept
        token_step, lora_step, identity_step = (cost.tflop for cost in costs.values())
        step = lora_step + (identity_step - lora_step) / quick.identity_every
        training = token_step * quick.token_steps + step * quick.lora_steps + preview.tflop * quick.previews
        return {
            "step": round(step / gpu.realistic, 4),
            "quick": round(training / gpu.realistic, 1),
            "portraits": round(portraits.tflop / gpu.realistic, 2),
            "fits": max(cost.peak_memory_gb for cost in (*costs.values(), portraits)) <= gpu.memory_gb,
        }

    return {
        **_plain(kept),
        **({"recomputed": _plain(recomputed)} if roomy_gb else {}),
        "dreambooth_lora_step": vars(dreambooth_lora_cost(spec)),
        "cached_dreambooth_lora_step": vars(dreambooth_lora_cost(spec, cached=True)),
        "portraits": vars(portraits),
        "floor_seconds": {gpu.name: floors(gpu) for gpu in GPUS},
    }


def _plain(costs: dict[str, Cost]) -> dict[str, object]:
    return {name: vars(cost) for name, cost in costs.items()}


def skeleton(spec: BaseSpec, *, roomy: bool = True) -> Base:
    """Give ``spec`` without weights, see ``Base.skeleton``. Raises ``BaseError`` when its size is not known here."""
    if spec.parts is None:
        raise BaseError(NOT_KNOWN_INSIDE.format(name=spec.name))
    return spec.family.skeleton(spec, roomy=roomy)


def training_costs(spec: BaseSpec, *, roomy: bool = True) -> dict[str, Cost]:
    """Count a step of each kind by name: of phase 1, of phase 2, and of that with identity judged."""
    (token_step,) = step_costs(spec, "tokens", 1, roomy=roomy)
    identity_step, lora_step = step_costs(spec, "lora", 2, roomy=roomy)
    return {"token_step": token_step, "lora_step": lora_step, "lora_step_with_identity": identity_step}


def step_costs(spec: BaseSpec, phase: Phase, steps: int, *, roomy: bool = True) -> list[Cost]:
    """Count each of ``steps`` training steps of ``phase``: in the second one identity is judged in the first of them.

    The batch is ``quick``'s; identity finds a sample to judge whenever it is due, and every second step it is.
    """
    off: frozenset[Term] = frozenset({"tokens"}) if phase == "lora" else frozenset()
    config = replace(spec.presets["quick"], previews=0, off=off, identity_every=2)
    config = replace(config, identity_from=0.0, identity_limit=1.0)
    with metered() as meter:
        base = skeleton(spec, roomy=roomy)
        references = [noise_reference(base.resolution, seed) for seed in range(4)]
        with Training(base, MetaEngine(), references, references, config) as training:
            events = iter(training)
            next(events), next(events)  # the optimizer makes room for its state
            return [counted(meter, lambda: next(events)) for _ in range(steps)]


def dreambooth_lora_cost(spec: BaseSpec, *, cached: bool = False) -> Cost:
    """Count a step of DreamBooth-LoRA: see ``dreambooth_lora_step``."""
    with metered() as meter, dreambooth_lora_step(skeleton(spec), cached=cached) as step:
        step()
        return counted(meter, step)


def portraits_cost(spec: BaseSpec, settings: GenerateConfig) -> Cost:
    """Count what drawing ``settings.count`` portraits with an adapter takes, side by side."""
    with metered() as meter, torch.no_grad():
        base = skeleton(spec)
        rows = base.initial_rows(0.0, torch.Generator())
        with base.concept_tokens(rows), lora_layers(base.denoiser, spec.presets["quick"].rank, spec.lora_targets):
            return counted(meter, lambda: list(draw(base, list(range(settings.count)), settings)))


def counted(meter: Meter, call: Callable[[], object]) -> Cost:
    """Give what ``call`` costs."""
    meter.reset()
    call()
    counts = meter.operations, meter.kernels, meter.waits
    return Cost(*counts, round(meter.flops / 1e12, 3), round(meter.saved / 1e9, 2), round(meter.peak / 1e9, 2))
