"""The two learned tokens, the embedding layer that holds them, and the prompts they stand in."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPTokenizer

PERSON, STYLE = "<magi-person>", "<magi-style>"
"""The trigger words that stand for the learned tokens [V1] and [V2]."""

TOKENS = (PERSON, STYLE)

MEDIA = ("a photo", "a portrait", "a picture", "an image")
TEMPLATES = {
    "source": "{medium} of {person} person",
    "reference": "{medium} of a person in the {style} style",
    "composed": "{medium} of {person} person in the {style} style",
}
"""One sentence per task (MagiCapture, §3.2); ``medium`` is drawn anew at every step."""


def prompt_for(task: str, medium: str = MEDIA[0]) -> str:
    """Give the prompt of ``task`` ("source", "reference" or "composed") with the trigger words in place."""
    return TEMPLATES[task].format(medium=medium, person=PERSON, style=STYLE)


def draw_prompt(task: str, generator: torch.Generator) -> str:
    """Give the prompt of ``task`` with a medium drawn from ``generator``."""
    return prompt_for(task, MEDIA[int(torch.randint(len(MEDIA), (), generator=generator))])


class ConceptEmbedding(nn.Module):
    """A text encoder's token embedding with further rows at its end; only these rows can be trained."""

    def __init__(self, original: nn.Embedding, rows: Tensor) -> None:
        """Append ``rows`` (K, D) to ``original`` (V, D): they answer to the ids V … V + K − 1."""
        super().__init__()
        self.original = original
        self.rows = nn.Parameter(rows.detach().float().clone())

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embed ``input_ids`` (…,) as (…, D)."""
        known = self.original.num_embeddings
        old = self.original(input_ids.clamp(max=known - 1))
        new = F.embedding((input_ids - known).clamp(min=0), self.rows)
        return torch.where((input_ids >= known).unsqueeze(-1), new.to(old.dtype), old)


def initial_rows(pipeline: StableDiffusionPipeline, noise: float, generator: torch.Generator) -> Tensor:
    """Give the rows (2, D) to start from: [V1] as the word "person", [V2] from N(0, ``noise``²) around "portrait"."""
    embedding = pipeline.text_encoder.get_input_embeddings()
    person, portrait = (_word_row(pipeline.tokenizer, embedding, word) for word in ("person", "portrait"))
    return torch.stack([person, portrait + noise * torch.randn(portrait.shape, generator=generator)])


def _word_row(tokenizer: CLIPTokenizer, embedding: nn.Embedding, word: str) -> Tensor:
    first = tokenizer(word, add_special_tokens=False).input_ids[0]
    return embedding.weight[first].detach().float().cpu()


@contextmanager
def concept_tokens(pipeline: StableDiffusionPipeline, rows: Tensor) -> Iterator[ConceptEmbedding]:
    """Teach ``pipeline`` the two trigger words with the embeddings ``rows`` (2, D), for the length of a ``with`` block.

    The tokenizer is replaced by a copy and the embedding layer by one that wraps it, so leaving restores both exactly.
    """
    tokenizer, encoder = pipeline.tokenizer, pipeline.text_encoder
    original = encoder.get_input_embeddings()
    extended = copy.deepcopy(tokenizer)
    extended.add_tokens(list(TOKENS))
    wrapped = ConceptEmbedding(original, rows.to(original.weight.device))
    try:
        pipeline.tokenizer = extended
        encoder.set_input_embeddings(wrapped)
        yield wrapped
    finally:
        encoder.set_input_embeddings(original)
        pipeline.tokenizer = tokenizer


def tokenize(pipeline: StableDiffusionPipeline, prompts: list[str]) -> Tensor:
    """Give the token ids (B, L) of ``prompts`` as the pipeline itself would pad them."""
    tokenizer = pipeline.tokenizer
    encoded = tokenizer(
        prompts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    return encoded.input_ids.to(pipeline.text_encoder.device)
