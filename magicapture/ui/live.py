"""What the page shows of a training while it runs."""

import time
from dataclasses import dataclass, field
from html import escape

from PIL import Image

from magicapture.adapter import Adapter
from magicapture.scoring import likeness_in_words
from magicapture.training import TrainEvent
from magicapture.ui.words import duration

PHASES = {"tokens": "Learning the two words", "lora": "Learning the face and the look"}
UPDATE_SECONDS, PLOT_SECONDS = 0.5, 2.0
"""How often the bar and the plot are drawn anew."""

SMOOTHING = 0.9
POINTS = 120
"""Of each curve at most."""

LOSS_COLOURS = {"reconstruction": "#bd6446", "attention": "#4f7fa8", "identity": "#6f9a56"}
"""The terms of the loss and how the plot draws them: colours that can be seen on light and on dark."""

PLOT_WIDTH, PLOT_HEIGHT = 400, 150
"""In the plot's own units; on the page it is stretched to its column."""


def progress_bar(event: TrainEvent | None, waiting: str = "Nothing is training.") -> str:
    """Draw the bar: phase, step, time left."""
    if event is None:
        return _bar(0, escape(waiting), "", "")
    share = event.step / event.steps
    left = f"about {duration(event.seconds_left)} left" if event.step > 1 else ""
    return _bar(share, PHASES[event.phase], f"step {event.step} of {event.steps}", left)


def _bar(share: float, title: str, step: str, left: str) -> str:
    percent = round(100 * share)
    return (
        f'<div class="magi-progress"><div class="row"><strong>{title}</strong><span>{step}</span></div>'
        f'<div class="bar" role="progressbar" aria-label="Training" aria-valuemin="0" aria-valuemax="100"'
        f' aria-valuenow="{percent}"><div style="width:{percent}%"></div></div>'
        f'<div class="quiet">{left or "&nbsp;"}</div></div>'
    )


def loss_plot(curves: dict[str, list[tuple[int, float]]], steps: int) -> str:
    """Draw the ``curves``, points of step and loss by name, over ``steps`` steps, each with its latest value."""
    top = max((value for curve in curves.values() for _, value in curve), default=1.0) * 1.05
    lines, legend = [], []
    for name, colour in LOSS_COLOURS.items():
        curve = curves.get(name, [])
        thinned = [*curve[:: len(curve) // POINTS + 1], *curve[-1:]]
        points = " ".join(
            f"{PLOT_WIDTH * step / steps:.1f},{PLOT_HEIGHT * (1 - value / top):.1f}" for step, value in thinned
        )
        lines.append(f'<polyline points="{points}" stroke="{colour}" />')
        latest = f"{curve[-1][1]:.3f}" if curve else "–"
        legend.append(f'<span><i style="background:{colour}"></i>{name} {latest}</span>')
    grid = "".join(f'<path d="M0 {PLOT_HEIGHT * i / 4} H{PLOT_WIDTH}" />' for i in range(5))
    return (
        '<div class="magi-plot"><strong>Losses</strong>'
        f'<svg viewBox="0 0 {PLOT_WIDTH} {PLOT_HEIGHT}" preserveAspectRatio="none" role="img"'
        f' aria-label="The losses so far, from 0 to {top:.2f}">{grid}{"".join(lines)}</svg>'
        f'<div class="legend">{"".join(legend)}</div></div>'
    )


def caption(likeness: float | None, style: float | None) -> str:
    """Put scores into words and numbers: "alike 0.52 · style 0.81"."""
    number = "" if likeness is None else f" {likeness:.2f}"
    return likeness_in_words(likeness) + number + ("" if style is None else f" · style {style:.2f}")


@dataclass
class Live:
    """Collects the events of one training and says when the page is due for news."""

    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    previews: list[tuple[Image.Image, str]] = field(default_factory=list)
    last: TrainEvent | None = None
    adapter: Adapter | None = None
    _bar_shown: float = float("-inf")
    _plot_shown: float = float("-inf")

    def take(self, event: TrainEvent | Adapter) -> dict[str, object]:
        """Note ``event``; gives new values for the parts of the tab by name, none if it is too early for news."""
        if isinstance(event, Adapter):
            self.adapter = event
            return {}
        self.last, now, update = event, time.monotonic(), {}
        for name, value in event.losses.items():
            curve = self.curves.setdefault(name, [])
            smooth = SMOOTHING * curve[-1][1] + (1 - SMOOTHING) * value if curve else value
            curve.append((event.step, smooth))
        for portrait in event.previews:
            said = f"step {event.step} · {caption(portrait.likeness, portrait.style)}"
            self.previews.append((portrait.image, said))
        if event.previews:
            update["previews"] = list(self.previews)
        if event.previews or now - self._bar_shown >= UPDATE_SECONDS:
            update["progress"], self._bar_shown = progress_bar(event), now
        if now - self._plot_shown >= PLOT_SECONDS:
            update["losses"], self._plot_shown = loss_plot(self.curves, event.steps), now
        return update

    def finished(self) -> str:
        """Draw the bar of a training that is over."""
        steps = self.last.step if self.last else 0
        early = self.last is not None and self.last.step < self.last.steps
        return _bar(1, "Stopped early" if early else "Done", f"{steps} steps", "")

    def summary(self) -> str:
        """Say what came out."""
        info = self.adapter.info
        scores = next((row for row in info["scores"] if row["step"] == info["best_step"]), None)
        kept = f"Your adapter is ready: {self.adapter.info['steps']} steps"
        if scores is None:
            return f"{kept}. It was stopped before the first preview, so nothing is known of its likeness yet."
        return f"{kept}, the best state at step {info['best_step']}: {caption(scores['likeness'], scores['style'])}."
