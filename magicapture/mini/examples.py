"""Draw the examples that ship with the app: people who do not exist, and looks, by the embedded base itself.

``python -m magicapture.mini.examples`` writes ``person-1/`` … and ``style-engraving/`` … to ``examples/``. Every
"photo" of a person is the same drawn face, taken part of the way back to noise and finished under another prompt; a set
is kept only when the recogniser takes all of it for one person.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image

from magicapture.bases import Base, load_base
from magicapture.drawing.enhance import upscale
from magicapture.faces import FaceEngine, load_engine

PHOTOS = 5
STRENGTH = 0.4
"""Share of the noise schedule that every variation goes back: enough for other light, too little for another face."""

ONE_IDENTITY = 0.5
"""Lowest cosine between any two photos of a set; two photos of different people reach 0.38 once in a thousand pairs."""

PEOPLE = ("a man", "a woman")
SETTINGS = (
    "",
    ", light background",
    ", dark background",
    ", blue background",
    ", detailed background",
    " with glasses",
)
LOOKS = {
    "engraving": "an engraving of a {who}",
    "oil-painting": "an oil painting of a {who}, dark background",
    "sepia": "a sepia photograph of a {who}",
}


@torch.no_grad()
def draw_person(base: Base, engine: FaceEngine, who: str, seed: int) -> tuple[list[Image.Image], float] | None:
    """Draw ``PHOTOS`` pictures of one person; None unless they all show a face and pass for the same one.

    Also gives the lowest cosine between any two of them.
    """
    first = _draw(base, f"a color photograph of {who}", seed)
    variations = [first]
    pipeline = StableDiffusionImg2ImgPipeline(**base.pipeline.components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    for number, setting in enumerate(SETTINGS):
        generator = torch.Generator().manual_seed(1000 * seed + number)
        settings = {"strength": STRENGTH, "num_inference_steps": 40, "guidance_scale": base.spec.guidance_scale}
        prompt = f"a color photograph of {who}{setting}"
        variations += pipeline(prompt, image=first, generator=generator, **settings).images
    embedded = [(image, faces[0].embedding) for image in variations if (faces := engine.detect(image))]
    if len(embedded) < PHOTOS:
        return None
    sets = itertools.combinations(embedded, PHOTOS)
    lowest, best = max(((closeness([e for _, e in chosen]), chosen) for chosen in sets), key=lambda pair: pair[0])
    return ([image for image, _ in best], lowest) if lowest >= ONE_IDENTITY else None


def closeness(embeddings: list[np.ndarray]) -> float:
    """Give the lowest cosine between any two of ``embeddings``."""
    return min(float(a @ b) for a, b in itertools.combinations(embeddings, 2))


def _draw(base: Base, prompt: str, seed: int) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    return base.pipeline(
        prompt, generator=generator, num_inference_steps=30, guidance_scale=base.spec.guidance_scale
    ).images[0]


@torch.no_grad()
def draw_look(base: Base, engine: FaceEngine, prompt: str) -> list[Image.Image]:
    """Draw ``PHOTOS`` pictures in one look, of men and women, each with a face in it."""
    pictures: list[Image.Image] = []
    seed = 0
    while len(pictures) < PHOTOS:
        picture = _draw(base, prompt.format(who=("man", "woman")[seed % 2]), seed)
        if engine.detect(picture):
            pictures.append(picture)
        seed += 1
    return pictures


def save(pictures: list[Image.Image], folder: Path) -> None:
    """Write pictures as ``1.jpg`` …, enlarged four times, since an upload of 128 px would be called too small."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures, start=1):
        upscale(picture, 4)[0].save(folder / f"{number}.jpg", quality=92)


def main() -> None:
    """Draw every set and print how close the photos of each person are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("examples"))
    args = parser.parse_args()
    base, engine = load_base("mini"), load_engine("builtin")
    lowest = {}
    for number, who in enumerate(PEOPLE, start=1):
        drawn = (draw_person(base, engine, who, seed) for seed in itertools.count(100 * number))
        pictures, lowest[f"person-{number}"] = next(found for found in drawn if found)
        save(pictures, args.out / f"person-{number}")
    for name, prompt in LOOKS.items():
        save(draw_look(base, engine, prompt), args.out / f"style-{name}")
    print(json.dumps({"lowest_cosine_within": lowest}))


if __name__ == "__main__":
    main()
