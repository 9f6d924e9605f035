"""Draw examples that ship with the app: people who do not exist, and looks, by the embedded base itself.

``python -m magicapture.mini.examples`` writes them to ``examples/``, or those alone that ``--only`` names. It also
draws the looks that the base has never seen, which do not ship, but only by name: ``evaluate --plan held_out`` wants
them. Every "photo" of a person is the same drawn face before another background, in other light or from the other side,
taken part of the way back to noise and finished there; a set is kept only when both recognisers take all of it for one
person. Of the looks, some are drawn by prompt alone, some are procedural ones that the base learns from, laid over
portraits.
"""

import argparse
import itertools
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image
from torch import Tensor
from torch.nn import functional

from magicapture.bases import MINI, Base, load_base
from magicapture.faces import FaceEngine, load_engine
from magicapture.faces.likeness import likeness_embedding
from magicapture.mini import filters as f
from magicapture.mini.looks import HELD_OUT, LOOKS

PHOTOS = 5
GUIDANCE = 2.5
STRENGTH = 0.34
"""Share of the noise schedule that every variation goes back: enough to heal what was laid over, too little for another
face."""
EDGE = 9
"""Twice the width in pixels that is cut off a sitter: light of the old background shines there."""
TRIES = 4
"""Variations drawn of each scene; the one most like the first picture is taken."""
ONE_IDENTITY = 0.5
"""Lowest cosine between any two photos of a set by either recogniser; photos of strangers reach it once in a thousand
pairs."""
MOST_SEEDS = 12
"""That are tried, one after the other, for a set or a picture that will do."""


@dataclass(frozen=True)
class Sitter:
    """Whom to draw: what the prompt says, and the seed of the first picture, which decides who it is."""

    who: str
    seed: int


@dataclass(frozen=True)
class Scene:
    """How a photo differs from the first one.

    ``words`` end its prompt; ``ground``: the background's colour, 0–1; ``light``: from the left (negative) or right, −1
    to 1; ``mirrored``: seen from the other side; ``nearer``: how much larger the face is.
    """

    words: str
    ground: tuple[float, float, float] | None = None
    light: float = 0.0
    mirrored: bool = False
    nearer: float = 1.0


PEOPLE = {
    "person-1": Sitter("a woman, light background", 18),
    "person-2": Sitter("a man, beard, light background", 37),
    "person-3": Sitter("a woman, light background", 15),
    "person-4": Sitter("a man, light background", 18),
}
SCENES = (
    Scene(", smiling, light background", (0.88, 0.87, 0.84), mirrored=True),
    Scene(", serious, dark background", (0.10, 0.11, 0.13), light=0.6),
    Scene(", smiling, blue background", (0.25, 0.42, 0.66), light=-0.5, nearer=1.12),
    Scene(", side light, detailed background", (0.52, 0.38, 0.27), light=-0.9, mirrored=True),
    Scene(", three-quarter view, light background", (0.70, 0.76, 0.68), nearer=1.06),
    Scene(", flag background", (0.45, 0.22, 0.24), light=0.5, mirrored=True, nearer=1.1),
)
SITTERS = (
    Sitter("a woman, light background", 15),
    Sitter("a man, light background", 18),
    Sitter("a woman, light background", 3),
    Sitter("a man, light background", 20),
    Sitter("a woman, light background", 18),
)
"""Of the looks, each drawn once."""

MEDIA = {
    "style-engraving": "an engraving",
    "style-sepia": "a sepia photograph",
}
"""How the prompt of each set begins that is drawn by prompt alone."""

FILTERS = {
    "style-oil-painting": ("oil painting", 3),
    "style-pencil": ("drawing", 4),
    "style-poster": ("duotone", 3),
    "style-watercolour": ("watercolor", 2),
}
"""The procedural look of each set, and the seed of what varies within that look: a set has one paper and one ink."""

UNSEEN = {f"unseen-{look.name.replace(' ', '-')}": (look.name, 1) for look in HELD_OUT}
"""The looks that the base was not trained on, likewise; they do not ship with the app."""


@torch.no_grad()
def draw_person(base: Base, engine: FaceEngine, sitter: Sitter) -> tuple[list[Image.Image], float] | None:
    """Draw ``PHOTOS`` pictures of one person; None unless they all show a face and pass for the same one.

    Also gives the lowest cosine between any two of them, by whichever recogniser is stricter.
    """
    first = _draw(base, f"a color photograph of {sitter.who}", sitter.seed)
    identity, taken = identities(engine, first), [first]
    if identity is None:
        return None
    for number, scene in enumerate(SCENES):
        prompt = f"a color photograph of {sitter.who.rsplit(',', 1)[0]}{scene.words}"
        seeds = [1000 * sitter.seed + 10 * number + i for i in range(TRIES)]
        drawn = _vary(base, stage(first, scene), prompt, seeds)
        taken.append(max(drawn, key=lambda picture: closeness([identity, identities(engine, picture)])))
    embedded = [(picture, found) for picture in taken if (found := identities(engine, picture)) is not None]
    if len(embedded) < PHOTOS:
        return None
    sets = itertools.combinations(embedded, PHOTOS)
    lowest, best = max(((closeness([e for _, e in chosen]), chosen) for chosen in sets), key=lambda pair: pair[0])
    return ([picture for picture, _ in best], lowest) if lowest >= ONE_IDENTITY else None


