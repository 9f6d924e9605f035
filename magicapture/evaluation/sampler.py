"""How few steps are enough? Scores of a base's own sampler beside those of fifty Euler steps.

All of them draw from noise and the look's mean: what starts from a layout has one sampler alone.
``python -m magicapture.evaluation.sampler ADAPTER`` prints a Markdown table, then one JSON object.
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from diffusers import EulerDiscreteScheduler, SchedulerMixin

from magicapture.adapters.adapter import Adapter, applied
from magicapture.bases import Base, load_base
from magicapture.config import GenerateConfig
from magicapture.drawing.generation import draw, scored
from magicapture.faces import load_engine

FAST_STEPS = (8, 12, 16, 20, 30)
EULER_STEPS = 50


@contextmanager
def scheduler(base: Base, other: SchedulerMixin) -> Iterator[None]:
    """Sample with ``other`` for the length of a ``with`` block."""
    before = base.pipeline.scheduler
    try:
        base.pipeline.scheduler = other
        yield
    finally:
        base.pipeline.scheduler = before


def main() -> None:
    """Draw the same seeds with every sampler and print mean scores and time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("--count", type=int, default=16)
    args = parser.parse_args()
    adapter, engine = Adapter.load(args.adapter), load_engine()
    base = load_base(adapter.info.base)
    fast = base.pipeline.scheduler
    euler = EulerDiscreteScheduler.from_config(fast.config, use_karras_sigmas=False)
    start, own = replace(adapter.start, layouts=None), getattr(fast.config, "algorithm_type", type(fast).__name__)
    rows = []
    for name, sampler, steps in [("euler", euler, EULER_STEPS), *((own, fast, s) for s in FAST_STEPS)]:
        with applied(base, adapter), scheduler(base, sampler):
            started = time.monotonic()
            settings = GenerateConfig(count=args.count, steps=steps)
            pictures = draw(base, settings.seeds, settings, start, palette=adapter.palette)
            drawn = scored(pictures, adapter.targets, engine, settings)
            seconds = (time.monotonic() - started) / args.count
        likeness, style = (sum(getattr(p, key) for p in drawn) / len(drawn) for key in ("likeness", "style"))
        rows.append({"sampler": name, "steps": steps, "likeness": likeness, "style": style, "seconds": seconds})
    print("| sampler | steps | likeness | style | seconds a portrait |\n|---|---|---|---|---|")
    for row in rows:
        print("| {sampler} | {steps} | {likeness:.3f} | {style:.3f} | {seconds:.2f} |".format(**row))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
