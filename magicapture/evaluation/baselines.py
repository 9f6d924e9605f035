"""What people would use instead: DreamBooth-LoRA, Textual Inversion, Custom Diffusion, on the same base and photos.

Each learns the person and the style side by side, from the same batches as MagiCapture's first phase, with the plain
loss over the whole picture. Each is a context manager: the base carries what was learned while its block runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from magicapture.bases import Base, BaseSpec, Conditioning, Rows
from magicapture.bases.lora import lora_layers
from magicapture.bases.words import TOKENS, draw_prompt
from magicapture.config import TrainConfig
from magicapture.method.material import Material
from magicapture.method.optimizer import optimizer_step

LAYER_LR = 8e-5
"""Custom Diffusion's published rate, for Stable Diffusion: 1e-5 for each picture of a batch of eight."""


@dataclass(frozen=True)
class BaselineConfig:
    """How a baseline is trained. These rates suit the embedded base; ``docs/findings.md`` says how they were found."""

    steps: int = 320
    seed: int = 0
    images_per_task: int = 3  # see ``images_beside``
    rank: int = 16  # of DreamBooth's LoRA
    lora_lr: float = 2e-3
    token_lr: float = 2e-2  # Textual Inversion
    token_lr_joint: float = 1e-3  # Custom Diffusion, where the layers learn too
    layer_lr: float = 1e-3
    token_noise: float = 0.017  # as in ``TrainConfig``

    @classmethod
    def beside(cls, ours: TrainConfig, spec: BaseSpec, steps: int) -> Self:
        """Give a baseline ``steps`` steps, the seed and the pictures of ``ours``, and rates that suit ``spec``.

        Where none were tuned those are ours too: at four times what a base bears, a method would lose to any other.
        """
        seed, images = ours.seed, images_beside(ours.images_per_task)
        if spec.embedded:
            return cls(steps, seed, images)
        return cls(steps, seed, images, ours.rank, ours.lora_lr, ours.token_lr, ours.token_lr_phase2, LAYER_LR)


def images_beside(ours: int) -> int:
    """Give the pictures a baseline takes of each of its two tasks: a step of ours has three, with ``ours`` of each."""
    return -(-3 * ours // 2)


@contextmanager
def dreambooth_lora(base: Base, material: Material, config: BaselineConfig) -> Iterator[None]:
    """Bind the concepts to two words that mean nothing yet, by a LoRA on the denoiser (Ruiz et al., 2023).

    The words stay as they are; without prior preservation, as in diffusers' script by default.
    """
    generator = torch.Generator().manual_seed(config.seed)
    with base.concept_tokens(rare_rows(base, generator)) as words, torch.random.fork_rng():
        torch.manual_seed(config.seed)  # PEFT draws the LoRA's start from the global generator
        for rows in words.values():
            rows.requires_grad_(False)
        with lora_layers(base.denoiser, config.rank, base.spec.lora_targets) as parameters:
            fit(base, material, [{"params": parameters, "lr": config.lora_lr}], config, generator)
            yield


@contextmanager
def textual_inversion(base: Base, material: Material, config: BaselineConfig) -> Iterator[None]:
    """Learn nothing but the embeddings of two words (Gal et al., 2023)."""
    generator = torch.Generator().manual_seed(config.seed)
    with base.concept_tokens(base.initial_rows(config.token_noise, generator)) as words:
        group = {"params": list(words.values()), "lr": config.token_lr, "weight_decay": 0.0}
        fit(base, material, [group], config, generator)
        yield


@contextmanager
def custom_diffusion(base: Base, material: Material, config: BaselineConfig) -> Iterator[None]:
    """Learn two words, and the weights with which the denoiser reads the prompt (Kumari et al., 2023)."""
    generator = torch.Generator().manual_seed(config.seed)
    layers = [p for name, p in base.denoiser.named_parameters() if name.endswith(base.spec.text_projections)]
    before = [parameter.data for parameter in layers]
    with base.concept_tokens(base.initial_rows(config.token_noise, generator)) as words:
        try:
            for parameter in layers:
                parameter.data = parameter.data.float().clone()
                parameter.requires_grad_(True)
            groups = [
                {"params": list(words.values()), "lr": config.token_lr_joint, "weight_decay": 0.0},
                {"params": layers, "lr": config.layer_lr},
            ]
            fit(base, material, groups, config, generator)
            for parameter, data in zip(layers, before, strict=True):
                parameter.data = parameter.data.to(data.dtype)  # no layer mixes precisions when pictures are drawn
            yield
        finally:
            for parameter, data in zip(layers, before, strict=True):
                parameter.requires_grad_(False)
                parameter.grad, parameter.data = None, data


def rare_rows(base: Base, generator: torch.Generator) -> Rows:
    """Draw embeddings (2, D) spread like those of the words that the base knows."""
    return {
        encoder: known.mean(dim=0) + known.std(dim=0) * torch.randn(len(TOKENS), known.shape[1], generator=generator)
        for encoder, known in base.vocabulary().items()
    }


def fit(base: Base, material: Material, groups: list[dict], config: BaselineConfig, generator: torch.Generator) -> None:
    """Train the parameters in ``groups`` on photos of both roles; the rates fall linearly to a tenth."""
    optimizer, scaler = torch.optim.AdamW(groups, fused=True), base.grad_scaler()
    copies = base.working_copies(parameter for group in groups for parameter in group["params"])
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, config.steps)
    for _ in range(config.steps):
        samples = material.draw(["source", "reference"], config.images_per_task, generator)
        with copies:
            text = base.condition([draw_prompt(task, generator) for task in samples.tasks])
            scaler.scale(plain_loss(base, samples.latents, text, generator)).backward()
        optimizer_step(optimizer, scaler)
        decay.step()


def plain_loss(base: Base, latents: Tensor, text: Conditioning, generator: torch.Generator) -> Tensor:
    """Denoise samples of random timesteps and give the mean squared error over whole pictures (DDPM, eq. 14).

    ``latents``: (B, C, h, w) without noise.
    """
    schedule = base.schedule
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    timesteps = torch.randint(schedule.steps, (len(latents),), generator=generator).to(base.device)
    noisy = schedule.add_noise(latents, noise, timesteps)
    return F.mse_loss(base.predict(noisy, timesteps, text).output, schedule.target(latents, noise, timesteps))
