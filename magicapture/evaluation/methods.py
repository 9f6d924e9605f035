"""The methods that are compared: each puts what it learned on the base and draws portraits for given seeds."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

from PIL import Image

from magicapture.adapters.adapter import applied
from magicapture.adapters.start import NOISE, generators
from magicapture.bases import Base, BaseSpec
from magicapture.config import GenerateConfig, Term
from magicapture.drawing.generation import draw, draw_untouched
from magicapture.evaluation import baselines
from magicapture.evaluation.baselines import BaselineConfig
from magicapture.faces import FaceEngine
from magicapture.method.material import Material, prepare
from magicapture.method.training import train
from magicapture.photos.references import Reference

UNTOUCHED_PROMPT = "a portrait of a person"
EDIT_PROMPT = "a portrait of the person from image 1 in the style of image 2, with the same face"

Draw = Callable[[list[int]], list[Image.Image]]
"""Gives one portrait per seed."""


@dataclass(frozen=True, eq=False)
class Task:
    """What a method is given: the references of a pair, how many steps (0: its own number), and the seed."""

    base: Base
    engine: FaceEngine
    person: list[Reference]
    style: list[Reference]
    preset: str = "quick"
    steps: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Method:
    """``learn``: a context manager that trains, and gives what draws; ``speaks``: whether it uses the two words.

    ``offered``: whether it can be used with a base.
    """

    title: str
    learn: Callable[[Task], AbstractContextManager[Draw]]
    speaks: bool = True
    offered: Callable[[BaseSpec], bool] = lambda _: True


def _magicapture(
    *off: Term, preset: str | None = None, from_noise: bool = False, held: bool = True
) -> Callable[[Task], AbstractContextManager[Draw]]:
    """``held``: whether what is drawn is held to the look's palette, which the paper does not know."""

    @contextmanager
    def learn(task: Task) -> Iterator[Draw]:
        config = replace(task.base.spec.presets[preset or task.preset], seed=task.seed, off=frozenset(off))
        config = config.with_steps(task.steps) if task.steps else config
        adapter = train(task.base, task.engine, task.person, task.style, config)
        start = NOISE if from_noise else adapter.start
        with applied(task.base, adapter):
            palette = adapter.palette if held else None
            yield lambda seeds: list(draw(task.base, seeds, GenerateConfig(), start, palette=palette))

    return learn


def _baseline(
    learned: Callable[[Base, Material, BaselineConfig], AbstractContextManager[None]],
) -> Callable[[Task], AbstractContextManager[Draw]]:
    @contextmanager
    def learn(task: Task) -> Iterator[Draw]:
        ours = replace(task.base.spec.presets[task.preset], seed=task.seed)
        config = BaselineConfig.beside(ours, task.base.spec, task.steps or ours.steps)
        with learned(task.base, Material.of(task.base, task.person, task.style), config):
            settings = GenerateConfig(lora_scale=1.0, guidance_scale=task.base.spec.untouched_guidance_scale)
            yield lambda seeds: list(draw(task.base, seeds, settings))

    return learn


@contextmanager
def _untouched(task: Task) -> Iterator[Draw]:
    yield lambda seeds: draw_untouched(task.base, UNTOUCHED_PROMPT, len(seeds))


@contextmanager
def _copy(task: Task) -> Iterator[Draw]:
    yield lambda seeds: [task.person[seed % len(task.person)].image for seed in seeds]


@contextmanager
def _redrawn(task: Task) -> Iterator[Draw]:
    role = prepare(task.base, task.person)
    images = task.base.pictures(role.mean[:, 0])
    yield lambda seeds: [images[seed % len(images)] for seed in seeds]


@contextmanager
def _edited(task: Task) -> Iterator[Draw]:
    """Show the base one photo of each role beside the prompt, other ones for every seed."""

    def draw_one(seed: int) -> Image.Image:
        shown = [references[seed % len(references)].image for references in (task.person, task.style)]
        noise, _ = NOISE.latents(task.base, generators([seed]))
        (picture,) = task.base.edit(shown, EDIT_PROMPT, noise)
        return picture

    yield lambda seeds: [draw_one(seed) for seed in seeds]


METHODS = {
    "untouched": Method("The untouched base", _untouched, speaks=False),
    "copy": Method("Copy a photo of the person", _copy, speaks=False),
    "redrawn": Method("Person's photo, autoencoded", _redrawn, speaks=False),
    "magicapture": Method("MagiCapture (ours)", _magicapture()),
    "published": Method("MagiCapture as published", _magicapture(preset="paper", from_noise=True, held=False)),
    "from_noise": Method("ours, drawn from noise alone", _magicapture(from_noise=True)),
    "no_identity": Method("ours, without identity", _magicapture("identity")),
    "no_attention": Method("ours, without refocusing", _magicapture("attention")),
    "no_composed": Method("ours, without composed prompts", _magicapture("composed")),
    "no_attention_no_composed": Method("ours, without both", _magicapture("attention", "composed")),
    "dreambooth_lora": Method("DreamBooth-LoRA", _baseline(baselines.dreambooth_lora)),
    "textual_inversion": Method("Textual Inversion", _baseline(baselines.textual_inversion)),
    "custom_diffusion": Method(
        "Custom Diffusion",
        _baseline(baselines.custom_diffusion),
        offered=lambda spec: (
            spec.drawn_with is None
        ),  # it changes weights of the base, which another one would not have
    ),
    "edited": Method("The base's own editing", _edited, speaks=False, offered=lambda spec: spec.edits),
}
