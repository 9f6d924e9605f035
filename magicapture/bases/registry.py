"""Which bases there are, with all that is known of each before it is loaded, and the one place that loads them."""

import json
import os
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache

from magicapture.bases.base import Base, BaseError, BaseSpec, BaseUnavailableError
from magicapture.bases.flux2 import LORA_TARGETS, TEXT_PROJECTIONS, Flux2
from magicapture.bases.stable_diffusion import (
    ATTENTION_TARGETS,
    CONVOLUTION_TARGETS,
    KEYS_AND_VALUES,
    MISSING,
    StableDiffusion,
)
from magicapture.config import TrainConfig
from magicapture.messages import Message

MINI_WEIGHTS = Path(__file__).parents[1] / "mini" / "weights"
"""The embedded base: an ordinary diffusers pipeline folder."""

QUICK = TrainConfig()
"""A short LoRA: under three minutes on two CPU cores with the embedded base."""

BALANCED = replace(QUICK, preset="balanced", token_steps=120, lora_steps=680, lora_lr=1e-3, previews=6)
"""About three times the work of ``quick``: steadier likeness."""

PAPER = TrainConfig(
    preset="paper",
    token_steps=1200,
    lora_steps=1500,
    images_per_task=1,
    one_task=True,
    token_lr=2e-3,
    token_lr_phase2=1e-4,
    lora_lr=4e-4,
    norm_pull=100.0,
    rank=4,
    identity_weight=0.25,
    identity_limit=0.8,
    identity_every=1,
    attention_weight=2.5,
    heads_together=True,
    late_style=False,
    previews=8,
)
"""The published schedule as the authors' code runs it: it multiplies the paper's rates by an accumulation of four that
it never does, pulls the tokens' norms, and weighs identity by 0.25."""

MINI = BaseSpec(
    name="mini",
    family=StableDiffusion,
    source=str(MINI_WEIGHTS),
    title="the embedded demo model, 128 px",
    licence="apache-2.0",
    presets={config.preset: config for config in (QUICK, BALANCED, PAPER)},
    guidance_scale=2.5,
    lora_targets=f"({ATTENTION_TARGETS}|{CONVOLUTION_TARGETS})",
    text_projections=KEYS_AND_VALUES,
    step_seconds=0.3,  # as ``bench`` measures it on two cores
    portrait_seconds=0.5,
    embedded=True,
)

SD15_QUICK = TrainConfig(
    token_steps=80,
    lora_steps=300,
    token_lr=2e-3,
    token_lr_phase2=1e-4,
    lora_lr=5e-4,
    warmup_steps=20,
    norm_pull=100.0,
    identity_weight=0.4,
    identity_tasks=("composed",),
    identity_from=0.1,
    attention_weight=1.0,
    heads_together=True,
)
"""Rates at a quarter of the embedded base's and below. Not measured yet: starting points from what others use."""

SD15_BALANCED = replace(SD15_QUICK, preset="balanced", token_steps=200, lora_steps=750, lora_lr=4e-4, previews=6)

SD15 = BaseSpec(
    name="sd15",
    family=StableDiffusion,
    source="stable-diffusion-v1-5/stable-diffusion-v1-5",
    title="Stable Diffusion 1.5, 512 px",
    licence="creativeml-openrail-m",
    presets={config.preset: config for config in (SD15_QUICK, SD15_BALANCED, PAPER)},
    guidance_scale=5.0,
    lora_targets=ATTENTION_TARGETS,
    text_projections=KEYS_AND_VALUES,
    step_seconds=0.3,  # on a GPU: an estimate that errs on the long side
    portrait_seconds=3.0,
    lora_scale=0.8,
    negative_prompt="blurry, deformed, extra fingers, watermark, text",
    vae="stabilityai/sd-vae-ft-mse",
    tiny_decoder="madebyollin/taesd",
)

FLUX2_QUICK = TrainConfig(
    token_lr=1e-2,
    token_lr_phase2=1e-3,
    lora_lr=1e-4,
    warmup_steps=20,
    norm_pull=10.0,
    identity_weight=0.4,
    identity_tasks=("composed",),
    heads_together=True,
    preview_steps=4,
)
"""The LoRA learns at the rate of others' LoRAs for this base; a step of phase 1 moves the words' numbers by 0.01 at most.
Identity is judged below σ = 0.6, weighed by (1 − σ)². Not measured yet: starting points."""

