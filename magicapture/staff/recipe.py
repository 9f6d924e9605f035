"""The settings that all cells of a run share, as the command line gives them."""

import argparse
import sys
from dataclasses import replace

from magicapture.bases import MINI, BaseSpec, resolve_base
from magicapture.config import GenerateConfig
from magicapture.faces import engine_here
from magicapture.staff.cell import Cell, Recipe
from magicapture.staff.forgotten import is_forgotten
from magicapture.staff.manifest import Manifest
from magicapture.staff.run_folder import Entry, RunFolder

ENGINES = (
    "local, ray (a cluster of this machine), ray:ADDRESS (one to join), or jobs:FLAVOUR (Hugging Face Jobs; of an "
    "organisation: jobs:NAME/FLAVOUR)"
)

ANEW = "If one of them agrees anew, let consent_at name the day and time of that."


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Describe the settings of training and drawing, and the engine."""
    parser.add_argument("--engine", default="local", help=ENGINES)
    parser.add_argument("--share", help="folder that photos and results of ray go through, as fsspec writes addresses")
    parser.add_argument("--jobs", type=int, default=8, help="Hugging Face Jobs at a time, of an hour or more")
    parser.add_argument("--base", default="auto")
    parser.add_argument("--preset", choices=MINI.presets, default="quick")
    parser.add_argument("--steps", type=int, help="of each training; the preset's number if left out")
    parser.add_argument("--seed", type=int, default=0, help="0 or more; the same one gives the same portraits")
    parser.add_argument("--best-of", type=int, default=2, help="candidates drawn for each portrait")
    parser.add_argument("--prompt", default="", help='what to add, such as "plain background"')
    parser.add_argument("--dial", type=float, default=0.5, help="0 = more like the style, 1 = more like the person")
    parser.add_argument("--upscale", type=int, choices=(1, 2, 4), default=1)


def recipe_of(args: argparse.Namespace) -> tuple[Recipe, BaseSpec]:
    """Give what ``add_recipe`` described, and the base that it names. Raises ``ValueError`` for a negative seed."""
    if args.seed < 0:
        raise ValueError(f"--seed must be 0 or more; it is {args.seed}.")
    spec = resolve_base(args.base)
    train = replace(spec.presets[args.preset], seed=args.seed)
    if args.steps:
        train = train.with_steps(args.steps)
    draw = GenerateConfig(
        seed=args.seed, best_of=args.best_of, prompt=args.prompt, dial=args.dial, upscale=args.upscale
    )
    return Recipe(spec.name, engine_here(), train, draw), spec


def cells_of(manifest: Manifest, folder: RunFolder, recipe: Recipe) -> list[Cell]:
    """Give the cells of those who agreed, and write down in ``folder`` who is who; who was forgotten is left out."""
    with folder.changing():
        rows = [row for row in manifest.rows if not is_forgotten(folder, row)]
        numbers = folder.number_of(row.person_id for row in rows)
    if gone := {row.person_id for row in manifest.rows} - {row.person_id for row in rows}:
        print(f"{len(gone)} people are left out, as they wished. {ANEW}", file=sys.stderr)
    cells = {row: Cell.of(row, numbers[row.person_id], recipe) for row in rows if row.consented}
    with folder.changing():  # who was forgotten meanwhile has no number any more
        present = [row for row in rows if row.person_id in folder.numbers()]
        folder.write_entries(
            Entry(row, numbers[row.person_id], cells[row].key if row in cells else "") for row in present
        )
    return [cells[row] for row in present if row in cells]


def forecast_seconds(spec: BaseSpec, recipe: Recipe, count: int) -> float:
    """Foretell how long a cell with ``count`` portraits takes on the device that its base is meant for, in seconds.

    The base is loaded already.
    """
    steps, previews = spec.training_work(recipe.train)
    portraits = previews + spec.drawing_work(replace(recipe.draw, count=count))
    return steps * spec.step_seconds + portraits * spec.portrait_seconds
