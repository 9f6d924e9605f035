"""Pipelines with random weights: the true structure of Stable Diffusion 1.5 and XL at a hundredth of their width."""

from dataclasses import replace
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from spandrel.architectures.Compact import Compact
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)
from transformers.models.clip.modeling_clip import CLIPPreTrainedModel

from magicapture.bases import MINI, SD15, SDXL, Base, BaseSpec
from magicapture.bases.sdxl import StableDiffusionXL
from magicapture.bases.stable_diffusion import StableDiffusion
from magicapture.bases.words import TEMPLATES
from magicapture.mini.tokenizer import MAX_LENGTH, train_tokenizer

TEXT_WIDTH, SECOND_WIDTH = 32, 48


def tokenizer() -> CLIPTokenizer:
    return train_tokenizer(
        text.replace("{a_noun}", "a person").replace("{noun}", "person") for text in TEMPLATES.values()
    )


def unet(sample_size: int = 64, layers: int = 2) -> UNet2DConditionModel:
    """Give a denoiser with the block types, layer counts and heads of Stable Diffusion 1.5, or with fewer layers."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=sample_size,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        block_out_channels=(8, 16, 32, 32),
        layers_per_block=layers,
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


def base(sample_size: int = 64, layers: int = 2) -> Base:
    """Give a whole base; its decoder enlarges by 8 as the true one does."""
    return assembled(replace(SD15, resolution=None), unet(sample_size, layers), vae((4, 4, 8, 8), 4, sample_size))


def saved(folder: Path) -> str:
    """Write a base that trains in seconds, with half the layers, for whoever loads it; gives its folder."""
    base(sample_size=16, layers=1).pipeline.save_pretrained(folder)
    return str(folder)


def upscaler(folder: Path) -> Path:
    """Write a network of Real-ESRGAN's compact kind that enlarges four times in no time; gives its file."""
    torch.manual_seed(0)
    path = folder / "tiny-x4.pth"
    torch.save({"params": Compact(num_feat=4, num_conv=2, upscale=4).state_dict()}, path)
    return path


def dino(folder: Path, *, registers: int = 0, seed: int = 0) -> Path:
    """Write a DINOv2 with random weights, with ``registers`` or without; gives its folder."""
    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 2, "image_size": 8}
    if registers:
        model = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**shape, num_register_tokens=registers))
    else:
        model = Dinov2Model(Dinov2Config(**shape))
    model.save_pretrained(folder)
    return folder


def embedded() -> Base:
    """Give a base of the shape of the embedded one: 256 px, 16 latents a side of 24 channels each, v-prediction."""
    torch.manual_seed(0)
    denoiser = UNet2DConditionModel(
        sample_size=16,
        in_channels=24,
        out_channels=24,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16, 32),
        layers_per_block=1,
        attention_head_dim=8,
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=4,
    ).eval()
    return assembled(MINI, denoiser, vae((4, 4, 4, 8, 8), 24, 16), prediction_type="v_prediction")


def xl(resolution: int = 128) -> Base:
    """Give a whole Stable Diffusion XL: its block types, two text encoders, pooled prompt and sizes.

    As the published one its configuration says 1024 px whatever it is used at, and names no true end of text.
    """
    torch.manual_seed(0)
    denoiser = UNet2DConditionModel(
        sample_size=128,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16, 32),
        transformer_layers_per_block=(1, 2, 3),
        layers_per_block=2,
        attention_head_dim=(1, 2, 4),
        cross_attention_dim=TEXT_WIDTH + SECOND_WIDTH,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=TEXT_WIDTH + 6 * 8,
        norm_num_groups=4,
    )
    autoencoder = vae((4, 4, 8, 8), 4, resolution // 8)
    autoencoder.register_to_config(force_upcast=False)  # as in the one that is mended for float16
    first, second = tokenizer(), tokenizer()
    second.pad_token = "!"
    pipeline = StableDiffusionXLPipeline(
        vae=autoencoder,
        text_encoder=text_encoder(CLIPTextModel, len(first), TEXT_WIDTH),
        text_encoder_2=text_encoder(CLIPTextModelWithProjection, len(second), SECOND_WIDTH, eos_token_id=2),
        tokenizer=first,
        tokenizer_2=second,
        unet=denoiser,
        scheduler=scheduler(),
        add_watermarker=False,
    )
    return StableDiffusionXL(replace(SDXL, resolution=resolution), frozen(pipeline), pipeline.vae)


def assembled(spec: BaseSpec, denoiser: UNet2DConditionModel, autoencoder: AutoencoderKL, **settings: object) -> Base:
    """Put a text encoder and Stable Diffusion's schedule, with further ``settings``, to the other parts."""
    words = tokenizer()
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder(CLIPTextModel, len(words), TEXT_WIDTH),
        tokenizer=words,
        unet=denoiser,
        scheduler=scheduler(**settings),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return StableDiffusion(spec, frozen(pipeline), pipeline.vae)


def text_encoder(kind: type[CLIPPreTrainedModel], words: int, width: int, **settings: object) -> CLIPPreTrainedModel:
    torch.manual_seed(0)
    known = {"bos_token_id": words - 2, "eos_token_id": words - 1, "pad_token_id": words - 1}
    return kind(
        CLIPTextConfig(
            vocab_size=words,
            hidden_size=width,
            intermediate_size=64,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=MAX_LENGTH,
            **known | settings,
        )
    )


def scheduler(**settings: object) -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, **settings
    )


def frozen(pipeline: DiffusionPipeline) -> DiffusionPipeline:
    pipeline.set_progress_bar_config(disable=True)
    for module in parts(pipeline).values():
        module.eval().requires_grad_(False)
    return pipeline


def parts(pipeline: DiffusionPipeline) -> dict[str, nn.Module]:
    return {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}


def fingerprint(base: Base) -> dict[str, object]:
    """Give all that an adapter could leave behind: modules, weights, hooks, processors, attributes and vocabulary."""
    tokenizers = {name: part for name, part in base.pipeline.components.items() if name.startswith("tokenizer")}
    found: dict[str, object] = {name: (id(part), len(part)) for name, part in tokenizers.items()}
    for part, root in parts(base.pipeline).items():
        found |= traces(part, root)
    found["processors"] = {name: id(processor) for name, processor in base.pipeline.unet.attn_processors.items()}
    return found


def traces(part: str, root: torch.nn.Module, but: str = "") -> dict[str, object]:
    """Give all ``but`` one attribute that an adapter could leave behind on ``root``; names begin with ``part``."""
    found: dict[str, object] = {part: sorted(vars(root).keys() - {but})}
    for name, module in root.named_modules():
        found[f"{part}.{name}"] = (id(module), len(module._forward_hooks), len(module._forward_pre_hooks))
    for name, value in root.state_dict().items():
        found[f"{part}:{name}"] = (value.dtype, value.double().sum().item(), value.double().square().sum().item())
    for name, value in root.named_parameters():
        found[f"{part}?{name}"] = value.requires_grad
    return found
