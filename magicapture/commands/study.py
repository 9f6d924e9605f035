"""``study``: serve a blind comparison of what ``evaluate`` drew."""

import argparse

from magicapture.commands.evaluate import add_plan


def add_command(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    parser = commands.add_parser("study", help="serve a blind comparison of what evaluate drew")
    add_plan(parser)
    parser.set_defaults(run=run_study)


def run_study(args: argparse.Namespace) -> tuple[dict, int]:
    """Serve the blind study on what ``evaluate`` drew, until it is interrupted."""
    from magicapture.evaluation import plan, study  # noqa: PLC0415  as above

    page = study.build_study(plan.load_plan(args.plan), args.data, args.out)
    page.launch(allowed_paths=[str(args.data.resolve()), str(args.out.resolve())])
    return {"answers": str(args.out / study.ANSWERS)}, 0
