"""``generate``: an adapter in, scored portraits out."""

import argparse
import sys
from pathlib import Path

from magicapture.adapters.adapter import Adapter
from magicapture.bases import load_base
from magicapture.commands.score import said_of
from magicapture.config import GenerateConfig
from magicapture.drawing.credentials import credentials
from magicapture.drawing.generation import generate
from magicapture.photos.subjects import load_subject


def add_command(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    parser = commands.add_parser("generate", help="an adapter in, scored portraits out")
    parser.add_argument("adapter", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", help="the adapter's own base if left out")
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--best-of", type=int, default=1, help="candidates drawn for each portrait")
    parser.add_argument("--prompt", default="", help='what to add, such as "with glasses"')
    parser.add_argument("--negative-prompt", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dial", type=float, default=0.5, help="0 = more like the style, 1 = more like the person")
    parser.add_argument(
        "--strength",
        type=float,
        default=1.0,
        help="below 1, start from a photo of the person under so much noise: hair, pose and glasses stay",
    )
    parser.add_argument("--steps", type=int, help="of the sampler; as many as suit the base if left out")
    parser.add_argument("--upscale", type=int, choices=(1, 2, 4), default=1)
    parser.set_defaults(run=run_generate)


def run_generate(args: argparse.Namespace) -> tuple[dict, int]:
    """Draw portraits with an adapter and save them as PNG."""
    credentials()  # so that a certificate that will not do is known before the drawing
    adapter = Adapter.load(args.adapter)
    base = load_base(adapter.info.base if args.base is None else args.base)
    config = GenerateConfig(
        count=args.count,
        best_of=args.best_of,
        prompt=args.prompt,
        negative_prompt=args.negative_prompt,
        seed=args.seed,
        dial=args.dial,
        strength=args.strength,
        steps=args.steps,
        upscale=args.upscale,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    subject = load_subject(adapter.info.subject)
    for place, portrait in enumerate(generate(base, subject, adapter, config), start=1):
        path = portrait.save(args.out / f"{place:02d}_seed{portrait.seed}.png")
        print(f"{path.name}: {said_of(portrait.likeness, subject)}", file=sys.stderr)
        rows.append({"file": str(path), "seed": portrait.seed, "likeness": portrait.likeness, "style": portrait.style})
    return {"portraits": rows}, 0
