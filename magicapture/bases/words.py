"""The two trigger words and the prompts they stand in, alike for every base."""

import torch

from magicapture.subject import PERSON_NOUN

PERSON, STYLE = "<magi-person>", "<magi-style>"
"""The trigger words that stand for the learned tokens [V1] and [V2]."""

TOKENS = (PERSON, STYLE)

MEDIA = ("a photo", "a portrait", "a picture", "an image")
TEMPLATES = {
    "source": "{medium} of {person} {noun}",
    "reference": "{medium} of {a_noun} in the {style} style",
    "composed": "{medium} of {person} {noun} in the {style} style",
}
"""One sentence per task (MagiCapture, §3.2); ``medium`` is drawn anew at every step."""


def prompt_for(task: str, medium: str = MEDIA[0], noun: str = PERSON_NOUN) -> str:
    """Give the prompt of ``task`` ("source", "reference" or "composed") with the trigger words in place."""
    a_noun = f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
    return TEMPLATES[task].format(medium=medium, person=PERSON, style=STYLE, noun=noun, a_noun=a_noun)


def draw_prompt(task: str, generator: torch.Generator, noun: str = PERSON_NOUN) -> str:
    """Give the prompt of ``task`` with a medium drawn from ``generator``."""
    return prompt_for(task, MEDIA[int(torch.randint(len(MEDIA), (), generator=generator))], noun)
