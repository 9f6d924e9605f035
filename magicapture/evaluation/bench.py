"""What a training step and a portrait cost, beside a plain DreamBooth-LoRA loop on the same base."""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from magicapture.bases import Base, Conditioning
from magicapture.bases.lora import lora_layers
from magicapture.config import GenerateConfig, Term
from magicapture.drawing.enhance import upscale
from magicapture.drawing.generation import draw
from magicapture.evaluation.baselines import plain_loss
from magicapture.faces import FaceEngine
from magicapture.method.optimizer import optimizer_step
from magicapture.method.training import Training
from magicapture.photos.references import Reference

ROUNDS, WARMUP_STEPS, TIMED_STEPS = 3, 3, 8
"""Both loops are timed in turn, so that a machine that slows down does so for both."""
MATRIX_SIDE = 4096
FEW_STEPS = 12
"""Enough to see whether what is learned grows out of all proportion."""
NOT_KNOWN_INSIDE = "What {name} looks like inside is not known without its weights: bench it as it is."


def bench(base: Base, engine: FaceEngine) -> dict[str, float]:
    """Time ``quick``'s training steps, a portrait, and DreamBooth-LoRA's steps with the same batch and LoRA.

    Seconds are medians. The pictures are noise: what they show changes nothing in what they cost. Where the time goes
    is told by steps with one term of the method off; ``floor_seconds_per_step`` is what the operations of a step would
    take at the rate at which this machine multiplies large matrices.
    """
    references = [noise_reference(base.resolution, seed) for seed in range(4)]
    ours, theirs, cached = [], [], []
    for _ in range(ROUNDS):
        ours += training_seconds(base, engine, references)
        theirs += dreambooth_lora_seconds(base)
        cached += dreambooth_lora_seconds(base, cached=True)
    operations, rate = operations_per_step(base, engine, references), operations_per_second(base)
    settings = GenerateConfig()
    list(draw(base, [0], replace(settings, steps=2)))
    started = time.monotonic()
    drawn = len(list(draw(base, list(range(settings.count)), settings)))
    portrait = (time.monotonic() - started) / drawn
    return {
        "seconds_per_step": statistics.median(ours),
        "dreambooth_lora_seconds_per_step": statistics.median(theirs),
        "step_ratio": statistics.median(ours) / statistics.median(theirs),
        "cached_dreambooth_lora_seconds_per_step": statistics.median(cached),
        "cached_step_ratio": statistics.median(ours) / statistics.median(cached),
        "seconds_per_step_without_identity": statistics.median(training_seconds(base, engine, references, "identity")),
        "seconds_per_step_without_refocusing": statistics.median(
            training_seconds(base, engine, references, "attention")
        ),
        "operations_per_step": operations,
        "operations_per_second": rate,
        "floor_seconds_per_step": operations / rate,
        "seconds_per_portrait": portrait,
        "seconds_per_enlarged_portrait": enlarging_seconds(base.resolution),
        **sizes_learned(base, engine, references),
        "peak_memory_gb": peak_memory_gb(),
    }


def sizes_learned(base: Base, engine: FaceEngine, references: list[Reference]) -> dict[str, float]:
    """Give how large LoRA and words are after a few steps at ``quick``'s rates: a rate that blows up shows at once.

    ``lora_ratio`` is ‖ΔW‖ / ‖W‖, ``row_norm`` the length of the longer word, ``usual_row_norm`` that of the base's own.
    """
    few = base.spec.presets["quick"].with_steps(FEW_STEPS)
    config = replace(few, previews=1, preview_images=1, preview_steps=1)
    with Training(base, engine, references, references, config) as training:
        drawn = [event.preview for event in training.unscored() if event.preview][-1]
    usual = max(float(rows.norm(dim=1).median()) for rows in base.vocabulary().values())
    return {"lora_ratio": drawn.lora_ratio, "row_norm": drawn.row_norm, "usual_row_norm": usual}


@contextmanager
def endless_rounds(
    base: Base, engine: FaceEngine, references: list[Reference], *off: Term
) -> Iterator[Callable[[], object]]:
    """Give what takes steps of ``quick``'s second phase until identity has been judged once, with the terms ``off``."""
    quick = base.spec.presets["quick"]
    config = replace(quick, previews=0, off=frozenset({"tokens", *off}))  # phase 2 from the first step
    with Training(base, engine, references, references, config) as training:
        steps = iter(training)
        yield lambda: [next(steps) for _ in range(quick.identity_every)]


