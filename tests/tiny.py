"""Pipelines with random weights: the true structure of Stable Diffusion 1.5 at a hundredth of its width."""

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from magicapture.bases import SD15, Base
from magicapture.concepts import TEMPLATES
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


def base(sample_size: int = 64) -> Base:
    """Give a whole base; its decoder enlarges by 8 as the true one does."""
    words = tokenizer()
    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8),
        norm_num_groups=2,
        latent_channels=4,
        sample_size=sample_size * 8,
        mid_block_add_attention=False,
    )
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
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=words,
        unet=unet(sample_size),
        scheduler=DPMSolverMultistepScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        module.eval().requires_grad_(False)
    return Base(SD15, pipeline, pipeline.vae)


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
