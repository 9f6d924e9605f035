"""The parts of bases in their true sizes, without weights: enough to count what they cost.

Each function is called where "meta" is the default device, so that its parts have shapes and nothing else.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DPMSolverMultistepScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

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
        "tokenizer": CLIPTokenizer.from_pretrained(WORDS, model_max_length=77),
        "scheduler": _scheduler(),
        "feature_extractor": None,
        "decoder": AutoencoderTiny(),
    }


def _scheduler() -> DPMSolverMultistepScheduler:
    with torch.device("cpu"):  # it counts with values
        return DPMSolverMultistepScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, use_karras_sigmas=True
        )
