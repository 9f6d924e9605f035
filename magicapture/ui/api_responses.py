"""What endpoints answer: the app's values as plain data."""

from contextlib import suppress
from pathlib import Path
from typing import Literal

from magicapture.drawing.portrait import read_facts, readable
from magicapture.photos.references import CheckedSet
from magicapture.server.drawings import STOPPED, Drawing
from magicapture.server.jobs import Job
from magicapture.server.workspace import PortraitGoneError


def of_check(checked: CheckedSet) -> dict:
    """Describe a set of photos and each photo in it."""
    photos = [
        {"name": v.name, "status": v.status, "problems": [p.code for p in v.problems], "sentence": v.sentence}
        for v in checked.verdicts
    ]
    said = " ".join(line for line in (checked.problem, *checked.warnings) if line)
    return {"usable": checked.usable, "said": said, "photos": photos}


def of_job(job: Job, step: int, steps: int) -> dict:
    """Describe a training that is at ``step`` of ``steps``; times are in seconds."""
    ticket = job.ticket if job.state == "waiting" else None
    return {
        "state": job.state,
        "step": step,
        "steps": steps,
        "seconds_left": job.seconds_left,
        "ahead": ticket.ahead if ticket else 0,
        "expected_wait": ticket.expected_wait if ticket else 0.0,
        "losses": {name: curve[-1][1] for name, curve in list(job.curves.items())},
        "previews": [of_picture(facts, "step") for facts in readable(job.previews()).values()],
        "error": job.error,
        "adapter": job.adapter,
    }


def of_drawing(drawing: Drawing, upscale: int) -> dict[Path, dict]:
    """Describe each portrait of a ``drawing`` that is still there, by its path; ``upscale``: how large it was to be."""
    described = {}
    for path, portrait in zip(drawing.paths, drawing.portraits, strict=True):
        with suppress(PortraitGoneError):  # rejected on the page while it was enlarged
            there = drawing.workspace.portrait_called(path.name)
            facts = read_facts(there)
            fault = (drawing.error or STOPPED) if upscale > 1 and not portrait.drawn else ""
            described[there] = {"name": there.name, **of_picture(facts, "seed"), "fault": fault}
    return described


def of_picture(facts: dict, also: Literal["step", "seed"]) -> dict:
    """Give the scores among the ``facts`` of a drawn picture, and the step or the seed that it was drawn at."""
    return {name: facts[name] for name in (also, "likeness", "style")}
