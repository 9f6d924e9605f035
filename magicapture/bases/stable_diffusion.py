"""Stable Diffusion 1.x and the embedded base: one CLIP text encoder, a U-Net with cross-attention, an autoencoder."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import AttnProcessor
from diffusers.utils import convert_state_dict_to_kohya
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from magicapture.bases import clip
from magicapture.bases.attention import pick_words, record_attention, refocusing_layers
from magicapture.bases.base import (
    KOHYA_FILE,
    LORA_FILE,
    ROWS_FILE,
    WORD_FILES,
    Base,
    BaseError,
    BaseSpec,
    Conditioning,
    Prediction,
    Rows,
)
from magicapture.bases.lora import fused_lora
from magicapture.bases.precision import fast_dtype
from magicapture.bases.schedule import Schedule
from magicapture.bases.stable_diffusion_usage import usage
from magicapture.messages import Message

MISSING = (OSError, ValueError, HfHubHTTPError, LocalEntryNotFoundError)
"""What diffusers raises when weights are neither here nor to be downloaded."""

ATTENTION_TARGETS = r".*(attn[12]\.(to_q|to_k|to_v|to_out\.0)|ff\.net\.0\.proj)"
"""Self- and cross-attention projections and GEGLU, as in the authors' code."""

CONVOLUTION_TARGETS = r".*(resnets\.\d+\.(conv1|conv2)|time_emb_proj)"
"""Residual blocks: a small base keeps most of what it knows of faces there."""

KEYS_AND_VALUES = ("attn2.to_k.weight", "attn2.to_v.weight")
"""The projections of the prompt in cross-attention."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class StableDiffusion(Base):
    """A diffusers pipeline of this family, and what decodes faces for the identity loss."""

    spec: BaseSpec
    pipeline: StableDiffusionPipeline
    decoder: nn.Module

    @classmethod
    def load(cls, spec: BaseSpec) -> Self:
        """See ``Base.load``."""
        device, dtype = "cuda" if torch.cuda.is_available() else "cpu", fast_dtype()
        pipeline = _pipeline(spec, dtype)
        try:
            Schedule.of(pipeline.scheduler)
        except ValueError as error:
            unknown = (
                "The base model {source} cannot be used: its denoiser predicts neither noise (epsilon) nor velocity "
                "(v_prediction). Choose another one."
            )
            raise BaseError(Message(unknown, source=spec.source)) from error
        decoder = _tiny_decoder(spec, dtype, pipeline.vae.config.latent_channels) or pipeline.vae
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config, use_karras_sigmas=True)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.to(device)
        for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder, decoder):
            module.to(device).eval().requires_grad_(False)
        if device == "cuda":
            pipeline.unet.to(memory_format=torch.channels_last)  # on a CPU group normalisation would be much slower
        else:
            prefer_plain_attention(pipeline.unet)
        return cls(spec, pipeline, decoder)

    @property
    def denoiser(self) -> UNet2DConditionModel:
        """See ``Base.denoiser``."""
        return self.pipeline.unet

    @property
    def schedule(self) -> Schedule:
        """See ``Base.schedule``."""
        return Schedule.of(self.pipeline.scheduler)

    @property
    def resolution(self) -> int:
        """See ``Base.resolution``: 512 for Stable Diffusion 1.5."""
        return self.denoiser.config.sample_size * self.pipeline.vae_scale_factor

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """See ``Base.latent_shape``: (4, 64, 64) for Stable Diffusion 1.5."""
        config = self.denoiser.config
        return config.in_channels, config.sample_size, config.sample_size

    @property
    def attention_side(self) -> int:
        """See ``Base.attention_side``: 16 for Stable Diffusion at 512 px."""
        latent_side = self.denoiser.config.sample_size
        return latent_side // 4 if latent_side >= 64 else latent_side // 2

    @property
    def row_widths(self) -> dict[str, int]:
        """See ``Base.row_widths``."""
        return {clip.ROWS_KEY: self.pipeline.text_encoder.config.hidden_size}

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Base.encode``."""
        vae = self.pipeline.vae
        latents = vae.encode(images.to(self.device, vae.dtype)).latent_dist
        return latents.mean.float() * vae.config.scaling_factor, latents.std.float() * vae.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """See ``Base.decode``."""
        if not isinstance(self.decoder, AutoencoderTiny):
            latents = latents / self.decoder.config.scaling_factor
        return self.decoder.decode(latents.to(self.decoder.dtype)).sample.float()

    def vocabulary(self) -> Rows:
        """See ``Base.vocabulary``."""
        return {clip.ROWS_KEY: self.pipeline.text_encoder.get_input_embeddings().weight.detach().float().cpu()}

    def initial_rows(self, noise: float, generator: torch.Generator) -> Rows:
        """See ``Base.initial_rows``."""
        return {clip.ROWS_KEY: clip.initial_rows(self.pipeline, noise, generator)}

    @contextmanager
    def concept_tokens(self, rows: Rows) -> Iterator[dict[str, nn.Parameter]]:
        """See ``Base.concept_tokens``."""
        with clip.concept_tokens(self.pipeline, rows[clip.ROWS_KEY]) as parameter:
            yield {clip.ROWS_KEY: parameter}

    def condition(self, prompts: list[str]) -> Conditioning:
        """See ``Base.condition``."""
        ids = clip.tokenize(self.pipeline, prompts)
        embeddings = self.pipeline.text_encoder(ids).last_hidden_state
        return Conditioning(embeddings, clip.positions(self.pipeline.tokenizer, ids))

    def predict(
        self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, *, with_maps: bool = False
    ) -> Prediction:
        """See ``Base.predict``; the maps are those of cross-attention."""
        layers = refocusing_layers(self.denoiser, self.attention_side) if with_maps else []
        with record_attention(self.denoiser, layers) as recorder:
            output = self.denoiser(noisy.to(self.dtype), timesteps, conditioning.embeddings).sample.float()
        return Prediction(output, pick_words(recorder.take(), conditioning.positions) if with_maps else None)

    def draw(
        self,
        positive: Conditioning,
        negative: Conditioning,
        latents: Tensor,
        *,
        steps: int,
        guidance_scale: float,
        lora_scale: float = 1.0,
    ) -> list[Image.Image]:
        """See ``Base.draw``."""
        with fused_lora(self.denoiser, lora_scale):
            return self.pipeline(
                prompt_embeds=positive.embeddings,
                negative_prompt_embeds=negative.embeddings,
                latents=latents.to(self.dtype),
                num_inference_steps=steps,
                guidance_scale=guidance_scale,
                height=self.resolution,
                width=self.resolution,
            ).images

    @staticmethod
    def save_weights(spec: BaseSpec, folder: Path, lora: dict[str, Tensor], rows: Rows) -> None:
        """See ``Base.save_weights``."""
        StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=lora)
        save_file({key: value.contiguous() for key, value in rows.items()}, folder / ROWS_FILE)
        if not spec.embedded:
            kohya = convert_state_dict_to_kohya({f"unet.{key}": value for key, value in lora.items()})
            save_file({key: value.float().contiguous() for key, value in kohya.items()}, folder / KOHYA_FILE)
            for file, row in zip(WORD_FILES.values(), rows[clip.ROWS_KEY], strict=True):
                save_file({clip.ROWS_KEY: row[None].contiguous()}, folder / file)

    @staticmethod
    def read_weights(folder: Path) -> tuple[dict[str, Tensor], Rows]:
        """See ``Base.read_weights``."""
        lora = {key.removeprefix("unet."): value for key, value in load_file(folder / LORA_FILE).items()}
        return lora, load_file(folder / ROWS_FILE)

    usage = staticmethod(usage)


