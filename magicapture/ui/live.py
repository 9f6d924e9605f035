"""What the page shows of a training while it runs."""

import time
from dataclasses import dataclass, field
from html import escape

import pandas as pd
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

LOSS_COLUMNS = ("step", "loss", "term")


def progress_bar(event: TrainEvent | None, waiting: str = "Nothing is training.") -> str:
    """Draw the bar: phase, step, time left."""
    if event is None:
        return _bar(0, escape(waiting), "", "")
    share = event.step / event.steps
    left = f"about {duration(event.seconds_left)} left" if event.step > 1 else ""
    losses = " · ".join(f"{name} {value:.3f}" for name, value in event.losses.items())
    return _bar(share, PHASES[event.phase], f"step {event.step} of {event.steps}", left or "", losses)


def _bar(share: float, title: str, step: str, left: str, quiet: str = "") -> str:
    percent = round(100 * share)
    return (
        f'<div class="magi-progress"><div class="row"><strong>{title}</strong><span>{step}</span></div>'
        f'<div class="bar" role="progressbar" aria-label="Training" aria-valuemin="0" aria-valuemax="100"'
        f' aria-valuenow="{percent}"><div style="width:{percent}%"></div></div>'
        f'<div class="row quiet"><span>{quiet or "&nbsp;"}</span><span>{left}</span></div></div>'
    )


def caption(likeness: float | None, style: float | None) -> str:
    """Put scores into words and numbers: "alike (0.52) · style 0.81"."""
    number = "" if likeness is None else f" ({likeness:.2f})"
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
            said = f"step {event.step}: {caption(portrait.likeness, portrait.style)}"
            self.previews.append((portrait.image, said))
        if event.previews:
            update["previews"] = list(self.previews)
        if event.previews or now - self._bar_shown >= UPDATE_SECONDS:
            update["progress"], self._bar_shown = progress_bar(event), now
        if now - self._plot_shown >= PLOT_SECONDS:
            update["losses"], self._plot_shown = self.losses(), now
        return update

    def losses(self) -> pd.DataFrame:
        """Give the curves as a table, smoothed and thinned."""
        rows = [
            (step, value, name)
            for name, curve in self.curves.items()
            for step, value in curve[:: len(curve) // POINTS + 1]
        ]
        return pd.DataFrame(rows, columns=LOSS_COLUMNS)

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
