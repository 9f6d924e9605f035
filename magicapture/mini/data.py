"""The captioned portraits that the embedded base learns from: which are read, and how often each is drawn."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from magicapture.mini.looks import LOOKS, TRAINED, apply_looks

LANDMARKS = torch.tensor([[0.3975, 0.4753], [0.6001, 0.4759], [0.5006, 0.5949], [0.4160, 0.6989], [0.5813, 0.7009]])
"""Eyes, nose and mouth as shares of the picture: every portrait is aligned alike, so one set serves all."""

HELD_OUT_EVERY = 40
"""About each 40th portrait is never trained on: the model card's reconstruction figures come from these."""

AT_ONCE = 64
"""Pictures that are drawn in a look side by side."""

SMALL = 128
"""Side of the pictures whose originals are smaller than 200 px."""

COLOR = "color photograph"

MEDIUM_SHARES = {
    COLOR: 0.64,
    "black and white photograph": 0.11,
    "sepia photograph": 0.05,
    "engraving": 0.07,
    "oil painting": 0.07,
    "drawing": 0.02,
    None: 0.04,
}
"""How often each medium is drawn: photographs in colour, which procedural looks turn into all others, most often."""

GENDER_SHARES = {"woman": 0.3, "man": 0.7}
"""How often each gender is drawn in all but photographs in colour, where both are alike often."""
TONE_SHARES = {"light": 0.55, "medium": 0.22, "dark": 0.18, None: 0.05}
"""How often each measured tone of the skin is drawn among photographs in colour."""

MOST = 6.0
"""A portrait is drawn at most so many times as often as the average one: rare ones would be learned by heart."""

TWINS = {look.name for look in TRAINED} & set(MEDIUM_SHARES)
"""Looks that stand for a medium of which the data have next to no women."""

LOOK_SHARES = {
    look.name: 0.5 / len(TWINS) if look.name in TWINS else 0.5 / (len(TRAINED) - len(TWINS)) for look in TRAINED
}
"""How often each look is drawn: half of the time one of the twins."""


@dataclass(frozen=True)
class Portraits:
    """Portraits in memory.

    ``pixels``: (N, 3, S, S) uint8; one dictionary of attributes and one sampling weight each. The attribute
    ``enlarged`` marks small originals.
    """

    pixels: Tensor
    attributes: list[dict]
    weights: Tensor

    def __len__(self) -> int:
        return len(self.attributes)

    def images(self, index: Tensor) -> Tensor:
        """Give the chosen portraits as (B, 3, S, S) in [-1, 1]."""
        return self.pixels[index.to(self.pixels.device)].float() / 127.5 - 1

    def draw(self, count: int) -> Tensor:
        """Draw ``count`` indices by their sampling weights, with replacement."""
        return torch.multinomial(self.weights, count, replacement=True)

    def draw_images(self, count: int) -> tuple[Tensor, list[dict]]:
        """Draw ``count`` portraits, about half of them mirrored: (B, 3, S, S) in [-1, 1], and their attributes."""
        index = self.draw(count)
        return flipped(self.images(index)), [self.attributes[i] for i in index.tolist()]

    def sharp(self) -> "Portraits":
        """Leave out small originals."""
        keep = torch.tensor([not a["enlarged"] for a in self.attributes])
        attributes = [a for a in self.attributes if not a["enlarged"]]
        return Portraits(self.pixels[keep.to(self.pixels.device)], attributes, self.weights[keep])

    def to(self, device: torch.device) -> "Portraits":
        """Hold the pictures on ``device``."""
        return Portraits(self.pixels.to(device), self.attributes, self.weights)


