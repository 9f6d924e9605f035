"""Stable Diffusion 1.x and the embedded base: a U-Net that reads what one CLIP text encoder makes of the prompt."""

from dataclasses import dataclass
from typing import ClassVar

from diffusers import StableDiffusionPipeline
from torch import Tensor

from magicapture.bases.attention import refocusing_layers
from magicapture.bases.base import Conditioning
from magicapture.bases.unet import UNetBase

ATTENTION_TARGETS = r".*(attn[12]\.(to_q|to_k|to_v|to_out\.0)|ff\.net\.0\.proj)"
"""Self- and cross-attention projections and GEGLU, as in the authors' code."""

CONVOLUTION_TARGETS = r".*(resnets\.\d+\.(conv1|conv2)|time_emb_proj)"
"""Residual blocks: a small base keeps most of what it knows of faces there."""


@dataclass(frozen=True, eq=False)
class StableDiffusion(UNetBase):
    """A pipeline of this family."""

    pipeline_class = StableDiffusionPipeline
    settings: ClassVar = {"safety_checker": None, "requires_safety_checker": False}
    encoders: ClassVar = {"clip_l": ""}

    @property
    def attention_side(self) -> int:
        """See ``Base.attention_side``: 16 for Stable Diffusion at 512 px."""
        latent_side = self.latent_shape[-1]
        return latent_side // 4 if latent_side >= 64 else latent_side // 2

    def condition(self, prompts: list[str]) -> Conditioning:
        """See ``Base.condition``."""
        encoder = self.clip["clip_l"]
        ids = encoder.tokenize(prompts)
        return Conditioning(encoder.model(ids).last_hidden_state, encoder.positions(ids))

    def refocusing_layers(self) -> list[str]:
        """See ``UNetBase.refocusing_layers``: five for Stable Diffusion 1.5, those that MagiCapture uses."""
        return refocusing_layers(self.denoiser, self.attention_side)

    def added_conditions(self, conditioning: Conditioning) -> None:
        """See ``UNetBase.added_conditions``: there are none."""

    def prompt_arguments(self, positive: Conditioning, negative: Conditioning) -> dict[str, Tensor]:
        """See ``UNetBase.prompt_arguments``."""
        return {"prompt_embeds": positive.embeddings, "negative_prompt_embeds": negative.embeddings}
