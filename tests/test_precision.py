"""What a visitor would lose on an older GPU, such as a T4: it has no convolutions in bfloat16."""

import pytest
import stand_in
import tiny
import torch
from stand_in import training

from magicapture.bases import Base
from magicapture.bases.precision import WorkingCopies, fast_dtype
from magicapture.config import TrainConfig
from magicapture.method.optimizer import optimizer_step

SHORT = TrainConfig(token_steps=1, lora_steps=2, previews=0, rank=2)


@pytest.fixture
def base() -> Base:
    """Give a random base as it lies on such a GPU."""
    base = tiny.base(sample_size=16)
    for module in (base.pipeline.unet, base.pipeline.vae, base.pipeline.text_encoder):
        module.to(torch.float16)
    return base


@pytest.mark.parametrize(
    ("capability", "dtype"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((12, 0), torch.bfloat16)]
)
def test_a_gpu_computes_in_what_its_hardware_has(
    capability: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert fast_dtype() is dtype


def test_tokens_and_lora_learn_in_float16_and_can_be_drawn_with(base: Base) -> None:
    stand_in.assert_learns_and_draws_in_half(base, SHORT)


def test_a_step_that_overflows_changes_nothing_and_the_next_one_counts() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer, scaler = torch.optim.AdamW([parameter], lr=0.1), torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale((parameter * torch.inf).sum()).backward()
    optimizer_step(optimizer, scaler)
    assert parameter.tolist() == [1.0, 1.0]
    assert scaler.get_scale() == 2.0
    scaler.scale(parameter.sum()).backward()
    optimizer_step(optimizer, scaler)
    assert (parameter < 0.95).all()


def test_a_training_that_goes_on_keeps_the_scale_it_has_found(base: Base) -> None:
    with training(base, SHORT) as run:
        next(iter(run))
        run.scaler.update(64.0)
        checkpoint = run.checkpoint()
    with training(base, SHORT) as again:
        again.restore(checkpoint)
        assert again.scaler.get_scale() == 64.0


def test_working_copies_give_float32_gradients_to_float32_parameters() -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0, 1.0 + 2**-12]))
    still = torch.nn.Parameter(torch.ones(1))
    before = parameter.data
    with WorkingCopies([parameter, still], torch.bfloat16):
        assert parameter.dtype == torch.bfloat16
        (3 * parameter).sum().backward()
    assert parameter.data.data_ptr() == before.data_ptr()
    assert parameter.tolist() == [1.0, 1.0 + 2**-12]
    assert parameter.grad.dtype == torch.float32
    assert parameter.grad.tolist() == [3.0, 3.0]
    assert still.grad is None


def test_an_interrupted_step_leaves_what_was_learned_in_float32() -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0 + 2**-12]))
    with pytest.raises(KeyboardInterrupt), WorkingCopies([parameter], torch.float16):
        raise KeyboardInterrupt
    assert parameter.tolist() == [1.0 + 2**-12]
