"""The embedded base's autoencoder: pictures to latents of an eighth of their side, and back."""

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from magicapture.faces.builtin import RECOGNISER
from magicapture.faces.recogniser import align
from magicapture.features import image_features, perceptual_distance
from magicapture.mini.config import MiniConfig, VaeConfig
from magicapture.mini.data import LANDMARKS, Portraits
from magicapture.mini.stage import DEVICE, Stage, run_stage

LATENT_SAMPLES = 2048
"""Portraits from which the mean and spread of the latents are measured."""


def new_vae(config: VaeConfig) -> AutoencoderKL:
    """Build an untrained autoencoder; attention in its middle costs much here and is left out."""
    blocks = len(config.channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=config.channels,
        layers_per_block=config.layers,
        latent_channels=config.latent_channels,
        norm_num_groups=16,
        sample_size=config.size,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


def train_vae(config: MiniConfig, portraits: Portraits, run: Path) -> AutoencoderKL:
    """Train the autoencoder and fold the latents' mean and spread into its 1×1 convolutions."""
    settings = config.vae
    vae = new_vae(settings).to(DEVICE, memory_format=torch.channels_last)
    vae.encoder.compile()
    vae.decoder.compile()
    stage = Stage.new("vae", vae, settings.lr, settings.ema)
    features = image_features().to(DEVICE)
    recogniser = RECOGNISER.load().to(DEVICE)
    judged = settings.identity_images
    landmarks = (LANDMARKS * settings.size).to(DEVICE).expand(2 * judged, 5, 2)

    def loss_of() -> Tensor:
        images = flipped(portraits.images(portraits.draw(settings.batch)))
        images = images.to(DEVICE, memory_format=torch.channels_last)
        with torch.autocast(DEVICE.type, torch.bfloat16):
            posterior = vae.encode(images).latent_dist
            decoded = vae.decode(posterior.sample()).sample
        decoded, images = decoded.float().contiguous(), images.contiguous()
        pixels, spread = F.l1_loss(decoded, images), perceptual_distance(features, decoded, images)
        ours, theirs = recogniser(align(torch.cat([decoded[:judged], images[:judged]]), landmarks)).chunk(2)
        identity = 1 - (ours * theirs.detach()).sum(dim=1).mean()
        kl = posterior.kl().float().mean()
        return pixels + settings.perceptual * spread + settings.identity * identity + settings.kl * kl

    run_stage(stage, settings.steps, settings.lr, loss_of, run, config.minutes_between_checkpoints)
    standardise_latents(vae, portraits)
    vae.save_pretrained(run / "vae")
    return vae


@torch.no_grad()
def standardise_latents(vae: AutoencoderKL, portraits: Portraits) -> None:
    """Give every latent channel mean 0 and spread 1 by rewriting ``quant_conv`` and ``post_quant_conv``.

    Stable Diffusion pipelines know one scaling factor for all channels and no mean; folded into the convolutions on
    either side of the latents, the standardisation needs neither.
    """
    index = portraits.draw(LATENT_SAMPLES)
    latents = torch.cat([vae.encode(portraits.images(i).to(DEVICE)).latent_dist.mean for i in index.split(32)])
    mean, std = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    channels = len(mean)
    quant, post = vae.quant_conv, vae.post_quant_conv
    quant.weight[:channels] /= std[:, None, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - mean) / std
    quant.bias[channels:] -= 2 * std.log()  # the log-variance shrinks with the square of the scale
    post.bias += (post.weight[:, :, 0, 0] * mean).sum(dim=1)
    post.weight *= std[None, :, None, None]


def flipped(images: Tensor) -> Tensor:
    """Mirror about half of ``images`` (B, 3, H, W)."""
    return torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images, images.flip(-1))
