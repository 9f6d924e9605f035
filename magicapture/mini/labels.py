"""Label captioned portraits with what their captions leave out: smile, long hair, suit, light and skin tone.

``python -m magicapture.mini.labels --data FOLDER --hand HAND --out OUT`` writes one JSON row a picture and prints the
accuracies. ``HAND`` holds rows of ``folder``, ``file`` and what a person saw in that picture, null where undecided. The
probes learn from those rows; a picture that a probe is not sure about keeps null, and what a person saw always stands.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from magicapture.features import image_features
from magicapture.mini.probe import Probe

SIDE = 128
FOLDS, BATCH = 5, 32
LUMA = torch.tensor([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Region:
    """A part of the picture, left, top, right, bottom in shares; the size it is seen at; how its maps are pooled."""

    box: tuple[float, float, float, float]
    size: tuple[int, int]
    cells: tuple[int, int]


REGIONS = {
    "whole": Region((0, 0, 1, 1), (128, 128), (4, 4)),
    "mouth": Region((0.30, 0.56, 0.70, 0.86), (96, 128), (3, 4)),
    "chest": Region((0.1, 0.74, 0.9, 1), (64, 160), (2, 4)),
}
"""Seen in grey, so that what is learned on photographs of one age holds for those of another."""
WORDS = {"True": True, "False": False}
SMILES = {"london/neutral_front": False, "london/smiling_front": True}
CHEEKS, CHEEK = ((0.385, 0.595), (0.615, 0.595)), 0.04
"""Middles of the cheeks as shares of the picture, between eyes and mouth in height, and half a square's side."""
DARKEST, COOLEST = 25, 0
"""Cheeks below this L* or this b* tell nothing of the skin's tone: too dark, or tinted."""
COOL_SOURCES = ("ukparliament/2017",)
"""Their white balance lifts the angle of every face."""
FACE_ROWS, FACE_HALVES = slice(52, 92), (slice(46, 60), slice(68, 82))
"""Rows from the brows to the upper lip, and the columns of each half of the face, without the nose."""
SIDE_LIGHT = 0.38
"""Difference of the halves over their sum, from which light is seen to come from one side."""
TO_XYZ = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
WHITE = np.array([0.9505, 1.0, 1.0888])


@dataclass(frozen=True)
class Attribute:
    """What a probe tells: from which region, how sure of each value it must be to say it, of which pictures."""

    region: str
    sure: dict[str, float]
    holds: Callable[[dict], bool] = lambda _: True


def in_color(row: dict) -> bool:
    """Tell whether the picture is a colour photograph."""
    return row["attributes"]["medium"] == "color photograph"


def photographed(row: dict) -> bool:
    """Tell whether the picture is a photograph."""
    return "photograph" in (row["attributes"]["medium"] or "")


ATTRIBUTES = {
    "smiling": Attribute("mouth", {"True": 0.8, "False": 0.9}),
    "hair_length": Attribute("whole", {"long": 0.85}),
    "clothes": Attribute("chest", {"suit": 0.9}, photographed),
}
"""A value that is not listed is learned, as what the others are not, and never said."""


def read_rows(folders: list[Path]) -> list[dict]:
    """Give the rows of each ``metadata.jsonl`` with ``folder``, the folder's name, and ``path``, the 128 px picture."""
    return [
        row | {"folder": folder.name, "path": folder / str(SIDE) / row["file"]}
        for folder in folders
        for row in map(json.loads, (folder / "metadata.jsonl").read_text().splitlines())
    ]


def read_hand(path: Path) -> dict[tuple[str, str], dict]:
    """Give what a person saw, by folder and file."""
    return {(row["folder"], row["file"]): row for row in map(json.loads, path.read_text().splitlines())}


def read_pixels(row: dict) -> Tensor:
    """Give a picture as (3, 128, 128) uint8."""
    return torch.from_numpy(np.array(Image.open(row["path"]).convert("RGB"))).permute(2, 0, 1)