def training_seconds(base: Base, engine: FaceEngine, references: list[Reference], *off: Term) -> list[float]:
    """Time a step of ``quick``'s second phase, with the terms ``off``."""
    with endless_rounds(base, engine, references, *off) as take:
        return [seconds / base.spec.presets["quick"].identity_every for seconds in seconds_per_call(take)]


def operations_per_step(base: Base, engine: FaceEngine, references: list[Reference]) -> int:
    """Count the additions and multiplications of a step, forward and backward."""
    with endless_rounds(base, engine, references) as take, FlopCounterMode(display=False) as counter:
        take()
    return counter.get_total_flops() // base.spec.presets["quick"].identity_every


def operations_per_second(base: Base) -> float:
    """Measure how fast matrices are multiplied in the precision of ``base``."""
    matrix = torch.randn(MATRIX_SIDE, MATRIX_SIDE, device=base.device, dtype=base.dtype)

    def multiply() -> None:
        (matrix @ matrix)[0, 0].item()  # the value waits for a GPU

    return 2 * MATRIX_SIDE**3 / statistics.median(seconds_per_call(multiply))


@contextmanager
def dreambooth_lora_step(base: Base, *, cached: bool = False) -> Iterator[Callable[[], None]]:
    """Give what takes a step of DreamBooth-LoRA (Ruiz et al., 2023) with the batch and the LoRA of ``quick``.

    What a step does is what diffusers' ``train_dreambooth_lora.py`` does by default: pictures and prompts are encoded
    anew in each, then the plain loss, backward, clipping and AdamW. Layers, copies and optimizer are ours, which casts
    less and launches less than the script: a ratio to this is no smaller than one to the script. ``cached`` encodes
    pictures and prompts once: the U-Net is left.
    """
    quick, generator = base.spec.presets["quick"], torch.Generator().manual_seed(0)
    batch = quick.images_per_task * 3
    pictures = torch.rand(batch, 3, base.resolution, base.resolution, generator=generator) * 2 - 1

    @torch.no_grad()
    def encoded() -> tuple[Tensor, Conditioning]:
        mean, std = base.encode(pictures)
        latents = mean + std * torch.randn(mean.shape, generator=generator).to(mean)
        return latents, base.condition(["a photo of sks person"] * batch)

    prepared = encoded()
    with lora_layers(base.denoiser, quick.rank, base.spec.lora_targets) as parameters:
        optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
        scaler, copies = base.grad_scaler(), base.working_copies(parameters)

        def step() -> None:
            with copies:
                loss = plain_loss(base, *(prepared if cached else encoded()), generator)
                scaler.scale(loss).backward()
            optimizer_step(optimizer, scaler)
            loss.item()

        yield step


def dreambooth_lora_seconds(base: Base, *, cached: bool = False) -> list[float]:
    """Time steps of DreamBooth-LoRA."""
    with dreambooth_lora_step(base, cached=cached) as step:
        return seconds_per_call(step)


def enlarging_seconds(side: int) -> float:
    """Time what enlarging a picture takes, ``side`` pixels wide, once the weights are loaded."""
    picture = noise_reference(side, 0).image
    upscale(picture, 4)
    started = time.monotonic()
    upscale(picture, 4)
    return time.monotonic() - started


def seconds_per_call(call: Callable[[], object]) -> list[float]:
    """Give the durations of a few calls of ``call`` after others to warm up."""
    for _ in range(WARMUP_STEPS):
        call()
    durations = []
    for _ in range(TIMED_STEPS):
        started = time.monotonic()
        call()
        durations.append(time.monotonic() - started)
    return durations


def noise_reference(side: int, seed: int) -> Reference:
    """Make a reference of noise, ``side`` pixels wide, with a face mask and landmarks where a face would be."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), np.float32)
    mask[side // 4 : 7 * side // 8, side // 4 : 3 * side // 4] = 1
    landmarks = np.array([[0.40, 0.48], [0.60, 0.48], [0.50, 0.59], [0.42, 0.70], [0.58, 0.70]], np.float32) * side
    embedding = rng.normal(size=512).astype(np.float32)
    image = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
    return Reference("noise", image, mask, landmarks, embedding / np.linalg.norm(embedding))


def peak_memory_gb() -> float:
    """Give the most memory this process has held: on the GPU if there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
