"""What an adapter says of itself: one typed record, and the one place that reads it from a file."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, NotRequired, Self, TypedDict

from magicapture.bases import BaseSpec
from magicapture.bases.words import TOKENS, prompt_for
from magicapture.faces.likeness import RECOGNISER
from magicapture.messages import Message
from magicapture.photos.layouts import LAYOUT
from magicapture.photos.palette import LARGEST_NUMBER, PALETTE_NUMBERS
from magicapture.subject import NOUN, PERSON_NOUN

INFO_FILE = "magicapture.json"
DAMAGED = "The adapter in {name} is damaged and cannot be read: {reason}"
MAX_LINE = 200
"""Characters of a single line of text."""
MAX_RANK = 128
"""Putting an adapter on a base takes memory in proportion to the rank that its file claims."""
LONGEST_TITLE = 60
NOT_IN_TITLES = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
"""What no title holds: control characters but for white space, surrogates, and what overrides the direction of text."""
MAX_STEPS, MAX_SEED, MAX_CHANNELS, MAX_ROWS, MAX_PHOTOS = 10**6, 2**63, 1024, 1000, 64
MAX_STYLE, MAX_LATENT, LARGEST_FLOAT = 100.0, 1000.0, sys.float_info.max
"""The first two are far beyond what is ever measured, and small enough to be shown and computed with."""


class AdapterError(Exception):
    """An adapter that cannot be used; the text says which file is wrong and why."""


class PreviewScore(TypedDict):
    """Mean scores of a round of previews after ``step`` steps: see ``scoring.Scores``; None if not comparable.

    ``lora_ratio``: ‖ΔW‖ / ‖W‖ over the layers with a LoRA; ``row_norm``: of the longer of the two learned words. Both
    say whether a training blows up.
    """

    step: int
    likeness: float | None
    style: float | None
    lora_ratio: NotRequired[float]
    row_norm: NotRequired[float]


@dataclass(frozen=True)
class AdapterInfo:
    """What ``magicapture.json`` holds."""

    base: str  # name of the base it was trained on, and where that comes from
    base_source: str
    licence: str
    preset: str
    rank: int  # of the LoRA, 1 to 128
    steps: int  # that were trained, and after how many of them this state was
    best_step: int
    engine: str  # whose network stood in the loss: a face engine, or what compares things
    subject: str = PERSON_NOUN  # what it is called in prompts; anything but "person" is a thing
    scored_by: str | None = None  # the network whose embedding its targets hold
    seed: int = 0
    off: tuple[str, ...] = ()  # terms of the method that were switched off
    latent_mean: tuple[float, ...] | None = None  # (C,), of the look; drawing starts from it and from
    layouts: tuple[str, ...] | None = None  # the person's photos, 8 × 8 pixels each in the look's colours
    palette: tuple[float, ...] | None = None  # of the look, seven numbers to which portraits are held
    scores: tuple[PreviewScore, ...] = ()
    title: str | None = None  # the visitor's own note, see ``clean_title``
    tokens: tuple[str, ...] = TOKENS
    prompts: dict[str, str] = field(default_factory=dict)  # by task
    versions: dict[str, str] = field(default_factory=dict)  # of the libraries it was trained with
    format: int = 1

    @classmethod
    def of(cls, spec: BaseSpec, *, subject: str = PERSON_NOUN, scored_by: str = RECOGNISER, **details: Any) -> Self:
        """Describe an adapter that has just been trained on ``spec``, with ``details`` such as the rank."""
        return cls(
            base=spec.name,
            base_source=spec.public_source,
            licence=spec.licence,
            subject=subject,
            scored_by=scored_by,
            prompts={task: prompt_for(task, noun=subject) for task in ("source", "reference", "composed")},
            versions={library: version(library) for library in ("torch", "diffusers", "transformers", "peft")},
            **details,
        )

    @classmethod
    def parse(cls, facts: object) -> Self:
        """Check what a file of unknown origin says, and clean its title.

        Raises ``ValueError`` that names the facts that are not sound.
        """
        if not isinstance(facts, dict):
            raise ValueError(f"{INFO_FILE} holds no facts")  # noqa: TRY004  as for every other unsound content
        given: dict[str, Any] = {f.name: facts[f.name] for f in fields(cls) if f.name in facts}
        lacking = [name for name in REQUIRED if name not in given]
        wrong = [name for name, value in given.items() if not SOUND[name](value)]
        if not (lacking or wrong):
            late = [row["step"] for row in given.get("scores", ()) if row["step"] > given["steps"]]
            wrong = ["best_step"] * (given["best_step"] > given["steps"]) + ["scores"] * bool(late)
        if lacking or wrong:
            raise ValueError(f"{INFO_FILE} does not describe it ({', '.join(lacking + wrong)})")
        sound: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in given.items()}
        return cls(**sound | {"title": clean_title(given.get("title", "")) or None})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the adapter in ``folder``. Raises ``AdapterError``, and ``FileNotFoundError`` when there is none."""
        try:
            return cls.parse(json.loads((folder / INFO_FILE).read_text()))
        except (ValueError, OverflowError, RecursionError) as error:
            raise AdapterError(Message(DAMAGED, name=folder.name, reason=error)) from error

    def as_json(self) -> str:
        """Give the text of ``magicapture.json``."""
        return json.dumps({name: value for name, value in asdict(self).items() if value is not None}, indent=2) + "\n"


