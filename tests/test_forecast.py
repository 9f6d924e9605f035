"""What a step and portraits cost on Stable Diffusion 1.5, counted without weights and without a GPU."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from magicapture.__main__ import main
from magicapture.bases import FLUX2, MINI, SD15, SPECS, BaseError, BaseSpec
from magicapture.config import GenerateConfig
from magicapture.evaluation import forecast
from magicapture.evaluation.forecast import Cost, dreambooth_lora_cost, portraits_cost, step_costs
from magicapture.evaluation.meter import META, metered

README = (Path(__file__).parents[1] / "README.md").read_text()


def row(first: str, after: str) -> list[str]:
    """Give the cells of a row of the README's table whose head ends with ``after``, behind the ``first`` one."""
    lines = README.partition(f"{after} |\n")[2].splitlines()
    return next([cell.strip() for cell in line.split("|")[2:-1]] for line in lines if line.startswith(f"| {first} |"))


def costing(tflop: float, peak_memory_gb: float = 1.0) -> Cost:
    return Cost(0, 0, 0, tflop, 0.0, peak_memory_gb)


@pytest.fixture
def bench_meta(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict]:
    """Give what runs ``bench --meta`` where steps of phase 1, of phase 2 and with identity cost what it is given.

    ``portrait``: of each; ``recomputed``: of the steps, likewise, where memory is short.
    """

    def run(name: str, kept: list[Cost], portrait: Cost, recomputed: list[Cost] | None = None) -> dict:
        def steps(_spec: BaseSpec, phase: str, count: int, *, roomy: bool = True) -> list[Cost]:
            token, plain, identity = kept if roomy else recomputed or kept
            return [token] if phase == "tokens" else [identity, plain][:count]

        def portraits(_spec: BaseSpec, settings: GenerateConfig) -> Cost:
            share = (settings.steps or SD15.sampling_steps) / SD15.sampling_steps
            return replace(portrait, tflop=settings.count * share * portrait.tflop)

        monkeypatch.setattr(forecast, "step_costs", steps)
        monkeypatch.setattr(forecast, "portraits_cost", portraits)
        monkeypatch.setattr(forecast, "dreambooth_lora_cost", lambda _spec, **_: costing(0.0))
        assert main(["bench", "--base", name, "--meta"]) == 0
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (found["base"], found["device"]) == (name, "meta")
        return found

    return run


@pytest.mark.parametrize(("identity_every", "step", "quick"), [(2, 7, 1316.6), (4, 6, 1146.6)])
def test_who_asks_what_a_base_costs_gets_floors_that_weigh_each_kind_of_step_as_often_as_it_comes(
    identity_every: int, step: float, quick: float, bench_meta: Callable[..., dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    # 60 steps of 2 TFLOP, 170 of 5 or, with identity, 9, and three previews of two portraits in 12 of their 20 steps.
    preset = replace(SD15.presets["quick"], identity_every=identity_every)
    monkeypatch.setitem(SPECS, "sd15", replace(SD15, presets={"quick": preset}))
    found = bench_meta("sd15", [costing(2), costing(5), costing(9)], portrait=costing(11 / 6))
    assert found["lora_step_with_identity"]["tflop"] == 9
    assert "recomputed" not in found
    assert found["floor_seconds"]["T4"] == {
        "step": round(step / 24, 4),
        "quick": round(quick / 24, 1),
        "portraits": round(4 * 11 / 6 / 24, 2),
        "fits": True,
    }


def test_a_gpu_that_is_too_small_for_a_base_is_told_from_one_that_recomputes_and_one_that_need_not(
    bench_meta: Callable[..., dict],
) -> None:
    kept = [costing(90, 36), costing(130, 53), costing(134, 54)]
    recomputed = [costing(130, 18), costing(190, 20), costing(196, 21)]
    found = bench_meta("flux2-klein", kept, costing(43, 18), recomputed)
    floors = found["floor_seconds"]
    assert {name: floor["fits"] for name, floor in floors.items() if name in ("T4", "L4", "A100")} == {
        "T4": False,
        "L4": True,
        "A100": True,
    }
    assert floors["A100"]["step"] == round(132 / 271, 4)
    assert floors["L4"]["step"] == round(193 / 59, 4)
    assert not bench_meta("flux2-klein", kept, costing(43, 25), recomputed)["floor_seconds"]["L4"]["fits"]


def test_the_floors_in_the_readme_are_those_of_the_costs_beside_them(bench_meta: Callable[..., dict]) -> None:
    def told(first: str) -> Cost:
        tflop, _, peak = row(first, after="| peak (GB)")[2:]
        return costing(float(tflop), float(peak))

    of_steps = [told(f) for f in ("step of phase 1", "step of phase 2", "the same, identity judged: every second one")]
    four = told("four portraits")
    floors = bench_meta("sd15", of_steps, replace(four, tflop=four.tflop / 4))["floor_seconds"]
    for first, what in (("`quick`", "quick"), ("four portraits", "portraits")):
        told_here = row(first, after="RTX PRO 6000, whole")
        found = [floors[gpu][what] for gpu in ("T4", "L4", "A10G", "A100", "H100", "RTX PRO 6000")]
        assert found == [pytest.approx(float(floor), rel=0.02, abs=0.05) for floor in told_here]
    for gpu in ("T4", "A10G", "A100", "H100"):
        floor, _ = row(gpu, after="| `flux2-klein`")[0].split(",")
        assert floors[gpu]["quick"] == pytest.approx(float(floor), rel=0.02, abs=0.05)
    assert floors["H100"] == floors["H200"]


@pytest.fixture(scope="module")
def steps() -> list[Cost]:
    """Give two steps of ``quick``, of which the first judges identity too."""
    return step_costs(SD15, "lora", 2)


@pytest.fixture(scope="module")
def step(steps: list[Cost]) -> Cost:
    """Give the dearer one."""
    return steps[0]


def test_steps_launch_few_enough_kernels_for_a_fast_gpu(steps: list[Cost]) -> None:
    # Kernels are what is dispatched and is no view; the limit is on their mean over the steps of a run's second phase,
    # of which some judge identity. All that is dispatched, views too, is two and a half times as much.
    with_identity, without = (cost.kernels for cost in steps)
    share = 1 / SD15.presets["quick"].identity_every
    assert 2000 < without <= 3000
    assert without + share * (with_identity - without) <= 3300
    assert dreambooth_lora_cost(SD15, cached=True).kernels < without
    assert all(2 * cost.kernels < cost.operations < 3 * cost.kernels for cost in steps)


def test_the_readme_tells_what_steps_cost_now(steps: list[Cost]) -> None:
    for first, cost in zip(("the same, identity judged: every second one", "step of phase 2"), steps, strict=True):
        sizes = (f"{value:.1f}" for value in (cost.tflop, cost.saved_gb, cost.peak_memory_gb))
        assert row(first, after="| peak (GB)") == [f"{cost.kernels:,}", str(cost.waits), *sizes]
    with_identity, without = steps
    assert f"{(with_identity.kernels + without.kernels) / 2:,.0f} kernels in the mean" in README
    assert f"{without.operations:,} operations are dispatched, or {with_identity.operations:,}" in README


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
