"""What kind of subject a noun names, and what scores it."""

from magicapture.faces import load_engine
from magicapture.faces.likeness import DIMENSIONS, RECOGNISER
from magicapture.subject import PERSON_NOUN, Subject
from magicapture.things.networks import load_network
from magicapture.things.thing import Thing


def load_subject(noun: str = PERSON_NOUN) -> Subject:
    """Give the face engine for "person", and for any other noun the thing of that name.

    Raises ``EngineUnavailableError`` as ``load_engine`` does, and ``ValueError`` for what is no noun.
    """
    return load_engine() if noun == PERSON_NOUN else Thing(noun)


def scorer_of(noun: str) -> tuple[str, int]:
    """Give the name of what scores a subject here, ``Subject.scored_by``, and how many numbers its embeddings have."""
    if noun == PERSON_NOUN:
        return RECOGNISER, DIMENSIONS
    network = load_network()
    return network.name, network.width
