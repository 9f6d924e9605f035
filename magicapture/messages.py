"""Sentences for visitors that remember what they are made of, so that the page can say them in another language."""

from collections.abc import Mapping
from html import escape
from typing import Self


class Message(str):  # noqa: SLOT000  its parts need a place
    """A text made of a ``key``, such as "{n} of {m} can be used.", and the ``values`` in it.

    For everyone it is an ordinary English text; ``ui.language`` translates its key, and of its values those that are
    messages themselves. What a visitor wrote is a value, and is never looked at.

    >>> Message("{name} is empty.", name="{me}.jpg")
    '{me}.jpg is empty.'
    """

    key: str
    values: dict[str, object]

    def __new__(cls, key: str, /, **values: object) -> Self:
        """Put ``values`` into ``key``; without values its braces stay as they are."""
        message = super().__new__(cls, cls.filled(key, values))
        message.key, message.values = key, values
        return message

    def __str__(self) -> Self:
        """Give the message itself, so that ``str(error)`` of an error that holds one can still be translated."""
        return self

    @classmethod
    def filled(cls, template: str, values: Mapping[str, object]) -> str:
        """Put ``values`` into ``template``, which is ``key`` or a translation of it."""
        return template.format(**values) if values else template


class Html(Message):
    """A message whose key is HTML; values are escaped when they are put into it, unless they are HTML themselves."""

    @classmethod
    def filled(cls, template: str, values: Mapping[str, object]) -> str:
        """Put ``values`` into ``template``, escaped."""
        safe = {name: value if isinstance(value, Html) else escape(str(value)) for name, value in values.items()}
        return super().filled(template, safe)


def joined(separator: str, *parts: str) -> Message:
    """Give ``parts`` one after the other as one message; empty ones are left out.

    >>> joined(" ", "The face is blurred.", "Use a sharp photo.")
    'The face is blurred. Use a sharp photo.'
    """
    named = {f"part{place}": own(part) for place, part in enumerate(filter(None, parts))}
    return Message(separator.join(f"{{{name}}}" for name in named), **named)


def own(text: str) -> Message:
    """Give a sentence of the program's own, such as one of a list of labels, as a message."""
    return text if isinstance(text, Message) else Message(text)
