"""``staff run``: everyone's portraits, from wherever the last run ended."""

import argparse
import sys
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from magicapture.staff.batch import Meter, compute_cells, spent_before
from magicapture.staff.cell import Cell, CellResult
from magicapture.staff.check import add_manifest
from magicapture.staff.compute import compute
from magicapture.staff.cost import Prices, load_prices
from magicapture.staff.engines import EngineError, open_engine
from magicapture.staff.engines.shared import clear_share, sharing
from magicapture.staff.jobs.collect import end_jobs
from magicapture.staff.jobs.hire import Jobs, hire
from magicapture.staff.manifest import CLOUD, read_manifest
from magicapture.staff.recipe import add_recipe, cells_of, forecast_seconds, recipe_of
from magicapture.staff.review import add_links, open_review
from magicapture.staff.run_folder import RunFolder


def add_command(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    run = commands.add_parser("run", help="train and draw everyone who agreed; goes on from what is finished in --out")
    add_manifest(run)
    add_recipe(run)
    run.add_argument("--out", type=Path, required=True, help="folder of the run")
    run.add_argument("--max-cost", type=float, help="what all runs in --out together may cost; needs --hardware")
    add_prices(run)
    run.add_argument(
        "--review", action="store_true", help="let people decide at once: links as `staff review` writes them"
    )
    add_links(run)
    run.set_defaults(run=run_run)


def add_prices(parser: argparse.ArgumentParser) -> None:
    """Describe what says how much an hour costs."""
    parser.add_argument("--prices", type=Path, help="a TOML file like magicapture/staff/prices.toml")
    parser.add_argument("--hardware", help="what the engine runs on, by its name in the prices")


def run_run(args: argparse.Namespace) -> tuple[dict, int]:
    """Compute what is missing; status 1 if something failed or is left."""
    manifest, prices = read_manifest(args.manifest, args.photos), load_prices(args.prices)
    recipe, spec = recipe_of(args)
    jobs = hire(args.engine, args.jobs, recipe)
    price = jobs.flavour.per_hour if jobs else price_of(prices, args.hardware, args.max_cost)
    folder, started = RunFolder(args.out), time.monotonic()
    with folder.computing():
        cells = agreed = cells_of(manifest, folder, recipe)
        if jobs:
            cells = those_who_allow_it(agreed, folder)
        else:
            end_jobs(folder)  # of earlier runs
        clear_share(folder)  # of a run that was killed
        missing = folder.missing(cells)
        print(f"{len(cells)} cells on {spec.title}, {len(cells) - len(missing)} of them done before.", file=sys.stderr)
        longest = max((forecast_seconds(spec, recipe, cell.count) for cell in missing), default=0.0)
        meter = Meter(price, args.max_cost, longest, spent_before(folder))
        skipped = len(manifest.skipped)
        folder.log("run_started", cells=len(cells), missing=len(missing), skipped=skipped, engine=args.engine)
        failed = compute_missing(missing, folder, meter, jobs, args)
        states = counted(missing, failed, folder)
        review = open_review(folder, args.links, args.address) if args.review else {}
        folder.log("run_ended", spent=round(meter.spent, 4), **states)
    if states["left"] and args.max_cost is not None:
        ceiling = f"--max-cost {args.max_cost:g} allows no more: {meter.spent:.2f} are spent"
        print(
            f"{ceiling}, {states['left']} cells are left. The same command with a higher one goes on.", file=sys.stderr
        )
    return {
        "run": str(args.out),
        "people": len(manifest.people),
        "skipped": skipped,
        **({"no_cloud": len(agreed) - len(cells)} if jobs else {}),
        "before": len(cells) - len(missing),
        **states,
        "seconds": round(time.monotonic() - started, 1),
        "place_seconds": round(meter.place_seconds, 1),
        "cost": round(meter.spent, 2) if price else None,
        **({"review": review} if review else {}),
    }, 1 if states["left"] or states["failed"] else 0


def compute_missing(
    missing: list[Cell], folder: RunFolder, meter: Meter, jobs: Jobs | None, args: argparse.Namespace
) -> set[str]:
    """Compute on the engine that ``args`` name; gives the keys of cells that failed."""
    if jobs:  # also where nothing is missing: earlier runs may have left some at the Hub
        return show_progress(jobs.results(missing, folder, meter), len(missing), meter)
    if not missing:
        return set()
    with sharing(args.share, args.engine, folder) as share, closing(open_engine(args.engine, compute, share)) as engine:
        return show_progress(compute_cells(missing, engine, folder, meter), len(missing), meter)


def counted(missing: list[Cell], failed: set[str], folder: RunFolder) -> dict[str, int]:
    """Say what became of ``missing``; who was forgotten meanwhile counts nowhere."""
    states = dict.fromkeys(("done", "unusable", "failed", "left"), 0)
    for cell in missing:
        if not folder.has_forgotten(cell.person):
            result = folder.result(cell.key)
            states[result.state if result else "failed" if cell.key in failed else "left"] += 1
    return states


def price_of(prices: Prices, hardware: str | None, ceiling: float | None) -> float:
    """Give the price of a place per hour, 0 where nobody asks. Raises ``EngineError`` for a ceiling without one."""
    if hardware is None and ceiling is not None:
        raise EngineError(f"--max-cost needs a price: name --hardware, one of {', '.join(prices.hardware)}.")
    return prices.of(hardware).price_per_hour if hardware else 0.0


def those_who_allow_it(cells: list[Cell], folder: RunFolder) -> list[Cell]:
    """Leave out those who agreed, but to no cloud; says how many."""
    allowed = {entry.key for entry in folder.entries() if entry.row.allows_cloud}
    kept = [cell for cell in cells if cell.key in allowed]
    if len(kept) < len(cells):
        people = len({cell.person for cell in cells} - {cell.person for cell in kept})
        print(f'{people} people are left out: "{CLOUD}" is no item of their consent_scope.', file=sys.stderr)
    return kept


def show_progress(results: Generator[CellResult], cells: int, meter: Meter) -> set[str]:
    """Take results under a progress bar with rate, failures and time left; an interrupt ends it, what is done stays.

    Gives the keys of cells that failed. People are told by their number alone.
    """
    unusable, failed = 0, set()
    with closing(results), tqdm(total=cells, unit="cell", smoothing=0.1) as bar:
        try:
            for result in results:
                if result.state == "failed":
                    failed.add(result.key)
                unusable += result.state == "unusable"
                if result.state != "done":
                    codes = {problem.code for problem in result.problems if problem.severity == "unusable"}
                    why = result.error or ", ".join(sorted(codes))
                    bar.write(f"person {result.person}: {result.state} ({why})", sys.stderr)
                bar.set_postfix(failed=len(failed), unusable=unusable, cost=f"{meter.spent:.2f}")
                bar.update()
        except (KeyboardInterrupt, OSError) as error:  # the latter of a full disk
            print("Broken off; what is finished stays, and the same command goes on from there.", file=sys.stderr)
            if isinstance(error, OSError):
                raise
    return failed
