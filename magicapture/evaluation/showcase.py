"""The pictures of the page's first screen, and the finished adapter that it offers.

``python -m magicapture.evaluation.showcase --work DIR`` trains an adapter for every pair of a person and a look below,
draws candidates with each, and writes the best to ``examples/welcome/``; one of the adapters, made small, goes to
``examples/adapter/``. What is trained already stays in ``--work``, so it can be broken off.
"""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from magicapture.adapters.adapter import Adapter
from magicapture.adapters.info import INFO_FILE
from magicapture.bases import MINI, Base, load_base
from magicapture.config import GenerateConfig
from magicapture.drawing.generation import generate
from magicapture.faces import FaceEngine, load_engine
from magicapture.method.training import Training
from magicapture.photos.reading import photos_in
from magicapture.photos.references import Reference, Role, check_photos

PEOPLE = ("person-1", "person-2", "person-3")
LOOKS = ("style-engraving", "style-oil-painting", "style-watercolour")
FINISHED = ("person-3", "style-oil-painting")
RANK = 4
"""Of the finished adapter, which is trained with more."""
CANDIDATES = 8
"""Portraits of which the best is shown, as the app ranks them."""
QUALITY = 82
"""Of the pictures, as WebP; they are as large as what the base draws."""


def adapter_of(base: Base, engine: FaceEngine, person: Path, look: Path, work: Path) -> Adapter:
    """Train on photos of a person and pictures in a look, unless that has been done in ``work``."""
    if not (work / INFO_FILE).is_file():
        photos, pictures = _references(base, engine, person, "person"), _references(base, engine, look, "style")
        with Training(base, engine, photos, pictures, base.spec.presets["quick"]) as training:
            for _ in tqdm(training, desc=work.name, total=training.config.steps):
                pass
            training.adapter().save(work)
    return Adapter.load(work)


def _references(base: Base, engine: FaceEngine, folder: Path, role: Role) -> list[Reference]:
    return check_photos(photos_in(folder), role, engine, base.resolution).references


def reduced(adapter: Adapter, rank: int) -> Adapter:
    """Give the nearest adapter with a LoRA of ``rank`` (Eckart and Young 1936), in half precision."""
    lora: dict[str, Tensor] = {}
    for key in [key for key in adapter.lora if ".lora_A." in key]:
        up_key = key.replace(".lora_A.", ".lora_B.")
        down, up = adapter.lora[key].float(), adapter.lora[up_key].float()
        u, s, v = torch.linalg.svd(up.flatten(1) @ down.flatten(1), full_matrices=False)
        root = s[:rank].sqrt()
        lora[key] = (root[:, None] * v[:rank]).reshape(rank, *down.shape[1:]).half().contiguous()
        lora[up_key] = (u[:, :rank] * root).reshape(up.shape[0], rank, *up.shape[2:]).half().contiguous()
    return replace(adapter, lora=lora, info=replace(adapter.info, rank=rank))


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture as the page shows it."""
    picture.convert("RGB").save(path, quality=QUALITY, method=6)


def main() -> None:
    """Train, draw and save; prints the likeness of each portrait."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=Path, default=Path("examples"))
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    base, engine, out = load_base(MINI.name), load_engine("builtin"), args.examples / "welcome"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    scores: dict[str, float] = {}
    for look in LOOKS:
        for person in PEOPLE:
            name = f"{person}_{look}"
            adapter = adapter_of(base, engine, args.examples / person, args.examples / look, args.work / name)
            best = generate(base, engine, adapter, GenerateConfig(count=CANDIDATES))[0]
            scores[name] = round(best.likeness or 0.0, 2)
            save(best.image, out / f"{name}.webp")
            save(Image.open(args.examples / person / "1.jpg"), out / f"{person}.webp")
            if (person, look) == FINISHED:
                shutil.rmtree(args.examples / "adapter", ignore_errors=True)
                reduced(adapter, RANK).save(args.examples / "adapter")
        # Last, for a look without a picture is not shown: what was broken off leaves the looks before it.
        save(Image.open(args.examples / look / "1.jpg"), out / f"{look}.webp")
        (out / "scores.json").write_text(json.dumps(scores, indent=2) + "\n")
    print(json.dumps(scores))


if __name__ == "__main__":
    main()
