"""Portraits as a grid of HTML: each with its scores, its buttons, and in a fold how it was drawn."""

from collections.abc import Sequence
from pathlib import Path

from magicapture.messages import Html, Message, joined, own
from magicapture.server.workspace import KeptPortrait
from magicapture.subject import PERSON_NOUN
from magicapture.ui.html import file_address
from magicapture.ui.language import say
from magicapture.ui.live import caption

REASONS = {
    "Does not look like the person": "not_like_me",
    "Is not in the style": "not_the_style",
    "Has visible faults": "artefacts",
    "Another reason": "other",
}
"""Why a portrait is rejected, in words and for the log."""
UNLIKE_THE_THING = "Does not look like the thing"
"""The first of these where the picture is of a thing."""

TILE = """<li class="magi-tile portrait {kind}">
<button type="button" class="look" aria-pressed="{large}" aria-label="{look}"><img src="{source}" alt=""></button>
<p class="caption">{caption}</p>
<div class="actions">
{keep}
<details><summary data-key="r">{reject}</summary><div class="reasons"><p>{why}</p>{reasons}</div></details>
<button type="button" data-event="compare" data-key="c" data-name="{name}">{compare}</button>
<a href="{source}" download="{name}">{download}</a>
</div>
<details class="facts"><summary>{settings}</summary><dl>{facts}</dl></details></li>"""
DAMAGED = """<li class="magi-tile portrait unusable">
<p class="caption">{said}</p>
<div class="actions"><button type="button" data-event="reject" data-name="{name}">{delete}</button></div></li>"""
KEEP = '<button type="button" class="keep" data-event="keep" data-key="k" data-name="{name}">{label}</button>'
REASON = '<button type="button" data-event="reject" data-name="{name}" data-reason="{reason}">{label}</button>'
FACT = "<dt>{label}</dt><dd>{value}</dd>"


def portrait_grid(portraits: list[KeptPortrait], damaged: Sequence[Path] = ()) -> str:
    """Show ``portraits`` in their order, the first one large, and name files that are ``damaged``; nothing for none."""
    if not portraits and not damaged:
        return ""
    tiles = [_tile(number, portrait) for number, portrait in enumerate(portraits, start=1)]
    tiles += [_damaged(path.name) for path in damaged]
    return "\n".join(['<ul class="magi-grid portraits">', *tiles, "</ul>"])


def _tile(number: int, portrait: KeptPortrait) -> str:
    name = portrait.path.name
    keep = "" if portrait.kept else Html(KEEP, name=name, label=own("Keep"))
    labels = {reason: label for label, reason in REASONS.items()}
    if portrait.facts.get("subject", PERSON_NOUN) != PERSON_NOUN:
        labels["not_like_me"] = UNLIKE_THE_THING
    reasons = [say(Html(REASON, name=name, reason=reason, label=own(label))) for reason, label in labels.items()]
    scores = caption(portrait.facts)
    return say(
        Html(
            TILE,
            kind="kept" if portrait.kept else "new",
            large="true" if number == 1 else "false",
            look=Message("Portrait {n}: {scores}. Larger or smaller.", n=number, scores=scores),
            # The larger picture takes the place of the smaller one: the browser has to fetch it anew.
            source=file_address(portrait.path) + ("?larger" if portrait.facts.get("upscaler") else ""),
            caption=joined(" · ", "kept ✓" if portrait.kept else "", scores),
            keep=keep,
            reject=own("Reject"),
            why=own("Why? It is deleted at once."),
            reasons=Html("".join(reasons)),
            compare=own("Compare"),
            download=own("Download"),
            name=name,
            settings=own("Seed and settings"),
            facts=Html("".join(_facts(portrait.facts))),
        )
    )


def _damaged(name: str) -> str:
    """Name a portrait that cannot be shown, to be deleted."""
    said = Message("{name} is damaged and cannot be shown. Delete it, and draw it again.", name=name)
    return say(Html(DAMAGED, said=said, name=name, delete=own("Delete")))


def _facts(facts: dict) -> list[str]:
    """Give what is known of how a portrait was drawn, a line each; words of the visitor stay as they are."""
    strength = facts.get("strength", 1)
    rows = {
        "Seed": facts["seed"],
        "Added": facts.get("prompt"),
        "What to avoid": facts.get("negative_prompt"),
        "More like the style ↔ more like me": facts.get("dial"),
        "Like my photo ↔ a new picture": strength if strength != 1 else None,
        "Sampler steps": facts.get("steps"),
        "Enlarged": facts.get("upscaler") and f"{facts['upscale']}×, {facts['upscaler']}",
    }
    return [say(Html(FACT, label=own(label), value=value)) for label, value in rows.items() if value not in (None, "")]
