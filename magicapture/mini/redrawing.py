"""What the finished denoiser makes of portraits, so that the decoder can learn to mend what it gets wrong."""

import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import Tensor

from magicapture.bases.loading import prefer_plain_attention
from magicapture.bases.sampling import sampler_on_the_way, timesteps_from
from magicapture.bases.schedule import Schedule
from magicapture.mini.autoencoder import train_decoder
from magicapture.mini.captions import Captions
from magicapture.mini.config import MiniConfig, RedrawingConfig
from magicapture.mini.data import Portraits
from magicapture.mini.stage import DEVICE

STEPS_PER_SCHEDULE = 9
"""Steps of the sampler through the whole schedule, beside the ``FEWEST`` that each redrawing takes."""

FEWEST = 3


class Redrawing:
    """Noises latents part of the way and lets the denoiser draw them again (SDEdit, arXiv 2108.01073)."""

    def __init__(self, folder: Path, portraits: Portraits, settings: RedrawingConfig) -> None:
        """Load the pipeline that ``export`` wrote to ``folder``; prompts are the captions of ``portraits``."""
        self.pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, safety_checker=None)
        self.pipeline.to(DEVICE)
        self.pipeline.set_progress_bar_config(disable=True)
        if DEVICE.type == "cpu":
            prefer_plain_attention(self.pipeline.unet)
        self.schedule = Schedule.of(self.pipeline.scheduler)
        self.pipeline.scheduler = sampler_on_the_way(self.pipeline.scheduler)
        self.caption, self.settings = Captions(portraits, random), settings

    def __call__(self, latents: Tensor, attributes: list[dict]) -> Tensor:
        """Give ``latents`` (B, C, h, w), the first of them, a share, as they come back under their captions."""
        count = round(self.settings.share * len(latents))
        least, most = self.settings.timesteps
        first, clean = int(torch.randint(least, most + 1, ())), latents[:count]
        noisy = self.schedule.add_noise(
            clean, torch.randn_like(clean), torch.full((count,), first, device=clean.device)
        )
        drawn = self.pipeline(
            [self.caption(a) for a in attributes[:count]],
            latents=noisy,
            timesteps=timesteps_from(first, FEWEST + STEPS_PER_SCHEDULE * first // self.schedule.steps),
            guidance_scale=random.choice(self.settings.guidance_scales),
            height=self.pipeline.vae.config.sample_size,
            width=self.pipeline.vae.config.sample_size,
            output_type="latent",
        ).images
        return torch.cat([drawn, latents[count:]])


def mend_decoder(config: MiniConfig, portraits: Portraits, run: Path) -> None:
    """Go on with the decoder on latents as the denoiser draws them, whose faces it is to give as they were.

    A small denoiser leaves eyes and mouths unclear that the decoder, which has seen thousands, can tell how they go.
    """
    redraw = Redrawing(run / "pipeline", portraits, config.redrawing)
    vae = AutoencoderKL.from_pretrained(run / "vae-trained")
    train_decoder(config, portraits, vae, run, redraw)