def clean_title(title: str) -> str:
    """Put a title on one line of at most 60 characters, without what it may not hold; nothing may be left.

    Joiners and marks that show nothing themselves stay: emoji and many scripts are written with them.
    """
    return " ".join(NOT_IN_TITLES.sub("", title).split())[:LONGEST_TITLE].rstrip()


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_line(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= MAX_LINE


def _is_noun(value: object) -> bool:
    return isinstance(value, str) and NOUN.fullmatch(value) is not None


def _number(low: float, high: float) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _whole(low: int, high: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _list_of(sound: Callable[[object], bool], most: int, least: int = 0) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(sound, value))


def _is_layout(value: object) -> bool:
    return isinstance(value, str) and LAYOUT.fullmatch(value) is not None


def _is_table(value: object) -> bool:
    return isinstance(value, dict) and len(value) <= MAX_ROWS and all(map(_is_line, [*value, *value.values()]))


def _or_none(sound: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or sound(value)


def _is_score(row: object) -> bool:
    return (
        isinstance(row, dict)
        and PreviewScore.__required_keys__ <= row.keys() <= SOUND_SCORE.keys()
        and all(SOUND_SCORE[name](value) for name, value in row.items())
    )


REQUIRED = ("base", "base_source", "licence", "preset", "rank", "steps", "best_step", "engine")
SOUND_SCORE: dict[str, Callable[[object], bool]] = {
    "step": _whole(0, MAX_STEPS),
    "likeness": _or_none(_number(-1, 1)),
    "style": _or_none(_number(-MAX_STYLE, MAX_STYLE)),
    "lora_ratio": _number(0, LARGEST_FLOAT),
    "row_norm": _number(0, LARGEST_FLOAT),
}
"""What each number of a ``PreviewScore`` may be."""
SOUND: dict[str, Callable[[object], bool]] = {
    **dict.fromkeys(("base", "base_source", "licence", "preset", "engine", "scored_by"), _is_line),
    "title": _is_text,
    "subject": _is_noun,
    "rank": _whole(1, MAX_RANK),
    "steps": _whole(1, MAX_STEPS),
    "best_step": _whole(0, MAX_STEPS),
    "seed": _whole(-MAX_SEED, MAX_SEED),
    "format": _whole(1, 1),
    "off": _list_of(_is_line, MAX_ROWS),
    "tokens": _list_of(_is_line, MAX_ROWS),
    "latent_mean": _list_of(_number(-MAX_LATENT, MAX_LATENT), MAX_CHANNELS),
    "layouts": _list_of(_is_layout, MAX_PHOTOS),
    "palette": _list_of(_number(-LARGEST_NUMBER, LARGEST_NUMBER), PALETTE_NUMBERS, PALETTE_NUMBERS),
    "scores": _list_of(_is_score, MAX_ROWS),
    "prompts": _is_table,
    "versions": _is_table,
}
"""What each fact may be."""
