"""The pilot report as a reader sees it: Markdown, and the plot of likeness as SVG."""

from collections.abc import Iterator
from html import escape
from statistics import median

from magicapture.staff.cell import SET

NO_DIFFERENCE = (
    "A pilot of this size cannot show the absence of a difference: an interval that holds 0 says that the difference "
    "was not measured, not that there is none."
)
REASONS = {
    "not_like_me": "does not look like the person",
    "not_the_style": "is not in the style",
    "artefacts": "has visible faults",
    "other": "another reason",
}
QUESTIONS = {"likeness": "more like the person", "style": "nearer to the style", "natural": "more natural"}
BINS = [place / 10 for place in range(-2, 11)]
"""Edges of the plot's bars; what lies below or above is counted in the outermost."""
BAR, GAP, HEIGHT, LEFT, TOP = 16, 10, 140, 40, 30
COLOURS = {"kept": "#3566b8", "rejected": "#c8752a"}


def as_markdown(figures: dict, plot: str) -> str:
    """Write the report. ``plot``: where the picture of ``likeness_plot`` lies, as the Markdown names it."""
    parts = (_people, _portraits, lambda told: _likeness(told, plot), _effort, _incidents, _groups, _study)
    head = "# Pilot report\n\nPeople and portraits are counted; nobody is named or shown. Intervals are 95 %."
    return "\n\n".join([head, *("\n".join(part(figures)) for part in parts if list(part(figures)))]) + "\n"


def percent(share: dict) -> str:
    """Say a share with its interval."""
    if share["share"] is None:
        return "–"
    low, high = share["interval"]
    return f"{share['share']:.0%} ({low:.0%} to {high:.0%})"


def _table(*rows: tuple[object, ...]) -> Iterator[str]:
    for place, row in enumerate(rows):
        yield f"| {' | '.join(_cell(value) for value in row)} |"
        if place == 0:
            yield "|" + "---|" * len(row)


def _cell(value: object) -> str:
    """Make a value safe within a table: a group's name is whatever somebody wrote."""
    return escape(" ".join(str(value).split()), quote=False).replace("|", "\\|").replace("`", "'").replace("[", "\\[")


def _people(figures: dict) -> Iterator[str]:
    people, steps = figures["people"], figures["steps"]
    yield "## People\n"
    yield from _table(
        ("step", "people", "of those before"),
        ("invited", people["invited"], ""),
        ("agreed", people["consented"], percent(steps["consented"])),
        ("usable photos", people["usable"], percent(steps["usable"])),
        ("kept a portrait", people["kept"], percent(steps["kept"])),
    )
    if people["withdrawn"]:
        yield f"\nWithdrew, and were forgotten: {people['withdrawn']}; of them nothing but this number is left."
    if figures["not_computed"]:
        yield f"\nNot computed yet: {figures['not_computed']}."
    if figures["unusable"]:
        named = {code: "the set as a whole" if code == SET else code.replace("_", " ") for code in figures["unusable"]}
        faults = ", ".join(f"{named[code]} ({count})" for code, count in figures["unusable"].items())
        yield f"\nPhotos that could not be used, by what was wrong: {faults}."


def _portraits(figures: dict) -> Iterator[str]:
    portraits = figures["portraits"]
    yield "## Portraits\n"
    yield f"{portraits['drawn']} were put to their people; {portraits['undecided']} of them are undecided."
    share = portraits["kept"]
    yield (
        f"Of the {share['of']} others {share['n']} were kept: {percent(share)}, as if each had been judged by itself; "
        "those of one person go together, so the interval is too narrow."
    )
    if portraits["reasons"]:
        yield ""
        rows = [(REASONS[reason], count) for reason, count in portraits["reasons"].items()]
        yield from _table(("rejected because it", "portraits"), *rows)


def _likeness(figures: dict, plot: str) -> Iterator[str]:
    kept, rejected = figures["likeness"]["kept"], figures["likeness"]["rejected"]
    if not (kept or rejected):
        return
    yield "## Likeness\n"
    rows = [(name, len(v), f"{median(v):.2f}") for name, v in (("kept", kept), ("rejected", rejected)) if v]
    yield from _table(("portraits", "number", "median likeness"), *rows)
    yield f"\n![Likeness of kept and rejected portraits]({plot})"


