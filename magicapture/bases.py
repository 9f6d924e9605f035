"""The base models an adapter can be trained on, and how each is loaded."""

import logging
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from torch import Tensor, nn

from magicapture.messages import Message
from magicapture.precision import fast_dtype

MISSING = (OSError, ValueError, HfHubHTTPError, LocalEntryNotFoundError)
"""What diffusers raises when weights are neither here nor to be downloaded."""

logger = logging.getLogger(__name__)

MINI_WEIGHTS = Path(__file__).parent / "mini" / "weights"
"""The embedded base: an ordinary diffusers pipeline folder."""

FIRST_SCALE = 2.0**12
"""What losses are multiplied by at first in float16, where small gradients vanish."""


class BaseUnavailableError(Exception):
    """A base model that cannot be loaded here; the text says why and what to use instead."""


@dataclass(frozen=True)
class BaseSpec:
    """What is known of a base model before it is loaded."""

    name: str
    source: str  # Hub id or folder of a diffusers pipeline
    title: str
    licence: str
    guidance_scale: float
    lora_targets: str  # regular expression on the denoiser's layers
    tiny_decoder: str | None = None  # Hub id of a distilled decoder for the identity loss; None: its own is small


ATTENTION_TARGETS = r".*(attn[12]\.(to_q|to_k|to_v|to_out\.0)|ff\.net\.0\.proj)"
"""Self- and cross-attention projections and GEGLU, as in the authors' code."""

CONVOLUTION_TARGETS = r".*(resnets\.\d+\.(conv1|conv2)|time_emb_proj)"
"""Residual blocks: a small base keeps most of what it knows of faces there."""

MINI = BaseSpec(
    name="mini",
    source=str(MINI_WEIGHTS),
    title="the embedded demo model, 128 px",
    licence="apache-2.0",
    guidance_scale=2.5,
    lora_targets=f"({ATTENTION_TARGETS}|{CONVOLUTION_TARGETS})",
)
SD15 = BaseSpec(
    name="sd15",
    source="stable-diffusion-v1-5/stable-diffusion-v1-5",
    title="Stable Diffusion 1.5, 512 px",
    licence="creativeml-openrail-m",
    guidance_scale=7.0,
    lora_targets=ATTENTION_TARGETS,
    tiny_decoder="madebyollin/taesd",
)
SPECS = {spec.name: spec for spec in (MINI, SD15)}


@dataclass(frozen=True, eq=False)
class Base:
    """A loaded base model. There is one per process and name: whoever changes it puts it back as it was."""

    spec: BaseSpec
    pipeline: StableDiffusionPipeline
    decoder: nn.Module

    @property
    def device(self) -> torch.device:
        """Where the denoiser lives."""
        return self.pipeline.unet.device

    @property
    def dtype(self) -> torch.dtype:
        """In what precision its frozen weights are kept."""
        return self.pipeline.unet.dtype

    @property
    def resolution(self) -> int:
        """Side of its pictures in pixels."""
        return self.pipeline.unet.config.sample_size * self.pipeline.vae_scale_factor

    @property
    def attention_side(self) -> int:
        """Side of the cross-attention maps that the refocusing loss looks at: 16 for Stable Diffusion at 512 px."""
        latent_side = self.pipeline.unet.config.sample_size
        return latent_side // 4 if latent_side >= 64 else latent_side // 2

    def autocast(self) -> torch.autocast:
        """Multiply in the precision of the frozen weights, while the LoRA and the tokens stay in float32."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def grad_scaler(self) -> torch.amp.GradScaler:
        """Give what keeps gradients in the range of float16 (https://docs.pytorch.org/docs/stable/amp.html).

        With weights in any other precision it does nothing.
        """
        return torch.amp.GradScaler(self.device.type, FIRST_SCALE, enabled=self.dtype == torch.float16)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean and spread of the latents (B, C, h, w) of ``images`` (B, 3, H, W) in [-1, 1]."""
        vae = self.pipeline.vae
        latents = vae.encode(images.to(self.device, vae.dtype)).latent_dist
        return latents.mean.float() * vae.config.scaling_factor, latents.std.float() * vae.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Turn ``latents`` (B, C, h, w) into pictures (B, 3, 8h, 8w) around [-1, 1], unclamped, differentiably."""
        if not isinstance(self.decoder, AutoencoderTiny):
            latents = latents / self.decoder.config.scaling_factor
        return self.decoder.decode(latents.to(self.decoder.dtype)).sample.float()


def resolve_base(name: str = "auto") -> BaseSpec:
    """Find the base called ``name``: "mini", "sd15", "auto", or a Hub id or folder of a Stable Diffusion 1.x pipeline.

    "auto" is the value of ``MAGICAPTURE_BASE`` if set, else ``sd15`` on a GPU, else ``mini``.
    """
    if name == "auto":
        name = os.environ.get("MAGICAPTURE_BASE") or ("sd15" if torch.cuda.is_available() else "mini")
    if name in SPECS:
        return SPECS[name]
    tiny_decoder = None if Path(name).is_dir() else SD15.tiny_decoder
    return replace(SD15, name=name, source=name, title=Path(name).name, licence="other", tiny_decoder=tiny_decoder)


def load_base(name: str = "auto") -> Base:
    """Load the base called ``name`` (see ``resolve_base``) onto the GPU if there is one, once per process.

    Where "auto" finds no weights of ``sd15`` it gives ``mini``. Raises ``BaseUnavailableError`` otherwise.
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
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = fast_dtype()
    try:
        pipeline = StableDiffusionPipeline.from_pretrained(
            spec.source, dtype=dtype, safety_checker=None, requires_safety_checker=False
        )
    except MISSING as error:
        raise BaseUnavailableError(
            Message(
                "The base model {source} could not be loaded: it is neither on this machine nor to be had from here. "
                'Check the name and the connection, or choose the base "mini", {title}.',
                source=spec.source,
                title=Message(MINI.title),
            )
        ) from error
    decoder = _tiny_decoder(spec, dtype) or pipeline.vae
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config, use_karras_sigmas=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder, decoder):
        module.to(device).eval().requires_grad_(False)
    if device == "cuda":
        pipeline.unet.to(memory_format=torch.channels_last)  # on a CPU it makes group normalisation many times slower
    else:
        prefer_plain_attention(pipeline.unet)
    return Base(spec, pipeline, decoder)


def _tiny_decoder(spec: BaseSpec, dtype: torch.dtype) -> AutoencoderTiny | None:
    """Load the distilled decoder; None where there is none, which costs time in the identity loss and nothing else."""
    if spec.tiny_decoder is None:
        return None
    try:
        return AutoencoderTiny.from_pretrained(spec.tiny_decoder, dtype=dtype)
    except MISSING:
        logger.warning(
            "%s could not be had: the identity loss uses the full decoder, which is slower.", spec.tiny_decoder
        )
        return None


def prefer_plain_attention(unet: UNet2DConditionModel) -> None:
    """Leave fused attention for small pictures: on a CPU its backward pass costs more than it saves there."""
    if unet.config.sample_size <= 32:
        unet.set_attn_processor(AttnProcessor())
