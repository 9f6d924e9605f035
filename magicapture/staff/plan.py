"""``staff plan``: hours, money and the break-even before anything is paid for, each with what it hangs on."""

import argparse
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

from magicapture.bases import BaseSpec
from magicapture.staff.batch import Meter, compute_cells
from magicapture.staff.cell import Cell, CellResult, Recipe
from magicapture.staff.check import add_manifest
from magicapture.staff.compute import compute
from magicapture.staff.cost import Bill, Demand, Prices, break_even, cloud_bill, load_prices, own_bill
from magicapture.staff.engines import open_engine
from magicapture.staff.engines.shared import sharing
from magicapture.staff.jobs.hire import Jobs, hire
from magicapture.staff.manifest import read_manifest
from magicapture.staff.recipe import add_recipe, cells_of, forecast_seconds, recipe_of
from magicapture.staff.run import add_prices, show_progress, those_who_allow_it
from magicapture.staff.run_folder import RunFolder

USUAL_HARDWARE = "l4"


def add_command(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    plan = commands.add_parser("plan", help="hours and money before anything is paid for")
    add_manifest(plan)
    add_recipe(plan)
    add_prices(plan)
    plan.add_argument("--measure", type=int, default=0, help="compute so many people and plan with their seconds")
    plan.add_argument("--out", type=Path, help="the run's folder: what is finished there counts as measured")
    plan.add_argument("--places", type=int, help="GPUs side by side; those of the engine if left out")
    plan.set_defaults(run=run_plan)


def run_plan(args: argparse.Namespace) -> tuple[dict, int]:
    """Print what the batch takes, as a Markdown table; the JSON holds the same figures."""
    manifest, prices = read_manifest(args.manifest, args.photos), load_prices(args.prices)
    recipe, spec = recipe_of(args)
    jobs = hire(args.engine, args.jobs, recipe)
    prices = jobs.priced(prices) if jobs else prices
    usual = USUAL_HARDWARE if USUAL_HARDWARE in prices.hardware else next(iter(prices.hardware))
    hardware = jobs.flavour.name if jobs else args.hardware or usual
    prices.of(hardware)
    with TemporaryDirectory(prefix="magicapture-plan-") as temporary:
        folder = RunFolder(args.out or Path(temporary) / "run")
        with folder.computing(), folder.keeping_entries():
            cells = cells_of(manifest, folder, recipe)
            longest = max((forecast_seconds(spec, recipe, cell.count) for cell in cells), default=0.0)
            if jobs:
                cells = those_who_allow_it(cells, folder)
            places = measure(cells, folder, args, jobs, longest)
            results = [result for cell in cells if (result := folder.result(cell.key)) and result.state == "done"]
    demand = demand_of(cells, results, (spec, recipe), places)
    print(as_table(demand, prices, hardware))
    return as_json(demand, prices, hardware), 0


def measure(
    cells: list[Cell], folder: RunFolder, args: argparse.Namespace, jobs: Jobs | None, cell_seconds: float
) -> int:
    """Compute ``args.measure`` cells, spread over the manifest; gives the GPUs side by side.

    ``cell_seconds``: a forecast.
    """
    missing = folder.missing(cells)
    chosen = missing[:: max(len(missing) // args.measure, 1)][: args.measure] if args.measure else []
    if jobs:
        meter = Meter(cell_seconds=cell_seconds)
        if chosen:
            show_progress(jobs.results(chosen, folder, meter), len(chosen), meter)
        return args.places or jobs.places(len(cells), meter.cell_seconds) * jobs.flavour.gpus
    if args.places and not chosen:
        return args.places
    with sharing(args.share, args.engine, folder) as share, closing(open_engine(args.engine, compute, share)) as engine:
        if chosen:
            show_progress(compute_cells(chosen, engine, folder, Meter()), len(chosen), Meter())
        return args.places or engine.places


def demand_of(cells: list[Cell], results: Iterable[CellResult], kind: tuple[BaseSpec, Recipe], places: int) -> Demand:
    """Say how much is to be computed, by measured seconds where there are ``results``."""
    measured = [sum(seconds for stage, seconds in r.seconds.items() if stage != "load") for r in results]
    seconds = measured or [forecast_seconds(*kind, cell.count) for cell in cells] or [0.0]
    people = len({cell.person for cell in cells})
    return Demand(people, len(cells), mean(seconds), places, len(measured))


def ceiling(bill: Bill, prices: Prices) -> float:
    """Give a bound for --max-cost that a run keeps unless something is wrong."""
    return round(bill.compute * (1 + prices.margin) + 0.005, 2)


def as_json(demand: Demand, prices: Prices, hardware: str) -> dict:
    """Give all figures, money in the currency of ``prices``."""
    bill, own = cloud_bill(demand, prices, prices.of(hardware)), own_bill(demand, prices)
    return {
        "people": demand.people,
        "cells": demand.cells,
        "cell_seconds": round(demand.cell_seconds, 1),
        "measured": demand.measured,
        "gpu_hours": round(bill.gpu_hours, 2),
        "hours": round(bill.gpu_hours / demand.places, 2),
        "currency": prices.currency,
        "cloud": {n: round(cloud_bill(demand, prices, h).compute, 2) for n, h in prices.hardware.items()},
        "review": round(bill.review, 2),
        "total": round(bill.total, 2),
        "own": {"electricity": round(own.compute, 2), "fixed": round(own.fixed, 2), "total": round(own.total, 2)},
        "break_even_people": break_even(demand, prices, prices.of(hardware)),
        "max_cost": ceiling(bill, prices),
    }


def as_table(demand: Demand, prices: Prices, hardware: str) -> str:
    """Give every figure as a row of Markdown, with the assumption that it hangs on."""
    own, money, chosen = prices.own, prices.currency, prices.of(hardware)
    bill, owned = cloud_bill(demand, prices, chosen), own_bill(demand, prices)
    even = break_even(demand, prices, chosen)
    how = "a forecast; --measure 3 replaces it"
    if demand.measured:
        how = f"measured on {demand.measured} cells; prices are of GPUs as fast as theirs"
    redone = f"{prices.retries:.0%} of cells twice, {prices.load_seconds:g} s for each worker's start"
    rows = [
        ("people who agreed", f"{demand.people}", "the manifest; some photos may turn out unusable: `staff check`"),
        ("seconds of a cell", f"{demand.cell_seconds:.1f}", how),
        ("GPU hours", f"{bill.gpu_hours:.2f}", redone),
        ("hours until done", f"{bill.gpu_hours / demand.places:.2f}", f"{demand.places} side by side"),
    ]
    for one in prices.hardware.values():
        rented = f"{one.price_per_hour:.2f} {money} an hour on {one.date or prices.date}" + (
            f", {one.speed:g} times as fast as the forecast's GPU" if one.speed != 1 and not demand.measured else ""
        )
        rows.append((f"compute, {one.title}", f"{cloud_bill(demand, prices, one).compute:.2f} {money}", rented))
    review = f"{prices.review_minutes:g} min a person at {prices.wage_per_hour:g} {money} an hour"
    kept = f"{own.price:g} {money}, {own.years:g} years with {own.admin_hours_per_year:g} h of administration each"
    power = f"{own.watts:g} W at {own.tariff_per_kwh:g} {money} a kWh"
    rows += [
        ("human review", f"{bill.review:.2f} {money}", review),
        (f"all in the cloud, {chosen.title}", f"{bill.total:.2f} {money}", f"{prices.cloud_admin_hours:g} h to set up"),
        ("all on an own machine", f"{owned.total:.2f} {money}", f"{kept}; {power}"),
        ("own machine pays off from", "never" if even is None else f"{even} people", f"within {own.years:g} years"),
        ("a ceiling for --max-cost", f"{ceiling(bill, prices):.2f} {money}", f"compute and {prices.margin:.0%} more"),
    ]
    head = ["| figure | value | hangs on |", "|---|---|---|"]
    return "\n".join(head + [f"| {figure} | {value} | {reason} |" for figure, value, reason in rows])
