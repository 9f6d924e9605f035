"""What the app asks of a subject: find it, cut it out, embed it, and say what is wrong with a photo of it."""

import re
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from PIL.Image import Image
from torch import Tensor, nn

from magicapture.messages import Message

NO_FACE = "no_face"
"""The code of what is wrong with a photo in which no face was found: unusable of a person, usable of a look."""

Severity = Literal["warning", "unusable"]

PERSON_NOUN, THING_NOUN = "person", "thing"
"""What a person is called in prompts; any other noun names a thing, and the second one that has no name."""
NOUN = re.compile(r"(?=.{1,40}$)[a-z]+(?:[ -][a-z]+){0,3}")
"""One to four lower-case English words: the prompt has to hold more than the noun."""
NOT_A_NOUN = "“{name}” does not name a thing: use one to four English words of plain letters, such as “teapot”."
A_PERSON = "“{name}” is somebody, not a thing: choose “A person”, whose photos are looked at for faces."
UNFIT = "“{name}” is not trained here: name a thing or an animal, such as “teapot”."
ARTICLES = {"a", "an", "the", "my", "our"}
PEOPLE = frozenset(
    {"people", "human", "humans", "man", "men", "woman", "women", "lady", "ladies", "guy", "guys", "boy", "boys"}
    | {"girl", "girls", "child", "children", "kid", "kids", "baby", "babies", "toddler", "teenager", "teenagers"}
    | {"face", "faces", "body", "bodies"}
)
"""Words that make a noun that of a person, whose photos ask for another consent and are judged in another way."""
BLOCKED = frozenset(
    {"nude", "nudes", "naked", "porn", "porno", "sex", "sexy", "sexual", "nsfw", "erotic", "fetish", "genitals"}
)
"""Words that no noun may hold."""
COMPARED_BY_ANOTHER = (
    "The photos were compared by {other}, and here {name} would compare what is drawn: add them anew, or ask whoever "
    "runs this to set the same everywhere."
)


def noun_of(text: str) -> str:
    """Give the noun that somebody means who writes ``text``, such as "a Teapot"; of an empty one, that of any thing.

    Raises ``ValueError`` with a sentence for visitors for what is no short English noun, names a person otherwise than
    by "person", or is not to be drawn.
    """
    words = text.lower().split()
    noun = " ".join(words[1:] if words and words[0] in ARTICLES else words) or THING_NOUN
    said = {"name": text.strip()[:40]}
    if not NOUN.fullmatch(noun):
        raise ValueError(Message(NOT_A_NOUN, **said))
    parts = set(re.split("[ -]", noun))
    if parts & BLOCKED:
        raise ValueError(Message(UNFIT, **said))
    if noun != PERSON_NOUN and parts & (PEOPLE | {PERSON_NOUN}):
        raise ValueError(Message(A_PERSON, **said))
    return noun


@dataclass(frozen=True)
class Problem:
    """What is wrong with a photo, for programs (``code``) and for visitors (``message`` and what to do, ``advice``)."""

    code: str
    severity: Severity
    message: str
    advice: str


@dataclass(frozen=True, eq=False)
class Reference:
    """A photo as training takes it.

    ``image``: RGB, size × size, the subject in the middle, a face upright. ``mask``: (size, size) float32, 1 on the
    subject. ``landmarks``: (K, 2) float32 in pixels of ``image``: of a face the viewer's left eye, right eye, nose,
    left and right corner of the mouth; of a thing the corners of its box. ``embedding``: (D,) float32 of length 1, by
    what is in the identity term, the ``Subject.name`` ``embedded_by``, which is empty in what older versions stored;
    of a look's picture that shows nobody (0,), and mask and landmarks are where a face would usually be.
    """

    name: str
    image: Image
    mask: np.ndarray
    landmarks: np.ndarray
    embedding: np.ndarray
    embedded_by: str = ""


@dataclass(frozen=True, eq=False)
class Sighting:
    """What was found in a photo; ``reference`` is None exactly if a problem makes it unusable."""

    reference: Reference | None
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


class Critic(nn.Module):
    """What stands in the identity term: differentiable, and for a part of the picture only."""

    def forward(self, images: Tensor, landmarks: Tensor, masks: Tensor) -> Tensor:
        """Embed the subjects of ``images`` (B, 3, H, W), RGB in [-1, 1], as (B, D) vectors of length 1.

        ``landmarks``: (B, K, 2) in pixels of these images, on the CPU; ``masks``: (B, 1, h, w), 1 on the subject.
        """
        raise NotImplementedError

    def window(self, landmarks: Tensor, height: int, width: int, scale: int) -> tuple[slice, slice]:
        """Give the rows and columns of latents that it has to see.

        ``landmarks``: as above, in pixels of pictures ``scale`` times as large as their ``height`` × ``width`` latents.
        """
        raise NotImplementedError


class Subject(Protocol):
    """A kind of what is trained: ``noun`` names it in prompts, ``name`` says what finds and embeds it."""

    noun: str
    name: str
    licence: str
    """One sentence for visitors: what the weights may be used for."""
    scored_by: str
    """What ``embed`` is called where its embeddings are kept: those of others cannot be compared with them."""

    def look(self, name: str, photo: Image, cutout: Image | None, size: int, *, own: bool) -> Sighting:
        """Find the subject in the RGB photo ``name`` and cut it out, ``size`` pixels a side.

        ``cutout``: the photo's alpha channel in mode L, which shows the subject, if it has one. ``own``: whether the
        subject itself is to be seen, or anything of its kind in a look, which is judged with leniency.
        """

    def strangers(self, embeddings: np.ndarray) -> tuple[np.ndarray, Problem] | None:
        """Tell which of ``embeddings`` (N, D) are not of the same subject as most: (N,) bool, and how to say so.

        None where that cannot be told.
        """

    def embed(self, image: Image, mask: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Embed the subject in a crop, (D,) float32 of length 1: what portraits are scored by."""

    def find(self, image: Image, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Look for the subject that ``wanted`` (D,) is the embedding of in a picture.

        Gives its mask, (H, W) float32, and its embedding, as ``embed`` does; None where there is none.
        """

    def critic(self) -> Critic:
        """Give the network behind ``Reference.embedding``, on the CPU."""


def require_embedded_by(name: str, references: list[Reference]) -> None:
    """Raise ``ValueError`` if ``references`` were embedded by another network than that of the subject ``name``."""
    others = {reference.embedded_by for reference in references} - {name, ""}
    if others:
        raise ValueError(Message(COMPARED_BY_ANOTHER, other=min(others), name=name))
