"""Small pieces of HTML in the visitor's language: everything that comes from a visitor's file is escaped here."""

import base64
import io
from collections.abc import Iterable
from typing import Literal

from PIL import Image

from magicapture.bases import SPECS
from magicapture.messages import Html, Message, joined, own
from magicapture.photos.references import CheckedSet, Verdict, draw_verdict
from magicapture.ui.language import say

THUMBNAIL = 168
"""Side in pixels of a card's picture: twice what it takes on the page."""

BADGES = {"usable": "usable", "warning": "usable, but", "unusable": "not usable"}


def pieces(parts: Iterable[Html]) -> Html:
    """Give pieces of HTML one after the other."""
    named = {f"piece{place}": part for place, part in enumerate(parts)}
    return Html("".join(f"{{{name}}}" for name in named), **named)


def section(title: str, text: str) -> str:
    """Head a part of a tab."""
    html = '<div class="magi-section"><h2>{title}</h2><p>{text}</p></div>'
    return say(Html(html, title=own(title), text=own(text)))


def note(text: str, kind: Literal["", "good", "warn", "bad"] = "") -> str:
    """Frame a sentence that says where the visitor stands."""
    return say(Html('<div class="magi-note {kind}" role="status">{text}</div>', kind=kind, text=own(text)))


def cards(checked: CheckedSet) -> str:
    """Give one card per photo, under what concerns the set as a whole."""
    lines = [note(checked.problem, "bad")] if checked.problem else [note(_summary(checked), "good")]
    lines += [note(warning, "warn") for warning in checked.warnings]
    return "\n".join([*lines, '<div class="magi-cards">', *(_card(verdict) for verdict in checked.verdicts), "</div>"])


def _summary(checked: CheckedSet) -> str:
    used, all_ = len(checked.references), len(checked.verdicts)
    if used == all_:
        return Message("All {n} can be used.", n=used)
    return Message("{n} of {m} can be used.", n=used, m=all_)


def _card(verdict: Verdict) -> str:
    parts = [Html('<div class="magi-card"><div class="none" aria-hidden="true">–</div><div>')]
    if verdict.reference is not None:
        alt = Message("The face in {name} as training will see it, outlined", name=verdict.name)
        picture = '<div class="magi-card"><img src="{uri}" alt="{alt}"><div>'
        parts = [Html(picture, uri=_data_uri(draw_verdict(verdict)), alt=alt)]
    head = '<span class="name">{name}</span><span class="magi-badge {status}">{badge}</span>'
    parts.append(Html(head, name=verdict.name, status=verdict.status, badge=own(BADGES[verdict.status])))
    for p in verdict.problems:
        problem = "<p>{message} <span class='advice'>{advice}</span></p>"
        parts.append(Html(problem, message=own(p.message), advice=own(p.advice)))
    if verdict.notes:
        parts.append(Html("<p class='notes'>{notes}</p>", notes=joined(" ", *verdict.notes)))
    return "".join([*map(say, parts), "</div></div>"])


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS).save(buffer, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def duration(seconds: float) -> Message:
    """Say a time as people do: "40 s", "3 min", "1 h 20 min"."""
    if seconds < 90:
        return Message("{n} s", n=max(round(seconds / 5) * 5, 5) if seconds > 10 else max(round(seconds), 1))
    minutes = round(seconds / 60)
    if minutes < 60:
        return Message("{n} min", n=minutes)
    return Message("{h} h {m} min", h=minutes // 60, m=minutes % 60)


def preset_name(preset: str) -> str:
    """Give the name of a preset; one that an adapter from elsewhere claims stays as it is."""
    return Message(preset) if any(preset in spec.presets for spec in SPECS.values()) else preset


def hours(number: float) -> Message:
    """Say a number of hours: "1 hour", "24 hours", "30 minutes"."""
    if number < 1:
        return Message("{n} minutes", n=round(number * 60))
    return Message("1 hour") if number == 1 else Message("{n} hours", n=f"{number:g}")
