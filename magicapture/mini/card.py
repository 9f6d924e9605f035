"""Measure the embedded base and write its model card with a sample grid beside its weights.

``python -m magicapture.mini.card --data FOLDER …`` prints the figures as JSON and writes ``README.md`` and
``samples.webp`` into the pipeline's folder.
"""

import argparse
import copy
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from magicapture.bases import MINI, Base, load_base
from magicapture.bases.registry import MINI_WEIGHTS
from magicapture.drawing.generation import draw_untouched
from magicapture.evaluation.metrics import COPY_PIXELS, small_grey
from magicapture.faces import FaceEngine, load_engine
from magicapture.faces.likeness import likeness_embedding
from magicapture.faces.recogniser import align
from magicapture.mini.captions import STYLES
from magicapture.mini.data import COLOR, LANDMARKS, Portraits, load_portraits
from magicapture.mini.labels import cheek_tone
from magicapture.mini.probe import Probe
from magicapture.scoring import LIKENESS_WORDS, style_features

SAMPLES_PER_MEDIUM = 84
AT_ONCE = 28
"""Samples drawn side by side."""
SAME_FACE = LIKENESS_WORDS[0][0]
"""Cosine from which two faces are one person's in the app's words, "clearly you"."""
GRID_COLUMNS = 8
FACE_MASK = (0.19, 0.81)
"""From where to where the medium's probe leaves rows and columns out, so that it judges light and stroke."""


def measure(base: Base, engine: FaceEngine, data: list[Path]) -> tuple[dict, Image.Image]:
    """Give the card's figures and the sample grid."""
    held_out, known = load_portraits(data, base.resolution, held_out=True), load_portraits(data, base.resolution)
    media = probe(known, held_out, "medium", medium_vector)
    gender = probe(known, held_out, "gender", lambda image: face_vector(image, engine))
    samples = {medium: draw(base, medium) for medium in STYLES}
    everything = [picture for pictures in samples.values() for picture in pictures]
    total = len(everything)
    found = sum(bool(engine.detect(picture)) for picture in everything)
    named = sum(media.predict(medium_vector(p)) == medium for medium, pictures in samples.items() for p in pictures)
    women = [gender.predict(face_vector(picture, engine)) == "woman" for picture in everything]
    tones = [tone for picture in samples[COLOR] if (tone := cheek_tone(tensor_of(picture)))]
    repeated = Repeated.of(known)
    figures = {
        "vae_psnr_held_out_db": reconstruction_psnr(base, held_out),
        "portraits": len(known),
        "held_out_portraits": len(held_out),
        "samples": total,
        "face_found": found / total,
        "medium_as_prompted": named / total,
        "medium_probe_accuracy_held_out": media.accuracy,
        "women_for_prompt_person": sum(women) / total,
        "medium_and_dark_skin_for_prompt_person": sum(tone != "light" for tone in tones) / len(tones),
        "pixels_repeated": sum(repeated.pixels(picture) for picture in everything),
        "face_repeated": np.mean([repeated.face(picture) for picture in everything]),
        "face_repeated_held_out": np.mean([repeated.face(picture_of(held_out, i)) for i in range(len(held_out))]),
        "women_in_data": np.mean([a["gender"] == "woman" for a in known.attributes]),
        "gender_probe_accuracy_held_out": gender.accuracy,
        "megabytes": sum(f.stat().st_size for f in MINI_WEIGHTS.rglob("*.safetensors")) / 1e6,
    }
    rows = [pictures[:GRID_COLUMNS] for pictures in samples.values()]
    return {name: round(float(value), 3) for name, value in figures.items()}, contact_sheet(rows)


def draw(base: Base, medium: str) -> list[Image.Image]:
    """Draw the samples of one medium, from seed 0 on."""
    prompt = f"{'an' if medium[0] in 'aeo' else 'a'} {medium} of a person"
    starts = range(0, SAMPLES_PER_MEDIUM, AT_ONCE)
    return [picture for first in starts for picture in draw_untouched(base, prompt, AT_ONCE, first)]