def _pipeline(spec: BaseSpec, dtype: torch.dtype) -> StableDiffusionPipeline:
    """Load the weights, in half precision where they are published in it: half the download."""
    settings = {"dtype": dtype, "safety_checker": None, "requires_safety_checker": False}
    try:
        pipeline = StableDiffusionPipeline.from_pretrained(spec.source, variant="fp16", **settings)
    except MISSING:
        pipeline = StableDiffusionPipeline.from_pretrained(spec.source, **settings)
    if spec.vae is not None:
        try:
            pipeline.vae = AutoencoderKL.from_pretrained(spec.vae, dtype=dtype)
        except MISSING:
            logger.warning("%s could not be had: faces are decoded a little less sharply.", spec.vae)
    return pipeline


def _tiny_decoder(spec: BaseSpec, dtype: torch.dtype, channels: int) -> AutoencoderTiny | None:
    """Load the distilled decoder of latents with so many ``channels``.

    None where there is none, which costs time in the identity loss and nothing else.
    """
    if spec.tiny_decoder is None:
        return None
    try:
        decoder = AutoencoderTiny.from_pretrained(spec.tiny_decoder, dtype=dtype)
    except MISSING:
        logger.warning(
            "%s could not be had: the identity loss uses the full decoder, which is slower.", spec.tiny_decoder
        )
        return None
    return decoder if decoder.config.latent_channels == channels else None


def prefer_plain_attention(unet: UNet2DConditionModel) -> None:
    """Leave fused attention for small pictures: on a CPU its backward pass costs more than it saves there."""
    if unet.config.sample_size <= 32:
        unet.set_attn_processor(AttnProcessor())
