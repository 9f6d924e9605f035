"""What endpoints answer: the app's values as plain data."""

from pathlib import Path
from typing import Literal

from magicapture.drawing.portrait import read_facts
from magicapture.photos.references import CheckedSet
from magicapture.server.jobs import Job


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
        "previews": [of_picture(path, "step") for path in job.previews()],
        "error": job.error,
        "adapter": job.adapter,
    }


def of_picture(path: Path, also: Literal["step", "seed"]) -> dict:
    """Give the scores of a drawn picture, and the step or the seed that it was drawn at."""
    facts = read_facts(path)
    return {name: facts[name] for name in (also, "likeness", "style")}
