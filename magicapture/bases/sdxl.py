"""Stable Diffusion XL: a larger U-Net, told by two CLIP text encoders, a pooled prompt and the size of the picture."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor

from magicapture.bases.attention import cross_attention
from magicapture.bases.base import Conditioning
from magicapture.bases.unet import UNetBase

XL_ATTENTION_TARGETS = r".*attn[12]\.(to_q|to_k|to_v|to_out\.0)"
"""Self- and cross-attention projections. With GEGLU, as for 1.x, an adapter would be half as large again."""

REFOCUSED = ("up_blocks.0.attentions.0.", "up_blocks.0.attentions.1.")
"""Where cross-attention settles what is drawn, and where its look (B-LoRA, arXiv 2403.14572)."""


@dataclass(frozen=True, eq=False)
class StableDiffusionXL(UNetBase):
    """A pipeline of this family. Its spec says the resolution: every such denoiser's configuration says 1024 px."""

    pipeline_class = StableDiffusionXLPipeline
    settings: ClassVar = {"add_watermarker": False}
    encoders: ClassVar = {"clip_l": "", "clip_g": "_2"}

    def __post_init__(self) -> None:
        """Set what such pipelines leave wrong for learned words and for half precision."""
        pooled, vae = self.clip["clip_g"], self.pipeline.vae
        # Published configurations name no true end of text: the highest id is taken for it, which a new word's is.
        pooled.model.text_model.eos_token_id = pooled.tokenizer.eos_token_id
        if vae.config.force_upcast:  # its activations leave the range of float16
            vae.float()
        vae.enable_slicing()  # one picture at a time: at 1024 px each takes gigabytes

    @property
    def attention_side(self) -> int:
        """See ``Base.attention_side``: 24 at 768 px, 32 at 1024 px."""
        return self.latent_shape[-1] >> (len(self.denoiser.config.block_out_channels) - 1)

    def condition(self, prompts: list[str]) -> Conditioning:
        """See ``Base.condition``; the pooled embedding (B, P) of the second text encoder is among the extras."""
        ids = {key: encoder.tokenize(prompts) for key, encoder in self.clip.items()}
        read = {key: encoder.model(ids[key], output_hidden_states=True) for key, encoder in self.clip.items()}
        embeddings = torch.cat([output.hidden_states[-2] for output in read.values()], dim=-1)
        positions = self.clip["clip_l"].positions(ids["clip_l"])
        return Conditioning(embeddings, positions, {"pooled": read["clip_g"].text_embeds})

    def refocusing_layers(self) -> list[str]:
        """See ``UNetBase.refocusing_layers``: twenty of XL's seventy."""
        return cross_attention(self.denoiser, REFOCUSED)

    def added_conditions(self, conditioning: Conditioning) -> dict[str, Tensor]:
        """See ``UNetBase.added_conditions``: the pooled prompt, and sizes before and after cropping (SDXL, §2.2)."""
        pooled, side = conditioning.extras["pooled"], self.resolution
        sizes = self.put(torch.tensor([side, side, 0, 0, side, side])).to(pooled.dtype)
        return {"text_embeds": pooled, "time_ids": sizes.expand(len(pooled), -1)}

    def prompt_arguments(self, positive: Conditioning, negative: Conditioning) -> dict[str, Tensor]:
        """See ``UNetBase.prompt_arguments``."""
        return {
            "prompt_embeds": positive.embeddings,
            "pooled_prompt_embeds": positive.extras["pooled"],
            "negative_prompt_embeds": negative.embeddings,
            "negative_pooled_prompt_embeds": negative.extras["pooled"],
        }
