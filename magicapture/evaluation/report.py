"""The report of a comparison: Markdown with tables, a scatter plot, a contact sheet with the same seeds, and a CSV."""

import csv
import os
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from magicapture.evaluation.compare import Comparison
from magicapture.evaluation.methods import METHODS
from magicapture.evaluation.plan import Table, picture_of
from magicapture.evaluation.study import QUESTIONS, count_answers
from magicapture.evaluation.summary import Estimate, Summary, cells_of, faceless, likeness, summarise

COLUMNS = {
    "likeness": "likeness ↑",
    "way": "of the way ↑",
    "style": "style ↑",
    "style_way": "of the look's way ↑",
    "faceless": "no face ↓",
    "copied": "copied ↓",
    "copy_paste": "copy-paste ↓",
    "person_only": "only the person ↓",
    "style_only": "only the style ↓",
    "leak": "leak ↓",
    "diversity": "diversity ↑",
    "sharpness": "sharpness ↑",
    "aesthetic": "aesthetic ↑",
    "seconds": "training (s)",
}
WITH_INTERVAL = ("likeness", "style")
IN_PERCENT = ("way", "style_way", "faceless", "copied", "person_only", "style_only")
LEGEND = """\
**Likeness**: 1 − distance to photos that training did not see, by a recogniser that no loss and no choice of a state
looks at (dlib, where nothing else is said: two photos of one person have about 0.6, strangers about 0.2); a portrait
without a face counts 0. **Of the way**: the same, from the untouched base (0 %) to real photos of the person (100 %).
**Style**: cosine of features to the style's pictures, faces masked out (ImageNet's, where the plan does not say CLIP).
**Of the look's way**: the same, from the untouched base (0 %) to the style's own pictures (100 %), where these lie
further.
**Copied**: portraits whose pixels repeat one photo of the training. **Copy-paste**: from the person in general (0) to
the face of one photo of the training (1). **Only the person**: no more of the style than the person's photos have by
themselves, on the pairs where photos and style are told apart; **only the style**: no more likeness than the untouched
base has. **Leak**: share of the person's attention outside the face. **Diversity**: mean 1 − cos between portraits.
**Sharpness**: Laplacian over contrast of the face. In brackets: Student's 95 % intervals over people, between groups
Welch's; of one person alone over looks."""
PLOT, KEY = 420, 280
"""Side of the scatter plot and width of its key, in its own units."""
SIDE, CAPTION = 96, 190
"""Of the contact sheet's pictures and of the methods' names beside them, in pixels."""
SHOWN = 4


def write_report(comparison: Comparison, results: list[dict], command: list[str]) -> Path:
    """Write ``report.md`` and what it shows below the comparison's folder; gives its path."""
    out, plan = comparison.out, comparison.plan
    out.mkdir(parents=True, exist_ok=True)
    write_csv(results, out / "portraits.csv")
    sections = []
    for number, table in enumerate(plan.tables, start=1):
        summaries = summarise(results, table)
        scatter = out / f"scatter-{number}.svg"
        scatter.write_text(scatter_plot(summaries))
        sections.append(section(table, summaries, results, scatter.name))
    steps = f"{plan.steps} steps" if plan.steps else f"as many steps as the preset {plan.preset} has"
    head = (
        f"# Comparison\n\nBase: {plan.base}, {steps}, {plan.images} portraits of each pair.\n\n"
        f"```bash\n{shlex.join(['python', '-m', 'magicapture', *command])}\n```\n\n{machine()}\n\n{LEGEND}\n"
    )
    if plan.pictures:
        contact_sheet(comparison, plan.tables[0]).save(out / "sheet.png", optimize=True)
        sections.append("## The same seeds side by side\n\n![portraits by method](sheet.png)\n")
    if answers := count_answers(out):
        sections.append(study_section(answers))
    (out / "report.md").write_text("\n".join([head, *sections]))
    return out / "report.md"


def section(table: Table, summaries: dict[str, Summary], results: list[dict], scatter: str) -> str:
    """Write one table of the report, the likeness to people and groups, and its plot."""
    counts = f"People: {table.people}, styles: {table.styles}, trainings of each pair: {table.seeds}"
    known = [key for key in COLUMNS if any(getattr(summary, key).mean is not None for summary in summaries.values())]
    rows = [["method", *(COLUMNS[key] for key in known)]]
    rows += [[METHODS[name].title, *(_cell(key, summary) for key in known)] for name, summary in summaries.items()]
    tables = [rows, person_rows(results, table), *(group_rows(results, table, kind) for kind in table.groups)]
    plot = f"![likeness against style]({scatter})"
    return "\n\n".join([f"## {table.title}", f"{counts}.", *map(_markdown, tables), f"{plot}\n"])


def person_rows(results: list[dict], table: Table) -> list[list[str]]:
    """Lay out the likeness to each person, and how often no face was found where that happened."""
    rows = [["likeness to (no face)", *(f"person {i + 1}" for i in range(table.people))]]
    for method in table.methods:
        rows.append([METHODS[method].title])
        for person in range(table.people):
            cells = cells_of(results, table, method, [person])
            missing = np.mean([faceless(cell) for cell in cells])
            rows[-1].append(
                f"{np.mean([likeness(cell) for cell in cells]):.2f}" + (f" ({missing:.0%})" if missing else "")
            )
    return rows


