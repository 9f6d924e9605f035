"""What the page shows of a training while it runs."""

from collections.abc import Mapping
from typing import Any

from magicapture.adapters.info import AdapterInfo
from magicapture.drawing.portrait import readable
from magicapture.messages import Html, Message, joined, own
from magicapture.scoring import likeness_in_words
from magicapture.server.jobs import Job
from magicapture.server.workspace import WorkspaceError
from magicapture.server.workspace.shelf import AdapterShelf
from magicapture.subject import PERSON_NOUN
from magicapture.ui.html import duration, file_address, pieces, section
from magicapture.ui.language import say

PHASES = {"tokens": "Learning the two words", "lora": "Learning the subject and the look"}
ENDS = {
    "finished": "Done",
    "stopped": "Stopped early",
    "failed": "It failed",
    "interrupted": "Interrupted",
}
POINTS = 120
"""Of each curve at most."""

NO_PREVIEW = "A picture appears here several times while it trains: of the same seed, so that one sees it grow."
FRAME = (
    '<li><a href="{source}" target="_blank"><img src="{source}" alt="{alt}"></a>'
    "<strong>{step}</strong><span>{scores}</span></li>"
)

LOSS_COLOURS = {"reconstruction": "#bd6446", "attention": "#4f7fa8", "identity": "#6f9a56"}
"""The terms of the loss and how the plot draws them: colours that can be seen on light and on dark."""

PLOT_WIDTH, PLOT_HEIGHT = 400, 150
"""In the plot's own units; on the page it is stretched to its column."""


def progress_bar(job: Job | None) -> str:
    """Draw the bar: where the job stands, its phase, step, and the time left."""
    if job is None:
        return _bar(0, "Nothing is training.", "", "")
    event, ticket = job.event, job.ticket
    step = Message("step {n} of {m}", n=event.step, m=event.steps) if event else ""
    share = event.step / event.steps if event else 0
    if not job.active:
        return _bar(1 if job.adapter else share, ENDS[job.state], step, job.error)
    if ticket is not None and ticket.ahead:
        wait = Message("about {time} until your turn", time=duration(ticket.expected_wait))
        ahead = Message("Waiting: one is before you")
        if ticket.ahead > 1:
            ahead = Message("Waiting: {n} are before you", n=ticket.ahead)
        return _bar(share, ahead, step, wait)
    left = "" if job.seconds_left is None else Message("about {time} left", time=duration(job.seconds_left))
    if event is None:
        return _bar(0, "Preparing the photos …", "", left)
    return _bar(share, PHASES[event.phase], step, left)


def _bar(share: float, title: str, step: str, left: str) -> str:
    html = (
        '<div class="magi-progress"><div class="row"><strong>{title}</strong><span>{step}</span></div>'
        '<div class="bar" role="progressbar" aria-label="{training}" aria-valuemin="0" aria-valuemax="100"'
        ' aria-valuenow="{percent}"><div style="width:{percent}%"></div></div>'
        '<div class="quiet">{left}</div></div>'
    )
    values = {"title": own(title), "step": own(step), "left": own(left or "\N{NO-BREAK SPACE}")}
    return say(Html(html, training=Message("Training"), percent=round(100 * share), **values))


def loss_plot(job: Job | None) -> str:
    """Draw the job's smoothed losses over all its steps, each with its latest value.

    Not ``gr.LinePlot``: for three lines it would load 650 KB of Vega, and its drawing has neither a text for those who
    cannot see it nor room for the latest values beside the names of the lines.
    """
    curves = job.curves if job else {}
    steps = job.event.steps if job and job.event else 1
    top = max((value for curve in curves.values() for _, value in curve), default=1.0) * 1.05
    lines, legend = [], []
    for name, colour in LOSS_COLOURS.items():
        curve = list(curves.get(name, []))
        thinned = [*curve[:: len(curve) // POINTS + 1], *curve[-1:]]
        points = " ".join(
            f"{PLOT_WIDTH * step / steps:.1f},{PLOT_HEIGHT * (1 - value / top):.1f}" for step, value in thinned
        )
        lines.append(f'<polyline points="{points}" stroke="{colour}" />')
        latest = Message(f"{name} {{n}}", n=f"{curve[-1][1]:.3f}" if curve else "–")
        entry = '<span><i style="background:{colour}"></i>{latest}</span>'
        legend.append(Html(entry, colour=colour, latest=latest))
    grid = "".join(f'<path d="M0 {PLOT_HEIGHT * i / 4} H{PLOT_WIDTH}" />' for i in range(5))
    html = (
        '<div class="magi-plot"><strong>{title}</strong>'
        '<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" aria-label="{alt}">{drawn}</svg>'
        '<div class="legend">{legend}</div></div>'
    )
    alt = Message("The losses so far, from 0 to {n}", n=f"{top:.2f}")
    drawn, size = Html(grid + "".join(lines)), {"width": PLOT_WIDTH, "height": PLOT_HEIGHT}
    return say(Html(html, title=Message("Losses"), alt=alt, drawn=drawn, legend=pieces(legend), **size))


def filmstrip(job: Job | None) -> str:
    """Show the quick portraits drawn so far: a strip per seed, on which one picture grows from step to step."""
    if job is None or not (found := readable(job.previews())):
        return section("", NO_PREVIEW)
    strips: dict[int, list[str]] = {}
    for path, facts in found.items():
        told = Message("step {n}", n=facts["step"])
        values = {"source": file_address(path), "alt": joined(", ", told, caption(facts)), "step": told}
        strips.setdefault(facts["seed"], []).append(say(Html(FRAME, **values, scores=caption(facts))))
    strip = '<ol class="magi-film" tabindex="0" aria-label="{label}">{frames}</ol>'
    labelled = ((Message("The picture of seed {n} from step to step", n=seed), strips[seed]) for seed in sorted(strips))
    return "".join(say(Html(strip, label=label, frames=Html("".join(frames)))) for label, frames in labelled)


def caption(facts: Mapping[str, Any]) -> Message:
    """Put scores into words and numbers: "some of you 0.52 · style 0.81".

    Of things there is only the number, for no judge has told what it means.
    """
    likeness, style = facts["likeness"], facts["style"]
    is_person = facts.get("subject", PERSON_NOUN) == PERSON_NOUN
    words = likeness_in_words(likeness) if is_person or likeness is None else "likeness"
    alike = Message(words) if likeness is None else Message(f"{words} {{n}}", n=f"{likeness:.2f}")
    return joined(" · ", alike, "" if style is None else Message("style {n}", n=f"{style:.2f}"))


def packed(shelf: AdapterShelf, adapter_id: str) -> tuple[str | None, str]:
    """Pack an adapter to be downloaded; gives the path of the zip, or None and why there is none.

    Raises ``AdapterError`` if there is no adapter with this id.
    """
    try:
        return str(shelf.zip(adapter_id)), ""
    except WorkspaceError as error:
        return None, str(error)


def summary(info: AdapterInfo) -> Message:
    """Say what came out of a training, from its adapter's ``info``."""
    scores = next((row for row in info.scores if row["step"] == info.best_step), None)
    if scores is None:
        ready = Message("Your adapter is ready: {n} steps.", n=info.steps)
        unscored = "No preview of it was scored, so nothing is known of its likeness yet."
        return joined(" ", ready, unscored)
    scored = "Your adapter is ready: {n} steps, the best state at step {m}: {scores}."
    return Message(scored, n=info.steps, m=info.best_step, scores=caption({**scores, "subject": info.subject}))
