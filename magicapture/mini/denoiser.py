"""The embedded base's denoiser and text encoder, trained together on v-prediction."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from magicapture.bases.loading import prefer_plain_attention
from magicapture.bases.schedule import Schedule
from magicapture.mini.autoencoder import Encoder
from magicapture.mini.captions import Captions
from magicapture.mini.config import MiniConfig, UnetConfig
from magicapture.mini.data import Portraits, flipped, shifted
from magicapture.mini.stage import DEVICE, Graph, Stage, autocast, run_stage
from magicapture.mini.tokenizer import train_tokenizer

VAES = ("vae-mended", "vae-trained", "vae")
"""What the stages write, the last one first."""


class TextToVelocity(nn.Module):
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
            dropout=config.dropout,
        )

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Predict the velocity of ``noisy`` (B, C, h, w) at ``timesteps`` (B,) under ``tokens`` (B, L)."""
        return self.unet(noisy, timesteps, self.text_encoder(tokens).last_hidden_state).sample


def new_unet_stage(config: MiniConfig, portraits: Portraits, run: Path) -> tuple[Stage, CLIPTokenizer]:
    """Build the untrained denoiser and text encoder, and the vocabulary, which is learned once per run."""
    settings = config.unet
    if not (run / "tokenizer").exists():
        caption = Captions(portraits, random.Random(config.seed))
        train_tokenizer(caption(a) for a in portraits.attributes).save_pretrained(run / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(run / "tokenizer")
    side = config.vae.size >> (len(config.vae.channels) - 1)
    model = TextToVelocity(settings, side, config.vae.latent_channels, len(tokenizer), tokenizer.model_max_length)
    model.to(DEVICE)
    model.unet.to(memory_format=torch.channels_last)
    return Stage.new("unet", model, settings.lr, settings.ema), tokenizer


class Batches(IterableDataset):
    """Which portraits each step sees, and under which captions: endless pairs of indices (B,) and tokens (B, L)."""

    def __init__(self, portraits: Portraits, tokenizer: CLIPTokenizer, settings: UnetConfig) -> None:
        """Keep what captions are made of; the pictures stay where they are."""
        super().__init__()
        self.attributes, self.weights = portraits.attributes, portraits.weights
        self.caption, self.tokenizer, self.settings = Captions(portraits, random), tokenizer, settings

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Draw for ever; random anew in every worker."""
        random.seed(int(torch.randint(2**31, ())))
        while True:
            index = torch.multinomial(self.weights, self.settings.batch, replacement=True)
            captions = [
                "" if random.random() < self.settings.caption_dropout else self.caption(self.attributes[i])
                for i in index.tolist()
            ]
            tokens = self.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
            yield index, tokens


def train_unet(config: MiniConfig, portraits: Portraits, vae: AutoencoderKL, run: Path) -> None:
    """Train the denoiser with its text encoder on what the encoder of ``vae`` makes of portraits."""
    settings = config.unet
    stage, tokenizer = new_unet_stage(config, portraits, run)
    encoder = Encoder(vae).to(DEVICE)
    if DEVICE.type == "cpu":
        prefer_plain_attention(stage.model.unet)
    schedule = Schedule.of(new_scheduler())
    schedule = replace(schedule, alphas_cumprod=schedule.alphas_cumprod.to(DEVICE))
    levels = (1 / schedule.alphas_cumprod - 1).sqrt().log()
    batches = iter(DataLoader(Batches(portraits, tokenizer, settings), batch_size=None, num_workers=settings.workers))

    def learn(index: Tensor, tokens: Tensor) -> Tensor:
        clean = encoder(shifted(flipped(portraits.images(index)), settings.shift))
        noise, t = torch.randn_like(clean), draw_timesteps(levels, settings)
        with autocast():
            prediction = stage.model(schedule.add_noise(clean, noise, t), t, tokens)
        return stage.optimizer_step(F.mse_loss(prediction.float(), schedule.target(clean, noise, t)))

    graph, minutes = Graph(learn), config.minutes_between_checkpoints
    run_stage(stage, settings.steps, settings.lr, lambda: graph(*next(batches)), run, minutes)


def draw_timesteps(levels: Tensor, settings: UnetConfig) -> Tensor:
    """Draw the timesteps of a batch (B,) so that the noise beside the picture is spread lognormally.

    ``levels``: log of the noise's share by the picture's at each timestep, rising. Faces get their layout where both
    are about alike, and most is drawn from there (Karras et al., 2022, arXiv 2206.00364, table 1, P_mean and P_std).
    """
    wanted = settings.noise_mean + settings.noise_spread * torch.randn(settings.batch, device=levels.device)
    return torch.bucketize(wanted, levels).clamp(max=len(levels) - 1)


def export(config: MiniConfig, portraits: Portraits, run: Path) -> None:
    """Write the averaged weights of the last checkpoint as a diffusers pipeline to ``run/pipeline``."""
    stage, tokenizer = new_unet_stage(config, portraits, run)
    stage.resume(run)
    stage.ema.copy_to(stage.model.parameters())
    vae = AutoencoderKL.from_pretrained(next(run / name for name in VAES if (run / name).exists()))
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
    pipeline.unet.register_to_config(dropout=0.0)  # whoever adapts it wants to learn a few photos by heart
    pipeline.unet.half()
    pipeline.vae.half()  # not the text encoder: it would be loaded in half precision while the rest is widened
    pipeline.save_pretrained(run / "pipeline")


def new_scheduler() -> DPMSolverMultistepScheduler:
    """Give Stable Diffusion's noise schedule with a sampler that is good at 20 steps."""
    return DPMSolverMultistepScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        steps_offset=1,
        use_karras_sigmas=True,
    )
