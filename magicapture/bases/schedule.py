"""How a base noises pictures, and what its denoiser predicts of them: read from the scheduler in this one place."""

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

PREDICTION_TYPES = ("epsilon", "v_prediction")
"""What a denoiser may have been trained to give: the noise, or the velocity."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """The noise schedule of DDPM (Ho et al., 2020) with the noise ε or the velocity v as the denoiser's output.

    ``alphas_cumprod``: (T,) float32, ᾱ_t from 1 (clean) towards 0; ``prediction_type``: one of ``PREDICTION_TYPES``.
    Timesteps are integers (B,) in [0, T), on whatever device; samples are (B, C, h, w).
    """

    alphas_cumprod: Tensor
    prediction_type: str

    @classmethod
    def of(cls, scheduler: Any) -> Self:
        """Read a diffusers scheduler. Raises ``ValueError`` when it predicts anything else than ε or v of DDPM's noise.

        Those of EDM and of flows, whose configurations may name ε all the same, have no ᾱ.
        """
        prediction_type = scheduler.config.get("prediction_type", "epsilon")
        if prediction_type not in PREDICTION_TYPES or not hasattr(scheduler, "alphas_cumprod"):
            kind = type(scheduler).__name__
            raise ValueError(f"Nothing is known of denoisers that predict {prediction_type!r} with {kind}.")
        return cls(scheduler.alphas_cumprod, prediction_type)

    @property
    def steps(self) -> int:
        """The number of timesteps, T."""
        return len(self.alphas_cumprod)

    def draw_timesteps(self, late: Tensor, until: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a timestep (B,) per sample: any alike, or the later of two where ``late`` (B,) is true.

        Layout, light and colours are settled while a picture is still mostly noise, strokes later: what is to teach the
        former is noised more, and what is to teach the latter alone no further than to the share ``until`` (B,) of T.
        """
        return (_draw_shares(late, generator) * until * self.steps).long().clamp(max=self.steps - 1)

    def share(self, timesteps: Tensor) -> Tensor:
        """Say how far along the schedule ``timesteps`` lie: t / T in [0, 1), 0 for a clean picture."""
        return timesteps / self.steps

    def trust(self, timesteps: Tensor) -> Tensor:
        """Give ``(1 − t/T)²``: the noisier a sample, the less its x̂0 says (ID-Booth, arXiv 2504.07392)."""
        return (1 - self.share(timesteps)) ** 2

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noise samples: ``√ᾱ_t z + √(1 − ᾱ_t) ε`` (DDPM, eq. 4).

        Not left to the pipeline's scheduler: a sampler such as DPM-Solver++ noises by its own list of steps, which is
        another one after every picture that is drawn.
        """
        signal, spread = self._scales(timesteps, clean)
        return signal * clean + spread * noise

    def target(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Give what the denoiser is to predict: ε, or ``v = √ᾱ_t ε − √(1 − ᾱ_t) z`` (Salimans and Ho, 2022, app. D)."""
        if self.prediction_type == "epsilon":
            return noise
        signal, spread = self._scales(timesteps, clean)
        return signal * noise - spread * clean

    def predict_x0(self, noisy: Tensor, output: Tensor, timesteps: Tensor) -> Tensor:
        """Undo the noise of ``noisy`` in one step, by what the denoiser gave for it.

        ``(z_t − √(1 − ᾱ_t) ε_θ) / √ᾱ_t`` (DDPM, eq. 15), or ``√ᾱ_t z_t − √(1 − ᾱ_t) v_θ``.
        """
        signal, spread = self._scales(timesteps, noisy)
        if self.prediction_type == "epsilon":
            return (noisy - spread * output) / signal
        return signal * noisy - spread * output

    def _scales(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Give √ᾱ_t and √(1 − ᾱ_t), each (B, 1, 1, 1), where ``like`` lies and in its precision."""
        alpha = self.alphas_cumprod.to(timesteps.device)[timesteps].to(like, non_blocking=True)[:, None, None, None]
        return alpha.sqrt(), (1 - alpha).sqrt()


def timestep_at(share: float, steps: int) -> int:
    """Give the timestep at a ``share`` in (0, 1] of ``steps``, T: at 1 the last one, T − 1."""
    return max(0, round(share * steps) - 1)


@dataclass(frozen=True)
class FlowSchedule:
    """Rectified flow (Liu et al., 2023): noise comes in along a straight line, and its velocity ε − z is predicted.

    ``steps``: T; ``shift``: how much more often late times are drawn than early ones, 1 for all alike. Timesteps are
    integers (B,) in [0, T), on whatever device; σ = (t + 1) / T is the share of noise, so that the last one is noise
    alone. Samples are (B, C, h, w).
    """

    steps: int
    shift: float

    @classmethod
    def of(cls, scheduler: Any, tokens: int) -> Self:
        """Read a diffusers scheduler for pictures of so many ``tokens``. Raises ``ValueError`` when it is no flow.

        Larger pictures stand more noise before they are lost (Esser et al., 2024, §5.3.2), so times are shifted by
        exp(μ), with μ linear in the number of tokens, as the scheduler's configuration says. For 512 px this makes the
        median of σ 0.65; that of Stable Diffusion's noise, measured the same way, is 0.62.
        """
        config = scheduler.config
        if "base_image_seq_len" not in config:
            raise ValueError(f"{type(scheduler).__name__} is no schedule of a flow.")
        if not config.use_dynamic_shifting:
            return cls(config.num_train_timesteps, config.shift)
        along = (tokens - config.base_image_seq_len) / (config.max_image_seq_len - config.base_image_seq_len)
        mu = config.base_shift + along * (config.max_shift - config.base_shift)
        return cls(config.num_train_timesteps, math.exp(mu))

    def draw_timesteps(self, late: Tensor, until: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a timestep (B,) per sample, shifted, as ``Schedule`` does."""
        share = _draw_shares(late, generator)
        sigma = self.shift * share / (1 + (self.shift - 1) * share)
        return (sigma * until * self.steps).long().clamp(max=self.steps - 1)

    def share(self, timesteps: Tensor) -> Tensor:
        """Say how much of a sample is noise: σ in (0, 1]."""
        return (timesteps + 1) / self.steps

    def trust(self, timesteps: Tensor) -> Tensor:
        """Give ``(1 − σ)²``: the noisier a sample, the less its x̂0 says."""
        return (1 - self.share(timesteps)) ** 2

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noise samples: ``(1 − σ) z + σ ε``."""
        sigma = self._sigma(timesteps, clean)
        return (1 - sigma) * clean + sigma * noise

    def target(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Give what the denoiser is to predict, the same at all ``timesteps``: the velocity ``ε − z``."""
        del timesteps
        return noise - clean

    def predict_x0(self, noisy: Tensor, output: Tensor, timesteps: Tensor) -> Tensor:
        """Undo the noise of ``noisy`` in one step, by what the denoiser gave for it: ``z_t − σ v_θ``."""
        return noisy - self._sigma(timesteps, noisy) * output

    def _sigma(self, timesteps: Tensor, like: Tensor) -> Tensor:
        return self.share(timesteps).to(like, non_blocking=True)[:, None, None, None]


def _draw_shares(late: Tensor, generator: torch.Generator) -> Tensor:
    """Draw numbers (B,) from [0, 1): any alike, or the larger of two where ``late`` (B,) is true."""
    first, second = torch.rand(2, len(late), generator=generator)
    return torch.where(late, torch.maximum(first, second), first)
