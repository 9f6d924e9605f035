"""What a step and portraits cost on Stable Diffusion 1.5, counted without weights and without a GPU."""

import pytest
import torch
import torch.nn.functional as F

from magicapture.bases import FLUX2, MINI, SD15, BaseError
from magicapture.config import GenerateConfig
from magicapture.evaluation.forecast import Cost, dreambooth_lora_cost, portraits_cost, step_costs
from magicapture.evaluation.meter import META, metered


@pytest.fixture(scope="module")
def steps() -> list[Cost]:
    """Give two steps of ``quick``, of which the first judges identity too."""
    return step_costs(SD15, "lora", 2)


@pytest.fixture(scope="module")
def step(steps: list[Cost]) -> Cost:
    """Give the dearer one."""
    return steps[0]


def test_a_step_stays_short_enough_for_a_fast_gpu(steps: list[Cost]) -> None:
    with_identity, without = (cost.kernels for cost in steps)
    share = 1 / SD15.presets["quick"].identity_every
    assert 2000 < without <= 3000
    assert without + share * (with_identity - without) <= 3300
    assert dreambooth_lora_cost(SD15, cached=True).kernels < without


def test_a_step_stays_small_enough_for_a_small_gpu(step: Cost) -> None:
    assert 1 < step.saved_gb <= 5.5
    assert step.saved_gb < step.peak_memory_gb < 12


def test_a_step_waits_for_the_gpu_once(step: Cost) -> None:
    assert step.waits == 1


def test_a_step_multiplies_about_as_much_as_the_u_net_alone(step: Cost) -> None:
    # Six samples of 0.80 TFLOP, forward and, for what lies behind the LoRA, backward to the activations.
    assert 6 * 0.80 * 1.5 < step.tflop < 6 * 0.80 * 2.5


def test_klein_trains_in_the_memory_that_the_readme_names() -> None:
    (kept,), (recomputed,) = (step_costs(FLUX2, "lora", 1, roomy=roomy) for roomy in (True, False))
    assert kept.waits == recomputed.waits == 1
    assert 6 * 10.2 * 2 < kept.tflop < 6 * 10.2 * 2.5
    assert 1.2 * kept.tflop < recomputed.tflop < 1.6 * kept.tflop
    assert 15.5 < recomputed.peak_memory_gb < 30
    assert 40 < kept.peak_memory_gb < 0.9 * FLUX2.family.roomy_bytes / 1e9


def test_klein_is_drawn_by_its_distilled_one_in_four_steps() -> None:
    cost = portraits_cost(FLUX2, GenerateConfig())
    assert 4 * 4 * 10.2 * 0.9 < cost.tflop < 4 * 4 * 10.2 * 1.4
    assert cost.saved_gb == 0


def test_portraits_are_drawn_at_the_cost_of_the_base_alone() -> None:
    # Four portraits and their unguided twins in each sampling step, and the decoder.
    cost = portraits_cost(SD15, GenerateConfig(steps=2))
    assert 2 * 8 * 0.80 < cost.tflop < 2 * 8 * 0.80 + 4 * 3
    assert cost.saved_gb == 0


def test_a_base_of_unknown_size_is_refused_in_a_sentence() -> None:
    with pytest.raises(BaseError, match="mini looks like inside is not known"):
        portraits_cost(MINI, GenerateConfig())


def test_the_meter_counts_operations_memory_and_every_wait() -> None:
    with metered() as meter:
        a = torch.ones(64, 32, device=META, requires_grad=True)
        meter.reset()
        product = a @ torch.ones(32, 16).to(META, non_blocking=True)
        assert (meter.kernels, meter.waits) == (2, 0)
        assert meter.flops == 2 * 64 * 32 * 16
        assert meter.saved == 4 * 32 * 16  # the other factor; `a` was there before
        assert meter.peak == 4 * (64 * 32 + 32 * 16 + 64 * 16)
        kernels = meter.kernels
        torch.ops.aten._unsafe_view(product, [1024]).view(32, 32)
        assert meter.kernels == kernels
        del product
        assert meter.live == 4 * 64 * 32
        assert a.sum().item() == 0
        assert a.cpu().shape == (64, 32)
        torch.ones(3).to(META)
        a[torch.tensor([1, 2])]
        assert meter.waits == 4


def test_attention_is_counted_as_the_fused_kernel_that_a_gpu_takes() -> None:
    with metered() as meter:
        query, key, value = (torch.empty(1, 8, 4096, 40, dtype=torch.bfloat16, device=META) for _ in range(3))
        assert F.scaled_dot_product_attention(query, key, value).shape == query.shape
        mask = torch.ones(1, 1, 4096, 4096, dtype=torch.bool, device=META)
        assert F.scaled_dot_product_attention(query, key, value, mask).shape == query.shape
    assert meter.peak < 8 * 4096 * 4096 * 2  # the matrix of one attention
