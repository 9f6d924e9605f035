"""An adapter and a base turn into scored portraits."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace

import torch
from PIL import Image

from magicapture.adapters.adapter import Adapter, AdapterError, applied
from magicapture.adapters.start import NOISE, Start, generators
from magicapture.bases import Base, Conditioning
from magicapture.bases.words import prompt_for
from magicapture.config import GenerateConfig
from magicapture.drawing.enhance import upscale
from magicapture.drawing.portrait import Portrait
from magicapture.messages import Message
from magicapture.photos.palette import Palette
from magicapture.scoring import Targets, score, worth
from magicapture.subject import PERSON_NOUN, Subject

BATCH = 4
"""Portraits drawn side by side."""

DIAL_REACH = 1.0
"""How far the dial's ends lie from the composed prompt, as a share of the difference between the two concepts, at a
guidance of 1. Guidance multiplies that difference once more, so the share is divided by it."""


def generate(base: Base, subject: Subject, adapter: Adapter, config: GenerateConfig) -> list[Portrait]:
    """Draw ``config.count`` portraits, best first; with ``best_of`` above 1, the best of that many times more.

    A seed gives the same picture whatever it is drawn beside. Raises ``AdapterError`` when the adapter does not fit.
    """
    config = config.settled(base.spec.sampling_steps)
    portraits = chosen(draw_candidates(base, adapter, config), adapter.targets, subject, config)
    if config.upscale == 1:
        return portraits
    return [enlarged(portrait, *upscale(portrait.image, config.upscale)) for portrait in portraits]


def draw_candidates(base: Base, adapter: Adapter, config: GenerateConfig) -> list[Image.Image]:
    """Draw a picture for each of ``config.seeds``: all that ``generate`` does on ``base`` itself."""
    base.spec.require_strength(config.strength)
    if config.strength < 1 and adapter.photos is None:
        lacks = "This adapter keeps no photos to start from: draw new pictures with it, at strength 1."
        raise AdapterError(Message(lacks))
    with applied(base, adapter):
        return list(draw(base, config.seeds, config, adapter.start, adapter.info.subject, adapter.palette))


def chosen(
    candidates: list[Image.Image], targets: Targets | None, subject: Subject, config: GenerateConfig
) -> list[Portrait]:
    """Score what ``draw_candidates`` gave, and give the ``config.count`` best, best first."""
    return rank(scored(candidates, targets, subject, config), config.dial)[: config.count]


def scored(
    images: Iterable[Image.Image], targets: Targets | None, subject: Subject, config: GenerateConfig
) -> list[Portrait]:
    """Make portraits of ``images``, drawn from ``config.seeds`` in turn; without targets they have no scores."""
    settings = {name: value for name, value in asdict(config).items() if name not in ("seed", "count", "best_of")}
    if subject.noun != PERSON_NOUN:
        settings["subject"] = subject.noun
    portraits = []
    for seed, image in zip(config.seeds, images, strict=True):
        scores = score(image, targets, subject) if targets else None
        likeness, style = (scores.likeness, scores.style) if scores else (None, None)
        portraits.append(Portrait(image, seed, likeness, style, settings))
    return portraits


@torch.no_grad()
def draw(
    base: Base,
    seeds: list[int],
    config: GenerateConfig,
    start: Start = NOISE,
    noun: str = PERSON_NOUN,
    palette: Palette | None = None,
) -> Iterator[Image.Image]:
    """Draw one picture per seed of what ``noun`` names from ``start``, with what is on ``base`` now.

    Towards the person's end of the dial ``palette`` holds less and less, at the end itself nothing.
    """
    spec = base.spec
    usual = spec.guidance_with(config.added_words)
    guidance = usual if config.guidance_scale is None else config.guidance_scale
    lora_scale = spec.lora_scale if config.lora_scale is None else config.lora_scale
    positive = dialled(base, config.dial, config.prompt, guidance, noun)
    negative = base.condition([config.negative_prompt or spec.negative_prompt])
    for first in range(0, len(seeds), BATCH):
        noise = generators(seeds[first : first + BATCH])
        latents, share = start.latents(base, noise, config.dial, config.strength)
        count = len(latents)
        pictures = base.draw(
            positive.expand(count),
            negative.expand(count),
            latents,
            noise,
            steps=config.steps or spec.sampling_steps,
            guidance_scale=guidance,
            lora_scale=lora_scale,
            strength=share,
        )
        held = min(1.0, 2 * (1 - config.dial))
        yield from pictures if palette is None else (palette.hold(picture, held) for picture in pictures)


@torch.no_grad()
def draw_untouched(base: Base, prompt: str, count: int, seed: int = 0) -> list[Image.Image]:
    """Draw ``count`` pictures of ``prompt``, seeds from ``seed`` on, with ``base`` as it is in the usual steps."""
    spec = base.spec
    positive, negative = (base.condition([text]).expand(count) for text in (prompt, spec.negative_prompt))
    noise = generators(list(range(seed, seed + count)))
    latents, _ = NOISE.latents(base, noise)
    guidance = spec.untouched_guidance_scale or spec.guidance_scale
    return base.draw(positive, negative, latents, noise, steps=spec.sampling_steps, guidance_scale=guidance)


def dialled(base: Base, dial: float, extras: str, guidance_scale: float, noun: str = PERSON_NOUN) -> Conditioning:
    """Give the conditioning of a picture for a place of the dial from 0 (the style) over 0.5 (both) to 1 (the person).

    The prompts of the three tasks share their wording place by place, so the difference between those of one concept
    alone is a direction that strengthens the one and weakens the other. (The colours that drawing starts from go with
    the dial, too: see ``Start.latents``.)
    """
    suffix = f", {extras}" if extras else ""
    composed = base.condition([prompt_for("composed", noun=noun) + suffix])
    if dial == 0.5:
        return composed
    person, style = (base.condition([prompt_for(task, noun=noun) + suffix]) for task in ("source", "reference"))
    reach = DIAL_REACH / max(guidance_scale, 1.0)
    return composed.towards(person, style, reach * (2 * dial - 1))


def rank(portraits: list[Portrait], dial: float = 0.5) -> list[Portrait]:
    """Sort portraits, best first, by what they are worth (see ``scoring.worth``)."""
    return sorted(portraits, key=lambda p: worth(p.likeness, p.style, dial), reverse=True)


def enlarged(portrait: Portrait, image: Image.Image, upscaler: str) -> Portrait:
    """Give ``portrait`` with ``image``, the larger one that ``upscaler`` made of it."""
    settings = {**portrait.settings, "upscaler": upscaler}
    return replace(portrait, image=image, drawn=portrait.image, settings=settings)
