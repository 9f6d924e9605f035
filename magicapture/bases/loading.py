"""Pipelines and their parts, from the Hub, its cache or a folder."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from httpx2 import TransportError
from huggingface_hub import hf_hub_download, model_info, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from torch import nn

from magicapture.bases.base import BaseSpec
from magicapture.bases.linear import LinearDecoder

MISSING = (OSError, ValueError, TransportError, HfHubHTTPError, LocalEntryNotFoundError)
"""What diffusers raises when weights are neither here nor to be downloaded."""

ANSWER_SECONDS = 10
"""Within which the Hub has to answer, or is taken for out of reach."""

INDEX_FILE = "model_index.json"

logger = logging.getLogger(__name__)


def here_alone(source: str) -> bool:
    """Tell whether ``source`` can be had from this machine alone: it is a folder, or the Hub does not answer.

    Ask before loading anything: diffusers waits for an answer without end.
    """
    if Path(source).is_dir():
        return True
    try:
        model_info(source, timeout=ANSWER_SECONDS)
    except HfHubHTTPError:  # an answer too: whoever loads it is told why
        return False
    except (TransportError, OfflineModeIsEnabled, ValueError):  # nothing, or not the Hub's words
        return True
    return False


def pipeline_kind(source: str, *, fetch: bool = False) -> str | None:
    """Give the diffusers class of the pipeline in a folder or on the Hub; None when nothing says it.

    Of the Hub only what is on this machine is read; what is not, only if ``fetch`` allows to ask it.
    The format: https://huggingface.co/docs/diffusers/using-diffusers/loading
    """
    try:
        if Path(source).is_dir():
            index = Path(source, INDEX_FILE)
        else:
            known = isinstance(try_to_load_from_cache(source, INDEX_FILE), str)
            here = known or not fetch or here_alone(source)
            index = Path(hf_hub_download(source, INDEX_FILE, local_files_only=here))
        kind = json.loads(index.read_text())["_class_name"]
    except (*MISSING, KeyError, TypeError):
        return None
    return kind if isinstance(kind, str) else None


def load_pipeline(
    pipeline_class: type[DiffusionPipeline], spec: BaseSpec, dtype: torch.dtype, *, here: bool, **settings: object
) -> DiffusionPipeline:
    """Load the weights, in half precision where they are published in it: half the download.

    ``here``: from this machine alone.
    """
    settings |= {"dtype": dtype, "local_files_only": here}
    try:
        pipeline = pipeline_class.from_pretrained(spec.source, variant="fp16", **settings)
    except MISSING:
        pipeline = pipeline_class.from_pretrained(spec.source, **settings)
    if spec.vae is not None:
        try:
            pipeline.vae = AutoencoderKL.from_pretrained(spec.vae, dtype=dtype, local_files_only=here)
        except MISSING:
            logger.warning("%s could not be had: the base's own autoencoder stands in for it.", spec.vae)
    return pipeline


def identity_decoder(spec: BaseSpec, vae: AutoencoderKL, *, here: bool) -> nn.Module:
    """Give what decodes faces for the identity loss: the cheapest that there is; ``here``: on this machine."""
    if spec.linear:
        return LinearDecoder(vae)
    return _tiny_decoder(spec, vae.dtype, vae.config.latent_channels, here=here) or vae


def _tiny_decoder(spec: BaseSpec, dtype: torch.dtype, channels: int, *, here: bool) -> AutoencoderTiny | None:
    """Load the distilled decoder of latents with so many ``channels``.

    None where there is none, which costs time in the identity loss and nothing else.
    """
    if spec.tiny_decoder is None:
        return None
    try:
        decoder = AutoencoderTiny.from_pretrained(spec.tiny_decoder, dtype=dtype, local_files_only=here)
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


def parts_of(spec: BaseSpec, device: str, dtype: torch.dtype) -> dict[str, Any]:
    """Give the parts of ``spec``, whose ``parts`` are known, by name: its models frozen, in ``dtype``.

    On "meta" they have shapes alone, elsewhere random weights.
    """
    with torch.device(device):
        parts = spec.parts() if spec.parts else {}
    for part in parts.values():
        if isinstance(part, nn.Module):
            part.to(dtype).eval().requires_grad_(False)
    return parts
