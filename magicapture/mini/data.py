"""The captioned portraits that the embedded base learns from, and the sentences that describe them."""

import json
import random
import string
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

LANDMARKS = torch.tensor([[0.3975, 0.4753], [0.6001, 0.4759], [0.5006, 0.5949], [0.4160, 0.6989], [0.5813, 0.7009]])
"""Eyes, nose and mouth as shares of the picture: every portrait is aligned alike, so one set serves all."""

HELD_OUT_EVERY = 40
"""Each 40th portrait is never trained on: the model card's reconstruction figures come from these."""


@dataclass(frozen=True)
class Portraits:
    """Portraits in memory: ``pixels`` (N, 3, S, S) uint8, one dictionary of attributes and one sampling weight each."""

    pixels: Tensor
    attributes: list[dict]
    weights: Tensor

    def __len__(self) -> int:
        return len(self.attributes)

    def images(self, index: Tensor) -> Tensor:
        """Give the chosen portraits as (B, 3, S, S) in [-1, 1]."""
        return self.pixels[index].float() / 127.5 - 1

    def draw(self, count: int) -> Tensor:
        """Draw ``count`` indices by their sampling weights, with replacement."""
        return torch.multinomial(self.weights, count, replacement=True)


def load_portraits(folder: Path, size: int, *, held_out: bool = False) -> Portraits:
    """Read ``folder/metadata.jsonl`` and the pictures of side ``size`` that it names; the held-out ones or the rest."""
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    rows = [row for i, row in enumerate(rows) if (i % HELD_OUT_EVERY == 0) == held_out]
    if size > 128:
        rows = [row for row in rows if row["has_256"]]
    pictures = [np.asarray(Image.open(folder / str(size) / row["file"]).convert("RGB")) for row in rows]
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    attributes = [row["attributes"] for row in rows]
    return Portraits(pixels, attributes, torch.tensor([sampling_weight(a) for a in attributes]))


def sampling_weight(attributes: dict) -> float:
    """How often a portrait is drawn, so that the rare ones (women, hats, drawings, colour) are not forgotten."""
    weight = 1.0
    if attributes["gender"] == "woman":
        weight *= 3
    if attributes["hat"] or attributes["medium"] == "drawing":
        weight *= 3
    if attributes["medium"] in ("color photograph", "oil painting"):
        weight *= 1.5
    if attributes["view"] == "profile":
        weight *= 0.5  # its two eyes are not where the alignment expects them
    return weight


OPENINGS = {
    None: ["a portrait", "a picture", "an image"],
    "black and white photograph": [
        "a black and white photograph",
        "a black and white photo",
        "a photo, black and white,",
    ],
    "color photograph": ["a color photograph", "a photo", "a color photo", "a photograph"],
    "sepia photograph": ["a sepia photograph", "an old photo", "a sepia photo"],
    "engraving": ["an engraving", "an engraved portrait", "a steel engraving"],
    "oil painting": ["an oil painting", "a painting", "a painted portrait"],
    "drawing": ["a drawing", "a chalk drawing", "a sketch"],
}
STYLES = {
    "black and white photograph": "black and white",
    "color photograph": "color photograph",
    "sepia photograph": "sepia",
    "engraving": "engraving",
    "oil painting": "oil painting",
    "drawing": "drawing",
}
WORN = ("glasses", "a beard", "a mustache", "a hat")
BACKGROUNDS = {
    "plain light": ["light background", "plain background", "a white background"],
    "plain dark": ["dark background", "plain background", "a black background"],
    "plain blue": ["blue background", "plain background"],
    "flag": ["flag background", "a flag behind"],
    "indoor/outdoor": ["detailed background"],
}


def caption(attributes: dict, rng: random.Random) -> str:
    """Describe a portrait in one sentence, drawn anew at every call so that no wording is learned by heart.

    About every fourth medium is named as ``… in the engraving style``, and now and then a word without meaning stands
    before the person: the places where learned tokens will stand. It also teaches that unknown words change nothing.
    """
    medium = attributes["medium"]
    who = attributes["gender"] if attributes["gender"] and rng.random() > 0.25 else "person"
    if rng.random() < 0.1:
        who = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 6))) + " " + who
    extras = [part for part in _extras(attributes, rng) if rng.random() > 0.15]
    if medium and rng.random() < 0.25:
        style = STYLES[medium]
        opening, closing = rng.choice(["a photo", "a portrait", "a picture"]), f" in the {style} style"
    else:
        opening, closing = rng.choice(OPENINGS[medium]), ""
    worn = " and ".join(part for part in extras if part in WORN)
    rest = [part for part in extras if part not in WORN]
    sentence = f"{opening} of a {who}" + (f" with {worn}" if worn else "") + closing
    return ", ".join([sentence, *rest])


def _extras(attributes: dict, rng: random.Random) -> list[str]:
    """List what can be said beside medium and gender."""
    extras = []
    if attributes["glasses"]:
        extras.append("glasses")
    if attributes["facial_hair"] in ("beard", "mustache"):
        extras.append(f"a {attributes['facial_hair']}")
    if attributes["hat"]:
        extras.append("a hat")
    if attributes["view"] in ("three-quarter", "profile"):
        extras.append(f"{attributes['view']} view")
    if attributes["background"] in BACKGROUNDS:
        extras.append(rng.choice(BACKGROUNDS[attributes["background"]]))
    return extras
