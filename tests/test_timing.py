"""How long trainings and portraits take, on a base with random weights."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import tiny
import tiny_flux2
import torch
from diffusers import AutoencoderTiny
from transformers import CLIPTextConfig, CLIPTextModel

from magicapture.__main__ import main
from magicapture.bases import FLUX2, MINI, SD15, SPECS, BaseError, flux2, registry
from magicapture.evaluation import bench, timing
from magicapture.evaluation.timing import TimedStep, kinds_of_steps, random_base, schedule_seconds
from magicapture.faces import load_engine
from magicapture.method.training import Training


def small_parts() -> dict[str, Any]:
    """Give Stable Diffusion 1.5's parts at a hundredth of their width, with pictures of 128 px."""
    components = tiny.base(16).pipeline.components
    components.pop("safety_checker"), components.pop("image_encoder")
    decoder = AutoencoderTiny(encoder_block_out_channels=(4,) * 4, decoder_block_out_channels=(4,) * 4)
    text = CLIPTextConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    with torch.device("meta"):
        tokenizer = SD15.parts()["tokenizer"]
    return {**components, "decoder": decoder, "text_encoder": CLIPTextModel(text), "tokenizer": tokenizer}


SMALL = replace(SD15, parts=small_parts, resolution=None)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, number in (
        (timing, "FIRST_STEPS", 1),
        (timing, "TIMED_STEPS", 4),
        (timing, "DRAWINGS", 1),
        (bench, "WARMUP_STEPS", 0),
        (bench, "TIMED_STEPS", 1),
    ):
        monkeypatch.setattr(module, name, number)


def test_the_command_line_times_every_part_on_random_weights(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SPECS, "sd15", SMALL)
    assert main(["bench", "--base", "sd15", "--random"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out.splitlines()[-1])
    assert list(found) == ["base", "device", "quick", "paper", "portraits", "dreambooth_lora"]
    told = [json.loads(line) for line in printed.err.splitlines() if line.startswith("{")]
    assert told == [{name: found[name]} for name in list(found)[2:]]
    for part in list(found)[2:]:
        assert all(value > 0 and math.isfinite(value) for value in found[part].values())
    assert found["paper"]["steps"] == 2700
    assert found["quick"]["whole"] > SMALL.presets["quick"].steps * found["quick"]["token_step"] / 4


def test_a_base_with_random_weights_is_finite_frozen_and_trains() -> None:
    base = random_base(SMALL)
    assert all(value.isfinite().all() for value in base.denoiser.state_dict().values())
    assert not any(parameter.requires_grad for parameter in base.denoiser.parameters())
    assert base.decoder is not base.pipeline.vae
    quick = replace(SMALL.presets["quick"], token_steps=1, lora_steps=1, previews=0)
    references = [bench.noise_reference(base.resolution, seed) for seed in range(2)]
    with Training(base, load_engine(), references, references, quick) as training:
        (start,) = (rows.detach().clone() for rows in training.rows.values())
        list(training.unscored())
        (end,) = training.rows.values()
        assert ((end - start).abs().amax(dim=1) > 1e-4).all(), "both words are learned"


def test_the_whole_is_what_its_steps_add_up_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(seconds: Callable[[str, bool, bool], float]) -> float:
        def timed(events: object) -> list[TimedStep]:
            del events
            kinds = [("tokens", False, False)] * 5 + [("lora", i % 2 == 0, False) for i in range(5)]
            return [TimedStep(*kind, seconds(*kind)) for kind in [*kinds, *[("lora", True, True)] * 2]]

        monkeypatch.setattr(timing, "timed_steps", timed)
        found = schedule_seconds(random_base(SMALL), load_engine(), "quick")
        return found["whole"] - found["photos"]

    quick = SMALL.presets["quick"]
    assert told(lambda *_: 1.0) == pytest.approx(quick.steps)
    assert told(lambda _phase, _identity, preview: 1.0 + 9 * preview) == pytest.approx(quick.steps + 9 * quick.previews)
    assert told(lambda phase, *_: 2.0 if phase == "tokens" else 1.0) == pytest.approx(quick.steps + quick.token_steps)
    assert told(lambda _phase, identity, preview: 1.0 + (identity and not preview)) == pytest.approx(
        quick.steps + 1 + (quick.lora_steps - 1) / 2 - quick.previews / 2
    )


def test_kinds_of_steps_are_medians_without_the_first_ones() -> None:
    lora = [TimedStep("lora", identity=i % 2 == 0, preview=False, seconds=float(100 - i)) for i in range(5)]
    tokens = [TimedStep("tokens", identity=False, preview=False, seconds=s) for s in (50.0, 1.0, 2.0, 9.0)]
    preview = TimedStep("lora", identity=True, preview=True, seconds=1000.0)
    assert kinds_of_steps([*tokens, *lora, preview]) == {
        "token_step": 2.0,
        "lora_step": 98.0,
        "lora_step_with_identity": 97.0,
    }


@pytest.mark.parametrize("how", ["--meta", "--random"])
def test_another_base_of_a_family_is_not_said_to_cost_what_the_familys_known_one_costs(
    how: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = replace(registry.SD15_LIKE, parts=lambda: pytest.fail("it is taken for Stable Diffusion 1.5"))
    monkeypatch.setattr(registry, "SD15_LIKE", taken)
    assert main(["bench", "--base", "someone/made-up-model", how]) == 1
    (error,) = json.loads(capsys.readouterr().out.splitlines()[-1]).values()
    assert error == "What someone/made-up-model looks like inside is not known without its weights: bench it as it is."


def test_klein_is_timed_without_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flux2, "fast_dtype", lambda: torch.bfloat16)
    quick = {"quick": FLUX2.presets["quick"]}
    base = random_base(replace(FLUX2, parts=tiny_flux2.parts, resolution=tiny_flux2.SIDE, presets=quick))
    models = (base.denoiser, base.artist.transformer, base.pipeline.vae)
    assert base.denoiser is not base.artist.transformer
    assert {value.dtype for model in models for value in model.parameters()} == {torch.bfloat16}
    assert not any(value.requires_grad for model in models for value in model.parameters())
    for name, timed in timing.timings(base, load_engine()).items():
        assert all(value > 0 and math.isfinite(value) for value in timed().values()), name


def test_a_base_that_cannot_be_made_of_random_weights_is_refused_in_a_sentence() -> None:
    with pytest.raises(BaseError, match="bench it as it is"):
        random_base(MINI)
