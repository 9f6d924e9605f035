"""Command line: ``python -m magicapture check | train | generate | score | evaluate | study | bench | staff``.

Progress goes to standard error; the last line of standard output is one JSON object.
"""

import argparse
import json
import sys

from magicapture.adapters.adapter import AdapterError
from magicapture.bases import BaseError
from magicapture.commands import bench, check, evaluate, generate, score, staff, study, train

COMMANDS = (check, train, generate, score, evaluate, study, bench, staff)
"""Modules with ``add_command``; ``--help`` lists them in this order."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m magicapture", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for module in COMMANDS:
        module.add_command(commands)
    args = parser.parse_args(arguments)
    try:
        result, status = args.run(args)
    except (AdapterError, BaseError, ValueError, OSError) as error:
        said = sentence_of(error)
        print(said, file=sys.stderr)
        result, status = {"error": said}, 1
    print(json.dumps(result))
    return status


def sentence_of(error: Exception) -> str:
    """Say what was wrong; of a file or folder, which one."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
