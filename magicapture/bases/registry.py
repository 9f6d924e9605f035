"""Which bases there are, with all that is known of each before it is loaded."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from magicapture.bases.architectures import klein_parts, sd15_parts, sdxl_parts
from magicapture.bases.base import BaseSpec
from magicapture.bases.flux2 import FLUX2_TARGETS, TEXT_PROJECTIONS, Flux2
from magicapture.bases.loading import pipeline_kind
from magicapture.bases.sdxl import XL_ATTENTION_TARGETS, StableDiffusionXL
from magicapture.bases.stable_diffusion import ATTENTION_TARGETS, CONVOLUTION_TARGETS, StableDiffusion
from magicapture.bases.unet import KEYS_AND_VALUES
from magicapture.config import TrainConfig
from magicapture.settings import settings

MINI_WEIGHTS = Path(__file__).parents[1] / "mini" / "weights"
"""The embedded base: an ordinary diffusers pipeline folder."""

QUICK = TrainConfig(
    token_steps=0,
    lora_steps=180,
    images_per_task=1,
    identity_weight=0.2,
    late_style=False,
    style_until=0.7,
    previews=3,
)
"""A short LoRA: two minutes on two CPU cores with the embedded base.

Without a first phase, which changes nothing there; drawing starts from a layout under 0.8 of the noise, so that the
look has no layout to teach, and what it would teach of its sitters' heads is the person's to say (docs/findings.md)."""

BALANCED = replace(QUICK, preset="balanced", lora_steps=200, images_per_task=2)
"""Twice the pictures: steadier likeness. More steps at smaller rates take longer and do no better."""

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
    title="the embedded demo model, 256 px",
    licence="apache-2.0",
    download_gb=0.0,
    presets={config.preset: config for config in (QUICK, BALANCED, PAPER)},
    guidance_scale=1.0,  # more says no more of an adapter's own words, and a visitor's say nothing with less
    worded_guidance_scale=4.0,
    untouched_guidance_scale=2.5,
    lora_targets=f"({ATTENTION_TARGETS}|{CONVOLUTION_TARGETS})",
    lora_bytes=520_000,
    text_projections=KEYS_AND_VALUES,
    step_seconds=1.1,  # twice ``bench``, whose batches are half as large, on two cores without bfloat16
    portrait_seconds=1.6,
    seconds_on_gpu=(0.06, 0.08),  # launching its small operations takes longest there; an estimate
    resolution=256,
    sampling_steps=25,
    layout_share=0.8,
    holds_palette=True,
    linear=True,
    embedded="mini-256",
)

ZERO_GPU_TFLOPS = 50
"""TFLOP a second that half an RTX PRO 6000, what ZeroGPU lends, is thought to do: a fifth of what it is built for."""

SD15_QUICK = TrainConfig(
    token_steps=60,
    lora_steps=170,
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
    previews=3,
)
"""Rates at a quarter of the embedded base's and below. Not measured yet: starting points from what others use.