def group_rows(results: list[dict], table: Table, kind: str) -> list[list[str]]:
    """Lay out the likeness to each group of people of one kind, and how far each lies above the first one."""
    (first, reference), *others = table.groups[kind].items()
    gaps = [title for name, people in others for title in (_counted(name, people), f"{name} − {first}")]
    rows = [[f"likeness by {kind}", _counted(first, reference), *gaps]]
    for method in table.methods:
        theirs, *found = (
            [float(np.mean([likeness(cell) for cell in cells_of(results, table, method, [i - 1])])) for i in people]
            for people in table.groups[kind].values()
        )
        rows.append([METHODS[method].title, f"{np.mean(theirs):.2f}"])
        for values in found:
            rows[-1] += [f"{np.mean(values):.2f}", _measured(Estimate.of_gap(values, theirs), 2)]
    return rows


def _counted(group: str, people: list[int]) -> str:
    return f"{group} ({len(people)})"


def study_section(answers: dict[str, dict[str, float]]) -> str:
    """Write what people said in the blind study."""
    rows = [["method", "pairs", *QUESTIONS.values()]]
    for method, shares in answers.items():
        rows.append(
            [METHODS[method].title, str(shares["pairs"]), *(f"{shares[question]:.0%}" for question in QUESTIONS)]
        )
    return f"## By eye\n\nShare of blind pairs that each method won.\n\n{_markdown(rows)}\n"


def _cell(key: str, summary: Summary) -> str:
    found: Estimate = getattr(summary, key)
    if found.mean is None:
        return "–"
    if key in IN_PERCENT:
        return f"{round(found.mean, 2) + 0:.0%}"  # + 0: no "-0%"
    digits = 0 if key == "seconds" else 2
    return _measured(found, digits) if key in WITH_INTERVAL else f"{found.mean:.{digits}f}"


def _measured(found: Estimate, digits: int) -> str:
    mean, low, high = found.measured
    return f"{mean:.{digits}f}" + ("" if found.low is None else f" [{low:.{digits}f}, {high:.{digits}f}]")


def _markdown(rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def write_csv(results: list[dict], path: Path) -> None:
    """Write one line per portrait."""
    with path.open("w", newline="") as file:
        names = ["method", "person", "style", "seed", "place", *results[0]["portraits"][0]]
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for cell in results:
            facts = {name: cell[name] for name in ("method", "person", "style", "seed")}
            for place, portrait in enumerate(cell["portraits"]):
                writer.writerow({**facts, "place": place, **portrait})


def scatter_plot(summaries: dict[str, Summary]) -> str:
    """Draw likeness (across) against style (up) with their intervals, one point per method, as SVG."""
    drawn = {METHODS[name].title: (s.likeness.measured, s.style.measured) for name, s in summaries.items()}
    across, up = zip(*drawn.values(), strict=True)
    x, y = _scale(across, 40, PLOT - 20), _scale(up, PLOT - 40, 20)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {PLOT + KEY} {PLOT}" font-family="sans-serif">']
    parts.append(f'<rect width="{PLOT + KEY}" height="{PLOT}" fill="white"/>')
    parts.append(f'<text x="{PLOT / 2}" y="{PLOT - 8}" font-size="13" text-anchor="middle">likeness →</text>')
    parts.append(f'<text x="14" y="{PLOT / 2}" font-size="13" transform="rotate(-90 14 {PLOT / 2})">style →</text>')
    for number, (title, ((like, *likes), (near, *nears))) in enumerate(drawn.items(), start=1):
        parts.append(f'<path stroke="#999" d="M{x(likes[0])} {y(near)} H{x(likes[1])}"/>')
        parts.append(f'<path stroke="#999" d="M{x(like)} {y(nears[0])} V{y(nears[1])}"/>')
        parts.append(f'<circle cx="{x(like)}" cy="{y(near)}" r="4" fill="#bd6446"/>')
        parts.append(f'<text x="{x(like) + 6}" y="{y(near) - 6}" font-size="13">{number}</text>')
        key = f"{number}  {title}: {like:.2f}, {near:.2f}"
        parts.append(f'<text x="{PLOT}" y="{20 * number + 10}" font-size="12">{key}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _scale(measured: Sequence[tuple[float, float, float]], start: float, end: float) -> Callable[[float], float]:
    low, high = min(low for _, low, _ in measured), max(high for *_, high in measured)
    span = max(high - low, 1e-6)
    return lambda value: round(start + (value - low) / span * (end - start), 1)


def contact_sheet(comparison: Comparison, table: Table) -> Image.Image:
    """Lay out the methods of ``table`` on the first pair, below the references; the same seeds stand side by side."""
    first = [cell for cell in table.cells() if (cell.person, cell.style, cell.seed) == (0, 0, 0)]
    yardstick = comparison.yardstick(0, 0)
    shown = min(SHOWN, comparison.plan.images)
    rows = [("the person", [r.image for r in yardstick.person])]
    rows.append(("the style", [r.image for r in yardstick.style]))
    for cell in first:
        pictures = [Image.open(picture_of(comparison.out, cell, place)).convert("RGB") for place in range(shown)]
        rows.append((METHODS[cell.method].title, pictures))
    sheet = Image.new("RGB", (CAPTION + SIDE * SHOWN, SIDE * len(rows)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for row, (title, pictures) in enumerate(rows):
        pen.text((6, row * SIDE + SIDE / 2), title, "black", font, anchor="lm")
        for place, picture in enumerate(pictures[:SHOWN]):
            small = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            sheet.paste(small, (CAPTION + place * SIDE, row * SIDE))
    return sheet


def machine() -> str:
    """Say when and on what the figures were made."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "diffusers", "transformers", "peft"))
    return f"{datetime.now(UTC):%Y-%m-%d}, {device}, Python {platform.python_version()}, {libraries} on {sys.platform}."
