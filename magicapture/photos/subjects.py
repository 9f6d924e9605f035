"""What kind of subject a noun names."""

from magicapture.faces import load_engine
from magicapture.subject import PERSON_NOUN, Subject
from magicapture.things.thing import Thing


def load_subject(noun: str = PERSON_NOUN) -> Subject:
    """Give the face engine for "person", and for any other noun the thing of that name.

    Raises ``EngineUnavailableError`` as ``load_engine`` does, and ``ValueError`` for what is no noun.
    """
    return load_engine() if noun == PERSON_NOUN else Thing(noun)