So short that it fits, with four portraits, into what ZeroGPU gives a visitor without an account in a day."""

SD15_BALANCED = replace(SD15_QUICK, preset="balanced", token_steps=200, lora_steps=750, lora_lr=4e-4, previews=6)

SD15 = BaseSpec(
    name="sd15",
    family=StableDiffusion,
    source="stable-diffusion-v1-5/stable-diffusion-v1-5",
    title="Stable Diffusion 1.5, 512 px",
    licence="creativeml-openrail-m",
    download_gb=2.5,
    presets={config.preset: config for config in (SD15_QUICK, SD15_BALANCED, PAPER)},
    guidance_scale=5.0,
    lora_targets=ATTENTION_TARGETS,
    lora_bytes=1_300_000,
    text_projections=KEYS_AND_VALUES,
    step_seconds=6 * 1.74 / ZERO_GPU_TFLOPS,  # six pictures forward and backward, as counted on its shapes
    portrait_seconds=(40 * 0.80 + 2.5) / ZERO_GPU_TFLOPS,  # 20 guided steps and the decoder, likewise
    resolution=512,
    lora_scale=0.8,
    negative_prompt="blurry, deformed, extra fingers, watermark, text",
    variant="fp16",
    vae="stabilityai/sd-vae-ft-mse",
    things=True,
    tiny_decoder="madebyollin/taesd",
    parts=sd15_parts,
)

SD15_LIKE = replace(SD15, resolution=None)
"""A pipeline of this family: its own configuration says how large its pictures are."""

XL_QUICK = replace(SD15_QUICK, token_steps=120, lora_steps=500, images_per_task=1, token_lr=1e-3, lora_lr=3e-4)
"""A larger base takes smaller steps, and with one picture a task a GPU of 24 GB. Not measured yet, as above."""

XL_BALANCED = replace(XL_QUICK, preset="balanced", token_steps=300, lora_steps=1250, lora_lr=2e-4, previews=6)

XL_PAPER = replace(PAPER, token_lr=5e-4, token_lr_phase2=2.5e-5, lora_lr=1e-4)
"""The published schedule at the paper's own rates: the authors' fourfold ones are for a base a third as large."""

SDXL = BaseSpec(
    name="sdxl",
    family=StableDiffusionXL,
    source="stabilityai/stable-diffusion-xl-base-1.0",
    title="Stable Diffusion XL, 768 px",
    licence="openrail++",
    download_gb=7.3,
    presets={config.preset: config for config in (XL_QUICK, XL_BALANCED, XL_PAPER)},
    guidance_scale=5.0,
    lora_targets=XL_ATTENTION_TARGETS,
    lora_bytes=5_900_000,
    text_projections=KEYS_AND_VALUES,
    step_seconds=0.5,  # on a GPU: by counting operations, on the long side
    portrait_seconds=2.5,
    resolution=768,
    lora_scale=0.8,
    negative_prompt=SD15.negative_prompt,
    variant="fp16",
    vae="madebyollin/sdxl-vae-fp16-fix",
    things=True,
    tiny_decoder="madebyollin/taesdxl",
    parts=sdxl_parts,
)

SDXL_1024 = replace(
    SDXL,
    name="sdxl-1024",
    title="Stable Diffusion XL, 1024 px",
    resolution=1024,
    step_seconds=1.0,
    portrait_seconds=5.0,
)
"""The same weights at the size that they were made for: about twice the time, and a GPU of 40 GB."""

FLUX2_QUICK = TrainConfig(
    lora_lr=1e-4,
    warmup_steps=20,
    norm_pull=10.0,
    identity_weight=0.4,
    identity_tasks=("composed",),
    heads_together=True,
    preview_steps=4,
)
"""The LoRA learns at the rate of others' for this base. Identity is judged below σ = 0.6, the signal-to-noise ratio of
t/T = 0.48 above. Not measured yet, as above."""

FLUX2_BALANCED = replace(FLUX2_QUICK, preset="balanced", token_steps=120, lora_steps=680, previews=6)

FLUX2_PAPER = replace(
    PAPER,
    token_lr=1e-2,
    token_lr_phase2=1e-3,
    lora_lr=1e-4,
    norm_pull=10.0,
    identity_limit=0.6,
    preview_steps=4,
)
"""The published schedule at rates that suit this base, and identity judged no later than in the others: of σ, not t."""

FLUX2 = BaseSpec(
    name="flux2-klein",
    family=Flux2,
    source="black-forest-labs/FLUX.2-klein-base-4B",
    title="FLUX.2 [klein] 4B, 512 px (experimental: its code is tested, its quality not yet measured)",
    licence="apache-2.0",
    download_gb=23.9,
    presets={config.preset: config for config in (FLUX2_QUICK, FLUX2_BALANCED, FLUX2_PAPER)},
    guidance_scale=1.0,
    lora_targets=FLUX2_TARGETS,
    lora_bytes=4_700_000,
    text_projections=TEXT_PROJECTIONS,
    step_seconds=1.4,  # likewise, with activations recomputed, on half of a GPU as ZeroGPU gives it
    portrait_seconds=1.5,
    resolution=512,
    sampling_steps=4,
    drawn_with="black-forest-labs/FLUX.2-klein-4B",
    things=True,
    edits=True,
    parts=klein_parts,
)

FLUX2_ALONE = replace(
    FLUX2,
    presets={name: replace(config, preview_steps=12) for name, config in FLUX2.presets.items()},
    guidance_scale=4.0,
    portrait_seconds=20.0,
    sampling_steps=28,
    drawn_with=None,
    parts=None,
)
"""A pipeline of this family of which no distilled one is known: it draws itself, with guidance."""

SPECS = {spec.name: spec for spec in (MINI, SD15, SDXL, SDXL_1024, FLUX2)}

ALIKE = {spec.family.pipeline_class.__name__: spec for spec in (SD15_LIKE, SDXL, FLUX2_ALONE)}
"""The base whose settings suit other pipelines of the same kind."""


def resolve_base(name: str = "auto", *, fetch: bool = False) -> BaseSpec:
    """Find the base called ``name``: one of ``SPECS``, "auto", or a Hub id or folder of a pipeline like one of them.

    "auto" is the value of ``MAGICAPTURE_BASE`` if set, else ``sd15`` on a GPU, else ``mini``. What kind of pipeline an
    id or a folder holds is read from its ``model_index.json``; the Hub is asked for it only with ``fetch``, since
    adapters from strangers name bases too.
    """
    if name == "auto":
        name = settings().base or (SD15 if torch.cuda.is_available() else MINI).name
    for spec in SPECS.values():
        if name in (spec.name, spec.source):
            return spec
    like = ALIKE.get(pipeline_kind(name, fetch=fetch), SD15_LIKE)
    known: dict[str, Any] = {"name": name, "source": name, "title": Path(name).name, "licence": "other"}
    tiny_decoder = None if Path(name).is_dir() else like.tiny_decoder
    return replace(like, **known, download_gb=None, variant=None, vae=None, tiny_decoder=tiny_decoder, parts=None)


def offered_bases(*, gpu: bool) -> dict[str, BaseSpec]:
    """Give the bases worth choosing by name: without a ``gpu``, anything larger than ``sd15`` would take days."""
    small = {MINI.name: MINI, SD15.name: SD15}
    return {**(SPECS if gpu else small), (own := resolve_base()).name: own}
