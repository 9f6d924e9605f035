"""A portrait: one drawn picture, what it scored, and what its file says of itself."""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from magicapture.drawing.credentials import credentials

FACTS = "magicapture"
"""The PNG text chunk that holds scores, seed and settings as JSON."""

XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
"""IPTC's way to say that a trained model made a picture (IPTC Photo Metadata Standard, "Digital Source Type")."""

LABEL = "AI-generated"
LABEL_HEIGHT = 0.045
"""Of the visible label, as a share of the picture's height."""


@dataclass(frozen=True, eq=False)
class Portrait:
    """One drawn picture, what it scored, and how to draw it again. ``drawn``: the picture before it was enlarged."""

    image: Image.Image
    seed: int
    likeness: float | None
    style: float | None
    settings: dict
    drawn: Image.Image | None = None

    def save(self, path: Path, *, label: bool = False) -> Path:
        """Write a PNG that says how it was drawn and, in XMP, that a trained model made it; gives ``path``.

        ``label`` also writes so into a corner of the picture. An installation with a certificate signs the file, and
        raises ``CredentialsError`` if it cannot.
        """
        text = PngInfo()
        facts = {"seed": self.seed, "likeness": self.likeness, "style": self.style, **self.settings}
        text.add_text(FACTS, json.dumps(facts))
        text.add_text("Software", "MagiCapture (AI-generated image)")
        text.add_itxt("XML:com.adobe.xmp", XMP)
        written, mine = BytesIO(), credentials()
        (labelled(self.image) if label else self.image).save(written, "PNG", pnginfo=text)
        path.write_bytes(mine.sign(written.getvalue(), "image/png") if mine else written.getvalue())
        return path


class DamagedPortraitError(ValueError):
    """A file that is not, or not any more, what ``Portrait.save`` wrote."""


def read_facts(path: Path) -> dict:
    """Give what ``Portrait.save`` wrote into the PNG ``path``: seed, scores and settings.

    Raises ``DamagedPortraitError`` for any other file, and ``FileNotFoundError`` for none.
    """
    try:
        with Image.open(path) as image:
            facts = json.loads(image.info[FACTS])
        if facts.keys() >= {"seed", "likeness", "style"}:
            return facts
    except FileNotFoundError:
        raise
    except (AttributeError, LookupError, OSError, SyntaxError, ValueError) as error:
        raise DamagedPortraitError(path.name) from error
    raise DamagedPortraitError(path.name)


def readable(paths: Iterable[Path]) -> dict[Path, dict]:
    """Give the facts of each of ``paths`` that can be read; what is damaged, or deleted meanwhile, is left out."""
    found = {}
    for path in paths:
        with suppress(DamagedPortraitError, FileNotFoundError):
            found[path] = read_facts(path)
    return found


def labelled(image: Image.Image) -> Image.Image:
    """Give a copy of an RGB ``image`` with a small label in its lower right corner that says what it is."""
    copy = image.copy()
    size = max(8, round(image.height * LABEL_HEIGHT))
    pen, font = ImageDraw.Draw(copy, "RGBA"), ImageFont.load_default(size)
    left, top, right, bottom = pen.textbbox((image.width - size / 3, image.height - size / 3), LABEL, font, anchor="rb")
    pen.rectangle((left - size / 4, top - size / 4, right + size / 4, bottom + size / 4), fill=(0, 0, 0, 120))
    pen.text((image.width - size / 3, image.height - size / 3), LABEL, (255, 255, 255, 230), font, anchor="rb")
    return copy
