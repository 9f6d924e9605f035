"""An adapter and a base turn into scored portraits."""

from collections.abc import Iterator
from dataclasses import asdict, replace

import torch
from PIL import Image
from torch import Tensor

from magicapture.adapter import Adapter, applied
from magicapture.bases import Base
from magicapture.concepts import prompt_for, tokenize
from magicapture.config import GenerateConfig
from magicapture.enhance import upscale
from magicapture.faces import FaceEngine
from magicapture.losses import add_noise
from magicapture.portrait import Portrait
from magicapture.scoring import Scores, Targets, score, worth

BATCH = 4
"""Portraits drawn side by side."""

DIAL_REACH = 0.4
"""How far the dial's ends lie from the composed prompt, as a share of the difference between the two concepts."""


def generate(base: Base, engine: FaceEngine, adapter: Adapter, config: GenerateConfig) -> list[Portrait]:
    """Draw ``config.count`` portraits, best first; with ``best_of`` above 1, the best of that many times more.

    A seed gives the same picture whatever it is drawn beside. Raises ``AdapterError`` when the adapter does not fit.
    """
    seeds = [config.seed + i for i in range(config.count * config.best_of)]
    with applied(base, adapter):
        portraits = draw_scored(base, engine, adapter.targets, seeds, config, adapter.latent_mean)
    best = rank(portraits, config.dial)[: config.count]
    return [_finished(portrait, config) for portrait in best]


def draw_scored(
    base: Base,
    engine: FaceEngine,
    targets: Targets | None,
    seeds: list[int],
    config: GenerateConfig,
    latent_mean: Tensor | None,
) -> list[Portrait]:
    """Draw one portrait per seed with what is on ``base`` now (see ``draw``), scored where there are targets."""
    settings = {name: value for name, value in asdict(config).items() if name not in ("seed", "count", "best_of")}
    portraits = []
    for seed, image in zip(seeds, draw(base, seeds, config, latent_mean), strict=True):
        scores = score(image, targets, engine) if targets else Scores(None, None)
        portraits.append(Portrait(image, seed, scores.likeness, scores.style, settings))
    return portraits


@torch.no_grad()
def draw(
    base: Base, seeds: list[int], config: GenerateConfig, latent_mean: Tensor | None = None
) -> Iterator[Image.Image]:
    """Draw one picture per seed with what is on ``base`` now; ``latent_mean``: as in ``first_latents``."""
    positive = dialled_embedding(base, config.dial, config.prompt)
    negative = embed(base, config.negative_prompt)
    guidance = base.spec.guidance_scale if config.guidance_scale is None else config.guidance_scale
    for start in range(0, len(seeds), BATCH):
        chunk = seeds[start : start + BATCH]
        with base.autocast():  # the token rows and the LoRA are float32: without it the pipeline mixes precisions
            images = base.pipeline(
                prompt_embeds=positive.expand(len(chunk), -1, -1),
                negative_prompt_embeds=negative.expand(len(chunk), -1, -1),
                latents=first_latents(base, chunk, latent_mean),
                num_inference_steps=config.steps,
                guidance_scale=guidance,
                height=base.resolution,
                width=base.resolution,
            ).images
        yield from images


def first_latents(base: Base, seeds: list[int], latent_mean: Tensor | None) -> Tensor:
    """Give what drawing starts from, (N, C, h, w): one seed's noise each, and what training leaves of a picture in it.

    Stable Diffusion's schedule does not end in noise alone: of the picture √ᾱ = 0.07 is left, as much as the mean of
    the noise varies, so the denoiser has learned to read the colours of the whole from that mean ("Common Diffusion
    Noise Schedules and Sample Steps are Flawed", arXiv 2305.08891). Noise alone means a middle grey, which draws away
    from the look. ``latent_mean``: (C,), mean of the style's latents; None starts from noise alone.
    """
    config = base.pipeline.unet.config
    shape = (1, config.in_channels, config.sample_size, config.sample_size)
    noise = torch.cat([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    if latent_mean is None:
        return noise
    left = base.pipeline.scheduler.alphas_cumprod[-1:].expand(len(seeds))
    return add_noise(latent_mean[:, None, None].expand_as(noise), noise, left)


@torch.no_grad()
def draw_untouched(base: Base, prompt: str, count: int) -> list[Image.Image]:
    """Draw ``count`` pictures of ``prompt``, seeds from 0, with ``base`` as it is and the usual number of steps."""
    generators = [torch.Generator().manual_seed(seed) for seed in range(count)]
    settings = {"num_inference_steps": GenerateConfig.steps, "guidance_scale": base.spec.guidance_scale}
    return base.pipeline([prompt] * count, generator=generators, **settings).images


def dialled_embedding(base: Base, dial: float, extras: str = "") -> Tensor:
    """Give the text embedding (1, L, D) for a place of the dial from 0 (the style) over 0.5 (both) to 1 (the person).

    The prompts of the three tasks share their wording place by place, so the difference between those of one concept
    alone is a direction that strengthens the one and weakens the other.
    """
    suffix = f", {extras}" if extras else ""
    composed = embed(base, prompt_for("composed") + suffix)
    if dial == 0.5:
        return composed
    person, style = (embed(base, prompt_for(task) + suffix) for task in ("source", "reference"))
    return composed + DIAL_REACH * (2 * dial - 1) * (person - style)


def embed(base: Base, prompt: str) -> Tensor:
    """Give the text encoder's output (1, L, D) for ``prompt``."""
    return base.pipeline.text_encoder(tokenize(base.pipeline, [prompt])).last_hidden_state


def rank(portraits: list[Portrait], dial: float = 0.5) -> list[Portrait]:
    """Sort portraits, best first, by what they are worth (see ``scoring.worth``)."""
    return sorted(portraits, key=lambda p: worth(p.likeness, p.style, dial), reverse=True)


def _finished(portrait: Portrait, config: GenerateConfig) -> Portrait:
    if config.upscale == 1:
        return portrait
    image, upscaler = upscale(portrait.image, config.upscale)
    settings = {**portrait.settings, "upscaler": upscaler}
    return replace(portrait, image=image, drawn=portrait.image, settings=settings)
