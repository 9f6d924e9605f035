"""FLUX.2 [klein]: a language model as text encoder, one transformer over text and picture, latents of 32 channels.

Trained on the undistilled base; where the spec names a distilled one, that draws, with what the other has learned.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from diffusers import Flux2KleinPipeline, Flux2Transformer2DModel
from PIL import Image
from safetensors.torch import save_file
from spaces.config import Config as SpacesConfig
from torch import Tensor, nn

from magicapture.bases.base import (
    KOHYA_FILE,
    ROWS_FILE,
    Base,
    BaseError,
    BaseSpec,
    Conditioning,
    Prediction,
    Rows,
)
from magicapture.bases.flux2_files import ROWS_KEY, kohya_layers, usage
from magicapture.bases.joint_attention import record_joint_attention, refocusing_blocks
from magicapture.bases.loading import parts_of
from magicapture.bases.lora import lora_too
from magicapture.bases.output_words import OutputWords
from magicapture.bases.precision import fast_dtype
from magicapture.bases.schedule import FlowSchedule
from magicapture.messages import Message
from magicapture.subject import PERSON_NOUN

FLUX2_TARGETS = (
    r"(transformer_blocks\.\d+\.attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
    r"|single_transformer_blocks\.\d+\.attn\.(to_qkv_mlp_proj|to_out))"
)
"""Attention's projections; those of the single-stream blocks are fused with their feed-forward layers."""

TEXT_PROJECTIONS = ("context_embedder.weight", "add_k_proj.weight", "add_v_proj.weight")
"""The projections of the prompt before and in the double-stream blocks."""

PACKED = 2
"""Latents of 2 × 2 places are one token: 32 channels become 128."""


