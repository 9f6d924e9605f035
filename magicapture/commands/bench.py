"""``bench``: what a training step and a portrait cost."""

import argparse
import json
import sys

from magicapture.bases import MINI, load_base, resolve_base
from magicapture.evaluation.bench import bench
from magicapture.evaluation.forecast import forecast
from magicapture.evaluation.timing import device_name, random_base, timings
from magicapture.faces import load_engine


def add_command(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    parser = commands.add_parser("bench", help="what a step and a portrait cost")
    parser.add_argument("--base", default=MINI.name)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--meta", action="store_true", help="count it without weights and without a GPU")
    how.add_argument("--random", action="store_true", help="time it without weights: random ones take as long")
    parser.set_defaults(run=run_bench)


def run_bench(args: argparse.Namespace) -> tuple[dict, int]:
    """Time a training step and a portrait, or count what they would cost."""
    if args.meta:
        spec = resolve_base(args.base)
        return {"base": spec.name, "device": "meta", **forecast(spec)}, 0
    if args.random:
        return run_timings(args.base), 0
    base = load_base(args.base)
    return {"base": base.spec.name, "device": str(base.device), **bench(base, load_engine())}, 0


def run_timings(name: str) -> dict[str, object]:
    """Time whole trainings and portraits; each is told on standard error at once."""
    base = random_base(resolve_base(name))
    found: dict[str, object] = {"base": base.spec.name, "device": device_name(base.device)}
    for what, timed in timings(base, load_engine()).items():
        found[what] = timed()
        print(json.dumps({what: found[what]}), file=sys.stderr, flush=True)
    return found
