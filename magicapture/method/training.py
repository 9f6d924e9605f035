"""The two-phase training of an adapter, readable from top to bottom; one event per step."""

import copy
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, Self

import torch
from torch import Tensor

from magicapture.adapters.adapter import Adapter
from magicapture.adapters.info import AdapterInfo
from magicapture.adapters.start import Start
from magicapture.bases import Base
from magicapture.bases.lora import enable_lora, load_lora, lora_layers, lora_ratio, lora_state
from magicapture.config import GenerateConfig, TrainConfig
from magicapture.drawing.generation import draw
from magicapture.method.losses import pull_norms
from magicapture.method.material import Material
from magicapture.method.objective import Objective, Phase
from magicapture.method.optimizer import optimizer_step
from magicapture.method.progress import Preview, Progress, TrainEvent, Weights
from magicapture.photos.layouts import layouts_of
from magicapture.photos.palette import Palette
from magicapture.photos.references import mean_embedding
from magicapture.scoring import Targets
from magicapture.subject import Reference, Subject, require_embedded_by

GLOBAL_GENERATOR = threading.Lock()
"""Torch's own generator is shared by all threads; each GPU of a machine may have one that trains."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that is needed to go on later with the same result, as CPU tensors and plain data: it can be pickled.

    ``photos``: a hash of what was trained on, which is not in it.
    """

    config: TrainConfig
    weights: Weights
    optimizer: dict
    scaler: dict
    rng: Tensor
    progress: Progress
    photos: str


