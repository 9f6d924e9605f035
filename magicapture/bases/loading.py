"""The parts of a pipeline with a U-Net, from the Hub, its cache or a folder."""

import logging

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from magicapture.bases.base import BaseSpec

MISSING = (OSError, ValueError, HfHubHTTPError, LocalEntryNotFoundError)
"""What diffusers raises when weights are neither here nor to be downloaded."""

logger = logging.getLogger(__name__)


def load_pipeline(
    pipeline_class: type[DiffusionPipeline], spec: BaseSpec, dtype: torch.dtype, **settings: object
) -> DiffusionPipeline:
    """Load the weights, in half precision where they are published in it: half the download."""
    try:
        pipeline = pipeline_class.from_pretrained(spec.source, variant="fp16", dtype=dtype, **settings)
    except MISSING:
        pipeline = pipeline_class.from_pretrained(spec.source, dtype=dtype, **settings)
    if spec.vae is not None:
        try:
            pipeline.vae = AutoencoderKL.from_pretrained(spec.vae, dtype=dtype)
        except MISSING:
            logger.warning("%s could not be had: the base's own autoencoder stands in for it.", spec.vae)
    return pipeline


def load_tiny_decoder(spec: BaseSpec, dtype: torch.dtype, channels: int) -> AutoencoderTiny | None:
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
