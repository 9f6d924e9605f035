"""``staff report``: how a pilot went, in numbers with their intervals; no faces, no names."""

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from magicapture.evaluation.study import count_answers
from magicapture.staff.cell import SET
from magicapture.staff.cost import Prices, load_prices
from magicapture.staff.decisions import Decided, decided, review_minutes
from magicapture.staff.intervals import newcombe, wilson
from magicapture.staff.report_text import as_markdown, likeness_plot
from magicapture.staff.run import add_prices
from magicapture.staff.run_folder import RunFolder

FEWEST = 5
"""A group of fewer people is not told of: its members would be."""
JSON, MARKDOWN, PLOT = "report.json", "report.md", "likeness.svg"


def add_command(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    report = commands.add_parser("report", help="how it went, in numbers: Markdown, JSON and a plot")
    report.add_argument("run_folder", metavar="RUN", type=Path, help="folder of the run")
    report.add_argument("--out", type=Path, help="folder for the report; RUN/report if left out")
    report.add_argument("--study", type=Path, help="folder of an evaluation whose blind study's votes count here")
    add_prices(report)
    report.set_defaults(run=run_report)


def run_report(args: argparse.Namespace) -> tuple[dict, int]:
    """Write the report and print it."""
    folder = RunFolder.existing(args.run_folder)
    figures = figures_of(folder, load_prices(args.prices), args.hardware, args.study)
    out = args.out or folder.folder / "report"
    out.mkdir(parents=True, exist_ok=True)
    (out / JSON).write_text(json.dumps(figures, indent=1) + "\n")
    (out / PLOT).write_text(likeness_plot(figures["likeness"]))
    (out / MARKDOWN).write_text(as_markdown(figures, PLOT))
    print((out / MARKDOWN).read_text())
    return {"report": str(out / MARKDOWN), **figures["people"]}, 0


@dataclass(frozen=True)
class Person:
    """How far one person came. ``group``: as they gave it, or nothing."""

    group: str
    consented: bool
    usable: bool
    kept: bool


def figures_of(folder: RunFolder, prices: Prices, hardware: str | None = None, study: Path | None = None) -> dict:
    """Give all numbers of the report as plain values."""
    portraits, log = list(decided(folder)), folder.log_lines()
    people = _people(folder, portraits)
    told = Counter(line["what"] for line in log)
    minutes = review_minutes(folder)
    invited, withdrawn = len(people) + told["forgotten"], told["forgotten"]
    consented, usable, kept = (sum(getattr(one, step) for one in people) for step in ("consented", "usable", "kept"))
    return {
        "people": {"invited": invited, "withdrawn": withdrawn, "consented": consented, "usable": usable, "kept": kept},
        "steps": {
            "consented": _share(consented, invited),
            "usable": _share(usable, consented),
            "kept": _share(kept, usable),
        },
        "not_computed": sum(1 for e in folder.entries() if e.key and folder.result(e.key) is None),
        "unusable": _unusable(folder),
        "portraits": _portraits(portraits),
        "likeness": {
            name: sorted(_3(one.portrait.likeness or 0.0) for one in portraits if _is(one, name))
            for name in ("kept", "rejected")
        },
        "review": {"people": len(minutes), "minutes": _spread(minutes)},
        "cost": _cost(folder, log, prices, hardware, sum(minutes), sum(one.decision == "kept" for one in portraits)),
        "incidents": {
            "retries": told["cell_retried"],
            "failures": told["cell_failed"],
            "errors": dict(Counter(line["error"] for line in log if "error" in line)),
        },
        "deletions": {"portraits_rejected": told["portrait_rejected"], "people_forgotten": withdrawn},
        "groups": _groups(people),
        "study": {method: _votes(shares) for method, shares in (count_answers(study) if study else {}).items()},
    }


def _people(folder: RunFolder, portraits: Iterable[Decided]) -> list[Person]:
    """Sum the rows up by person: usable is who has portraits, in whichever look."""
    keeping = {one.entry.person for one in portraits if one.decision == "kept"}
    done = {result.person for result in folder.results() if result.state == "done"}
    rows = {entry.person: entry.row for entry in folder.entries()}
    return [Person(row.group, row.consented, number in done, number in keeping) for number, row in rows.items()]


def _share(part: int, whole: int) -> dict[str, object]:
    low, high = wilson(part, whole)
    return {"of": whole, "n": part, "share": _rounded(part / whole if whole else None), "interval": [_3(low), _3(high)]}


def _unusable(folder: RunFolder) -> dict[str, int]:
    """Count cells by what is wrong with their photos; with the set as a whole only where nothing else is."""
    found = [result for result in folder.results() if result.state == "unusable"]
    faults = [{problem.code for problem in r.problems if problem.severity == "unusable"} for r in found]
    return dict(Counter(code for codes in faults for code in (codes - {SET} or codes)))


def _portraits(portraits: list[Decided]) -> dict[str, object]:
    by_decision = Counter(one.decision for one in portraits)
    spoken = by_decision["kept"] + by_decision["rejected"]
    reasons = Counter(one.reason for one in portraits if one.reason)
    return {
        "drawn": len(portraits),
        "undecided": by_decision["open"],
        "kept": _share(by_decision["kept"], spoken),
        "reasons": dict(reasons.most_common()),
    }


def _is(one: Decided, decision: str) -> bool:
    return one.decision == decision and one.portrait.likeness is not None


def _cost(
    folder: RunFolder, log: list[dict], prices: Prices, hardware: str | None, minutes: float, kept: int
) -> dict[str, object]:
    """Give what it cost: compute as the run was charged, or by the seconds of its cells on ``hardware``; and review."""
    seconds = sum(sum(result.seconds.values()) for result in folder.results())
    charged = max((line["spent"] for line in log if "spent" in line), default=0.0)
    rate = prices.of(hardware).price_per_hour if hardware else None
    compute = charged or (seconds / 3600 * rate if rate is not None else None)
    review = minutes / 60 * prices.wage_per_hour
    whole = None if compute is None else compute + review
    return {
        "currency": prices.currency,
        "gpu_hours": _3(seconds / 3600),
        "compute": _rounded(compute),
        "review": _3(review),
        "wage_per_hour": prices.wage_per_hour,
        "per_kept_portrait": _rounded(whole / kept if whole is not None and kept else None),
        "gpu_seconds_per_kept_portrait": _rounded(seconds / kept if kept else None),
    }


def _groups(people: list[Person]) -> dict[str, object]:
    """Compare groups where people gave one; those of fewer than ``FEWEST`` who agreed are left out, and told only so.

    Where one alone would be left out, the next smallest goes too: it could be found by subtracting.
    """
    given = {one.group for one in people if one.group and one.consented}
    if not given:
        return {}
    members = {name: [one for one in people if one.consented and one.group == name] for name in {*given, ""}}
    members = {name: found for name, found in members.items() if found}
    by_size = sorted(members, key=lambda name: (len(members[name]), name))
    hidden = [name for name in by_size if len(members[name]) < FEWEST]
    if len(hidden) == 1 and len(by_size) > 1:
        hidden = by_size[:2]
    shown = [name for name in reversed(by_size) if name not in hidden and name]
    kept: dict[str, tuple[int, int]] = {n: (sum(one.kept for one in members[n]), len(members[n])) for n in shown}
    reference = shown[0] if shown else None
    return {
        "reference": reference,
        "hidden": len(hidden),
        "shown": {
            name: {"kept": _share(*kept[name]), "difference": _difference(kept[name], kept[shown[0]])} for name in shown
        },
    }


def _difference(one: tuple[int, int], other: tuple[int, int]) -> list[float] | None:
    """Give the interval of the difference of two shares; None of a group and itself."""
    return None if one is other else [_3(bound) for bound in newcombe(*one, *other)]


def _votes(shares: dict[str, float]) -> dict[str, object]:
    pairs = int(shares["pairs"])
    return {question: _share(round(share * pairs), pairs) for question, share in shares.items() if question != "pairs"}


def _spread(values: list[float]) -> dict[str, float | list[float]] | None:
    """Give median and quartiles; None of nothing."""
    if not values:
        return None
    low, _, high = quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return {"median": _3(median(values)), "quartiles": [_3(low), _3(high)], "sum": _3(sum(values))}


def _3(value: float) -> float:
    return round(value, 3)


def _rounded(value: float | None) -> float | None:
    return None if value is None else _3(value)
