"""Before a training starts: what is missing, how long it will take, and what share of a visitor's quota that is."""

import gradio as gr

from magicapture.config import TrainConfig
from magicapture.gpu import ZERO_GPU, training_seconds
from magicapture.references import CheckedSet
from magicapture.ui.words import duration, note

ANONYMOUS_QUOTA, FREE_QUOTA, PRO_QUOTA = 120, 300, 2400
"""A visitor's GPU seconds on ZeroGPU per day; half a card counts at one and a half times what a function declares."""
QUOTA_FACTOR = 1.5


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
    count = len(person.references)
    counts = f"{count} photo{'s' if count > 1 else ''} of the person, {len(style.references)} of the style"
    seconds = training_seconds(base, config)
    share = f" {_quota_share(seconds, profile)}" if ZERO_GPU else ""
    return note(f"Ready: {counts}. {config.steps} steps, about {duration(seconds)}.{share}", "good")


def _quota_share(seconds: float, profile: gr.OAuthProfile | None) -> str:
    """Say how much of the visitor's daily GPU time that is."""
    counted = seconds * QUOTA_FACTOR
    if profile is not None:
        quota = PRO_QUOTA if profile.get("isPro") else FREE_QUOTA
        return f"Of your GPU quota for today that is {counted / quota:.0%}."
    shares = f"{counted / ANONYMOUS_QUOTA:.0%} without an account, {counted / FREE_QUOTA:.0%} with a free account"
    return f"Of today's GPU quota that is {shares}."


def what_is_missing(person: CheckedSet | None, style: CheckedSet | None) -> str:
    """Say why training cannot start, or give an empty text."""
    for checked, whose in ((person, "of the person"), (style, "of the style")):
        if checked is None:
            return f"There are no photos {whose} yet: add them in the tab References."
        if checked.problem:
            return f"The photos {whose} cannot be used. {checked.problem} See the tab References."
    return ""
