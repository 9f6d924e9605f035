"""What the page shows of a training while it runs."""

from html import escape

from magicapture.adapters.info import AdapterInfo
from magicapture.drawing.portrait import read_facts
from magicapture.jobs import Job
from magicapture.scoring import likeness_in_words
from magicapture.ui.language import say
from magicapture.ui.words import duration

PHASES = {"tokens": "Learning the two words", "lora": "Learning the face and the look"}
ENDS = {
    "finished": "Done",
    "stopped": "Stopped early",
    "failed": "It failed",
    "interrupted": "Interrupted",
}
POINTS = 120
"""Of each curve at most."""

LOSS_COLOURS = {"reconstruction": "#bd6446", "attention": "#4f7fa8", "identity": "#6f9a56"}
"""The terms of the loss and how the plot draws them: colours that can be seen on light and on dark."""

PLOT_WIDTH, PLOT_HEIGHT = 400, 150
"""In the plot's own units; on the page it is stretched to its column."""


def progress_bar(job: Job | None) -> str:
    """Draw the bar: where the job stands, its phase, step, and the time left."""
    if job is None:
        return _bar(0, "Nothing is training.", "", "")
    event, turn = job.event, job.turn
    step = f"step {event.step} of {event.steps}" if event else ""
    share = event.step / event.steps if event else 0
    if not job.active:
        return _bar(1 if job.adapter else share, ENDS[job.state], step, escape(job.error))
    if turn is not None and turn.ahead:
        people = "one is" if turn.ahead == 1 else f"{turn.ahead} are"
        wait = f"about {duration(turn.expected_wait)} until your turn"
        return _bar(share, f"Waiting: {people} before you", step, wait)
    if event is None:
        return _bar(0, "Preparing the photos …", "", "")
    left = f"about {duration(event.seconds_left)} left" if event.step > 1 else ""
    return _bar(share, PHASES[event.phase], step, left)


def _bar(share: float, title: str, step: str, left: str) -> str:
    percent = round(100 * share)
    return say(
        f'<div class="magi-progress"><div class="row"><strong>{title}</strong><span>{step}</span></div>'
        f'<div class="bar" role="progressbar" aria-label="Training" aria-valuemin="0" aria-valuemax="100"'
        f' aria-valuenow="{percent}"><div style="width:{percent}%"></div></div>'
        f'<div class="quiet">{left or "&nbsp;"}</div></div>'
    )


def loss_plot(job: Job | None) -> str:
    """Draw the job's smoothed losses over all its steps, each with its latest value."""
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
        latest = f"{curve[-1][1]:.3f}" if curve else "–"
        legend.append(f'<span><i style="background:{colour}"></i>{name} {latest}</span>')
    grid = "".join(f'<path d="M0 {PLOT_HEIGHT * i / 4} H{PLOT_WIDTH}" />' for i in range(5))
    return say(
        '<div class="magi-plot"><strong>Losses</strong>'
        f'<svg viewBox="0 0 {PLOT_WIDTH} {PLOT_HEIGHT}" preserveAspectRatio="none" role="img"'
        f' aria-label="The losses so far, from 0 to {top:.2f}">{grid}{"".join(lines)}</svg>'
        f'<div class="legend">{"".join(legend)}</div></div>'
    )


def previews(job: Job) -> list[tuple[str, str]]:
    """Give the quick portraits drawn so far, each with its step and scores."""
    found = [(path, read_facts(path)) for path in job.previews()]
    return [(str(path), say(f"step {facts['step']} · {caption(facts)}")) for path, facts in found]


def caption(facts: dict) -> str:
    """Put scores into words and numbers: "some of you 0.52 · style 0.81"."""
    likeness, style = facts["likeness"], facts["style"]
    number = "" if likeness is None else f" {likeness:.2f}"
    return likeness_in_words(likeness) + number + ("" if style is None else f" · style {style:.2f}")


def summary(info: AdapterInfo) -> str:
    """Say what came out of a training, from its adapter's ``info``."""
    scores = next((row for row in info.scores if row["step"] == info.best_step), None)
    kept = f"Your adapter is ready: {info.steps} steps"
    if scores is None:
        return f"{kept}. No preview of it was scored, so nothing is known of its likeness yet."
    return f"{kept}, the best state at step {info.best_step}: {caption(scores)}."
