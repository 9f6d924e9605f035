"""What Stable Diffusion 1.x and XL share: CLIP text encoders, a U-Net with cross-attention, an autoencoder."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import convert_state_dict_to_kohya
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from magicapture.bases.attention import pick_words, record_attention
from magicapture.bases.base import (
    KOHYA_FILE,
    ROWS_FILE,
    WORD_FILES,
    Base,
    BaseError,
    BaseSpec,
    Conditioning,
    Prediction,
    Rows,
)
from magicapture.bases.clip import ClipEncoder
from magicapture.bases.linear import LinearDecoder
from magicapture.bases.loading import identity_decoder, load_pipeline, parts_of, prefer_plain_attention
from magicapture.bases.lora import fused_lora
from magicapture.bases.precision import fast_dtype
from magicapture.bases.replay import Replay
from magicapture.bases.sampling import sampler_on_the_way, timesteps_from
from magicapture.bases.schedule import Schedule, timestep_at
from magicapture.bases.usage import usage
from magicapture.bases.words import prompt_for
from magicapture.messages import Message
from magicapture.subject import PERSON_NOUN

KEYS_AND_VALUES = ("attn2.to_k.weight", "attn2.to_v.weight")
"""The projections of the prompt in cross-attention."""


@dataclass(frozen=True, eq=False)
class UNetBase(Base):
    """A diffusers pipeline with a U-Net, and what decodes faces for the identity loss.

    A family says below what it adds: its pipeline, its text encoders, how it reads prompts, which layers refocusing
    looks at.
    """

    spec: BaseSpec
    pipeline: DiffusionPipeline
    decoder: nn.Module
    replay: Replay | None = None

    starts_from_photos = True
    pipeline_class: ClassVar[type[DiffusionPipeline]]
    settings: ClassVar[Mapping[str, Any]]
    """What the pipeline's parts beside the model are set to when it is loaded."""
    encoders: ClassVar[Mapping[str, str]]
    """How the names of each text encoder end in the pipeline, by the key under which other tools find its rows."""

    @abstractmethod
    def condition(self, prompts: list[str]) -> Conditioning:
        """See ``Base.condition``."""

    @abstractmethod
    def refocusing_layers(self) -> list[str]:
        """Name the cross-attention layers that refocusing looks at; raises ``ValueError`` when there are none."""

    @abstractmethod
    def added_conditions(self, conditioning: Conditioning) -> dict[str, Tensor] | None:
        """Give what the U-Net is conditioned on beside prompt and timestep, by its names for it."""

    @abstractmethod
    def prompt_arguments(self, positive: Conditioning, negative: Conditioning) -> dict[str, Tensor]:
        """Give both prompts by the pipeline's names for them."""

    @classmethod
    def load(cls, spec: BaseSpec, *, here: bool = False) -> Self:
        """See ``Base.load``."""
        dtype = fast_dtype()
        pipeline = load_pipeline(cls.pipeline_class, spec, dtype, here=here, **cls.settings)
        try:
            Schedule.of(pipeline.scheduler)
        except ValueError as error:
            unknown = (
                "The base model {source} cannot be used: its denoiser predicts neither noise (epsilon) nor velocity "
                "(v_prediction). Choose another one."
            )
            raise BaseError(Message(unknown, source=spec.source)) from error
        decoder = identity_decoder(spec, pipeline.vae, here=here)
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config, use_karras_sigmas=True)
        return cls(spec, pipeline, decoder).placed()

    @classmethod
    def skeleton(cls, spec: BaseSpec, *, roomy: bool = True) -> Self:
        """See ``Base.skeleton``; in bfloat16, as on a GPU of today."""
        del roomy
        return cls._of_parts(spec, "meta", torch.bfloat16)

    @classmethod
    def random(cls, spec: BaseSpec) -> Self:
        """See ``Base.random``."""
        return cls._of_parts(spec, "cpu", fast_dtype()).placed()

    @classmethod
    def _of_parts(cls, spec: BaseSpec, device: str, dtype: torch.dtype) -> Self:
        parts = parts_of(spec, device, dtype)
        decoder = parts.pop("decoder")
        pipeline = cls.pipeline_class(**parts, **cls.settings)
        pipeline.set_progress_bar_config(disable=True)
        return cls(spec, pipeline, decoder)

    def placed(self) -> Self:
        """Freeze it, on the GPU if there is one; gives itself."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.pipeline.set_progress_bar_config(disable=True)
        for module in (*(m for m in self.pipeline.components.values() if isinstance(m, nn.Module)), self.decoder):
            module.to(device).eval().requires_grad_(False)
        if device == "cuda":
            self.denoiser.to(memory_format=torch.channels_last)  # on a CPU group normalisation would be much slower
        else:
            prefer_plain_attention(self.denoiser)
        return self

    @property
    def denoiser(self) -> UNet2DConditionModel:
        """See ``Base.denoiser``."""
        return self.pipeline.unet

    @property
    def schedule(self) -> Schedule:
        """See ``Base.schedule``."""
        return Schedule.of(self.pipeline.scheduler)

    @property
    def resolution(self) -> int:
        """See ``Base.resolution``."""
        return self.spec.resolution or self.denoiser.config.sample_size * self.pipeline.vae_scale_factor

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """See ``Base.latent_shape``: (4, 64, 64) for Stable Diffusion 1.5, (4, 96, 96) for XL at 768 px."""
        side = self.resolution // self.pipeline.vae_scale_factor
        return self.denoiser.config.in_channels, side, side

    @property
    def clip(self) -> dict[str, ClipEncoder]:
        """The text encoders by the keys of their rows."""
        return {key: ClipEncoder(self.pipeline, suffix) for key, suffix in self.encoders.items()}

    @property
    def row_widths(self) -> dict[str, int]:
        """See ``Base.row_widths``."""
        return {key: encoder.model.config.hidden_size for key, encoder in self.clip.items()}

    def vocabulary(self) -> Rows:
        """See ``Base.vocabulary``."""
        return {key: encoder.vocabulary.detach().float().cpu() for key, encoder in self.clip.items()}

    def initial_rows(self, noise: float, generator: torch.Generator, noun: str = PERSON_NOUN) -> Rows:
        """See ``Base.initial_rows``."""
        return {key: encoder.initial_rows(noise, generator, noun) for key, encoder in self.clip.items()}

    @contextmanager
    def concept_tokens(self, rows: Rows, noun: str = PERSON_NOUN) -> Iterator[dict[str, nn.Parameter]]:
        """See ``Base.concept_tokens``; whatever they name."""
        del noun
        with ExitStack() as stack:
            yield {key: stack.enter_context(encoder.concept_tokens(rows[key])) for key, encoder in self.clip.items()}

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Base.encode``."""
        vae = self.pipeline.vae
        latents = vae.encode(images.to(self.device, vae.dtype)).latent_dist
        return latents.mean.float() * vae.config.scaling_factor, latents.std.float() * vae.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """See ``Base.decode``."""
        return _decoded(self.decoder, latents)

    @torch.no_grad()
    def pictures(self, latents: Tensor) -> list[Image.Image]:
        """See ``Base.pictures``."""
        return self.pipeline.image_processor.postprocess(_decoded(self.pipeline.vae, latents))

    def predict(
        self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, *, with_maps: bool = False
    ) -> Prediction:
        """See ``Base.predict``; the maps are those of cross-attention."""
        added = self.added_conditions(conditioning) or {}
        denoise = partial(self._denoised, with_maps, tuple(added))
        inputs = noisy.to(self.dtype), timesteps, conditioning.embeddings, *added.values()
        output, *maps = self.replay(denoise, self.denoiser, with_maps, *inputs) if self.replay else denoise(*inputs)
        return Prediction(output.float(), pick_words(maps, conditioning.positions) if with_maps else None)

    @contextmanager
    def replayed(self) -> Iterator[Self]:
        """See ``Base.replayed``."""
        if not Replay.possible(self.device):
            yield self
            return
        replay = Replay()
        try:
            yield replace(self, replay=replay)
        finally:
            replay.forget()

    def _denoised(
        self, with_maps: bool, names: tuple[str, ...], noisy: Tensor, timesteps: Tensor, text: Tensor, *added: Tensor
    ) -> tuple[Tensor, ...]:
        """Give the denoiser's output and the attention maps that refocusing looks at; ``added`` goes by ``names``."""
        with record_attention(self.denoiser, self.refocusing_layers() if with_maps else []) as recorder:
            conditions = dict(zip(names, added, strict=True)) or None
            output = self.denoiser(noisy, timesteps, text, added_cond_kwargs=conditions).sample
        return output, *recorder.take()

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
        """See ``Base.draw``."""
        with fused_lora(self.denoiser, lora_scale), self._sampler(steps, strength) as sampling:
            latents = self.pipeline(
                **self.prompt_arguments(positive, negative),
                latents=latents.to(self.dtype),
                generator=noise,
                **sampling,
                guidance_scale=guidance_scale,
                height=self.resolution,
                width=self.resolution,
                output_type="latent",
            ).images
        return self.pictures(latents)

    @contextmanager
    def _sampler(self, steps: int, strength: float) -> Iterator[dict[str, Any]]:
        """Give the pipeline's argument for its steps."""
        if strength == 1:
            yield {"num_inference_steps": steps}
            return
        usual, first = self.pipeline.scheduler, timestep_at(strength, self.schedule.steps)
        self.pipeline.scheduler = sampler_on_the_way(usual)
        try:
            yield {"timesteps": timesteps_from(first, max(1, round(steps * strength)))}
        finally:
            self.pipeline.scheduler = usual

    @staticmethod
    def save_weights(spec: BaseSpec, folder: Path, lora: dict[str, Tensor], rows: Rows) -> None:
        """See ``Base.save_weights``. Other tools compute in float16: their copy of the LoRA is kept in it."""
        StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=lora)
        save_file({key: value.contiguous() for key, value in rows.items()}, folder / ROWS_FILE)
        if not spec.embedded:
            kohya = convert_state_dict_to_kohya({f"unet.{key}": value for key, value in lora.items()})
            save_file({key: value.half().contiguous() for key, value in kohya.items()}, folder / KOHYA_FILE)
            for place, file in enumerate(WORD_FILES.values()):
                save_file({key: value[place, None].contiguous() for key, value in rows.items()}, folder / file)

    @classmethod
    def usage(
        cls, spec: BaseSpec, source: str, noun: str, repo_id: str | None, latent_mean: tuple[float, ...] | None
    ) -> str:
        """See ``Base.usage``."""
        prompt = prompt_for("composed", noun=noun)
        return usage(spec, cls.pipeline_class.__name__, cls.encoders, source, prompt, repo_id, latent_mean)


def _decoded(decoder: AutoencoderKL | AutoencoderTiny | LinearDecoder, latents: Tensor) -> Tensor:
    """Decode in the decoder's own precision, which may be another one than the denoiser's."""
    if isinstance(decoder, AutoencoderKL):
        latents = latents / decoder.config.scaling_factor
    return decoder.decode(latents.to(decoder.dtype)).sample.float()
