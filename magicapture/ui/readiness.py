"""Before a training starts: what is missing, how long it will take, and what share of a visitor's quota that is."""

import gradio as gr

from magicapture.config import TrainConfig
from magicapture.messages import Message, joined
from magicapture.photos.references import CheckedSet
from magicapture.server.forecast import quota_seconds, training_seconds
from magicapture.server.gpu import ZERO_GPU
from magicapture.server.pace import corrected
from magicapture.ui.html import duration, note

ANONYMOUS_QUOTA, FREE_QUOTA, PRO_QUOTA = 120, 300, 2400
"""A visitor's GPU seconds on ZeroGPU per day."""


def readiness(
    person: CheckedSet | None,
    style: CheckedSet | None,
    base: str,
    config: TrainConfig,
    profile: gr.OAuthProfile | None = None,
) -> str:
    """Say what is missing, or how long it will take; ``profile``: the visitor's, where they have signed in."""
    if missing := what_is_missing(person, style):
        return note(missing, "warn")
    seconds = training_seconds(base, config)
    long = Message("{n} steps, about {time}.", n=config.steps, time=duration(corrected(base, seconds)))
    quota = _quota_share(seconds, profile) if ZERO_GPU else ""
    return note(joined(" ", counted(person, style), long, quota), "good")


def counted(person: CheckedSet, style: CheckedSet) -> Message:
    """Say how many photos training will take."""
    count = len(person.references)
    ready = "Ready: {n} photos of the person, {m} of the style."
    if count == 1:
        ready = "Ready: {n} photo of the person, {m} of the style."
    return Message(ready, n=count, m=len(style.references))


def _quota_share(seconds: float, profile: gr.OAuthProfile | None) -> str:
    """Say how much of the visitor's daily GPU time that is."""
    counted = quota_seconds(seconds)
    if profile is not None:
        quota = PRO_QUOTA if profile.get("isPro") else FREE_QUOTA
        return Message("Of your GPU quota for today that is {n}.", n=f"{counted / quota:.0%}")
    shares = "Of today's GPU quota that is {n} without an account, {m} with a free account."
    return Message(shares, n=f"{counted / ANONYMOUS_QUOTA:.0%}", m=f"{counted / FREE_QUOTA:.0%}")


def what_is_missing(person: CheckedSet | None, style: CheckedSet | None) -> str:
    """Say why training cannot start, or give an empty text."""
    for checked, whose in ((person, "of the person"), (style, "of the style")):
        if checked is None:
            nothing = "There are no photos {whose} yet: add them in the tab References."
            return Message(nothing, whose=Message(whose))
        if checked.problem:
            unusable = Message("The photos {whose} cannot be used.", whose=Message(whose))
            return joined(" ", unusable, checked.problem, "See the tab References.")
    return ""
