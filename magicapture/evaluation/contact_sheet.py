"""One picture that shows what came out: references, the look, portraits and their scores.

``python -m magicapture.evaluation.contact_sheet ADAPTER --person DIR --style DIR --out FILE`` draws one block; several
adapters with as many ``--person`` and ``--style`` folders give one block each, one below the other.
"""

import argparse
import json
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from magicapture.adapters.adapter import Adapter
from magicapture.bases import load_base
from magicapture.config import GenerateConfig
from magicapture.drawing.generation import generate
from magicapture.drawing.portrait import Portrait
from magicapture.faces import load_engine
from magicapture.photos.reading import photos_in
from magicapture.photos.references import check_photos

SIDE, MARGIN, CAPTION = 192, 6, 20
COLUMNS = 5


def block(person: list[Image.Image], style: list[Image.Image], portraits: list[Portrait]) -> Image.Image:
    """Lay out three rows with a line of text above each: the person, the look, and portraits with their scores."""
    rows = [
        ("photos of the person", person[:COLUMNS], None),
        ("pictures in the look", style[:COLUMNS], None),
        ("portraits: likeness, style", [p.image for p in portraits], portraits),
    ]
    height = len(rows) * (SIDE + CAPTION) + CAPTION + 2 * MARGIN
    sheet = Image.new("RGB", (COLUMNS * (SIDE + MARGIN) + MARGIN, height), "white")
    pen, font, top = ImageDraw.Draw(sheet), ImageFont.load_default(13), MARGIN
    for title, pictures, scored in rows:
        pen.text((MARGIN, top), title, "black", font)
        top += CAPTION
        for place, picture in enumerate(pictures):
            left = MARGIN + place * (SIDE + MARGIN)
            sheet.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, top))
            if scored:
                text = f"{scored[place].likeness:.2f}, {scored[place].style:.2f}"
                pen.text((left + SIDE / 2, top + SIDE + 3), text, "black", font, anchor="ma")
        top += SIDE
    return sheet


def stack(blocks: list[Image.Image]) -> Image.Image:
    """Put blocks of one width below each other."""
    sheet = Image.new("RGB", (blocks[0].width, sum(b.height for b in blocks)), "white")
    top = 0
    for part in blocks:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def main() -> None:
    """Draw, save and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapters", nargs="+", type=Path)
    parser.add_argument("--person", nargs="+", type=Path, required=True)
    parser.add_argument("--style", nargs="+", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    engine, blocks, scores = load_engine(), [], []
    for folder, person, style in zip(args.adapters, args.person, args.style, strict=True):
        adapter = Adapter.load(folder)
        base = load_base(adapter.info.base)
        portraits = generate(base, engine, adapter, GenerateConfig(count=COLUMNS))
        of_person = check_photos(photos_in(person), "person", engine, SIDE).references
        of_style = check_photos(photos_in(style), "style", engine, SIDE).references
        blocks.append(block([r.image for r in of_person], [r.image for r in of_style], portraits))
        scores.append([{"likeness": p.likeness, "style": p.style} for p in portraits])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    stack(blocks).save(args.out, optimize=True)
    print(json.dumps(scores))


if __name__ == "__main__":
    main()
