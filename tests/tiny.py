"""Pipelines with random weights: the true structure of Stable Diffusion 1.5 at a hundredth of its width."""

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from magicapture.bases import MINI, SD15, Base, BaseSpec
from magicapture.bases.stable_diffusion import StableDiffusion
from magicapture.bases.words import TEMPLATES
from magicapture.mini.tokenizer import train_tokenizer

TEXT_WIDTH = 32


def tokenizer() -> CLIPTokenizer:
    return train_tokenizer(TEMPLATES.values())


def unet(sample_size: int = 64) -> UNet2DConditionModel:
    """Give a denoiser with the block types, layer counts and heads of Stable Diffusion 1.5."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=sample_size,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        block_out_channels=(8, 16, 32, 32),
        layers_per_block=2,
        attention_head_dim=8,
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=4,
    ).eval()


def vae(channels: tuple[int, ...], latent_channels: int, side: int) -> AutoencoderKL:
    """Give an autoencoder that enlarges latents of ``side`` by two for every resolution but the first."""
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        norm_num_groups=2,
        latent_channels=latent_channels,
        sample_size=side << (len(channels) - 1),
        mid_block_add_attention=False,
    )


def base(sample_size: int = 64) -> Base:
    """Give a whole base; its decoder enlarges by 8 as the true one does."""
    return assembled(SD15, unet(sample_size), vae((4, 4, 8, 8), 4, sample_size))


def embedded() -> Base:
    """Give a base of the shape of the embedded one: 256 px, 16 latents a side of 16 channels each, v-prediction."""
    torch.manual_seed(0)
    denoiser = UNet2DConditionModel(
        sample_size=16,
        in_channels=16,
        out_channels=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16, 32),
        layers_per_block=1,
        attention_head_dim=8,
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=4,
    ).eval()
    return assembled(MINI, denoiser, vae((4, 4, 4, 8, 8), 16, 16), prediction_type="v_prediction")


def assembled(spec: BaseSpec, denoiser: UNet2DConditionModel, autoencoder: AutoencoderKL, **scheduler: object) -> Base:
    """Put a text encoder and Stable Diffusion's schedule, with the settings ``scheduler``, to the other parts."""
    words = tokenizer()
    torch.manual_seed(0)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=TEXT_WIDTH,
            intermediate_size=64,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=words.model_max_length,
            bos_token_id=len(words) - 2,
            eos_token_id=len(words) - 1,
            pad_token_id=len(words) - 1,
        )
    )
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=words,
        unet=denoiser,
        scheduler=DPMSolverMultistepScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, **scheduler
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        module.eval().requires_grad_(False)
    return StableDiffusion(spec, pipeline, pipeline.vae)


def fingerprint(base: Base) -> dict[str, object]:
    """Give all that an adapter could leave behind: modules, weights, hooks, processors, attributes and vocabulary."""
    found: dict[str, object] = {"tokenizer": (id(base.pipeline.tokenizer), len(base.pipeline.tokenizer))}
    for part in ("unet", "text_encoder", "vae"):
        root = getattr(base.pipeline, part)
        found[part] = sorted(vars(root).keys())
        for name, module in root.named_modules():
            found[f"{part}.{name}"] = (id(module), len(module._forward_hooks), len(module._forward_pre_hooks))
        for name, value in root.state_dict().items():
            found[f"{part}:{name}"] = (value.dtype, value.double().sum().item(), value.double().square().sum().item())
        for name, value in root.named_parameters():
            found[f"{part}?{name}"] = value.requires_grad
    found["processors"] = {name: id(processor) for name, processor in base.pipeline.unet.attn_processors.items()}
    return found
