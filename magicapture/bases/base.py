"""What the method asks of a base model, whatever its family."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from magicapture.bases.precision import WorkingCopies
from magicapture.bases.schedule import FlowSchedule, Schedule
from magicapture.bases.words import TOKENS
from magicapture.config import GenerateConfig, TrainConfig
from magicapture.messages import Message
from magicapture.subject import PERSON_NOUN

FIRST_SCALE = 2.0**12
"""What losses are multiplied by at first in float16, where small gradients vanish."""

LORA_FILE = "pytorch_lora_weights.safetensors"
ROWS_FILE = "magicapture_emb.safetensors"
"""The names of an adapter's weights; of the first one diffusers says what it is."""

KOHYA_FILE = "magicapture_kohya.safetensors"
WORD_FILES = {word: f"{word.strip('<>')}.safetensors" for word in TOKENS}
"""The same for ComfyUI and A1111, which read one word from a file and call it as that."""

FOR_OTHER_TOOLS = (KOHYA_FILE, *WORD_FILES.values())

Rows = dict[str, Tensor]
"""The embeddings (2, D) of the two trigger words by text encoder, under the keys that other tools read them by."""


class BaseError(Exception):
    """A base model that cannot be used; the text says why and what to use instead."""


class BaseUnavailableError(BaseError):
    """A base model that cannot be loaded here: it is not on this machine and not to be had."""


@dataclass(frozen=True)
class BaseSpec:
    """What is known of a base model before it is loaded."""

    name: str
    family: type[Any]  # the class that implements ``Base``
    source: str  # Hub id or folder of a diffusers pipeline
    title: str
    licence: str
    download_gb: float | None  # what has to be fetched once; None: not known
    presets: Mapping[str, TrainConfig] = field(hash=False)
    guidance_scale: float  # for drawing with an adapter, unless it is set
    lora_targets: str  # regular expression on the denoiser's layers
    lora_bytes: int  # of its LoRA in float32, for each rank, at most
    text_projections: tuple[str, ...]  # endings of the weights with which the denoiser reads the prompt
    step_seconds: float  # of a training step with two pictures per task, on the device that it is meant for
    portrait_seconds: float  # of a portrait with ``sampling_steps``, likewise
    seconds_on_gpu: tuple[float, float] | None = None  # the same two on a GPU, if the base is meant for a CPU
    resolution: int | None = None  # side of its pictures in pixels; None: as its denoiser's configuration says
    sampling_steps: int = 20  # of its sampler, unless it is set
    layout_share: float = 1.0  # of its noise, under which drawing starts from a layout; 1: from the look's mean alone
    holds_palette: bool = False  # whether pictures are held to the look's colours; words could ask for others
    worded_guidance_scale: float | None = None  # where somebody adds words to the prompt; None: the same
    untouched_guidance_scale: float | None = None  # without an adapter, likewise
    lora_scale: float = 1.0  # weight of the LoRA for drawing, unless it is set
    negative_prompt: str = ""  # likewise
    variant: str | None = None  # of its weights on the Hub, in half precision; None: it is not known to have one
    vae: str | None = None  # Hub id of a better autoencoder; None: its own
    tiny_decoder: str | None = None  # Hub id of a distilled decoder for the identity loss; None: its own serves
    linear: bool = False  # whether its encoder is linear: the identity loss then decodes by the inverse
    drawn_with: str | None = None  # Hub id of what is distilled from it and draws in its place; None: itself
    things: bool = False  # whether it knows more than people, and can be trained on a thing
    edits: bool = False  # whether it can draw from pictures without training, see ``Base.edit``
    parts: Callable[[], dict[str, Any]] | None = None  # gives its parts without weights: see ``architectures``
    embedded: str | None = None  # if its weights are part of this app: what adapters call them, not the folder

    def guidance_with(self, words: str) -> float:
        """Give the guidance with which an adapter draws where somebody added ``words`` to the prompt, or none."""
        return (self.worded_guidance_scale if words else None) or self.guidance_scale

    def training_work(self, config: TrainConfig, done: int = 0) -> tuple[float, float]:
        """Count what a training does from its step ``done`` on: steps and portraits as the seconds above go."""
        share = config.images_per_task / 2 / (3 if config.one_task else 1)  # of the batch that a step is for
        left = config.steps - done
        late = min(left, config.lora_steps)
        early = (left - late) * (1 if config.one_task else 2 / 3)  # of three tasks, phase 1 has two
        sampling = config.preview_images * config.preview_steps / self.sampling_steps
        return (early + late) * share, config.previews * late / config.lora_steps * sampling

    def drawing_work(self, config: GenerateConfig) -> float:
        """Count portraits likewise."""
        pace = config.strength * (config.steps or self.sampling_steps) / self.sampling_steps
        if self.guidance_scale <= 1 < self.guidance_with(config.added_words):
            pace *= 2  # with guidance the denoiser looks at each step twice
        return config.count * config.best_of * pace

    @property
    def choice(self) -> Message:
        """What it is called where one base is chosen out of several: with its licence and its size."""
        facts = {"title": Message(self.title), "licence": self.licence}
        if not self.download_gb:
            return Message("{title} · {licence}", **facts)
        return Message("{title} · {licence} · {n} GB to load once", **facts, n=self.download_gb)

    def require_strength(self, strength: float) -> None:
        """Raise ``BaseError`` if it cannot draw from a photo and ``strength`` asks for that."""
        if strength < 1 and not self.family.starts_from_photos:
            alone = "The base model {title} cannot start from a photo: let it draw from noise alone, at strength 1."
            raise BaseError(Message(alone, title=Message(self.title)))

    def require(self, noun: str) -> None:
        """Raise ``BaseError`` if it cannot be trained on what ``noun`` names."""
        if noun != PERSON_NOUN and not self.things:
            only = "The base model {title} can be trained on people alone: for a thing, choose another one."
            raise BaseError(Message(only, title=Message(self.title)))

    @property
    def public_source(self) -> str:
        """How an adapter says what it was trained on: without any path of the embedded weights."""
        return self.embedded or self.source


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What prompts mean to a denoiser.

    ``embeddings``: (B, L, D); ``positions``: (2, B), where each trigger word stands, −1 where a prompt lacks it;
    ``extras``: what else a family conditions on, such as a pooled embedding (B, P), by name.
    """

    embeddings: Tensor
    positions: Tensor
    extras: dict[str, Tensor] = field(default_factory=dict)

    def expand(self, count: int) -> Self:
        """Repeat a single prompt ``count`` times."""
        extras = {name: value.expand(count, *value.shape[1:]) for name, value in self.extras.items()}
        return type(self)(self.embeddings.expand(count, -1, -1), self.positions.expand(-1, count), extras)

    def towards(self, there: Self, away_from: Self, reach: float) -> Self:
        """Move along the difference between two others: ``self + reach (there − away_from)``, extras too."""
        moved = self.embeddings + reach * (there.embeddings - away_from.embeddings)
        extras = {
            name: value + reach * (there.extras[name] - away_from.extras[name]) for name, value in self.extras.items()
        }
        return type(self)(moved, self.positions, extras)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a denoiser gives.

    ``output``: (B, C, h, w) float32, to be compared with ``Schedule.target``; ``maps``: (2, layers, B, heads, side²),
    how much each place attends to each trigger word, in [0, 1], of no meaning where the prompt lacks it; None unless
    they were asked for.
    """

    output: Tensor
    maps: Tensor | None