def identities(engine: FaceEngine, picture: Image.Image) -> tuple[np.ndarray, np.ndarray] | None:
    """Embed the face in ``picture`` by the engine's recogniser and by the one that scores; None without a face."""
    faces = engine.detect(picture)
    return (faces[0].embedding, likeness_embedding(picture, faces[0].landmarks)) if faces else None


def closeness(people: list[tuple[np.ndarray, np.ndarray] | None]) -> float:
    """Give the lowest cosine between any two of ``people`` by either recogniser; −1 if one of them has no face."""
    found = [each for each in people if each is not None]
    if len(found) < len(people):
        return -1.0
    return min(float(x @ y) for a, b in itertools.combinations(found, 2) for x, y in zip(a, b, strict=True))


def stage(picture: Image.Image, scene: Scene) -> Image.Image:
    """Put who is in ``picture`` into ``scene``, roughly: drawing on from there heals the seams."""
    images = _pixels(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if scene.mirrored else picture)
    if scene.ground:
        ground = f.constant(scene.ground, images.device) * (0.75 + 0.5 * f.noise(images, 90))
        inner = f.blur(-functional.max_pool2d(-f.person(images), EDGE, stride=1, padding=EDGE // 2), 1)
        images = torch.lerp(ground, images, f.step(inner, 0.5, 0.3))
    x, _ = f.axes(images)
    images = images * (1 + scene.light * 0.8 * (x - 0.5))
    side = round(images.shape[-1] / scene.nearer)
    start = (images.shape[-1] - side) // 2
    return _picture(images[..., start : start + side, start : start + side]).resize(
        picture.size, Image.Resampling.BICUBIC
    )


def _draw(base: Base, prompt: str, seed: int) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    settings = {"num_inference_steps": base.spec.sampling_steps, "guidance_scale": GUIDANCE}
    return base.pipeline(prompt, generator=generator, **settings).images[0]


def _vary(base: Base, picture: Image.Image, prompt: str, seeds: list[int]) -> list[Image.Image]:
    pipeline = StableDiffusionImg2ImgPipeline(**base.pipeline.components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    steps = 2 * base.spec.sampling_steps
    settings = {"strength": STRENGTH, "num_inference_steps": steps, "guidance_scale": GUIDANCE}
    return pipeline([prompt] * len(seeds), image=[picture] * len(seeds), generator=generators, **settings).images


@torch.no_grad()
def draw_look(sitters: list[Image.Image], name: str, seed: int) -> list[Image.Image]:
    """Lay the procedural look called ``name`` over portraits, with the same inks and paper for each."""
    look = next(look for look in LOOKS if look.name == name)
    pictures = []
    for sitter in sitters:
        torch.manual_seed(seed)
        pictures.append(_picture(look.draw(_pixels(sitter))))
    return pictures


def _pixels(picture: Image.Image) -> Tensor:
    """Give a picture as (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)[None].float() / 255


def _picture(images: Tensor) -> Image.Image:
    """Give the first of (B, 3, H, W) in [0, 1] as a picture."""
    return Image.fromarray((images[0].clamp(0, 1).permute(1, 2, 0) * 255).round().byte().numpy())


def save(pictures: list[Image.Image], folder: Path) -> None:
    """Write pictures as ``1.jpg`` …."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures, start=1):
        picture.save(folder / f"{number}.jpg", quality=92)


def person(base: Base, engine: FaceEngine, name: str) -> list[Image.Image]:
    """Draw the set of photos called ``name``, with the first seed from its sitter's own on that gives one."""
    for seed in itertools.islice(itertools.count(PEOPLE[name].seed), MOST_SEEDS):
        if (drawn := draw_person(base, engine, replace(PEOPLE[name], seed=seed))) is not None:
            print(json.dumps({"name": name, "seed": seed, "lowest_cosine_within": round(drawn[1], 3)}))
            return drawn[0]
    raise SystemExit(f"No photos of {name} pass for one person: choose another seed.")


@torch.no_grad()
def sitters(base: Base, engine: FaceEngine, opening: str) -> list[Image.Image]:
    """Draw ``SITTERS`` by prompts that begin with ``opening``, each with the first seed that shows a face."""
    found = []
    for sitter in SITTERS:
        seeds = itertools.islice(itertools.count(sitter.seed, 100), MOST_SEEDS)
        pictures = (_draw(base, f"{opening} of {sitter.who}", seed) for seed in seeds)
        shown = next((picture for picture in pictures if engine.detect(picture)), None)
        if shown is None:
            raise SystemExit(f"No picture of {sitter.who} in {opening} shows a face: choose another seed.")
        found.append(shown)
    return found


def main() -> None:
    """Draw the sets and print how close the photos of each person are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("examples"))
    shipped = (*PEOPLE, *MEDIA, *FILTERS)
    parser.add_argument("--only", nargs="+", choices=(*shipped, *UNSEEN), default=shipped)
    args = parser.parse_args()
    base, engine = load_base(MINI.name), load_engine("builtin")
    for name in args.only:
        if name in PEOPLE:
            pictures = person(base, engine, name)
        elif name in MEDIA:
            pictures = sitters(base, engine, MEDIA[name])
        else:
            pictures = draw_look(sitters(base, engine, "a color photograph"), *(FILTERS | UNSEEN)[name])
        save(pictures, args.out / name)


if __name__ == "__main__":
    main()