@torch.no_grad()
def describe(images: Tensor) -> dict[str, Tensor]:
    """Give the features of ``images`` (B, 3, 128, 128) in [-1, 1]: half-precision vectors (B, D) by name."""
    network, found = image_features(), {}
    grey = (images * LUMA[:, None, None]).sum(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    for name, region in REGIONS.items():
        left, top, right, bottom = (int(share * SIDE) for share in region.box)
        part = F.interpolate(grey[:, :, top:bottom, left:right], size=region.size, mode="bilinear", antialias=True)
        pooled = [F.adaptive_avg_pool2d(maps, region.cells).flatten(1) for maps in network(part)[:1:-1]]
        found[name] = torch.cat(pooled, dim=1).half()
    return found


def all_features(rows: list[dict], kept: Path | None) -> dict[str, Tensor]:
    """Describe every picture, (N, D) by name: from the file ``kept`` if it holds as many, else kept there."""
    if kept and kept.exists() and len((features := torch.load(kept, weights_only=True))["whole"]) == len(rows):
        return features
    parts = []
    for start in range(0, len(rows), BATCH):
        pixels = torch.stack([read_pixels(row) for row in rows[start : start + BATCH]])
        parts.append(describe(pixels.float() / 127.5 - 1))
    features = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    if kept:
        torch.save(features, kept)
    return features


@torch.no_grad()
def certainties(fitted: Probe, vectors: Tensor) -> Tensor:
    """Give the probability of each of the probe's classes, (N, K), for ``vectors`` (N, D)."""
    return fitted.linear((vectors - fitted.mean) / fitted.std).softmax(dim=1)


def spoken(attribute: Attribute, classes: list[str], chances: Tensor) -> list[str | None]:
    """Name the class of each row of ``chances`` (N, K), or None where the probe is less sure than it has to be."""
    best = [(classes[i], p) for p, i in zip(*(column.tolist() for column in chances.max(dim=1)), strict=True)]
    return [name if p >= attribute.sure.get(name, 2) else None for name, p in best]


def known_value(name: str, row: dict, hand: dict) -> str | None:
    """Give what is known of a picture: by its source, where that tells, else by hand."""
    if name == "smiling" and row["source"] in SMILES:
        return str(SMILES[row["source"]])
    return None if (value := hand.get((row["folder"], row["file"]), {}).get(name)) is None else str(value)


def ask(name: str, rows: list[dict], hand: dict, features: dict[str, Tensor]) -> tuple[list[str | None], dict]:
    """Fit the probe of one attribute, and give its value of every picture with the accuracies."""
    attribute = ATTRIBUTES[name]
    vectors = features[attribute.region].float()
    known = [known_value(name, row, hand) if attribute.holds(row) else None for row in rows]
    labelled = [i for i, value in enumerate(known) if value]
    names = [value for value in known if value]
    fitted = Probe(vectors[labelled], names)
    values = spoken(attribute, fitted.classes, certainties(fitted, vectors))
    for i, row in enumerate(rows):
        if known[i] or not attribute.holds(row):
            values[i] = known[i] if known[i] in attribute.sure else None
    return values, cross_validate(attribute, vectors[labelled], names)


def cross_validate(attribute: Attribute, vectors: Tensor, names: list[str]) -> dict:
    """Measure a probe on pictures it has not learned from: accuracy on all, where it speaks, and by value."""
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0))
    classes, chances = sorted(set(names)), torch.zeros(len(names), len(set(names)))
    for fold in range(FOLDS):
        tested = order[fold::FOLDS]
        known = torch.cat([order[other::FOLDS] for other in range(FOLDS) if other != fold])
        fitted = Probe(vectors[known], [names[i] for i in known])
        chances[tested] = certainties(fitted, vectors[tested])
    said = [(s, n) for s, n in zip(spoken(attribute, classes, chances), names, strict=True) if s]
    return {
        "labelled": len(names),
        "accuracy": share([classes[i] == n for i, n in zip(chances.argmax(dim=1), names, strict=True)]),
        "spoken": round(len(said) / len(names), 3),
        "accuracy_spoken": share([s == n for s, n in said]),
        "by_value": {c: share([s == n for s, n in said if s == c]) for c in attribute.sure},
    }