def _effort(figures: dict) -> Iterator[str]:
    review, cost = figures["review"], figures["cost"]
    money = cost["currency"]
    yield "## Time and money\n"
    rows = [("GPU hours (or hours of the CPU that stood in for one)", f"{cost['gpu_hours']:.2f}")]
    if spread := review["minutes"]:
        low, high = spread["quartiles"]
        middle = f"{spread['median']:.2f} (quartiles {low:.2f} to {high:.2f})"
        rows.append((f"minutes of review, median of {review['people']} people", middle))
    if cost["compute"] is not None:
        rows.append(("compute", f"{cost['compute']:.2f} {money}"))
    rows.append((f"people's own time, at {cost['wage_per_hour']:g} {money} an hour", f"{cost['review']:.2f} {money}"))
    if cost["per_kept_portrait"] is not None:
        rows.append(("cost per kept portrait", f"{cost['per_kept_portrait']:.2f} {money}"))
    elif cost["gpu_seconds_per_kept_portrait"] is not None:
        rows.append(
            ("seconds per kept portrait; --hardware turns them into money", cost["gpu_seconds_per_kept_portrait"])
        )
    yield from _table(("what", "how much"), *rows)


def _incidents(figures: dict) -> Iterator[str]:
    incidents, deletions = figures["incidents"], figures["deletions"]
    yield "## Incidents and deletions\n"
    yield from _table(
        ("what", "number"),
        ("computed once more", incidents["retries"]),
        ("failed three times", incidents["failures"]),
        *((f"of these: {error}", count) for error, count in incidents["errors"].items()),
        ("portraits rejected and deleted", deletions["portraits_rejected"]),
        ("people forgotten at their wish", deletions["people_forgotten"]),
    )


def _groups(figures: dict) -> Iterator[str]:
    groups = figures["groups"]
    if not groups:
        return
    yield "## Groups\n"
    rows = [
        (name, one["kept"]["of"], percent(one["kept"]), "–" if d is None else f"{d[0]:+.0%} to {d[1]:+.0%}")
        for name, one in groups["shown"].items()
        for d in (one["difference"],)
    ]
    if rows:
        yield from _table(("group, as people gave it", "agreed", "kept a portrait", "difference to the first"), *rows)
        yield ""
    yield f"Not shown, so that nobody can be told from a number: {groups['hidden']} groups. {NO_DIFFERENCE}"


def _study(figures: dict) -> Iterator[str]:
    if not figures["study"]:
        return
    yield "## Blind study\n"
    rows = [
        (method, *(percent(votes[question]) for question in QUESTIONS)) for method, votes in figures["study"].items()
    ]
    yield from _table(("method", *QUESTIONS.values()), *rows)


def likeness_plot(likeness: dict[str, list[float]]) -> str:
    """Draw how many portraits were kept and rejected by their likeness, as SVG."""
    counts = {name: [0] * (len(BINS) - 1) for name in COLOURS}
    for name, values in likeness.items():
        for value in values:
            counts[name][min(max(int((value - BINS[0]) * 10 + 1e-9), 0), len(BINS) - 2)] += 1
    most = max(1, *(max(row) for row in counts.values()))
    step = 2 * BAR + GAP
    width, foot = LEFT + step * (len(BINS) - 1) + 10, TOP + HEIGHT
    size = f'viewBox="0 0 {width} {foot + 46}" font-family="sans-serif" font-size="11" fill="#444"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size}><rect width="100%" height="100%" fill="#fff"/>']
    for place, (name, row) in enumerate(counts.items()):
        parts.append(f'<rect x="{LEFT + 90 * place}" y="8" width="11" height="11" fill="{COLOURS[name]}"/>')
        parts.append(f'<text x="{LEFT + 90 * place + 16}" y="18">{name}</text>')
        for bin_, count in enumerate(row):
            high = HEIGHT * count / most
            x = LEFT + step * bin_ + GAP / 2 + BAR * place
            parts.append(
                f'<rect x="{x:g}" y="{foot - high:.1f}" width="{BAR}" height="{high:.1f}" fill="{COLOURS[name]}"/>'
            )
    parts.append(f'<path d="M{LEFT} {TOP}V{foot}H{width - 10}" fill="none" stroke="#888"/>')
    parts += [
        f'<text x="{LEFT + step * i}" y="{foot + 16}" text-anchor="middle">{e:g}</text>' for i, e in enumerate(BINS)
    ]
    parts.append(f'<text x="{LEFT - 6}" y="{TOP + 8}" text-anchor="end">{most}</text>')
    parts.append(f'<text x="{LEFT - 6}" y="{foot}" text-anchor="end">0</text>')
    parts.append(f'<text x="{(LEFT + width) / 2:g}" y="{foot + 36}" text-anchor="middle">likeness</text></svg>\n')
    return "\n".join(parts)
