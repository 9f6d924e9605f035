"""Two learned words in a CLIP text encoder: the embedding layer that holds them, and where they stand in prompts."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from magicapture.bases.words import TOKENS
from magicapture.subject import PERSON_NOUN


class ConceptEmbedding(nn.Module):
    """A text encoder's token embedding with further rows at its end; only these rows can be trained."""

    def __init__(self, original: nn.Embedding, rows: Tensor) -> None:
        """Append ``rows`` (K, D) to ``original`` (V, D): they answer to the ids V … V + K − 1."""
        super().__init__()
        self.original = original  # the first to come, for pipelines take the encoder's precision from its first weights
        self.learned = nn.Embedding.from_pretrained(rows.detach().float().clone(), freeze=False)

    @property
    def rows(self) -> nn.Parameter:
        """The rows (K, D) that can be trained, in float32."""
        return self.learned.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embed ``input_ids`` (…,) as (…, D)."""
        known = self.original.num_embeddings
        old = self.original(input_ids.clamp(max=known - 1))
        new = self.learned((input_ids - known).clamp(min=0))
        return torch.where((input_ids >= known).unsqueeze(-1), new.to(old.dtype), old)


@dataclass(frozen=True, eq=False)
class ClipEncoder:
    """One of the CLIP text encoders of ``pipeline``, with its tokenizer: their names there end in ``suffix``."""

    pipeline: DiffusionPipeline
    suffix: str = ""

    @property
    def tokenizer(self) -> CLIPTokenizer:
        """What the pipeline splits prompts with now."""
        return getattr(self.pipeline, f"tokenizer{self.suffix}")

    @property
    def model(self) -> CLIPTextModel | CLIPTextModelWithProjection:
        """What turns token ids (B, L) into hidden states (B, L, D)."""
        return getattr(self.pipeline, f"text_encoder{self.suffix}")

    @property
    def vocabulary(self) -> Tensor:
        """The embeddings (V, D) of the words that it knows."""
        return self.model.get_input_embeddings().weight

    def initial_rows(self, noise: float, generator: torch.Generator, noun: str = PERSON_NOUN) -> Tensor:
        """Give the rows (2, D) to start from: [V1] as ``noun``, [V2] from N(0, ``noise``²) around "portrait"."""
        person, portrait = (self._row(word) for word in (noun, "portrait"))
        return torch.stack([person, portrait + noise * torch.randn(portrait.shape, generator=generator)])

    def _row(self, word: str) -> Tensor:
        """Give the embedding (D,) of a word, the mean over its tokens."""
        ids = self.tokenizer(word, add_special_tokens=False).input_ids
        return self.vocabulary[ids].detach().float().mean(dim=0).cpu()

    @contextmanager
    def concept_tokens(self, rows: Tensor) -> Iterator[nn.Parameter]:
        """Teach it the two trigger words with the embeddings ``rows`` (2, D), for the length of a ``with`` block.

        Gives the parameter that holds them. The tokenizer is replaced by a copy and the embedding layer by one that
        wraps it, so leaving restores both exactly.
        """
        tokenizer, original = self.tokenizer, self.model.get_input_embeddings()
        extended = copy.deepcopy(tokenizer)
        extended.add_tokens(list(TOKENS))
        wrapped = ConceptEmbedding(original, rows.to(original.weight.device))
        try:
            setattr(self.pipeline, f"tokenizer{self.suffix}", extended)
            self.model.set_input_embeddings(wrapped)
            yield wrapped.rows
        finally:
            self.model.set_input_embeddings(original)
            setattr(self.pipeline, f"tokenizer{self.suffix}", tokenizer)

    def tokenize(self, prompts: list[str]) -> Tensor:
        """Give the token ids (B, L) of ``prompts`` as the pipeline itself would pad them."""
        tokenizer = self.tokenizer
        encoded = tokenizer(
            prompts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
        )
        return encoded.input_ids.to(self.model.device, non_blocking=True)

    def positions(self, ids: Tensor) -> Tensor:
        """Say where each trigger word stands in the prompts ``ids`` (B, L): (2, B), −1 where a prompt lacks it."""
        known = self.tokenizer.get_added_vocab()
        found = torch.stack([ids == known.get(word, -1) for word in TOKENS])
        return torch.where(found.any(dim=2), found.int().argmax(dim=2), -1)
