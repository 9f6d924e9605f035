"""The page in the visitor's language: English sentences are the keys of a catalogue, as with gettext.

A key may hold values, such as "{n} steps, about {time}.": those named by one letter are numbers, others any text, which
is translated in its turn. What the page shows from the start is translated by the browser, what follows by the server.
"""

import json
import re
from functools import lru_cache
from html import escape, unescape
from pathlib import Path

import gradio as gr
from gradio.context import LocalContext

CATALOGUES = {path.stem: json.loads(path.read_text("utf-8")) for path in Path(__file__).parent.glob("*.json")}
"""By language, what English texts become."""
VALUE = re.compile(r"\\?\{(\w+)\\?\}")
NUMBER = r"[-–:.,%\d]+"
SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z\d])")
VISIBLE = re.compile(r'(>|(?:alt|aria-label)=")\s*([^<>"]*[^<>"\s])\s*(?=[<"])')
"""A text in HTML, or one that is read aloud."""
GAPS = {
    "common.complete": "Complete",
    "common.progress": "Progress",
    "common.webcam": "Take a photo",
    "status.queue_position": "In queue: {position} of {size}",
}
"""Texts of Gradio's own that it lacks, by its keys."""
SPEAKING = {"html", "button"}
"""Components whose value is a text. The button to sign in tells by its own whether somebody is: no catalogue has it."""


def visitors_language() -> str:
    """Give the language that the browser of the present event asks for first, as Gradio's own texts do; or nothing."""
    request = LocalContext.request.get(None)
    header = request.headers.get("accept-language", "") if request else ""
    return re.split("[-,;]", header)[0].strip().lower()


def translate(text: str, language: str) -> str:
    """Translate ``text``, as a whole or sentence by sentence; what has no translation stays English.

    Of HTML, which begins with a tag, all is translated that can be seen, or heard.
    """
    if language not in CATALOGUES:
        return text
    if text.startswith("<"):
        return VISIBLE.sub(lambda found: found[1] + escape(translate(unescape(found[2]), language)), text)
    if text in CATALOGUES[language]:
        return CATALOGUES[language][text]
    if len(sentences := SENTENCE_END.split(text)) > 1:
        return " ".join(translate(sentence, language) for sentence in sentences).replace("。 ", "。")
    for pattern, template in _templates(language):
        if match := pattern.fullmatch(text):
            return template.format(**{name: translate(value, language) for name, value in match.groupdict().items()})
    if len(parts := text.split(" · ")) > 1:
        return " · ".join(translate(part, language) for part in parts)
    return text


def say(text: str) -> str:
    """Translate ``text`` for the visitor who is being served."""
    return translate(text, visitors_language())


def complaint(text: str, title: str) -> gr.Error:
    """Give the error to raise that tells a visitor what is wrong."""
    return gr.Error(say(text), title=say(title), print_exception=False)


def hand_to_browser(page: gr.Blocks) -> gr.I18n:
    """Mark the texts that stand in ``page`` from the start for the browser to translate; gives their translations.

    Gradio's browser side looks up the choices of menus as they are, but other texts soundly only if they are marked.
    """
    texts, marked = set(), gr.I18n()
    for part in page.blocks.values():
        if part.get_block_name() == "api":
            continue  # its label names a parameter of an endpoint
        texts |= {label for label, _ in getattr(part, "choices", None) or ()}
        for name in ("label", "info", "placeholder", *["value"] * (part.get_block_name() in SPEAKING)):
            if isinstance(text := getattr(part, name, None), str) and text:
                texts.add(text)
                setattr(part, name, str(marked(text)))
    keys = {text: text for text in texts} | GAPS
    told = {language: {key: translate(text, language) for key, text in keys.items()} for language in CATALOGUES}
    return gr.I18n(en=GAPS, **told)


@lru_cache
def _templates(language: str) -> list[tuple[re.Pattern, str]]:
    """Compile the keys with values; those that say most come first."""
    keys = sorted((key for key in CATALOGUES[language] if VALUE.search(key)), key=lambda key: -len(VALUE.sub("", key)))
    return [(_pattern(key), CATALOGUES[language][key]) for key in keys]


def _pattern(key: str) -> re.Pattern:
    escaped = re.escape(key)
    return re.compile(VALUE.sub(lambda found: f"(?P<{found[1]}>{NUMBER if len(found[1]) == 1 else '.+?'})", escaped))