@dataclass(frozen=True)
class Repeated:
    """What training portraits are known again by.

    ``small``: (N, COPY_SIDE²) as ``evaluation.metrics`` tells copies; ``faces``: (N, D) embeddings that scores compare.
    """

    small: np.ndarray
    faces: np.ndarray

    @classmethod
    def of(cls, portraits: Portraits) -> "Repeated":
        """Look at every one of ``portraits``."""
        pictures = [picture_of(portraits, i) for i in range(len(portraits))]
        return cls(
            np.stack([small_grey(picture).ravel() for picture in pictures]),
            np.stack([likeness_of(picture) for picture in pictures]),
        )

    def pixels(self, picture: Image.Image) -> bool:
        """Tell whether ``picture`` is a copy of one of them, mirrored or not."""
        seen = small_grey(picture)
        return any(np.abs(self.small - s.ravel()).mean(axis=1).min() < COPY_PIXELS for s in (seen, seen[:, ::-1]))

    def face(self, picture: Image.Image) -> bool:
        """Tell whether its face passes for that of one of them."""
        return bool((self.faces @ likeness_of(picture)).max() > SAME_FACE)


@torch.no_grad()
def reconstruction_psnr(base: Base, portraits: Portraits) -> float:
    """Give the mean peak signal-to-noise ratio in dB of portraits after the autoencoder, over [0, 255]."""
    ratios = []
    vae = copy.deepcopy(base.pipeline.vae).float()
    for index in torch.arange(len(portraits)).split(16):
        images = portraits.images(index)
        decoded = vae.decode(vae.encode(images).latent_dist.mean).sample.clamp(-1, 1)
        mse = ((decoded - images) / 2).square().mean(dim=(1, 2, 3))
        ratios += [-10 * math.log10(value) for value in mse.tolist()]
    return sum(ratios) / len(ratios)


def probe(known: Portraits, held_out: Portraits, attribute: str, vector_of: Callable[[Image.Image], Tensor]) -> Probe:
    """Fit a probe for ``attribute`` on training portraits and measure its accuracy on held-out ones."""

    def labelled(portraits: Portraits, every: int) -> tuple[list[Tensor], list[str]]:
        chosen = [i for i, a in enumerate(portraits.attributes) if a[attribute]][::every]
        return [vector_of(picture_of(portraits, i)) for i in chosen], [
            portraits.attributes[i][attribute] for i in chosen
        ]

    vectors, names = labelled(known, every=3)
    fitted = Probe(torch.stack(vectors), names)
    vectors, names = labelled(held_out, every=1)
    fitted.accuracy = sum(fitted.predict(v) == n for v, n in zip(vectors, names, strict=True)) / len(names)
    return fitted


def medium_vector(image: Image.Image) -> Tensor:
    """Describe the surface of a picture: its style features with the middle of the face left out."""
    mask = np.zeros((image.height, image.width), np.float32)
    inside = slice(*(round(share * image.width) for share in FACE_MASK))
    mask[inside, inside] = 1
    return style_features(image, mask)


@torch.no_grad()
def face_vector(image: Image.Image, engine: FaceEngine) -> Tensor:
    """Describe the face of an aligned portrait by the recogniser's embedding."""
    pixels = tensor_of(image)[None].float() / 127.5 - 1
    return engine.recogniser()(align(pixels, LANDMARKS[None] * image.width))[0]


def likeness_of(image: Image.Image) -> np.ndarray:
    """Describe the face of an aligned portrait by the recogniser that scores portraits."""
    return likeness_embedding(image, LANDMARKS.numpy() * image.width)


def picture_of(portraits: Portraits, index: int) -> Image.Image:
    """Give one of ``portraits``."""
    return Image.fromarray(portraits.pixels[index].permute(1, 2, 0).numpy())


def tensor_of(image: Image.Image) -> Tensor:
    """Give a picture as (3, H, W) uint8."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def contact_sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """Put pictures of one size side by side, one list a row."""
    side = rows[0][0].width
    sheet = Image.new("RGB", (side * len(rows[0]), side * len(rows)))
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(picture, (x * side, y * side))
    return sheet


def main() -> None:
    """Measure, write the card and the grid, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of captioned portraits")
    args = parser.parse_args()
    figures, grid = measure(load_base(MINI.name), load_engine("builtin"), args.data)
    grid.save(MINI_WEIGHTS / "samples.webp", quality=90, method=6)
    template = (Path(__file__).parent / "card.md").read_text()
    facts = {"px": MINI.resolution, "steps": MINI.sampling_steps, "guidance": MINI.untouched_guidance_scale}
    (MINI_WEIGHTS / "README.md").write_text(template.format(**figures, **facts))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
