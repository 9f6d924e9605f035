"""Small pieces of HTML in the visitor's language: everything that comes from a visitor's file is escaped here."""

import base64
import io
from html import escape
from typing import Literal

from PIL import Image

from magicapture.references import CheckedSet, Verdict, draw_verdict
from magicapture.ui.language import say

THUMBNAIL = 168
"""Side in pixels of a card's picture: twice what it takes on the page."""

BADGES = {"usable": "usable", "warning": "usable, but", "unusable": "not usable"}


def section(title: str, text: str) -> str:
    """Head a part of a tab."""
    return say(f'<div class="magi-section"><h2>{escape(title)}</h2><p>{escape(text)}</p></div>')


def note(text: str, kind: Literal["", "good", "warn", "bad"] = "") -> str:
    """Frame a sentence that says where the visitor stands."""
    return say(f'<div class="magi-note {kind}" role="status">{escape(text)}</div>')


def cards(checked: CheckedSet) -> str:
    """Give one card per photo, under what concerns the set as a whole."""
    lines = [note(checked.problem, "bad")] if checked.problem else [note(_summary(checked), "good")]
    lines += [note(warning, "warn") for warning in checked.warnings]
    return "\n".join([*lines, '<div class="magi-cards">', *(_card(verdict) for verdict in checked.verdicts), "</div>"])


def _summary(checked: CheckedSet) -> str:
    used, all_ = len(checked.references), len(checked.verdicts)
    return f"All {used} can be used." if used == all_ else f"{used} of {all_} can be used."


def _card(verdict: Verdict) -> str:
    picture = '<div class="none" aria-hidden="true">–</div>'
    if verdict.reference is not None:
        alt = f"The face in {escape(verdict.name)} as training will see it, outlined"
        picture = f'<img src="{_data_uri(draw_verdict(verdict))}" alt="{alt}">'
    said = [f"<p>{escape(p.message)} <span class='advice'>{escape(p.advice)}</span></p>" for p in verdict.problems]
    notes = f"<p class='notes'>{escape(' '.join(verdict.notes))}</p>" if verdict.notes else ""
    badge = f'<span class="magi-badge {verdict.status}">{BADGES[verdict.status]}</span>'
    head = f'<span class="name">{escape(verdict.name)}</span>{badge}'
    return say(f'<div class="magi-card">{picture}<div>{head}{"".join(said)}{notes}</div></div>')


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS).save(buffer, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def duration(seconds: float) -> str:
    """Say a time as people do: "40 s", "3 min", "1 h 20 min"."""
    if seconds < 90:
        return f"{max(round(seconds / 5) * 5, 5)} s" if seconds > 10 else f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def hours(number: float) -> str:
    """Say a number of hours: "1 hour", "24 hours", "30 minutes"."""
    if number < 1:
        return f"{round(number * 60)} minutes"
    return "1 hour" if number == 1 else f"{number:g} hours"
