"""``bench``: what a training step and a portrait cost."""

import argparse

from magicapture.bases import MINI, load_base, resolve_base
from magicapture.evaluation.bench import bench
from magicapture.evaluation.forecast import forecast
from magicapture.faces import load_engine


def add_command(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    parser = commands.add_parser("bench", help="what a step and a portrait cost")
    parser.add_argument("--base", default=MINI.name)
    parser.add_argument("--meta", action="store_true", help="count it without weights and without a GPU")
    parser.set_defaults(run=run_bench)


def run_bench(args: argparse.Namespace) -> tuple[dict, int]:
    """Time a training step and a portrait, or count what they would cost."""
    if args.meta:
        spec = resolve_base(args.base)
        return {"base": spec.name, "device": "meta", **forecast(spec)}, 0
    base = load_base(args.base)
    return {"base": base.spec.name, "device": str(base.device), **bench(base, load_engine())}, 0
