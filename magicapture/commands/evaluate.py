"""``evaluate``: compare methods as a plan says, and write a report."""

import argparse
from pathlib import Path


def add_command(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    parser = commands.add_parser("evaluate", help="compare methods; writes a report")
    add_plan(parser)
    parser.set_defaults(run=run_evaluate)


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Describe what a comparison is of, and where it lies."""
    plans = "one of magicapture/evaluation/plans/, such as groups, or a .toml file"
    parser.add_argument("--plan", default="default", help=plans)
    parser.add_argument("--data", type=Path, required=True, help="folder that the plan's patterns start from")
    parser.add_argument("--out", type=Path, required=True, help="what is finished there is not computed again")


def run_evaluate(args: argparse.Namespace) -> tuple[dict, int]:
    """Compare methods as a plan says and write the report."""
    from magicapture.evaluation import compare, plan, report  # noqa: PLC0415  they need the judge's own packages

    comparison = compare.Comparison(plan.load_plan(args.plan), args.data, args.out)
    results = list(comparison.run())
    command = ["evaluate", "--plan", args.plan, "--data", args.data.name, "--out", args.out.name]
    return {"report": str(report.write_report(comparison, results, command)), "cells": len(results)}, 0
