"""The parts of bases in their true sizes, without weights: enough to count what they cost.

Each function is called where "meta" is the default device, so that its parts have shapes and nothing else.
"""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderTiny,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2Transformer2DModel,
    UNet2DConditionModel,
)
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2Tokenizer,
)

WORDS = Path(__file__).parents[1] / "mini" / "weights" / "tokenizer"
"""A tokenizer that is here: how many places a prompt has is what costs, not which words stand there."""


def sd15_parts() -> dict[str, Any]:
    """Give Stable Diffusion 1.5: a U-Net of 860, an autoencoder of 84 and a text encoder of 123 million weights."""
    text = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, projection_dim=768, num_hidden_layers=12, num_attention_heads=12
    )
    return {
        "unet": UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
        "vae": AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            sample_size=512,
        ),
        "text_encoder": CLIPTextModel(text),
        "tokenizer": _words(text.vocab_size),
        "scheduler": _scheduler(),
        "feature_extractor": None,
        "decoder": AutoencoderTiny(),
    }


def sdxl_parts() -> dict[str, Any]:
    """Give Stable Diffusion XL: a U-Net of 2,567 million weights, text encoders of 123 and 695, 1.x's autoencoder."""
    text = CLIPTextConfig(
        hidden_size=1280,
        intermediate_size=5120,
        projection_dim=1280,
        num_hidden_layers=32,
        num_attention_heads=20,
        hidden_act="gelu",
    )
    unet = UNet2DConditionModel(
        sample_size=128,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(320, 640, 1280),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )
    parts = sd15_parts()
    parts["vae"].register_to_config(scaling_factor=0.13025, force_upcast=False)
    second = {"text_encoder_2": CLIPTextModelWithProjection(text), "tokenizer_2": parts["tokenizer"]}
    return {**parts, "unet": unet, **second}


def klein_parts() -> dict[str, Any]:
    """Give FLUX.2 [klein] 4B: two transformers of 3,876 million weights each, an autoencoder of 84.

    What it trains and what it draws with; without the text encoder, which reads each prompt once.
    """
    trained, drawing = (
        Flux2Transformer2DModel(
            num_layers=5,
            num_single_layers=20,
            num_attention_heads=24,
            joint_attention_dim=7680,
            guidance_embeds=False,
        )
        for _ in range(2)
    )
    with torch.device("cpu"):  # as below
        scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    return {
        "transformer": trained,
        "vae": AutoencoderKLFlux2(),
        "text_encoder": None,
        "tokenizer": _letters(),
        "scheduler": scheduler,
        "drawing": drawing,
    }


def _words(count: int) -> CLIPTokenizer:
    """Give the tokenizer that is here, filled up with words that never occur to ``count``, those of a text encoder.

    Whatever is added is then new to that one.
    """
    model = json.loads(CLIPTokenizer.from_pretrained(WORDS).backend_tokenizer.to_str())["model"]
    fillers = {f"<{place}>": place for place in range(len(model["vocab"]), count)}
    merges = [tuple(pair) for pair in model["merges"]]
    return CLIPTokenizer(vocab=model["vocab"] | fillers, merges=merges, model_max_length=77)


def _letters() -> Qwen2Tokenizer:
    """Give a tokenizer of Qwen's kind that knows letters alone."""
    alphabet = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    letters = Qwen2Tokenizer(vocab={letter: place for place, letter in enumerate(alphabet)})
    letters.chat_template = "{% for turn in messages %}{{ turn.content }}{% endfor %}"
    return letters


def _scheduler() -> DPMSolverMultistepScheduler:
    with torch.device("cpu"):  # it counts with values
        return DPMSolverMultistepScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, use_karras_sigmas=True
        )
