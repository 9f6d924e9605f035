"""FLUX.2 [klein] with random weights: its true classes and structure at a thousandth of its width."""

import json
from dataclasses import replace
from typing import Any

import tiny
import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from tokenizers import pre_tokenizers, trainers
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3ForCausalLM

from magicapture.bases.flux2 import Flux2
from magicapture.bases.registry import FLUX2
from magicapture.bases.words import MEDIA

SIDE = 128
SPARE_ROWS = 40
"""Rows of the embedding table beyond the tokenizer's ids, as Qwen's has them."""

ENCODER_WIDTH = 16
ROW_WIDTH = 3 * ENCODER_WIDTH

CHAT_TEMPLATE = (
    "{% for turn in messages %}<|im_start|>{{ turn.role }}\n{{ turn.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}"
)


def tokenizer() -> Qwen2Tokenizer:
    """Give a tokenizer of Qwen's kind that knows the words of the prompts, with the stand-ins for the learned ones."""
    backend = Qwen2Tokenizer(vocab={"<|endoftext|>": 0}).backend_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    texts = [f"{medium} of person person in the portrait style" for medium in MEDIA]
    backend.train_from_iterator(texts, trainer)
    merges = json.loads(backend.to_str())["model"]["merges"]
    made = Qwen2Tokenizer(
        vocab=backend.get_vocab(with_added_tokens=False),
        merges=[tuple(pair) for pair in merges],
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    made.chat_template = CHAT_TEMPLATE
    return made


def transformer(seed: int = 0) -> Flux2Transformer2DModel:
    """Give a denoiser with double- and single-stream blocks, two of which are looked at by the refocusing loss."""
    torch.manual_seed(seed)
    return Flux2Transformer2DModel(
        in_channels=128,
        num_layers=2,
        num_single_layers=6,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=ROW_WIDTH,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )


def pipeline() -> Flux2KleinPipeline:
    words = tokenizer()
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(words) + SPARE_ROWS,
        hidden_size=ENCODER_WIDTH,
        intermediate_size=16,
        num_hidden_layers=28,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=512,
    )
    autoencoder = AutoencoderKLFlux2(
        block_out_channels=(4, 4, 8, 8), layers_per_block=1, norm_num_groups=2, mid_block_add_attention=False
    )
    autoencoder.bn.running_mean.normal_(std=0.1)
    autoencoder.bn.running_var.uniform_(0.5, 2.0)
    return Flux2KleinPipeline(
        FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        autoencoder,
        Qwen3ForCausalLM(config),
        words,
        transformer(),
    )


def parts() -> dict[str, Any]:
    """Give the parts as ``architectures`` does: both denoisers, and no text encoder."""
    made = pipeline()
    known = {name: getattr(made, name) for name in ("transformer", "vae", "tokenizer", "scheduler")}
    return {**known, "text_encoder": None, "drawing": transformer(seed=1)}


def base(*, distilled: bool = True, side: int = SIDE) -> Flux2:
    """Give a whole base; where it is ``distilled``, another transformer draws."""
    spec = replace(FLUX2, resolution=side)
    return Flux2.of(spec, pipeline(), transformer(seed=1) if distilled else None)


def fingerprint(base: Flux2) -> dict[str, object]:
    """Give all that an adapter could leave behind on the parts of both pipelines."""
    found: dict[str, object] = {"tokenizer": (id(base.pipeline.tokenizer), len(base.pipeline.tokenizer))}
    models = {name: getattr(base.pipeline, name) for name in ("transformer", "vae", "text_encoder")}
    for part, root in {"artist": base.artist.transformer, **models}.items():
        found |= tiny.traces(part, root, but="_diffusers_hook")  # the stock pipeline's own, from its first call on
    return found


def some_rows(base: Flux2) -> dict[str, torch.Tensor]:
    """Give rows to teach the two words with."""
    return base.initial_rows(0.017, torch.Generator().manual_seed(0))
