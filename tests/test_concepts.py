"""The two tokens and their prompts."""

import pytest
import tiny
import torch

from magicapture.bases.clip import ClipEncoder, ConceptEmbedding
from magicapture.bases.words import PERSON, STYLE, draw_prompt, prompt_for


def test_each_task_names_just_its_concepts() -> None:
    named = {
        task: (PERSON in prompt_for(task), STYLE in prompt_for(task)) for task in ("source", "reference", "composed")
    }
    assert named == {"source": (True, False), "reference": (False, True), "composed": (True, True)}


def test_templates_are_drawn_anew_and_by_the_seed() -> None:
    def draws(seed: int) -> list[str]:
        generator = torch.Generator().manual_seed(seed)
        return [draw_prompt("composed", generator) for _ in range(20)]

    assert len(set(draws(0))) > 1
    assert draws(0) == draws(0)
    assert draws(0) != draws(1)


def test_only_new_rows_answer_to_new_ids_and_only_they_learn() -> None:
    original = torch.nn.Embedding(3, 2).requires_grad_(False)
    layer = ConceptEmbedding(original, torch.tensor([[10.0, 11.0], [20.0, 21.0]]))
    out = layer(torch.tensor([[0, 3, 2, 4]]))
    assert torch.equal(out[0, 0], original.weight[0])
    assert out[0, [1, 3]].tolist() == [[10, 11], [20, 21]]
    out[0, 3].sum().backward()
    assert layer.rows.grad.tolist() == [[0, 0], [1, 1]]
    assert original.weight.grad is None


def test_trigger_words_are_one_token_each_and_gone_afterwards() -> None:
    pipeline = tiny.base().pipeline
    clip = ClipEncoder(pipeline)
    tokenizer, embedding = pipeline.tokenizer, pipeline.text_encoder.get_input_embeddings()
    words = len(tokenizer)
    plain = clip.tokenize([prompt_for("composed")])
    rows = clip.initial_rows(0.017, torch.Generator().manual_seed(0))
    with clip.concept_tokens(rows):
        ids = clip.tokenize([prompt_for("composed")])
        assert (ids >= words).sum() == 2
        changed = pipeline.text_encoder(ids).last_hidden_state
        assert torch.isfinite(changed).all()
    assert pipeline.tokenizer is tokenizer
    assert pipeline.text_encoder.get_input_embeddings() is embedding
    assert len(tokenizer) == words
    assert torch.equal(clip.tokenize([prompt_for("composed")]), plain)


def test_tokens_leave_even_when_something_goes_wrong() -> None:
    clip = ClipEncoder(tiny.base().pipeline)
    embedding = clip.model.get_input_embeddings()
    rows = clip.initial_rows(0.017, torch.Generator().manual_seed(0))
    with pytest.raises(RuntimeError), clip.concept_tokens(rows):
        raise RuntimeError
    assert clip.model.get_input_embeddings() is embedding