class Training:
    """One training run; use it as a context manager and iterate over its events.

    >>> with Training(base, engine, person, style, base.spec.presets["quick"]) as training:
    ...     for event in training:
    ...         print(event.step, event.losses)
    ...     adapter = training.adapter()

    Breaking off the loop is allowed at any step: ``adapter()`` gives the best state so far. While the block runs the
    base carries the LoRA and the tokens under training; leaving the block puts it back exactly as it was.
    """

    def __init__(
        self, base: Base, subject: Subject, person: list[Reference], style: list[Reference], config: TrainConfig
    ) -> None:
        """Prepare latents, masks and targets once.

        Raises ``ValueError`` unless there is a reference of each role, of the base's size, ``BaseError`` if the base
        knows nothing of such a subject.
        """
        base.spec.require(subject.noun)
        if not person or not style:
            raise ValueError("Training needs at least one usable photo of the person and one of the style.")
        if any(reference.image.size != (base.resolution, base.resolution) for reference in (*person, *style)):
            raise ValueError("The photos were cut for another base model: choose it again, and they are cut anew.")
        require_embedded_by(subject.name, person)
        self.base, self.subject, self.config = base, subject, config
        self.person, self.style = person, style
        # A copy: there is one critic's network per process, but perhaps a base on each of several GPUs.
        critic = copy.deepcopy(subject.critic()).to(base.device) if config.uses("identity") else None
        identity = base.put(torch.from_numpy(mean_embedding(person)).float())
        self.objective = Objective(base, config, Material.of(base, person, style), identity, critic, subject.noun)
        self.latent_mean = tuple(self.objective.material.style.latent_mean.tolist())
        self.layouts = layouts_of(person, style) if base.spec.layout_share < 1 else None
        self.palette = Palette.of(style) if base.spec.holds_palette else None
        self.generator = torch.Generator().manual_seed(config.seed)
        self.progress = Progress()

    def __enter__(self) -> Self:
        """Put fresh LoRA layers and tokens on the base."""
        base, config = self.base, self.config
        start = base.initial_rows(config.token_noise, self.generator, self.subject.noun)
        self._usual_norms = {
            encoder: known.norm(dim=1).median().to(base.device) for encoder, known in base.vocabulary().items()
        }
        with ExitStack() as stack:
            with GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed)  # PEFT draws the LoRA's start from the global generator
                self.rows = stack.enter_context(base.concept_tokens(start, self.subject.noun))
                self.lora = stack.enter_context(lora_layers(base.denoiser, config.rank, base.spec.lora_targets))
            self.objective = replace(self.objective, base=stack.enter_context(base.replayed()))
            groups = [
                {"params": list(self.rows.values()), "weight_decay": 0.0},
                {"params": self.lora, "weight_decay": config.weight_decay},
            ]
            self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), fused=True)
            self.scaler = base.grad_scaler()
            self.copies = base.working_copies([*self.rows.values(), *self.lora])
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        """Restore the base."""
        self._stack.close()

    @cached_property
    def photos(self) -> str:
        """Tell one choice of photos and masks from another: a hash, in which there is nothing of them."""
        seen = sha256()
        for reference in (*self.person, *self.style):
            seen.update(reference.image.tobytes() + reference.mask.tobytes())
        return seen.hexdigest()

    @cached_property
    def targets(self) -> Targets:
        """What previews and portraits are compared with."""
        return Targets.of(self.person, self.style, self.subject)

    def __iter__(self) -> Iterator[TrainEvent]:
        """Train step by step until the end, from wherever ``progress`` stands, and score the previews."""
        for event in self.unscored():
            yield self.progress.judge(event, self.targets, self.subject)

    def unscored(self) -> Iterator[TrainEvent]:
        """Do the same without scoring: whoever does that elsewhere keeps the best state, too (see ``Progress``)."""
        while self.progress.step < self.config.steps:
            phase, done = self.place(self.progress.step)
            self._set_learning_rates(phase, done)
            style_weight = self.config.style_emphasis if done < 0.5 else 1.0
            with self.copies:
                terms = self.objective.terms(self.progress.step, phase, style_weight, self.generator)
                self.scaler.scale(self.objective.total(terms)).backward()
            optimizer_step(self.optimizer, self.scaler, self.config.max_grad_norm)
            self._pull_norms()
            self.progress.step += 1
            losses = dict(zip(terms, torch.stack(list(terms.values())).tolist(), strict=True))
            preview = self._preview() if self._preview_is_due() else None
            step, steps = self.progress.step, self.config.steps
            yield TrainEvent(phase, step, steps, losses, preview=preview)

    def place(self, step: int) -> tuple[Phase, float]:
        """Tell in which phase the step after ``step`` finished ones lies, and what share of that phase is done, 0–1."""
        token_steps = self.config.steps - self.config.lora_steps
        if step < token_steps:
            return "tokens", step / token_steps
        return "lora", (step - token_steps) / self.config.lora_steps

    def adapter(self) -> Adapter:
        """Give the best state that a preview has seen, or the present one when there was none."""
        return self.progress.crown(self.unscored_adapter(), self.targets)

    def unscored_adapter(self) -> Adapter:
        """Give the present state, without scores and without what portraits are scored against."""
        weights = self._weights()
        info = AdapterInfo.of(
            self.base.spec,
            preset=self.config.preset,
            rank=self.config.rank,
            seed=self.config.seed,
            off=tuple(sorted(self.config.off)),
            steps=self.progress.step,
            best_step=self.progress.step,
            subject=self.subject.noun,
            engine=self.subject.name,
            scored_by=self.subject.scored_by,
            latent_mean=self.latent_mean,
            layouts=self.layouts,
            palette=self.palette and self.palette.numbers,
        )
        photos = self.objective.material.person.mean[:, 0].cpu() if self.config.keep_photos else None
        return Adapter(weights.lora, weights.rows, info, photos=photos)

    def checkpoint(self) -> Checkpoint:
        """Give the state after the last step."""
        return Checkpoint(
            self.config,
            self._weights(),
            _to_cpu(self.optimizer.state_dict()),
            self.scaler.state_dict(),
            self.generator.get_state(),
            copy.deepcopy(self.progress),
            self.photos,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from ``checkpoint``, inside the ``with`` block.

        Raises ``ValueError`` when it is of another setting or of other photos.
        """
        if checkpoint.config != self.config:
            raise ValueError("The checkpoint was made with other settings; train with the same ones to go on from it.")
        if checkpoint.photos != self.photos:
            raise ValueError("The checkpoint was made with other photos; train on the same ones to go on from it.")
        for encoder, rows in checkpoint.weights.rows.items():
            self.rows[encoder].data.copy_(rows)
        load_lora(self.base.denoiser, checkpoint.weights.lora)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.scaler.load_state_dict(checkpoint.scaler)
        self.generator.set_state(checkpoint.rng)
        self.progress = copy.deepcopy(checkpoint.progress)

    def _set_learning_rates(self, phase: Phase, done: float) -> None:
        """Let both rates fall linearly to a tenth within each phase; phase 1 computes without the LoRA."""
        config, decay = self.config, 1 - 0.9 * done
        warm = min(1.0, (done * config.lora_steps + 1) / config.warmup_steps) if config.warmup_steps else 1.0
        tokens, lora = self.optimizer.param_groups
        tokens["lr"] = decay * (config.token_lr if phase == "tokens" else config.token_lr_phase2)
        lora["lr"] = decay * warm * config.lora_lr
        if self.lora[0].requires_grad != (phase == "lora"):
            enable_lora(self.base.denoiser, phase == "lora")

    @torch.no_grad()
    def _pull_norms(self) -> None:
        """Keep the learned words about as long as those that the base knows."""
        share = min(1.0, self.config.norm_pull * self.optimizer.param_groups[0]["lr"])
        for encoder, rows in self.rows.items():
            pull_norms(rows, self._usual_norms[encoder], share)

    def _preview_is_due(self) -> bool:
        """Space the previews evenly over phase 2; the last one falls on the last step."""
        done = self.progress.step - (self.config.steps - self.config.lora_steps)
        if self.config.previews == 0 or done <= 0:
            return False
        interval = self.config.lora_steps / self.config.previews
        return int(done / interval) > int((done - 1) / interval)

    def _preview(self) -> Preview:
        """Draw a few quick portraits and keep the state that drew them."""
        config = GenerateConfig(count=self.config.preview_images, steps=self.config.preview_steps)
        start = Start.of(self.latent_mean, self.layouts)
        images = list(draw(self.base, config.seeds, config, start, self.subject.noun, self.palette))
        norm = float(torch.cat([rows.detach().norm(dim=1) for rows in self.rows.values()]).max())
        return Preview(images, config, self._weights(), lora_ratio(self.base.denoiser), norm)

    def _weights(self) -> Weights:
        """Copy LoRA and token rows to the CPU."""
        return Weights(lora_state(self.base.denoiser), _to_cpu(self.rows))


def train(
    base: Base, subject: Subject, person: list[Reference], style: list[Reference], config: TrainConfig
) -> Adapter:
    """Train to the end, looking at no event; gives the adapter. Raises ``ValueError`` as ``Training`` does."""
    with Training(base, subject, person, style, config) as training:
        for _ in training:
            pass
        return training.adapter()


def _to_cpu(value: Any) -> Any:
    """Copy every tensor in nested dictionaries and lists to the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {k: _to_cpu(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_to_cpu(v) for v in value]
    return value
