"""What training and portraits take on the machine at hand, whatever the base's weights: random ones take as long."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from magicapture.bases import Base, BaseError, BaseSpec
from magicapture.bases.lora import lora_layers
from magicapture.config import GenerateConfig, TrainConfig
from magicapture.drawing.generation import draw
from magicapture.evaluation.bench import NOT_KNOWN_INSIDE, dreambooth_lora_seconds, noise_reference, peak_memory_gb
from magicapture.faces import FaceEngine
from magicapture.method.objective import Phase
from magicapture.method.progress import TrainEvent
from magicapture.method.training import Training

FIRST_STEPS = 6
"""Steps at the start of a phase that choose algorithms and make room: they count once."""
TIMED_STEPS = 30
"""Steps of a phase that stand for all that follow."""
DRAWINGS = 3


@dataclass(frozen=True)
class TimedStep:
    """What a training step was, and its seconds until the GPU was done with it."""

    phase: Phase
    identity: bool
    preview: bool
    seconds: float


def random_base(spec: BaseSpec) -> Base:
    """Give ``spec`` with random weights, see ``Base.random``. Raises ``BaseError`` when its size is not known here."""
    base = spec.family.random(spec) if spec.parts else None
    if base is None:
        raise BaseError(NOT_KNOWN_INSIDE.format(name=spec.name))
    return base


def schedule_seconds(base: Base, engine: FaceEngine, preset: str) -> dict[str, float]:
    """Time steps of ``preset`` and give its whole length: photos, steps and previews, without their scores.

    Medians of each kind of step; in the whole, every kind counts as often as it came.
    """
    config = base.spec.presets[preset]
    steps = FIRST_STEPS + TIMED_STEPS
    short = replace(config, token_steps=steps, lora_steps=steps, previews=2)
    references = [noise_reference(base.resolution, seed) for seed in range(4)]
    _forget_peak()
    started = time.monotonic()
    with Training(base, engine, references, references, short) as training:
        prepared = time.monotonic() - started
        taken = list(timed_steps(training.unscored()))
    first_preview, preview = (step.seconds for step in taken if step.preview)
    phases = {phase: [s.seconds for s in taken if s.phase == phase and not s.preview] for phase in ("tokens", "lora")}
    mean = {phase: statistics.mean(seconds[FIRST_STEPS:]) for phase, seconds in phases.items()}
    whole = prepared + first_preview + (config.previews - 1) * preview - config.previews * mean["lora"]
    for phase, count in (("tokens", config.token_steps), ("lora", config.lora_steps)):
        if count:
            whole += sum(phases[phase][:FIRST_STEPS]) + mean[phase] * (count - FIRST_STEPS)
    return {
        **kinds_of_steps(taken),
        "preview": preview,
        "photos": prepared,
        "steps": config.steps,
        "whole": whole,
        "peak_memory_gb": peak_memory_gb(),
    }


def timed_steps(events: Iterator[TrainEvent]) -> Iterator[TimedStep]:
    """Time each step that makes one of ``events``; a step ends with reading its losses, so with all before it."""
    while True:
        started = time.monotonic()
        event = next(events, None)
        if event is None:
            return
        seconds = time.monotonic() - started
        yield TimedStep(event.phase, "identity" in event.losses, event.preview is not None, seconds)


def kinds_of_steps(taken: list[TimedStep]) -> dict[str, float]:
    """Give the median seconds of a step of each phase, and of phase 2 with identity judged, after the first ones."""
    kinds: dict[str, list[float]] = {}
    seen = dict.fromkeys(("tokens", "lora"), 0)
    for step in taken:
        seen[step.phase] += 1
        if seen[step.phase] > FIRST_STEPS and not step.preview:
            name = "token_step" if step.phase == "tokens" else "lora_step"
            kinds.setdefault(name + "_with_identity" * step.identity, []).append(step.seconds)
    return {name: statistics.median(seconds) for name, seconds in kinds.items()}


def portraits_seconds(base: Base) -> dict[str, float]:
    """Time four portraits side by side with an adapter, decoded."""
    settings = GenerateConfig()
    _forget_peak()
    rows = base.initial_rows(0.0, torch.Generator())
    config: TrainConfig = base.spec.presets["quick"]
    with base.concept_tokens(rows), lora_layers(base.denoiser, config.rank, base.spec.lora_targets):
        list(draw(base, [0, 1, 2, 3], replace(settings, steps=2)))
        durations = [_seconds(lambda: list(draw(base, settings.seeds, settings))) for _ in range(DRAWINGS)]
    return {"four_portraits": statistics.median(durations), "peak_memory_gb": peak_memory_gb()}


def dreambooth_lora(base: Base) -> dict[str, float]:
    """Time DreamBooth-LoRA's steps with the batch and the LoRA of ``quick``, encoding anew in each and once for all."""
    _forget_peak()
    return {
        "step": statistics.median(dreambooth_lora_seconds(base)),
        "cached_step": statistics.median(dreambooth_lora_seconds(base, cached=True)),
        "peak_memory_gb": peak_memory_gb(),
    }


def timings(base: Base, engine: FaceEngine) -> dict[str, Callable[[], dict[str, float]]]:
    """Give by name what can be timed, in seconds, the most important first."""
    presets = [preset for preset in ("quick", "paper") if preset in base.spec.presets]
    schedules = {preset: lambda preset=preset: schedule_seconds(base, engine, preset) for preset in presets}
    return {**schedules, "portraits": lambda: portraits_seconds(base), "dreambooth_lora": lambda: dreambooth_lora(base)}


def device_name(device: torch.device) -> str:
    """Say which GPU that is, or that it is none."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _seconds(call: Callable[[], object]) -> float:
    started = time.monotonic()
    call()
    return time.monotonic() - started


def _forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
