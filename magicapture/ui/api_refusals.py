"""How endpoints refuse: in one sentence for who called, whatever was sent."""

from collections.abc import Iterator
from contextlib import contextmanager

from magicapture.bases import BaseError
from magicapture.messages import Message
from magicapture.photos.reading import PhotoError
from magicapture.ui.language import user_error

WRONG_TYPE = "An argument is of another type than this takes: look at the description of the API."


@contextmanager
def user_errors() -> Iterator[None]:
    """Pass on errors that are written for visitors; of others, Gradio tells nothing."""
    try:
        yield
    except (BaseError, PhotoError, ValueError) as error:
        raise user_error(str(error), "Not possible") from error
    except (AttributeError, LookupError, TypeError) as error:  # numbers as texts, nothing for a list, and the like
        raise user_error(WRONG_TYPE, "Not possible") from error


def require_number(name: str, value: object, least: int, most: int) -> None:
    """Raise ``ValueError`` unless ``value`` is a whole number from ``least`` to ``most``."""
    whole = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    require(whole, Message("{name} must be a whole number from {n} to {m}.", name=name, n=least, m=most))


def require_text(name: str, value: object, most: int) -> None:
    """Raise ``ValueError`` unless ``value`` is a text of at most ``most`` characters."""
    fits = isinstance(value, str) and len(value) <= most
    require(fits, Message("{name} must be a text of at most {n} characters.", name=name, n=most))


def require(condition: object, otherwise: str) -> None:
    """Raise ``ValueError`` with the sentence ``otherwise`` unless the condition holds."""
    if not condition:
        raise ValueError(otherwise)