FLUX2_BALANCED = replace(FLUX2_QUICK, preset="balanced", token_steps=120, lora_steps=680, previews=6)

FLUX2 = BaseSpec(
    name="flux2-klein",
    family=Flux2,
    source="black-forest-labs/FLUX.2-klein-base-4B",
    title="FLUX.2 [klein] 4B, 512 px (experimental: its code is tested, its quality not yet measured)",
    licence="apache-2.0",
    presets={config.preset: config for config in (FLUX2_QUICK, FLUX2_BALANCED)},
    guidance_scale=1.0,
    lora_targets=LORA_TARGETS,
    text_projections=TEXT_PROJECTIONS,
    step_seconds=0.6,  # on a GPU: a forecast from its operations
    portrait_seconds=1.5,
    resolution=512,
    sampling_steps=4,
    drawn_with="black-forest-labs/FLUX.2-klein-4B",
    edits=True,
)

FLUX2_ALONE = replace(
    FLUX2,
    drawn_with=None,
    presets={name: replace(config, preview_steps=12) for name, config in FLUX2.presets.items()},
    guidance_scale=4.0,
    sampling_steps=28,
    portrait_seconds=20.0,
)
"""A pipeline of this family of which no distilled one is known: it draws itself, with guidance."""

SPECS = {spec.name: spec for spec in (MINI, SD15, FLUX2)}

MADE_FOR = {"StableDiffusionPipeline": SD15, "Flux2KleinPipeline": FLUX2_ALONE}
"""How further bases are trained, by the class of diffusers that their ``model_index.json`` names."""


def resolve_base(name: str = "auto") -> BaseSpec:
    """Find the base called ``name``: a key of ``SPECS``, "auto", or a Hub id or folder of a pipeline of their families.

    "auto" is the value of ``MAGICAPTURE_BASE`` if set, else ``sd15`` on a GPU, else ``mini``.
    """
    if name == "auto":
        name = os.environ.get("MAGICAPTURE_BASE") or (SD15 if torch.cuda.is_available() else MINI).name
    for spec in SPECS.values():
        if name in (spec.name, spec.source):
            return spec
    like = MADE_FOR.get(pipeline_class(name), SD15)
    tiny_decoder = None if Path(name).is_dir() else like.tiny_decoder
    known = {"name": name, "source": name, "title": Path(name).name, "licence": "other"}
    return replace(like, **known, vae=None, tiny_decoder=tiny_decoder)


def pipeline_class(source: str) -> str | None:
    """Read from ``model_index.json`` for which class of diffusers a base is made.

    ``source``: a folder, or a Hub id that has been looked up here before; None for all others.
    """
    try:
        folder = Path(source)
        file = folder / "model_index.json" if folder.is_dir() else try_to_load_from_cache(source, "model_index.json")
        return json.loads(Path(file).read_text())["_class_name"]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def load_base(name: str = "auto") -> Base:
    """Load the base called ``name`` (see ``resolve_base``) onto the GPU if there is one, once per process.

    Where "auto" finds no weights of ``sd15`` it gives ``mini``. Raises ``BaseUnavailableError`` otherwise, and
    ``BaseError`` for a base that is there but cannot be trained here.
    """
    spec = resolve_base(name)
    if spec.name not in SPECS:
        spec = _looked_up(spec.source)
    try:
        return _load(spec)
    except BaseUnavailableError:
        if name != "auto" or spec is MINI:
            raise
        return _load(MINI)


def _looked_up(source: str) -> BaseSpec:
    """Ask the Hub, if need be, what ``source`` is. Raises ``BaseError`` when no family here can train that."""
    if not Path(source).is_dir():
        with suppress(*MISSING):
            hf_hub_download(source, "model_index.json")
    if (made_for := pipeline_class(source)) not in (None, *MADE_FOR):
        unknown = "The base model {source} cannot be used: it is made for {pipeline}. Choose one for {known}."
        raise BaseError(Message(unknown, source=source, pipeline=made_for, known=", ".join(MADE_FOR)))
    return resolve_base(source)


@lru_cache(maxsize=2)
def _load(spec: BaseSpec) -> Base:
    try:
        return spec.family.load(spec)
    except MISSING as error:
        raise BaseUnavailableError(
            Message(
                "The base model {source} could not be loaded: it is neither on this machine nor to be had from here. "
                'Check the name and the connection, or choose the base "mini", {title}.',
                source=spec.source,
                title=Message(MINI.title),
            )
        ) from error
