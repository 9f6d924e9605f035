"""The photos of one role, each once: its verdict as a badge, its mask on hover, focus or tap, its problems in words."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import gradio as gr
from PIL import Image

from magicapture.messages import Html, Message, joined, own
from magicapture.photos.outline import mask_overlay
from magicapture.photos.reading import PhotoError, read_photo
from magicapture.photos.references import CheckedSet, Verdict
from magicapture.subject import NO_FACE, PERSON_NOUN
from magicapture.ui.html import note
from magicapture.ui.language import say

THUMBNAIL = 224
"""Side in pixels of a picture in the grid: about twice what it takes on the page."""
BADGES = {"usable": "usable", "warning": "usable, but", "unusable": "not usable"}
SIGNS = {"usable": "✓", "warning": "!", "unusable": "⊘"}
"""The same as it is seen: the words do not fit on a tile, and in some languages their end is what counts."""
PAINT = (
    '<button type="button" class="paint" data-event="paint" data-key="p" data-name="{file}" aria-label="{over}"'
    ' title="{over}">✎</button>'
)
TILES = (Path(__file__).parent / "tiles.js").read_text()


def build_grid(value: str, elem_id: str) -> gr.HTML:
    """Give the component of a grid whose buttons raise events that name a picture."""
    return gr.HTML(value, elem_id=elem_id, js_on_load=TILES, apply_default_css=False)


def told(event: gr.EventData, what: Literal["name", "reason", "set"]) -> str:
    """Give what a button of a grid says of its picture or its set; an empty text for whatever else a browser sent."""
    data = event._data
    value = data.get(what) if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""


def photo_grid(checked: CheckedSet, paths: Sequence[Path]) -> str:
    """Show the photos at ``paths`` with their verdicts, under what concerns the set as a whole."""
    lines = [note(checked.problem, "bad")] if checked.problem else [note(_summary(checked), "good")]
    lines += [note(warning, "warn") for warning in checked.warnings]
    tiles = [_tile(checked, verdict, path) for verdict, path in zip(checked.verdicts, paths, strict=False)]
    problems = [_problem(verdict) for verdict in checked.verdicts if verdict.problems]
    lines += ['<ul class="magi-grid photos">', *tiles, "</ul>"]
    if problems:
        lines += ['<ul class="magi-problems">', *problems, "</ul>"]
    return "\n".join(lines)


def _summary(checked: CheckedSet) -> str:
    return Message("{n} of {m} can be used.", n=len(checked.references), m=len(checked.verdicts))


def _tile(checked: CheckedSet, verdict: Verdict, path: Path) -> str:
    html = (
        '<li class="magi-tile {status}">'
        '<button type="button" class="look" aria-pressed="false" aria-label="{alt}" title="{notes}">{picture}</button>'
        '<span class="magi-badge {status}" role="img" aria-label="{verdict}" title="{verdict}">{badge}</span>'
        '<span class="name">{name}</span>{paint}'
        '<button type="button" class="remove" data-event="remove" data-key="delete" data-name="{file}"'
        ' aria-label="{remove}" title="{remove}">✕</button></li>'
    )
    is_thing = checked.subject != PERSON_NOUN
    alt = "The face in {name} as training will see it, outlined"
    if verdict.status == "unusable":
        alt = "{name}: not usable"
    elif is_thing:
        alt = "The thing in {name} as training will see it, outlined"
    elif NO_FACE in {problem.code for problem in verdict.problems}:
        alt = "{name} as training will see it: all but its middle, which is outlined"
    remove = Message("Remove {name}", name=verdict.name)
    over = Message("Paint over {name}", name=verdict.name)
    shown = {
        "picture": Html(_picture(verdict, path)),
        "paint": Html(say(Html(PAINT, file=path.name, over=over))) if is_thing and checked.role == "person" else "",
        "verdict": own(BADGES[verdict.status]),
        "badge": SIGNS[verdict.status],
    }
    known = {"status": verdict.status, "name": verdict.name, "file": path.name, "notes": joined(" ", *verdict.notes)}
    return say(Html(html, **known, **shown, alt=Message(alt, name=verdict.name), remove=remove))


def _picture(verdict: Verdict, path: Path) -> str:
    """Draw the crop with its mask above it; of an unusable photo the photo itself, if it can be read."""
    if verdict.reference is not None:
        side = max(verdict.reference.image.width, THUMBNAIL)
        layers = {"": verdict.reference.image, "mask": mask_overlay(verdict.reference, side)}
        return "".join(f'<img class="{name}" src="{_data_uri(layer)}" alt="">' for name, layer in layers.items())
    try:
        photo = read_photo(path)[0]
    except PhotoError:
        return '<span class="none" aria-hidden="true">–</span>'
    photo.thumbnail((THUMBNAIL, THUMBNAIL))
    return f'<img src="{_data_uri(photo)}" alt="">'


def _problem(verdict: Verdict) -> str:
    said = [joined(" ", problem.message, problem.advice) for problem in verdict.problems]
    html = '<li class="{status}"><strong>{name}</strong> {said}</li>'
    return say(Html(html, status=verdict.status, name=verdict.name, said=joined(" ", *said, *verdict.notes)))


def _data_uri(image: Image.Image) -> str:
    """Embed a picture, no larger than it is shown."""
    image = image.copy()
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=82)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
