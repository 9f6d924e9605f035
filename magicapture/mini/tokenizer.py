"""The embedded base's own small vocabulary, in the form of CLIP's tokenizer."""

import json
import string
from collections.abc import Iterable

from tokenizers import pre_tokenizers, trainers
from transformers import CLIPTokenizer

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
MAX_LENGTH = 32
"""Tokens of a prompt, both ends included. The longest caption has 25; CLIP's 77 would cost time and hold padding."""


def train_tokenizer(captions: Iterable[str]) -> CLIPTokenizer:
    """Learn byte-pair merges from ``captions``; any text can be written with it, by letters if need be."""
    backend = CLIPTokenizer(vocab={EOS: 0, BOS: 1}).backend_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2000, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    singles = " ".join(string.ascii_lowercase + string.digits + string.punctuation)  # each as the end of a word too
    backend.train_from_iterator([*captions, singles], trainer)
    vocabulary = backend.get_vocab(with_added_tokens=False)
    pieces = [p for p in sorted(vocabulary, key=vocabulary.get) if p not in (BOS, EOS)]
    numbers = {piece: i for i, piece in enumerate([*pieces, BOS, EOS])}
    merges = json.loads(backend.to_str())["model"]["merges"]  # the only form in which the library shows them
    return CLIPTokenizer(vocab=numbers, merges=[tuple(pair) for pair in merges], model_max_length=MAX_LENGTH)
