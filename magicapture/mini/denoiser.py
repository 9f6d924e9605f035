"""The embedded base's denoiser and text encoder, trained together on ε-prediction."""

import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import compute_snr
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from magicapture.bases.schedule import Schedule
from magicapture.bases.stable_diffusion import prefer_plain_attention
from magicapture.mini.config import MiniConfig, UnetConfig
from magicapture.mini.data import Portraits, caption
from magicapture.mini.stage import DEVICE, Stage, run_stage
from magicapture.mini.tokenizer import train_tokenizer


class TextToNoise(nn.Module):
    """Text encoder and denoiser as one module: they share an optimizer, an average and a checkpoint."""

    def __init__(
        self, config: UnetConfig, latent_size: int, latent_channels: int, vocabulary: int, tokens: int
    ) -> None:
        """Build both untrained."""
        super().__init__()
        text = CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=config.text_width,
            intermediate_size=4 * config.text_width,
            projection_dim=config.text_width,
            num_hidden_layers=config.text_layers,
            num_attention_heads=config.text_width // 64,
            max_position_embeddings=tokens,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
        self.text_encoder = CLIPTextModel(text)
        self.unet = UNet2DConditionModel(
            sample_size=latent_size,
            in_channels=latent_channels,
            out_channels=latent_channels,
            down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in config.attention),
            up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(config.attention)),
            block_out_channels=config.channels,
            layers_per_block=config.layers,
            attention_head_dim=config.head_dim,
            cross_attention_dim=config.text_width,
        )

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Predict the noise in ``noisy`` (B, C, H/8, W/8) at ``timesteps`` (B,) under ``tokens`` (B, L)."""
        return self.unet(noisy, timesteps, self.text_encoder(tokens).last_hidden_state).sample


@torch.no_grad()
def encode_all(vae: AutoencoderKL, portraits: Portraits) -> Tensor:
    """Encode every portrait and its mirror image once: (N, 2, 2, C, h, w) — flip, then mean and spread."""
    found = []
    with torch.autocast(DEVICE.type, torch.bfloat16):
        for index in torch.arange(len(portraits)).split(64):
            images = portraits.images(index).to(DEVICE, memory_format=torch.channels_last)
            both = [vae.encode(images).latent_dist, vae.encode(images.flip(-1)).latent_dist]
            found.append(torch.stack([torch.stack([d.mean, d.std], dim=1) for d in both], dim=1).float().cpu())
    return torch.cat(found)


def new_unet_stage(config: MiniConfig, portraits: Portraits, run: Path) -> tuple[Stage, CLIPTokenizer]:
    """Build the untrained denoiser and text encoder, and the vocabulary, which is learned once per run."""
    if not (run / "tokenizer").exists():
        captions = (caption(a, random) for _ in range(3) for a in portraits.attributes)
        train_tokenizer(captions).save_pretrained(run / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(run / "tokenizer")
    blocks, settings = len(config.vae.channels), config.unet
    side = config.vae.size >> (blocks - 1)
    model = TextToNoise(settings, side, config.vae.latent_channels, len(tokenizer), tokenizer.model_max_length)
    model.to(DEVICE, memory_format=torch.channels_last)
    return Stage.new("unet", model, settings.lr, settings.ema), tokenizer


def train_unet(config: MiniConfig, portraits: Portraits, vae: AutoencoderKL, run: Path) -> None:
    """Train the denoiser with its text encoder on the latents of ``vae``."""
    settings = config.unet
    latents = encode_all(vae, portraits)
    stage, tokenizer = new_unet_stage(config, portraits, run)
    stage.model.unet.compile()
    if DEVICE.type == "cpu":
        prefer_plain_attention(stage.model.unet)
    scheduler = new_scheduler()
    schedule = Schedule.of(scheduler)
    snr = compute_snr(scheduler, torch.arange(schedule.steps))
    weights = (snr.clamp(max=settings.min_snr) / snr).to(DEVICE)

    def loss_of() -> Tensor:
        index, flip = portraits.draw(settings.batch), torch.randint(2, (settings.batch,))
        mean, std = latents[index, flip].unbind(dim=1)
        clean = torch.addcmul(mean, std, torch.randn_like(mean)).to(DEVICE, memory_format=torch.channels_last)
        noise, t = torch.randn_like(clean), torch.randint(len(snr), (settings.batch,), device=DEVICE)
        captions = [draw_caption(portraits.attributes[i], settings.caption_dropout) for i in index]
        with torch.autocast(DEVICE.type, torch.bfloat16):
            prediction = stage.model(schedule.add_noise(clean, noise, t), t, tokenise(tokenizer, captions))
        return ((prediction.float() - noise).square().mean(dim=(1, 2, 3)) * weights[t]).mean()

    run_stage(stage, settings.steps, settings.lr, loss_of, run, config.minutes_between_checkpoints)


def export(config: MiniConfig, portraits: Portraits, run: Path) -> None:
    """Write the averaged weights of the last checkpoint as a diffusers pipeline to ``run/pipeline``."""
    stage, tokenizer = new_unet_stage(config, portraits, run)
    stage.resume(run)
    stage.ema.copy_to(stage.model.parameters())
    vae = AutoencoderKL.from_pretrained(run / "vae")
    vae.register_to_config(_name_or_path="")  # or the path on the machine that trained it would be shipped
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=stage.model.text_encoder,
        tokenizer=tokenizer,
        unet=stage.model.unet,
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.unet.half()
    pipeline.vae.half()  # not the text encoder: it would be loaded in half precision while the rest is widened
    pipeline.save_pretrained(run / "pipeline")


def draw_caption(attributes: dict, dropout: float) -> str:
    """Give a sentence for a portrait, or now and then an empty one."""
    return "" if random.random() < dropout else caption(attributes, random)


def tokenise(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Turn sentences into token numbers (B, L), padded to the length that pipelines use."""
    return tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids.to(DEVICE)


def new_scheduler() -> DPMSolverMultistepScheduler:
    """Give Stable Diffusion's noise schedule with a sampler that is good at 20 steps."""
    return DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, use_karras_sigmas=True
    )