@dataclass(frozen=True, eq=False)
class Flux2(Base):
    """A diffusers pipeline of this family, the one that draws, and the learned words behind the text encoder."""

    spec: BaseSpec
    pipeline: Flux2KleinPipeline
    artist: Flux2KleinPipeline
    words: OutputWords

    pipeline_class: ClassVar[type[Flux2KleinPipeline]] = Flux2KleinPipeline
    roomy_bytes = 75e9
    """A step with six pictures takes 54 GB, as ``bench --meta`` counts; otherwise each block is computed once more."""

    @classmethod
    def load(cls, spec: BaseSpec, *, here: bool = False) -> Self:
        """See ``Base.load``. The text encoder stays on the CPU, and is on the GPU only while it reads new prompts."""
        settings = {"dtype": cls._precision(spec), "local_files_only": here}
        pipeline = cls.pipeline_class.from_pretrained(spec.source, **settings)
        if pipeline.config.is_distilled:
            distilled = (
                "The base model {source} cannot be used: it is distilled to few steps, which training would undo. "
                "Choose the one that it was distilled from."
            )
            raise BaseError(Message(distilled, source=spec.source))
        drawing = None
        if spec.drawn_with is not None:
            drawing = Flux2Transformer2DModel.from_pretrained(spec.drawn_with, subfolder="transformer", **settings)
        return cls.of(spec, pipeline, drawing).placed()

    @classmethod
    def of(cls, spec: BaseSpec, pipeline: Flux2KleinPipeline, drawing: Flux2Transformer2DModel | None) -> Self:
        """Freeze the parts; ``drawing``: the distilled denoiser that draws, None for the one that is trained."""
        artist = Flux2KleinPipeline(
            pipeline.scheduler, pipeline.vae, None, None, drawing or pipeline.transformer, drawing is not None
        )
        artist.set_progress_bar_config(disable=True)
        modules = (pipeline.transformer, artist.transformer, pipeline.vae, pipeline.text_encoder)
        for module in filter(None, modules):
            module.eval().requires_grad_(False)
        return cls(spec, pipeline, artist, OutputWords.of(pipeline))

    @classmethod
    def skeleton(cls, spec: BaseSpec, *, roomy: bool = True) -> Self:
        """See ``Base.skeleton``; in bfloat16, and as if the text encoder had read all prompts."""
        base = cls._of_parts(spec, "meta", torch.bfloat16)
        if not roomy:
            base.denoiser.enable_gradient_checkpointing()
        return base.read_by(torch.empty)

    @classmethod
    def random(cls, spec: BaseSpec) -> Self:
        """See ``Base.random``; without the text encoder, which reads each prompt once."""
        return cls._of_parts(spec, "cpu", cls._precision(spec)).placed().read_by(torch.randn)

    @classmethod
    def _of_parts(cls, spec: BaseSpec, device: str, dtype: torch.dtype) -> Self:
        parts = parts_of(spec, device, dtype)
        drawing = parts.pop("drawing")
        return cls.of(spec, cls.pipeline_class(**parts), drawing)

    @staticmethod
    def _precision(spec: BaseSpec) -> torch.dtype:
        """Give that of the weights. Raises ``BaseError`` on a GPU that lacks bfloat16."""
        dtype = fast_dtype()
        if dtype == torch.float16:
            old = "The base model {source} cannot be used on this GPU, which lacks bfloat16. Choose another one."
            raise BaseError(Message(old, source=spec.source))
        return dtype

    def placed(self) -> Self:
        """Put all but the text encoder onto the GPU if there is one; gives itself.

        Where that is too small for a step's activations, the denoiser that is trained computes them once more.
        """
        if torch.cuda.is_available():
            for module in (self.denoiser, self.artist.transformer, self.pipeline.vae):
                module.to("cuda")
            # ZeroGPU shows a whole GPU to the process that loads, and lends half of one.
            if SpacesConfig.zero_gpu or torch.cuda.get_device_properties().total_memory < self.roomy_bytes:
                self.denoiser.enable_gradient_checkpointing()
        return self

    def read_by(self, make: Callable[..., Tensor]) -> Self:
        """Let ``make`` give what the text encoder, which is not there, would say of prompts: (B, L, D)."""
        (width,), length = self.row_widths.values(), self.words.length

        def read(prompts: list[str]) -> Tensor:
            return make(len(prompts), length, width, dtype=self.dtype, device=self.device)

        return replace(self, words=replace(self.words, encode=read))

    @property
    def denoiser(self) -> Flux2Transformer2DModel:
        """See ``Base.denoiser``."""
        return self.pipeline.transformer

    @property
    def schedule(self) -> FlowSchedule:
        """See ``Base.schedule``."""
        return FlowSchedule.of(self.pipeline.scheduler, self.attention_side**2)

    @property
    def resolution(self) -> int:
        """See ``Base.resolution``: its configuration names none."""
        assert self.spec.resolution is not None
        return self.spec.resolution

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """See ``Base.latent_shape``: (128, 32, 32) for 512 px."""
        return self.denoiser.config.in_channels, self.attention_side, self.attention_side

    @property
    def attention_side(self) -> int:
        """See ``Base.attention_side``: one place of the maps is one token of the picture."""
        return self.resolution // (PACKED * self.pipeline.vae_scale_factor)

    @property
    def row_widths(self) -> dict[str, int]:
        """See ``Base.row_widths``: three layers of the encoder side by side, 7680 for [klein] 4B."""
        return {ROWS_KEY: self.denoiser.config.joint_attention_dim}

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Base.encode``; packed, and normalised by the autoencoder's own statistics."""
        vae, (mean, std) = self.pipeline.vae, self._statistics()
        latents = vae.encode(images.to(self.device, vae.dtype)).latent_dist
        packed, spread = (F.pixel_unshuffle(part.float(), PACKED) for part in (latents.mean, latents.std))
        return (packed - mean) / std, spread / std

    def decode(self, latents: Tensor) -> Tensor:
        """See ``Base.decode``."""
        vae, (mean, std) = self.pipeline.vae, self._statistics()
        unpacked = F.pixel_shuffle(latents * std + mean, PACKED)
        return vae.decode(unpacked.to(vae.dtype)).sample.float()

    def vocabulary(self) -> Rows:
        """See ``Base.vocabulary``; rows that the encoder gives for everyday words."""
        return {ROWS_KEY: self.words.vocabulary()}

    def initial_rows(self, noise: float, generator: torch.Generator, noun: str = PERSON_NOUN) -> Rows:
        """See ``Base.initial_rows``."""
        return {ROWS_KEY: self.words.initial_rows(noise, generator, noun)}

    @contextmanager
    def concept_tokens(self, rows: Rows, noun: str = PERSON_NOUN) -> Iterator[dict[str, nn.Parameter]]:
        """See ``Base.concept_tokens``."""
        with self.words.taught(rows[ROWS_KEY].to(self.device), noun) as parameter:
            yield {ROWS_KEY: parameter}

    def condition(self, prompts: list[str]) -> Conditioning:
        """See ``Base.condition``."""
        return self.words.condition(prompts)

    def predict(
        self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, *, with_maps: bool = False
    ) -> Prediction:
        """See ``Base.predict``; the maps are those of the picture's tokens in joint attention."""
        side, length = noisy.shape[-1], conditioning.embeddings.shape[1]
        blocks = refocusing_blocks(self.denoiser) if with_maps else []
        with record_joint_attention(blocks) as recorder:
            output = self.denoiser(
                hidden_states=noisy.flatten(2).transpose(1, 2).to(self.dtype),
                encoder_hidden_states=conditioning.embeddings,
                timestep=self.schedule.share(timesteps),
                img_ids=self.put(_places(1, side, side, 1)),
                txt_ids=self.put(_places(1, 1, 1, length)),
            ).sample
        velocity = output.float().transpose(1, 2).unflatten(2, (side, side))
        return Prediction(velocity, recorder.word_maps(conditioning.positions, length) if with_maps else None)

    def draw(
        self,
        positive: Conditioning,
        negative: Conditioning,
        latents: Tensor,
        noise: list[torch.Generator],
        *,
        steps: int,
        guidance_scale: float,
        lora_scale: float = 1.0,
        strength: float = 1.0,
    ) -> list[Image.Image]:
        """See ``Base.draw``. A distilled model takes no notice of guidance."""
        del strength  # always 1: see ``BaseSpec.require_strength``
        return self._drawn(
            positive,
            latents,
            generator=noise,
            negative_prompt_embeds=negative.embeddings,
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            attention_kwargs={"scale": lora_scale},
        )

    def edit(self, pictures: list[Image.Image], prompt: str, latents: Tensor) -> list[Image.Image]:
        """See ``Base.edit``."""
        text, nothing = (self.condition([words]).expand(len(latents)) for words in (prompt, ""))
        return self._drawn(
            text,
            latents,
            image=pictures,
            negative_prompt_embeds=nothing.embeddings,
            num_inference_steps=self.spec.sampling_steps,
            guidance_scale=self.spec.guidance_scale,
        )

    @staticmethod
    def save_weights(spec: BaseSpec, folder: Path, lora: dict[str, Tensor], rows: Rows) -> None:
        """See ``Base.save_weights``. No other tool has a place for words behind the text encoder."""
        del spec
        Flux2KleinPipeline.save_lora_weights(folder, transformer_lora_layers=lora)
        save_file({key: value.contiguous() for key, value in rows.items()}, folder / ROWS_FILE)
        save_file(kohya_layers(lora), folder / KOHYA_FILE)

    usage = staticmethod(usage)

    def _drawn(self, text: Conditioning, latents: Tensor, **settings: object) -> list[Image.Image]:
        """Draw with the pipeline that draws, and what is learned on it."""
        side = self.resolution
        with lora_too(self.artist.transformer, self.denoiser, self.spec.lora_targets):
            return self.artist(
                prompt_embeds=text.embeddings, latents=latents, height=side, width=side, **settings
            ).images

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Give mean and spread (1, 128, 1, 1) of packed latents, in float32."""
        vae = self.pipeline.vae
        mean, variance = (value.float()[None, :, None, None] for value in (vae.bn.running_mean, vae.bn.running_var))
        return mean, (variance + vae.config.batch_norm_eps).sqrt()


def _places(*counts: int) -> Tensor:
    """Give the positions (N, 4) of tokens in time, row, column and text."""
    return torch.cartesian_prod(*(torch.arange(count) for count in counts))
