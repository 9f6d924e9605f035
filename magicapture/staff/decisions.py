"""What people decided about their own portraits, as the run's log holds it: the last word on each counts."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from magicapture.server.records import Reason
from magicapture.staff.cell import CellResult, DrawnPortrait
from magicapture.staff.run_folder import Entry, RunFolder

INVITED, OPENED, KEPT, REJECTED = "review_invited", "review_opened", "portrait_kept", "portrait_rejected"
"""Lines of the run's log; the last two name a cell's key and the portrait's file in it."""

Decision = Literal["kept", "rejected", "open"]


@dataclass(frozen=True)
class Decided:
    """A portrait that was put to its person, and what they said; ``reason`` of a rejected one."""

    entry: Entry
    result: CellResult
    portrait: DrawnPortrait
    decision: Decision = "open"
    reason: Reason | None = None


def decided(folder: RunFolder) -> Iterator[Decided]:
    """Give all portraits of the run, cell by cell in the order of the rows, the best first."""
    last = {(line["key"], line["file"]): line for line in folder.log_lines() if line["what"] in (KEPT, REJECTED)}
    for entry in folder.entries():
        result = folder.result(entry.key)
        for portrait in result.portraits if result else ():
            line = last.get((entry.key, portrait.file))
            if line is None:
                yield Decided(entry, result, portrait)
            elif line["what"] == KEPT:
                yield Decided(entry, result, portrait, "kept")
            else:
                yield Decided(entry, result, portrait, "rejected", line["reason"])


def kept_by_person(folder: RunFolder) -> dict[str, list[Decided]]:
    """Give what was kept by each person's id, the most like them first; who kept nothing is left out."""
    found: dict[str, list[Decided]] = defaultdict(list)
    for one in decided(folder):
        if one.decision == "kept":
            found[one.entry.row.person_id].append(one)
    for portraits in found.values():
        portraits.sort(key=lambda one: -2.0 if one.portrait.likeness is None else one.portrait.likeness, reverse=True)
    return dict(found)


def review_minutes(folder: RunFolder) -> list[float]:
    """Give, for each person of the run who decided anything, the minutes from opening the review to the last word."""
    present = {entry.person for entry in folder.entries()}
    opened: dict[int, datetime] = {}
    ended: dict[int, datetime] = {}
    for line in folder.log_lines():
        if line.get("person") in present:
            at = datetime.fromisoformat(line["at"])
            if line["what"] == OPENED:
                opened.setdefault(line["person"], at)
            elif line["what"] in (KEPT, REJECTED):
                ended[line["person"]] = at
    return [(ended[person] - opened[person]).total_seconds() / 60 for person in opened.keys() & ended.keys()]
