"""Two learned words behind a large text encoder: they take the place of what it gives, not of what it reads.

An ordinary word stands in for each of them while the encoder reads the prompt; of its output, the row at that place is
exchanged for the learned one. So what the encoder says of a prompt is the same however much has been learned: it is
remembered, and the encoder need not stay in the GPU's memory, nor does any gradient pass through it. Nothing is added
to the tokenizer: Qwen's embedding table has spare rows beyond its vocabulary, in which new ids would silently land.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from diffusers import Flux2KleinPipeline
from torch import Tensor, nn

from magicapture.bases.base import Conditioning
from magicapture.bases.words import MEDIA, PERSON, STYLE, TEMPLATES, TOKENS, prompt_for


def stand_ins(noun: str) -> dict[str, str]:
    """Give what the encoder reads in place of the trigger words, the first of which names a ``noun``."""
    return {PERSON: noun, STYLE: "portrait"}


REMEMBERED = 64
"""Prompts whose encoding is kept: about half a gigabyte."""

AT_ONCE = 4
"""Prompts that are read side by side."""

COMMON = (
    "a photo of a person with short hair and glasses in a garden",
    "a portrait of an old man with a beard and a hat, dark background",
    "an oil painting of a young woman in the style of the renaissance",
    "a black and white engraving of a king on a horse",
    "a picture of two children who play with a dog on the beach at sunset",
)
"""Everyday prompts, whose words show what rows the encoder gives."""


class DialledConditioning(Conditioning):
    """What prompts mean, with ``extras["plain"]`` (B, L, D): what they would with ordinary words for the learned ones.

    Prompts of chat models end in marks that other words must not be mixed with, so the dial moves the learned words
    alone, towards or away from the ordinary ones.
    """

    def towards(self, there: Conditioning, away_from: Conditioning, reach: float) -> "DialledConditioning":
        """Strengthen the words that ``there`` has and weaken those that ``away_from`` has, by the share ``reach``."""
        plain = self.extras["plain"]
        moved = self.embeddings.clone()
        for word, has, lacks in zip(self.positions, there.positions, away_from.positions, strict=True):
            sign = (has >= 0).to(moved) - (lacks >= 0).to(moved)
            rows = torch.arange(len(word), device=word.device), word.clamp(min=0)
            change = reach * sign[:, None] * (self.embeddings[rows] - plain[rows])
            moved[rows] = moved[rows] + torch.where((word >= 0)[:, None], change, torch.zeros_like(change))
        return type(self)(moved, self.positions, self.extras)


@dataclass(frozen=True, eq=False)
class Encoded:
    """One prompt: ``output`` (L, D) of the encoder; ``places`` (2, L), where each learned word belongs."""

    output: Tensor
    places: Tensor


@dataclass(eq=False)
class OutputWords:
    """Encodes prompts, with the learned words in them while there are some.

    ``encode``: prompts to (B, L, D), with nothing learned; ``tokenizer``: whose chat template frames a prompt as
    ``encode`` does; ``length``: L; ``noun``: what the first word names while there are ``rows``, else None.
    """

    encode: Callable[[list[str]], Tensor]
    tokenizer: Any
    length: int
    rows: nn.Parameter | None = None
    noun: str | None = None
    _known: dict[tuple[str, str | None], Encoded] = field(default_factory=dict)

    @classmethod
    def of(cls, pipeline: Flux2KleinPipeline) -> Self:
        """Encode as ``pipeline`` does. Its text encoder is where its denoiser is only while it reads prompts."""

        def encode(prompts: list[str]) -> Tensor:
            encoder, device = pipeline.text_encoder, pipeline.transformer.device
            frozen = [parameter.data for parameter in encoder.parameters()]
            try:
                encoder.to(device)
                with torch.no_grad():
                    parts = [prompts[i : i + AT_ONCE] for i in range(0, len(prompts), AT_ONCE)]
                    return torch.cat([pipeline.encode_prompt(part, device=device)[0] for part in parts])
            finally:
                for parameter, values in zip(encoder.parameters(), frozen, strict=True):
                    parameter.data = values  # put back, not copied back: nothing in them has changed
                encoder.to("cpu")  # its buffers, which are small

        return cls(encode, pipeline.tokenizer, pipeline.tokenizer_max_length)

    @contextmanager
    def taught(self, rows: Tensor, noun: str) -> Iterator[nn.Parameter]:
        """Teach it the two words with ``rows`` (2, D) for the length of a ``with`` block; gives their parameter."""
        self.rows, self.noun = nn.Parameter(rows.detach().float().clone()), noun
        try:
            yield self.rows
        finally:
            self.rows = self.noun = None

    def condition(self, prompts: list[str]) -> DialledConditioning:
        """Encode ``prompts`` with the rows as they are now, differentiably."""
        found = self._remembered(prompts, self.noun)
        plain = torch.stack([prompt.output for prompt in found])
        places = torch.stack([prompt.places for prompt in found], dim=1)  # (2, B, L)
        positions = torch.where(places.any(dim=2), places.int().argmax(dim=2), -1)
        embeddings = plain
        if self.rows is not None:
            for row, place in zip(self.rows.to(plain), places, strict=True):
                embeddings = torch.where(place[..., None], row, embeddings)
        return DialledConditioning(embeddings, positions, {"plain": plain})

    def vocabulary(self) -> Tensor:
        """Give the rows (V, D) of everyday words, in float32 on the CPU."""
        outputs = [prompt.output.float().cpu() for prompt in self._remembered(list(COMMON), None)]
        spans = [self._covered(prompt, 0, len(prompt)) for prompt in COMMON]
        return torch.cat([output[span] for output, span in zip(outputs, spans, strict=True)])

    def initial_rows(self, noise: float, generator: torch.Generator, noun: str) -> Tensor:
        """Give the rows (2, D) of the stand-ins where each stands alone in a prompt; the second with ``noise``."""
        alone = [prompt_for(task, noun=noun) for task in ("source", "reference")]
        found = self._remembered([*alone, *COMMON], noun)  # a training asks for the vocabulary next
        rows = []
        for place, prompt in enumerate(alone):
            text, ends = spelled(prompt, noun)
            rows.append(found[place].output.float().cpu()[self._places(text, ends)[place]][0])
        person, style = rows
        return torch.stack([person, style + noise * torch.randn(style.shape, generator=generator)])

    def _remembered(self, prompts: list[str], noun: str | None) -> list[Encoded]:
        """Encode what has not been before, and with it what will be asked for: so the encoder moves once.

        ``noun``: what the first word names; None if nothing is learned.
        """
        keys = [self._key(prompt, noun) for prompt in prompts]
        if not all(key in self._known for key in keys):
            tasks = [prompt_for(task, medium, noun) for task in TEMPLATES for medium in MEDIA] if noun else COMMON
            soon = [self._key(prompt, noun) for prompt in (*tasks, "")]
            missing = [key for key in dict.fromkeys([*keys, *soon]) if key not in self._known]
            plain: list[list[int]] = [[], []]
            texts = [spelled(prompt, noun) if noun else (prompt, plain) for prompt, noun in missing]
            outputs = self.encode([text for text, _ in texts])
            for key, output, (text, ends) in zip(missing, outputs, texts, strict=True):
                self._known[key] = Encoded(output, self._places(text, ends).to(output.device))
        found = [self._known[key] for key in keys]
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]  # what has been known longest
        return found

    @staticmethod
    def _key(prompt: str, noun: str | None) -> tuple[str, str | None]:
        """Give what its encoding is remembered by: without a learned word in it, whatever they name."""
        return prompt, noun if any(word in prompt for word in TOKENS) else None

    def _places(self, text: str, ends: list[list[int]]) -> Tensor:
        """Find the last tokens (2, L) of the stand-ins that end before these characters of ``text``.

        The encoder reads from left to right: of several tokens the last one has seen the word.
        """
        found = [[self._covered(text, end - 1, end) for end in of_word] for of_word in ends]
        nowhere = torch.zeros(self.length, dtype=torch.bool)
        return torch.stack([torch.stack([nowhere, *of_word]).any(dim=0) for of_word in found])

    def _covered(self, text: str, begin: int, end: int) -> Tensor:
        """Find the tokens (L,) of which a part lies between these characters of ``text``."""
        framed = framed_prompt(self.tokenizer, text)
        shift = framed.index(text)
        encoded = self.tokenizer(
            framed, padding="max_length", truncation=True, max_length=self.length, return_offsets_mapping=True
        )
        spans = torch.tensor(encoded["offset_mapping"])
        return (spans[:, 0] < shift + end) & (spans[:, 1] > shift + begin)


def framed_prompt(tokenizer: Any, text: str) -> str:
    """Give what the encoder reads of the prompt ``text``: a turn of a conversation, as the pipeline frames it."""
    turn = [{"role": "user", "content": text}]
    return tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, enable_thinking=False)


def spelled(prompt: str, noun: str) -> tuple[str, list[list[int]]]:
    """Write the stand-ins in place of the trigger words, and tell before which characters each of the two ends."""
    text, words = "", stand_ins(noun)
    ends: list[list[int]] = [[], []]
    for part in re.split(f"({'|'.join(TOKENS)})", prompt):
        text += words.get(part, part)
        if part in words:
            ends[TOKENS.index(part)].append(len(text))
    return text, ends
