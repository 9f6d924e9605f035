"""Two learned words in a CLIP text encoder: the embedding layer that holds them, and where they stand in prompts."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPTokenizer

from magicapture.bases.words import TOKENS

ROWS_KEY = "clip_l"
"""Under which other tools look for embeddings of this text encoder."""


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


def initial_rows(pipeline: DiffusionPipeline, noise: float, generator: torch.Generator) -> Tensor:
    """Give the rows (2, D) to start from: [V1] as the word "person", [V2] from N(0, ``noise``²) around "portrait"."""
    embedding = pipeline.text_encoder.get_input_embeddings()
    person, portrait = (_word_row(pipeline.tokenizer, embedding, word) for word in ("person", "portrait"))
    return torch.stack([person, portrait + noise * torch.randn(portrait.shape, generator=generator)])


def _word_row(tokenizer: CLIPTokenizer, embedding: nn.Embedding, word: str) -> Tensor:
    first = tokenizer(word, add_special_tokens=False).input_ids[0]
    return embedding.weight[first].detach().float().cpu()


@contextmanager
def concept_tokens(pipeline: DiffusionPipeline, rows: Tensor) -> Iterator[nn.Parameter]:
    """Teach ``pipeline`` the two trigger words with the embeddings ``rows`` (2, D), for the length of a ``with`` block.

    Gives the parameter that holds them. The tokenizer is replaced by a copy and the embedding layer by one that wraps
    it, so leaving restores both exactly.
    """
    tokenizer, encoder = pipeline.tokenizer, pipeline.text_encoder
    original = encoder.get_input_embeddings()
    extended = copy.deepcopy(tokenizer)
    extended.add_tokens(list(TOKENS))
    wrapped = ConceptEmbedding(original, rows.to(original.weight.device))
    try:
        pipeline.tokenizer = extended
        encoder.set_input_embeddings(wrapped)
        yield wrapped.rows
    finally:
        encoder.set_input_embeddings(original)
        pipeline.tokenizer = tokenizer


def tokenize(pipeline: DiffusionPipeline, prompts: list[str]) -> Tensor:
    """Give the token ids (B, L) of ``prompts`` as the pipeline itself would pad them."""
    tokenizer = pipeline.tokenizer
    encoded = tokenizer(
        prompts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    return encoded.input_ids.to(pipeline.text_encoder.device)


def positions(tokenizer: CLIPTokenizer, ids: Tensor) -> Tensor:
    """Say where each trigger word stands in the prompts ``ids`` (B, L): (2, B), −1 where a prompt lacks it."""
    found = torch.stack([ids == tokenizer.get_added_vocab().get(word, -1) for word in TOKENS])
    return torch.where(found.any(dim=2), found.int().argmax(dim=2), -1)
