"""Every setting of training and generation, each on one commented line; the presets stand with their base."""

from dataclasses import dataclass, replace
from typing import Literal, Self

Term = Literal["identity", "attention", "composed", "tokens"]
TERMS: tuple[Term, ...] = ("identity", "attention", "composed", "tokens")
"""The ideas of the method that can be switched off: identity loss, attention refocusing, composed prompts, phase 1."""

LEAST_STRENGTH = 0.4
"""Of a drawing that starts from a photo: under less noise than that it would be the photo."""


@dataclass(frozen=True)
class TrainConfig:
    """How an adapter is trained: the ideas of MagiCapture (arXiv 2309.06895).

    Presets, which stand with each base, change these numbers; they suited the first generation of the embedded one.
    """

    preset: str = "quick"
    seed: int = 0  # of every random draw; the same seed gives the same adapter on the same machine
    keep_photos: bool = False  # whether the adapter keeps the person's photos, as latents, to draw from them
    off: frozenset[Term] = frozenset()  # terms switched off, for ablations

    # Phase 1 learns the two tokens alone, phase 2 the LoRA and the tokens.
    token_steps: int = 48
    lora_steps: int = 272
    images_per_task: int = 2  # photos of each task in one batch: source, reference and, in phase 2, composed
    one_task: bool = False  # a step takes one task, drawn at random, instead of all in one batch

    token_lr: float = 1e-2  # phase 1; AdamW without weight decay, so that a token does not drift
    token_lr_phase2: float = 1e-3
    lora_lr: float = 2e-3  # phase 2; both phases decay linearly to a tenth
    warmup_steps: int = 0  # of phase 2 in which the LoRA's rate rises linearly
    norm_pull: float = 0.0  # × the tokens' rate: the share by which a step moves their norms to the vocabulary's median
    rank: int = 16  # of the LoRA; alpha equals it
    weight_decay: float = 1e-3  # on the LoRA
    max_grad_norm: float = 1.0
    token_noise: float = 0.017  # spread of the style token's random start

    identity_weight: float = 0.7  # λ_id; at 1 faces please the recogniser more than the eye
    identity_tasks: tuple[str, ...] = ("source", "composed")  # whose samples are judged
    identity_from: float = 0.0  # identity of x̂0 is judged only from this share of the noise schedule on …
    identity_limit: float = 0.6  # … and below this one, T′/T
    identity_images: int = 1  # samples of a batch that are decoded for it, those with the least noise
    identity_every: int = 2  # it is judged on one of so many steps, and weighs that many times as much there
    attention_weight: float = 1.0  # λ_attn; the more, the less of the look
    heads_together: bool = False  # refocusing looks at the mean over heads, as the authors' code does, not at each
    late_style: bool = True  # what teaches the style alone is drawn at later timesteps
    style_until: float = 1.0  # reference and composed are noised up to this share of the schedule, T′/T
    style_emphasis: float = 2.0  # weight of reference and composed in the first half of each phase

    previews: int = 4  # how often quick portraits are drawn and scored; the best state is kept
    preview_images: int = 2
    preview_steps: int = 12

    def uses(self, term: Term) -> bool:
        """Tell whether ``term`` of the method is switched on."""
        return term not in self.off

    @property
    def steps(self) -> int:
        """Steps of both phases together."""
        return (self.token_steps if self.uses("tokens") else 0) + self.lora_steps

    def with_steps(self, steps: int) -> Self:
        """Give the same settings for ``steps`` steps in all, shared between the phases as before.

        A preview takes about as long as ten steps, so a short training has no more than one for so many.
        """
        share = steps / self.steps
        return replace(
            self,
            token_steps=round(self.token_steps * share),
            lora_steps=max(1, round(self.lora_steps * share)),
            previews=min(self.previews, max(1, steps // 10)),
        )


@dataclass(frozen=True)
class GenerateConfig:
    """How portraits are drawn."""

    count: int = 4  # portraits that are given back
    best_of: int = 1  # candidates drawn for each of them; the best by likeness and style are kept
    prompt: str = ""  # what to add, such as "with glasses, plain background"
    negative_prompt: str = ""  # empty: what suits the base
    seed: int = 0  # of the first portrait; the next ones count up
    dial: float = 0.5  # 0 = more like the style, 1 = more like me
    strength: float = 1.0  # 1 = not from a photo; below, from one of the person's under so much noise
    steps: int | None = None  # of the sampler through all of the noise; None: what suits the base
    guidance_scale: float | None = None  # None: what suits the base
    lora_scale: float | None = None  # weight of what was learned, likewise
    upscale: int = 1  # 1, 2 or 4

    def settled(self, steps: int) -> Self:
        """Give the same with so many ``steps`` of the sampler, unless they are set."""
        return self if self.steps else replace(self, steps=steps)

    @property
    def added_words(self) -> str:
        """All that somebody adds to the prompts, or an empty text."""
        return self.prompt + self.negative_prompt

    @property
    def seeds(self) -> list[int]:
        """One of each picture that is drawn: the candidates of all portraits."""
        return [self.seed + i for i in range(self.count * self.best_of)]

    def __post_init__(self) -> None:
        """Refuse values outside their range with a ``ValueError`` that names the setting."""
        if not 0 <= self.dial <= 1:
            raise ValueError(f"The dial must lie between 0 (the style) and 1 (you); it is {self.dial}.")
        if not LEAST_STRENGTH <= self.strength <= 1:
            raise ValueError(f"The strength must lie between {LEAST_STRENGTH} and 1; it is {self.strength}.")
        if self.count < 1 or self.best_of < 1 or (self.steps is not None and self.steps < 1):
            raise ValueError("count, best_of and steps must be at least 1.")
        if self.upscale not in (1, 2, 4):
            raise ValueError(f"upscale must be 1, 2 or 4; it is {self.upscale}.")
