"""The card that stands beside an adapter's files and heads its repository on the Hub."""

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import ModelCardData

from magicapture.adapters.info import AdapterInfo
from magicapture.bases import resolve_base
from magicapture.bases.words import PERSON, STYLE, prompt_for

REPOSITORY = Path(__file__).parents[2]


def model_card(info: AdapterInfo, repo_id: str | None = None, gallery: Sequence[tuple[str, str]] = ()) -> str:
    """Write the card that stands beside an adapter's files, or in its repository ``repo_id`` on the Hub.

    ``gallery``: path in the repository and prompt of each picture to show. The fields in front are those that the Hub
    and other tools read (https://huggingface.co/docs/hub/model-cards).
    """
    spec, source, prompt = resolve_base(info.base), info.base_source, prompt_for("composed", noun=info.subject)
    metadata = ModelCardData(
        license=info.licence,
        base_model=source if re.fullmatch(r"[\w.-]+/[\w.-]+", source) else None,  # elsewhere it is a folder
        instance_prompt=prompt,
        tags=["text-to-image", "diffusers", "lora", "template:sd-lora", "magicapture"],
        widget=[{"text": text, "output": {"url": path}} for path, text in gallery] or None,
    )
    place = Path(spec.source).relative_to(REPOSITORY).as_posix() if spec.embedded else source
    beside = f"{_code(place)} is a folder of the MagiCapture app: run this beside it.\n\n" if spec.embedded else ""
    return (
        (Path(__file__).parent / "card.md")
        .read_text()
        .format(
            metadata=metadata.to_yaml(),
            gallery="<Gallery />\n\n" if gallery else "",
            preset=_code(info.preset),
            source=_code(source),
            licence=_code(info.licence),
            person=_code(PERSON),
            style=_code(STYLE),
            prompt=_code(prompt),
            subject=info.subject,
            beside=beside,
            usage=spec.family.usage(spec, place, info.subject, repo_id, info.latent_mean),
        )
    )


def _code(text: str) -> str:
    """Give ``text``, one line, as Markdown that shows it as it is (https://spec.commonmark.org/current/#code-spans)."""
    if "`" not in text:
        return f"`{text}`"
    fence = "`" * (1 + max(map(len, re.findall("`+", text))))
    return f"{fence} {text} {fence}"
