"""A comparison is only fair when the baselines really learn, and honest when they leave the base as it was."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import stand_in
import tiny
import torch

from magicapture.bases import MINI, SD15, Base
from magicapture.evaluation import baselines, methods
from magicapture.evaluation.baselines import (
    BaselineConfig,
    custom_diffusion,
    dreambooth_lora,
    plain_loss,
    textual_inversion,
)
from magicapture.evaluation.methods import METHODS, Task
from magicapture.method.material import Material

CONFIG = BaselineConfig(steps=3, rank=2)
ALL = pytest.mark.parametrize("learn", [dreambooth_lora, textual_inversion, custom_diffusion])


@pytest.fixture(scope="module")
def base() -> Base:
    return tiny.base(sample_size=16)


@pytest.fixture(scope="module")
def material(base: Base) -> Material:
    return Material.of(base, stand_in.references(base.resolution), stand_in.references(base.resolution))


@torch.no_grad()
def loss(base: Base, material: Material, learn: Callable, steps: int) -> float:
    """Give the loss on photos of the person, always with the same noise, after ``steps`` steps."""
    latents = material.person.mean[:, 0].repeat(8, 1, 1, 1)
    with torch.enable_grad():
        learned = learn(base, material, replace(CONFIG, steps=steps))
        learned.__enter__()
    text = base.condition(["a photo of <magi-person> person"]).expand(len(latents))
    found = plain_loss(base, latents, text, torch.Generator().manual_seed(1)).item()
    learned.__exit__(None, None, None)
    return found


@ALL
def test_a_baseline_learns(base: Base, material: Material, learn: Callable) -> None:
    assert loss(base, material, learn, 12) < loss(base, material, learn, 1)


@ALL
def test_a_baseline_leaves_nothing_on_the_base(base: Base, material: Material, learn: Callable) -> None:
    before = tiny.fingerprint(base)
    with learn(base, material, CONFIG):
        assert tiny.fingerprint(base) != before
    assert tiny.fingerprint(base) == before
    with pytest.raises(RuntimeError, match="broken"), learn(base, material, CONFIG):
        raise RuntimeError("broken")
    assert tiny.fingerprint(base) == before


def test_custom_diffusion_trains_keys_and_values_and_nothing_else_of_the_denoiser(
    base: Base, material: Material
) -> None:
    before = {name: value.clone() for name, value in base.pipeline.unet.state_dict().items()}
    with custom_diffusion(base, material, CONFIG):
        changed = {n for n, value in base.pipeline.unet.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == {name for name in before if name.endswith(base.spec.text_projections)}


def test_textual_inversion_leaves_the_denoiser_alone(base: Base, material: Material) -> None:
    before = tiny.fingerprint(base)
    with textual_inversion(base, material, CONFIG):
        after = tiny.fingerprint(base)
    assert {k: v for k, v in after.items() if k.startswith("unet")} == {
        k: v for k, v in before.items() if k.startswith("unet")
    }


def test_the_same_seed_gives_the_same_baseline(base: Base, material: Material) -> None:
    assert loss(base, material, dreambooth_lora, 3) == loss(base, material, dreambooth_lora, 3)


QUICK, PAPER = SD15.presets["quick"], SD15.presets["paper"]


@pytest.mark.parametrize(
    ("made", "preset", "rank", "rates"),
    [
        (tiny.embedded, "quick", 16, {"dreambooth_lora": [2e-3], "textual_inversion": [2e-2]}),
        (tiny.embedded, "paper", 16, {"dreambooth_lora": [2e-3], "custom_diffusion": [1e-3, 1e-3]}),
        (tiny.base, "quick", QUICK.rank, {"dreambooth_lora": [QUICK.lora_lr], "textual_inversion": [QUICK.token_lr]}),
        (tiny.base, "quick", QUICK.rank, {"custom_diffusion": [QUICK.token_lr_phase2, 8e-5]}),
        (tiny.base, "paper", PAPER.rank, {"dreambooth_lora": [PAPER.lora_lr]}),
    ],
)
def test_no_baseline_loses_because_its_rates_are_those_of_another_base(
    made: Callable[[], Base], preset: str, rank: int, rates: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, found = made(), []

    def fit(_base: Base, _material: Material, groups: list[dict], config: BaselineConfig, _: torch.Generator) -> None:
        found.append((config.rank, config.steps, config.seed, [group["lr"] for group in groups]))

    monkeypatch.setattr(baselines, "fit", fit)
    photos = stand_in.references(base.resolution)
    for method, expected in rates.items():
        task = Task(base, stand_in.StandInEngine(), photos, photos, preset, steps=7, seed=3)
        with METHODS[method].learn(task):
            assert found.pop() == (rank, 7, 3, expected)


@pytest.mark.parametrize(
    ("name", "held"), [("magicapture", "to the look"), ("from_noise", "to the look"), ("published", None)]
)
def test_what_is_drawn_as_published_is_not_held_to_a_palette(
    name: str, held: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    palettes = []
    monkeypatch.setattr(methods, "train", lambda *_: SimpleNamespace(start=None, palette="to the look"))
    monkeypatch.setattr(methods, "applied", lambda *_: nullcontext())
    monkeypatch.setattr(methods, "draw", lambda *_, palette: palettes.append(palette) or [])
    task = Task(SimpleNamespace(spec=MINI), None, [], [], "quick", 20, 0)
    with METHODS[name].learn(task) as drawn:
        drawn([0])
    assert palettes == [held]
