"""The command ``staff``: each of its sub-commands stands in a module of its own, which describes it."""

from argparse import _SubParsersAction

from magicapture.staff import check, export, forget, plan, report, review, run

COMMANDS = (check, plan, run, review, report, export, forget)
"""Modules with ``add_command``, in the order in which a batch takes them."""


def add_command(commands: _SubParsersAction) -> None:
    """Describe ``staff``."""
    staff = commands.add_parser("staff", help="portraits of all of a company's people")
    sub_commands = staff.add_subparsers(required=True)
    for module in COMMANDS:
        module.add_command(sub_commands)
