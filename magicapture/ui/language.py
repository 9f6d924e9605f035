"""The page in the visitor's language: English sentences are the keys of a catalogue, as with gettext.

A key may hold values, such as "{n} steps, about {time}."; what is said is a ``Message``, which keeps the two apart, so
that translating is looking up and never has to find out what in a finished sentence came from whom. What the page shows
from the start is translated by the browser, what follows by the server.
"""

import json
import re
from pathlib import Path

import gradio as gr
from gradio.context import LocalContext

from magicapture.messages import Html, Message
from magicapture.server.gate.answer import language_of

CATALOGUES = {path.stem: json.loads(path.read_text("utf-8")) for path in Path(__file__).parent.glob("*.json")}
"""By language, what English texts become."""
SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z\d{])")
GAPS = {
    "common.complete": "Complete",
    "common.progress": "Progress",
    "status.queue_position": "In queue: {position} of {size}",
}
"""Texts of Gradio's own that it lacks, by its keys."""
SPEAKING = {"html", "button"}
"""Components whose value is a text. The button to sign in tells by its own whether somebody is: no catalogue has it."""


def visitors_language() -> str:
    """Give the language that the browser of the present event asks for first, as Gradio's own texts do; or nothing."""
    request = LocalContext.request.get(None)
    return language_of(request.headers) if request else ""


def translate(text: str, language: str) -> str:
    """Translate a message, or a text of the program's own; what has no translation stays English.

    Values stay as they are unless they are messages: pass what visitors wrote as a value, never as ``text``.
    """
    if language not in CATALOGUES:
        return text
    if not isinstance(text, Message):
        return _in_catalogue(text, language)
    template = text.key if isinstance(text, Html) else _in_catalogue(text.key, language)
    values = dict(text.values)
    for name, value in text.values.items():
        if isinstance(value, Message):
            values[name] = said = translate(value, language)
            if said.endswith("。"):  # which needs no space after it
                template = template.replace(f"{{{name}}} ", f"{{{name}}}")
    translated = text.filled(template, values)
    return Html(translated) if isinstance(text, Html) else translated


def _in_catalogue(key: str, language: str) -> str:
    """Look ``key`` up, as a whole or sentence by sentence."""
    catalogue = CATALOGUES[language]
    if key in catalogue:
        return catalogue[key]
    return " ".join(catalogue.get(sentence, sentence) for sentence in SENTENCE_END.split(key)).replace("。 ", "。")


def say(text: str) -> str:
    """Translate ``text`` for the visitor who is being served."""
    return translate(text, visitors_language())


def user_error(text: str, title: str) -> gr.Error:
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
    keys = {text[:]: text for text in texts} | GAPS  # a part of a message is a plain text, as JSON wants its keys
    told = {language: {key: translate(text, language) for key, text in keys.items()} for language in CATALOGUES}
    return gr.I18n(en=GAPS, **told)
