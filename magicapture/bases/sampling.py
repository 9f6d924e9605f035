"""Sampling that starts on the way, from a picture under noise (SDEdit, arXiv 2108.01073)."""

import torch
from diffusers import DPMSolverMultistepScheduler, SchedulerMixin


def sampler_on_the_way(usual: SchedulerMixin) -> DPMSolverMultistepScheduler:
    """Give a sampler for what ``usual`` samples that can start at any timestep.

    Those that Karras spaces know no start on the way; and on the way noise is added, which lets the look in
    (docs/findings.md).
    """
    return DPMSolverMultistepScheduler.from_config(
        usual.config, use_karras_sigmas=False, algorithm_type="sde-dpmsolver++"
    )


def timesteps_from(first: int, steps: int) -> list[int]:
    """Give ``steps`` timesteps from ``first`` down, evenly apart."""
    return torch.linspace(first, 0, steps + 1).long()[:-1].tolist()
