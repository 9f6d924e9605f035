"""Before a training starts: what is missing, how long it will take, and what share of a visitor's quota that is."""

import gradio as gr

from magicapture.config import TrainConfig
from magicapture.messages import Message, joined
from magicapture.photos.references import CheckedSet, Role
from magicapture.server.forecast import quota_seconds, training_seconds
from magicapture.server.gpu import ZERO_GPU
from magicapture.server.pace import corrected
from magicapture.server.workspace import Workspace
from magicapture.subject import PERSON_NOUN, THING_NOUN
from magicapture.ui.html import duration, note

ANONYMOUS_QUOTA, FREE_QUOTA, PRO_QUOTA = 120, 300, 2400
"""A visitor's GPU seconds on ZeroGPU per day."""
DELETED_MEANWHILE = "Some of these photos are deleted meanwhile: add photos again in the tab References."
LOOKED_AT_ANEW = "The photos are being looked at anew: wait a moment."


def readiness(
    person: CheckedSet | None,
    style: CheckedSet | None,
    base: str,
    config: TrainConfig,
    profile: gr.OAuthProfile | None = None,
    noun: str | None = None,
) -> str:
    """Say what is missing, or how long it will take; ``profile``: the visitor's, where they have signed in."""
    if missing := what_is_missing(person, style, noun):
        return note(missing, "warn")
    seconds = training_seconds(base, config)
    long = Message("{n} steps, about {time}.", n=config.steps, time=duration(corrected(base, seconds)))
    quota = _quota_share(seconds, profile) if ZERO_GPU else ""
    return note(joined(" ", counted(person, style), long, quota), "good")


def counted(person: CheckedSet | None, style: CheckedSet | None) -> Message:
    """Say how many photos training will take."""
    count = len(person.references) if person else 0
    ready = "Ready: {n} photos of the person, {m} of the style."
    if count == 1:
        ready = "Ready: {n} photo of the person, {m} of the style."
    values: dict[str, object] = {"n": count, "m": len(style.references) if style else 0}
    if person and person.subject != PERSON_NOUN:
        ready = "Ready: {n} photos of the {noun}, {m} of the style."
        if count == 1:
            ready = "Ready: {n} photo of the {noun}, {m} of the style."
        values["noun"] = called(person.subject)
    return Message(ready, **values)


def called(noun: str) -> str:
    """Name a subject; a thing that the visitor has not named is called so in their language."""
    return Message(noun) if noun in (PERSON_NOUN, THING_NOUN) else noun


def whose(role: Role, noun: str) -> Message:
    """Say whose photos those of ``role`` are, where the subject is called ``noun``."""
    if role == "style":
        return Message("of the style")
    return Message("of the person") if noun == PERSON_NOUN else Message("of the {noun}", noun=called(noun))


def _quota_share(seconds: float, profile: gr.OAuthProfile | None) -> str:
    """Say how much of the visitor's daily GPU time that is."""
    counted = quota_seconds(seconds)
    if profile is not None:
        quota = PRO_QUOTA if profile.get("isPro") else FREE_QUOTA
        return Message("Of your GPU quota for today that is {n}.", n=f"{counted / quota:.0%}")
    shares = "Of today's GPU quota that is {n} without an account, {m} with a free account."
    return Message(shares, n=f"{counted / ANONYMOUS_QUOTA:.0%}", m=f"{counted / FREE_QUOTA:.0%}")


def what_is_missing(person: CheckedSet | None, style: CheckedSet | None, noun: str | None = None) -> str:
    """Say why training cannot start and where to mend it, or give an empty text; ``noun`` as in ``what_is_wrong``."""
    wrong = what_is_wrong(person, style, noun)
    return joined(" ", wrong, "See the tab References.") if wrong not in ("", LOOKED_AT_ANEW) else wrong


def what_is_wrong(person: CheckedSet | None, style: CheckedSet | None, noun: str | None = None) -> str:
    """Say what is wrong with the photos, or give an empty text; ``noun``: of a subject that has no photos yet."""
    roles: tuple[tuple[CheckedSet | None, Role], ...] = (person, "person"), (style, "style")
    for checked, role in roles:
        of_role = whose(role, checked.subject if checked else noun or PERSON_NOUN)
        if checked is None:
            return Message("There are no photos {whose} yet.", whose=of_role)
        if checked.problem:
            return joined(" ", Message("The photos {whose} cannot be used.", whose=of_role), checked.problem)
    if person and style and person.subject != style.subject:
        return LOOKED_AT_ANEW
    return ""


def are_there(visitor: Workspace, *sets: CheckedSet) -> bool:
    """Tell whether all that training would take is still the visitor's: nobody deleted it, on whatever page."""
    return all(
        {reference.name for reference in checked.references} <= {path.name for path in visitor.photos(checked.role)}
        for checked in sets
    )


def are_cut_for(side: int, *sets: CheckedSet) -> bool:
    """Tell whether all that training would take has ``side`` pixels a side: not yet where the base was just changed."""
    return all(reference.image.width == side for checked in sets for reference in checked.references)