def with_looks(portraits: Portraits, share: float, each: int) -> Portraits:
    """Add ``each`` procedural looks of every photograph in colour; together they get ``share`` of its weight.

    The name of the look stands as the ``medium`` of what was drawn.
    """
    sources = torch.tensor([i for i, a in enumerate(portraits.attributes) if a["medium"] == COLOR]).repeat(each)
    shares = torch.tensor([LOOK_SHARES.get(look.name, 0.0) for look in LOOKS])
    chosen, order = shares.multinomial(len(sources), replacement=True).sort()  # sorted: a batch is of one look or two
    sources = sources[order]
    pixels = [portraits.pixels]
    for index, looks in zip(sources.split(AT_ONCE), chosen.split(AT_ONCE), strict=True):
        drawn = apply_looks(portraits.images(index), looks)
        pixels.append(((drawn + 1) * 127.5).round().clamp(0, 255).byte())
    named = [portraits.attributes[i] | {"medium": LOOKS[n].name} for i, n in zip(sources, chosen, strict=True)]
    weights = portraits.weights.clone()
    weights[sources.unique()] *= 1 - share
    added = portraits.weights[sources] * share / each
    return Portraits(torch.cat(pixels), [*portraits.attributes, *named], torch.cat([weights, added]))


def flipped(images: Tensor) -> Tensor:
    """Mirror about half of ``images`` (B, 3, H, W)."""
    return torch.where(torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5, images, images.flip(-1))


def shifted(images: Tensor, most: int) -> Tensor:
    """Move each of ``images`` (B, 3, S, S) by up to ``most`` whole pixels each way, so that nothing is blurred."""
    side = images.shape[-1]
    padded = F.pad(images, (most,) * 4, mode="replicate")
    rows, columns = (
        torch.randint(2 * most + 1, (len(images), 1), device=images.device) + torch.arange(side, device=images.device)
        for _ in range(2)
    )
    picture = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[picture, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def load_portraits(folders: list[Path], size: int, labels: Path | None = None, *, held_out: bool = False) -> Portraits:
    """Read the pictures that each folder's ``metadata.jsonl`` names, at side ``size``; the held-out ones or the rest.

    ``exclude.txt`` in a folder names files to leave out. ``labels``: what ``magicapture.mini.labels`` has written.
    Small originals are enlarged and marked.
    """
    found = {(row["folder"], row["file"]): row for row in read_rows(labels)} if labels else {}
    files, attributes = [], []
    for folder in folders:
        excluded = (folder / "exclude.txt").read_text().split() if (folder / "exclude.txt").exists() else ()
        rows = [row for row in read_rows(folder / "metadata.jsonl") if row["file"] not in excluded]
        for row in rows:
            if (crc32(row["file"].encode()) % HELD_OUT_EVERY == 0) != held_out:
                continue
            side = 256 if row["has_256"] and size > SMALL else SMALL
            files.append(folder / str(side) / row["file"])
            known = found.get((folder.name, row["file"]), {})
            attributes.append(known | row["attributes"] | {"enlarged": side < size})

    def read(file: Path) -> Tensor:
        picture = Image.open(file).convert("RGB")
        if picture.width != size:
            picture = picture.resize((size, size), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)

    with ThreadPoolExecutor() as readers:
        pictures = list(readers.map(read, files))
    return Portraits(torch.stack(pictures), attributes, sampling_weights(attributes))


def read_rows(path: Path) -> list[dict]:
    """Read a file with one JSON object a line."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def sampling_weights(attributes: list[dict]) -> Tensor:
    """Say how often each portrait is drawn (N,), so that media, women and men, and tones of skin are balanced.

    Small originals are drawn half as often as others of their group, and profiles, whose two eyes are not where the
    alignment expects them.
    """
    groups = [(a["medium"], a["gender"], a.get("skin_tone") if a["medium"] == COLOR else None) for a in attributes]
    counts = Counter(groups)
    weights = torch.tensor([_group_share(*group) / counts[group] for group in groups])
    for i, a in enumerate(attributes):
        weights[i] *= (0.5 if a["enlarged"] else 1.0) * (0.5 if a["view"] == "profile" else 1.0)
    for _ in range(20):  # each time the average falls a little, too
        weights = weights.clamp(max=MOST * weights.mean())
    return weights


def _group_share(medium: str | None, gender: str | None, tone: str | None) -> float:
    gender_share = 0.5 if medium == COLOR else GENDER_SHARES.get(gender or "", 0.05)
    return MEDIUM_SHARES.get(medium, 0.0) * gender_share * (TONE_SHARES[tone] if medium == COLOR else 1.0)