def share(hits: list[bool]) -> float | None:
    """Give the share of hits, None of no tries."""
    return round(sum(hits) / len(hits), 3) if hits else None


def side_light(row: dict, pixels: Tensor) -> str | None:
    """Say "side" where the halves of a face seen from the front, photographed or painted, differ much in luminance."""
    medium, view = row["attributes"]["medium"], row["attributes"]["view"]
    if view in ("profile", "three-quarter") or medium in ("engraving", "drawing", None):
        return None
    luminance = linear(pixels.permute(1, 2, 0).numpy() / 255) @ TO_XYZ[1]
    left, right = (float(luminance[FACE_ROWS, columns].mean()) for columns in FACE_HALVES)
    return "side" if abs(left - right) >= SIDE_LIGHT * (left + right + 0.02) else None


def linear(rgb: np.ndarray) -> np.ndarray:
    """Undo sRGB's curve: values in [0, 1]."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """Turn sRGB (…, 3) in [0, 1] into CIELAB under D65."""
    xyz = linear(rgb) @ TO_XYZ.T / WHITE
    x, y, z = np.moveaxis(np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def skin_tone(row: dict, pixels: Tensor) -> str | None:
    """Give the tone seen in a photograph whose colours can be trusted."""
    return None if not in_color(row) or row["source"] in COOL_SOURCES else cheek_tone(pixels)


def cheek_tone(pixels: Tensor) -> str | None:
    """Give the tone of the cheeks of an aligned face by its ITA, atan2(L* − 50, b*) in degrees (Chardon et al., 1991).

    ``pixels``: (3, S, S) uint8. None where it is too dark, or tinted.
    """
    picture, side = pixels.permute(1, 2, 0).numpy() / 255, pixels.shape[-1]
    parts = [[slice(round((c - CHEEK) * side), round((c + CHEEK) * side)) for c in (y, x)] for x, y in CHEEKS]
    cheeks = np.concatenate([picture[rows, columns].reshape(-1, 3) for rows, columns in parts])
    lightness, _, yellow = np.median(lab(cheeks), axis=0)
    if lightness < DARKEST or yellow < COOLEST:
        return None
    ita = np.degrees(np.arctan2(lightness - 50, yellow))
    return "light" if ita > 28 else "medium" if ita >= 10 else "dark"


def main() -> None:
    """Label every picture, write the rows, print the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders with metadata.jsonl and 128/")
    parser.add_argument("--hand", type=Path, required=True, help="rows of what a person saw")
    parser.add_argument("--out", type=Path, required=True, help="file for the rows")
    parser.add_argument("--features", type=Path, help="file that keeps the pictures' features for the next run")
    args = parser.parse_args()
    torch.manual_seed(0)
    rows, hand = read_rows(args.data), read_hand(args.hand)
    features = all_features(rows, args.features)
    labels = [{"folder": row["folder"], "file": row["file"]} for row in rows]
    for name in ATTRIBUTES:
        values, measured = ask(name, rows, hand, features)
        for label, value in zip(labels, values, strict=True):
            label[name] = value and WORDS.get(value, value)
        print(json.dumps({"attribute": name} | measured), flush=True)
    for label, row in zip(labels, rows, strict=True):
        pixels = read_pixels(row)
        label |= {"light": side_light(row, pixels), "skin_tone": skin_tone(row, pixels)}
    args.out.write_text("".join(json.dumps(label) + "\n" for label in labels))


if __name__ == "__main__":
    main()
