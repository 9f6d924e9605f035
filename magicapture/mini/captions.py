"""The sentences that describe a portrait to the embedded base, drawn anew at every use."""

import random
import string
from collections import Counter
from types import ModuleType

from magicapture.mini.data import COLOR, Portraits
from magicapture.mini.looks import LOOKS

OPENINGS = {look.name: list(look.words) for look in LOOKS} | {
    None: ["a portrait", "a picture", "an image"],
    COLOR: ["a color photograph", "a photo", "a color photo", "a photograph"],
    "black and white photograph": [
        "a black and white photograph",
        "a black and white photo",
        "a photo, black and white,",
    ],
    "sepia photograph": ["a sepia photograph", "an old photo", "a sepia photo"],
    "engraving": ["an engraving", "an engraved portrait", "a steel engraving"],
    "oil painting": ["an oil painting", "a painting", "a painted portrait"],
    "drawing": ["a drawing", "a pen drawing", "a sketch"],
}
STYLES = {
    COLOR: COLOR,
    "black and white photograph": "black and white",
    "sepia photograph": "sepia",
    "engraving": "engraving",
    "oil painting": "oil painting",
    "drawing": "drawing",
}
"""The real media, each by the name that closes a sentence: "in the … style"."""
BACKGROUNDS = {
    "plain light": ["light background", "plain background", "a white background"],
    "plain dark": ["dark background", "plain background", "a black background"],
    "plain blue": ["blue background", "plain background"],
    "flag": ["flag background", "a flag behind"],
    "indoor/outdoor": ["detailed background"],
}
PLAIN_OPENINGS = ["a photo", "a portrait", "a picture", "an image"]
ENLARGED = "blurry"
"""Stands in every caption of a small original, and so never in a prompt that asks for nothing of the kind."""

PERSON_SHARE = 0.4
"""How often the rarer gender of a medium is called "person"."""


class Captions:
    """Draws captions; knows how often women and men stand for "a person" in each medium, so that both do alike."""

    def __init__(self, portraits: Portraits, rng: random.Random | ModuleType) -> None:
        """Count the genders of each medium as ``portraits`` are drawn."""
        self.rng = rng
        shown: Counter = Counter()
        for attributes, weight in zip(portraits.attributes, portraits.weights.tolist(), strict=True):
            shown[attributes["medium"], attributes["gender"]] += weight
        self.person_shares = {
            (medium, gender): PERSON_SHARE * min(shown[medium, "woman"], shown[medium, "man"]) / weight
            for (medium, gender), weight in shown.items()
        }

    def __call__(self, attributes: dict) -> str:
        """Describe a portrait in one sentence, so that no wording is learned by heart.

        About every fourth medium is named as ``… in the engraving style``, and now and then a word without meaning
        stands before the person: the places where learned tokens will stand. It also teaches that unknown words
        change nothing.
        """
        rng, medium = self.rng, attributes["medium"]
        worn, rest = extras(attributes, rng)
        if medium and rng.random() < 0.25:
            opening, closing = rng.choice(PLAIN_OPENINGS), f" in the {style_of(medium)} style"
        else:
            opening, closing = rng.choice(OPENINGS[medium]), ""
        dressed = f" with {' and '.join(worn)}" if worn else ""
        return ", ".join([f"{opening} of {self._who(attributes)}{dressed}{closing}", *rest])

    def _who(self, attributes: dict) -> str:
        """Name the person, now and then with a word without meaning."""
        rng, gender = self.rng, attributes["gender"]
        share = self.person_shares.get((attributes["medium"], gender), 1.0)
        noun = "person" if gender is None or rng.random() < share else gender
        if rng.random() < 0.1:
            return " ".join(["a", "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 6))), noun])
        return f"a {noun}"


def style_of(medium: str) -> str:
    """Give the name of a medium or look as it stands in "in the … style"."""
    return STYLES.get(medium) or next(look.style for look in LOOKS if look.name == medium)


def extras(attributes: dict, rng: random.Random | ModuleType) -> tuple[list[str], list[str]]:
    """Draw what is said beside medium and person: what is worn or shown "with", and what follows after commas."""
    worn = []
    if attributes["glasses"]:
        worn.append("glasses")
    if attributes["facial_hair"] in ("beard", "mustache"):
        worn.append(f"a {attributes['facial_hair']}")
    if attributes["hat"]:
        worn.append("a hat")
    if attributes.get("hair_length") == "long" and rng.random() < 0.6:
        worn.append("long hair")
    rest = [rng.choice(words) for words in _said(attributes) if rng.random() > 0.25]
    rng.shuffle(rest)
    if attributes["enlarged"]:
        rest.append(ENLARGED)
    return [part for part in worn if rng.random() > 0.15], rest


def _said(attributes: dict) -> list[list[str]]:
    """List what can be said of expression, clothes, view, light and background, each in its wordings."""
    said = []
    if attributes.get("smiling") is not None:
        said.append(["smiling", "with a smile"] if attributes["smiling"] else ["serious", "not smiling"])
    if attributes.get("clothes") == "suit":
        said.append(["in a suit", "wearing a suit"])
    if attributes["view"] in ("three-quarter", "profile"):
        said.append([f"{attributes['view']} view"])
    if attributes.get("light") == "side":
        said.append(["side light"])
    if attributes["background"] in BACKGROUNDS:
        said.append(BACKGROUNDS[attributes["background"]])
    return said
