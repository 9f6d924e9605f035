"""``staff forget``: everything of one person, wherever this program put it; the log says so without naming them."""

import argparse
import json
from pathlib import Path

from magicapture.staff.engines.shared import clear_share
from magicapture.staff.export import remove_exported
from magicapture.staff.forgotten import remember
from magicapture.staff.invite import withdraw_invitation
from magicapture.staff.jobs.collect import end_jobs
from magicapture.staff.run_folder import CELLS, RESULT, RunFolder


class UnknownPersonError(ValueError):
    """Someone who is not in the run."""


def add_command(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    forget_ = commands.add_parser("forget", help="delete everything of one person, everywhere")
    forget_.add_argument("run_folder", metavar="RUN", type=Path, help="folder of the run")
    forget_.add_argument("person", metavar="PERSON", help="their person_id in the manifest")
    forget_.set_defaults(run=run_forget)


def run_forget(args: argparse.Namespace) -> tuple[dict, int]:
    """Forget one person and say what went."""
    folder = RunFolder.existing(args.run_folder)
    number = folder.numbers().get(args.person)
    if number is None:
        raise UnknownPersonError(
            "Nobody in this run has that id: there is nothing of theirs, or it is deleted already."
        )
    gone = forget(folder, number)
    print("Their photos, and the manifest that names them, are yours: they were read and not changed.")
    return gone, 0


def forget(folder: RunFolder, person: int) -> dict[str, int]:
    """Delete all of the person with this number in the run; gives how many things of each kind went.

    What jobs have of them at the Hub, cells of this and earlier runs, what was exported, the review with its link, rows
    and number. Their number goes last, so that what was broken off can be begun again.
    """
    end_jobs(folder, person)
    clear_share(folder, {entry.key for entry in folder.entries() if entry.person == person})
    with folder.changing():
        ids = [name for name, number in folder.numbers().items() if number == person]
        for name in ids:
            remember(folder, name)
        cells = [path.parent.name for path in (folder.folder / CELLS).glob(f"*/{RESULT}") if _whose(path) == person]
        for key in {*cells, *(entry.key for entry in folder.entries() if entry.person == person and entry.key)}:
            folder.discard(key)
        exported = sum(remove_exported(folder, name) for name in ids)
        reviews = withdraw_invitation(folder, person)
        folder.write_entries(entry for entry in folder.entries() if entry.person != person)
        folder.forget_number(person)
        if ids:  # else somebody else was quicker
            folder.log("forgotten")
    return {"cells": len(cells), "exported": exported, "reviews": reviews}


def _whose(result: Path) -> int:
    return json.loads(result.read_text())["person"]
