"""Which bases there are, with all that is known of each before it is loaded, and the one place that loads them."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch

from magicapture.bases.base import Base, BaseSpec, BaseUnavailableError
from magicapture.bases.loading import MISSING
from magicapture.bases.stable_diffusion import ATTENTION_TARGETS, CONVOLUTION_TARGETS, StableDiffusion
from magicapture.bases.unet import KEYS_AND_VALUES
from magicapture.config import TrainConfig
from magicapture.messages import Message
from magicapture.settings import settings

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
SPECS = {spec.name: spec for spec in (MINI, SD15)}


def resolve_base(name: str = "auto") -> BaseSpec:
    """Find the base called ``name``: "mini", "sd15", "auto", or a Hub id or folder of a Stable Diffusion 1.x pipeline.

    "auto" is the value of ``MAGICAPTURE_BASE`` if set, else ``sd15`` on a GPU, else ``mini``.
    """
    if name == "auto":
        name = settings().base or (SD15 if torch.cuda.is_available() else MINI).name
    if name in SPECS:
        return SPECS[name]
    tiny_decoder = None if Path(name).is_dir() else SD15.tiny_decoder
    known = {"name": name, "source": name, "title": Path(name).name, "licence": "other"}
    return replace(SD15, **known, vae=None, tiny_decoder=tiny_decoder)


def load_base(name: str = "auto") -> Base:
    """Load the base called ``name`` (see ``resolve_base``) onto the GPU if there is one, once per process.

    Where "auto" finds no weights of ``sd15`` it gives ``mini``. Raises ``BaseUnavailableError`` otherwise, and
    ``BaseError`` for a base that is there but cannot be trained here.
    """
    spec = resolve_base(name)
    try:
        return _load(spec)
    except BaseUnavailableError:
        if name != "auto" or spec is MINI:
            raise
        return _load(MINI)


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
