"""Small pieces of HTML in the visitor's language: everything that comes from a visitor's file is escaped here."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from magicapture.bases import SPECS
from magicapture.messages import Html, Message, own
from magicapture.ui.language import say


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


def file_address(path: Path) -> str:
    """Give the address of a visitor's file, relative to the page's."""
    return f"gradio_api/file={quote(str(path))}"
