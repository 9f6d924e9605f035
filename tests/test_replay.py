"""What training would lose if a GPU replayed other steps than those that are taken."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import pytest
import tiny
import torch
from stand_in import training
from torch import Tensor

from magicapture.bases import Base
from magicapture.bases.lora import lora_layers
from magicapture.bases.replay import Replay, captured
from magicapture.config import TrainConfig

SHORT = TrainConfig(token_steps=3, lora_steps=3, previews=1, preview_images=1, preview_steps=1, rank=2)


def trained(base: Base, config: TrainConfig = SHORT) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """Give the losses of every step and what was learned."""
    with training(base, config) as run:
        losses = [event.losses for event in run.unscored()]
        weights = run.unscored_adapter()
    return losses, {**weights.lora, **weights.rows}


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, ...]]:
    """Let the denoiser be captured here as on a GPU, where what is replayed reads its inputs where they were then."""
    samples_of: list[tuple[Tensor, ...]] = []

    def capture(function: Callable[..., object], samples: tuple[Tensor, ...]) -> Callable[..., object]:
        samples_of.append(samples)
        kept = [(sample.shape, sample.dtype, sample.requires_grad, sample.data_ptr()) for sample in samples]

        def replayed(*values: Tensor) -> object:
            for value, sample, (shape, dtype, wants_grad, place) in zip(values, samples, kept, strict=True):
                assert (value.shape, value.dtype, value.requires_grad) == (shape, dtype, wants_grad)
                assert sample.data_ptr() == place
                assert value is sample or not isinstance(sample, torch.nn.Parameter)
            return function(*values)

        return replayed

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", capture)
    monkeypatch.setattr(Replay, "possible", staticmethod(lambda device: device.type == "cpu"))
    return samples_of


@pytest.mark.parametrize("make", [lambda: tiny.base(16), lambda: tiny.xl(64)])
def test_each_phase_is_captured_once_and_learns_the_same(
    make: Callable[[], Base], captures: list[tuple[Tensor, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make()
    losses, weights = trained(base)
    tokens, lora = captures
    learned = [[value for value in samples if isinstance(value, torch.nn.Parameter)] for samples in (tokens, lora)]
    assert not learned[0]
    assert len(learned[1]) == sum("lora_" in key for key in weights)
    monkeypatch.setattr(Replay, "possible", staticmethod(lambda _: False))
    plain_losses, plain_weights = trained(base)
    assert losses == plain_losses
    assert all(torch.equal(weights[key], plain_weights[key]) for key in plain_weights)
    assert len(captures) == 2


class InPlace:
    """A graph that need not be replayed, for its inputs are what they were when it was captured."""

    def replay(self) -> None:
        """Leave everything as it is."""


def test_gradients_go_through_what_was_captured_to_words_and_lora(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, fake in {
        "CUDAGraph": InPlace,
        "graph": lambda *_, **__: nullcontext(),
        "stream": lambda _: nullcontext(),
        "Stream": lambda: None,
        "synchronize": lambda: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch.cuda.graphs, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch, "empty_like", torch.ones_like)  # the gradient of a sum

    base, generator = tiny.base(16), torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 4, 16, 16, generator=generator), torch.tensor([10, 500])
    denoise = partial(base._denoised, True, ())
    with lora_layers(base.denoiser, 2, base.spec.lora_targets) as lora:
        text = base.condition(["a photo", "a portrait"]).embeddings.requires_grad_()
        replayed = captured(denoise, (*inputs, text), lora)
        gradients, outputs = [], []
        for outcome in (denoise(*inputs, text), replayed(*inputs, text, *lora)):
            outputs.append(outcome)
            gradients.append(torch.autograd.grad(sum(part.sum() for part in outcome), [text, *lora]))
    assert all(torch.equal(*pair) for pair in zip(*outputs, strict=True))
    assert all(torch.allclose(*pair, rtol=1e-4, atol=1e-6) for pair in zip(*gradients, strict=True))
    assert gradients[1][0].abs().mean() > 1e-3
    assert len(gradients[1]) > 100


def test_copies_in_half_precision_stay_where_a_graph_reads_them(captures: list[tuple[Tensor, ...]]) -> None:
    base = tiny.base(16)
    for part in tiny.parts(base.pipeline).values():
        part.to(torch.bfloat16)
    losses, _ = trained(base)
    assert len(captures) == 2
    assert len(losses) == SHORT.steps


def test_a_step_of_one_task_as_published_is_captured_once_a_phase(captures: list[tuple[Tensor, ...]]) -> None:
    trained(tiny.base(16), TrainConfig(token_steps=6, lora_steps=9, one_task=True, images_per_task=1, previews=0))
    assert len(captures) == 2


def test_training_goes_on_where_nothing_can_be_captured(
    captures: list[tuple[Tensor, ...]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", fails)
    losses, _ = trained(tiny.base(16))
    assert len(losses) == SHORT.steps
    assert not captures
    assert "slower than it could be" in caplog.text


def test_nothing_is_captured_without_a_gpu_or_beside_a_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert not Replay.possible(torch.device("cpu"))
    assert not Replay.possible(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert not Replay.possible(torch.device("cpu"))
    assert Replay.possible(torch.device("cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_replays_what_it_would_have_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny.base(16).placed()
    replayed, _ = trained(base)
    monkeypatch.setattr(Replay, "possible", staticmethod(lambda _: False))
    plain, _ = trained(base)
    assert [pytest.approx(losses, rel=1e-3) for losses in plain] == replayed