class Base(Protocol):
    """A loaded base model. There is one per process and name: whoever changes it puts it back as it was."""

    starts_from_photos: ClassVar[bool] = False
    """Whether drawing can start from noised pictures (SDEdit, arXiv 2108.01073)."""

    roomy_bytes: ClassVar[float] = 0
    """A GPU with less memory keeps no activations for the backward pass, but computes them once more."""

    spec: BaseSpec
    pipeline: DiffusionPipeline

    @classmethod
    def load(cls, spec: BaseSpec, *, here: bool = False) -> Self:
        """Load ``spec``, frozen, onto the GPU if there is one; ``here``: from this machine alone.

        Raises ``BaseError`` for a base that cannot be trained here, and what diffusers raises for missing weights.
        """

    @classmethod
    def skeleton(cls, spec: BaseSpec, *, roomy: bool = True) -> Self:
        """Give ``spec``, whose ``parts`` are known, in its true size on the device "meta": its cost can be counted.

        ``roomy``: as on a GPU with ``roomy_bytes``.
        """

    @classmethod
    def random(cls, spec: BaseSpec) -> Self | None:
        """Give ``spec``, whose ``parts`` are known, in its true size with random weights, where ``load`` would put it.

        What it computes takes as long as with the true ones. None where some part is not known without its weights.
        """
        del spec
        return None

    @property
    def denoiser(self) -> nn.Module:
        """What carries the LoRA."""

    @property
    def schedule(self) -> Schedule | FlowSchedule:
        """How it noises pictures, and what its denoiser predicts."""

    @property
    def resolution(self) -> int:
        """Side of its pictures in pixels."""

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape (C, h, w) of a picture's latents."""

    @property
    def attention_side(self) -> int:
        """Side of the attention maps that the refocusing loss looks at."""

    @property
    def row_widths(self) -> dict[str, int]:
        """The width D of the trigger words' embeddings by text encoder, from the configuration alone."""

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean and spread of the latents (B, C, h, w) of ``images`` (B, 3, H, W) in [-1, 1]."""

    def decode(self, latents: Tensor) -> Tensor:
        """Turn ``latents`` (B, C, h, w) into pictures (B, 3, H, W) around [-1, 1], unclamped, differentiably.

        A window of latents gives the window of the picture.
        """

    @torch.no_grad()
    def pictures(self, latents: Tensor) -> list[Image.Image]:
        """Turn ``latents`` (B, C, h, w) into pictures as drawing does, where ``decode`` may be a cheaper one's."""
        return self.pipeline.image_processor.postprocess(self.decode(latents))

    def vocabulary(self) -> Rows:
        """Give the embeddings (V, D) of the words that it knows, by text encoder, in float32 on the CPU."""

    def initial_rows(self, noise: float, generator: torch.Generator, noun: str = PERSON_NOUN) -> Rows:
        """Give the rows to start from: [V1] as the word ``noun``, [V2] from N(0, ``noise``²) around "portrait".

        Other nouns than "person" only where ``BaseSpec.things`` says so.
        """

    def concept_tokens(self, rows: Rows, noun: str = PERSON_NOUN) -> AbstractContextManager[dict[str, nn.Parameter]]:
        """Teach it the two trigger words for the length of a ``with`` block; gives the parameters with ``rows``.

        ``noun``: what the first one is the name of.
        """

    def condition(self, prompts: list[str]) -> Conditioning:
        """Encode ``prompts`` with the words that it knows now, differentiably. All text is encoded here."""

    def predict(
        self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, *, with_maps: bool = False
    ) -> Prediction:
        """Denoise ``noisy`` (B, C, h, w) at ``timesteps`` (B,) in one pass, differentiably."""

    def replayed(self) -> AbstractContextManager[Self]:
        """Give it for steps of few shapes, for the length of a ``with`` block: a GPU may replay ``predict``."""
        return nullcontext(self)

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
        """Draw one picture from each of ``latents`` (B, C, h, w): what ``Schedule.add_noise`` gives at ``strength``.

        ``noise``: one generator each, for samplers that add noise on the way; ``strength``: the share of the schedule,
        and of ``steps``, that is sampled, below 1 only where ``starts_from_photos``.
        """

    def edit(self, pictures: list[Image.Image], prompt: str, latents: Tensor) -> list[Image.Image]:
        """Draw what ``prompt`` says of ``pictures``, without training, once from each of ``latents`` as ``draw`` does.

        Only where ``BaseSpec.edits`` says so.
        """
        raise NotImplementedError

    @staticmethod
    def save_weights(spec: BaseSpec, folder: Path, lora: dict[str, Tensor], rows: Rows) -> None:
        """Write ``LORA_FILE`` and ``ROWS_FILE`` and, where other tools can load ``spec``, ``FOR_OTHER_TOOLS``."""

    @staticmethod
    def read_weights(folder: Path) -> tuple[dict[str, Tensor], Rows]:
        """Read what ``save_weights`` wrote, of whatever family: which it is may not be known before the base is loaded.

        Raises ``SafetensorError`` for damaged files.
        """
        lora = load_file(folder / LORA_FILE)
        plain = {key.removeprefix("unet.").removeprefix("transformer."): value for key, value in lora.items()}
        return plain, load_file(folder / ROWS_FILE)

    @staticmethod
    def usage(
        spec: BaseSpec, source: str, noun: str, repo_id: str | None, latent_mean: tuple[float, ...] | None
    ) -> str:
        """Give the code with which stock diffusers draws from an adapter, in this folder or in ``repo_id``.

        ``source``: where ``spec`` is for whoever reads it; ``noun``: what the adapter was trained on.
        """

    @property
    def device(self) -> torch.device:
        """Where the denoiser lives."""
        return next(self.denoiser.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """In what precision its frozen weights are kept."""
        return next(self.denoiser.parameters()).dtype

    def put(self, values: Tensor) -> Tensor:
        """Move ``values`` to where the denoiser lives, without waiting for what is being computed there."""
        return values.to(self.device, non_blocking=True)

    def working_copies(self, parameters: Iterable[nn.Parameter]) -> WorkingCopies:
        """Let float32 ``parameters`` take part in a step in the precision of the frozen weights."""
        return WorkingCopies(parameters, self.dtype)

    def grad_scaler(self) -> torch.amp.GradScaler:
        """Give what keeps gradients in the range of float16 (https://docs.pytorch.org/docs/stable/amp.html).

        With weights in any other precision it does nothing.
        """
        return torch.amp.GradScaler(self.device.type, FIRST_SCALE, enabled=self.dtype == torch.float16)
