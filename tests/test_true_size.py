"""Layers as wide as Stable Diffusion 1.5's: a rate that suits the embedded base may blow up there."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import tiny
from diffusers import UNet2DConditionModel
from stand_in import StandInEngine, references

from magicapture.bases import SD15, Base
from magicapture.config import TrainConfig
from magicapture.evaluation.bench import FEW_STEPS, sizes_learned

QUICK = replace(SD15.presets["quick"], images_per_task=1, warmup_steps=0)


@pytest.fixture(scope="module")
def base() -> Iterator[Base]:
    """Give the two upper levels of its U-Net, one layer each, with its text width; pictures of 64 px."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "TEXT_WIDTH", 768)
        denoiser = UNet2DConditionModel(
            sample_size=8,
            down_block_types=("CrossAttnDownBlock2D",) * 2,
            up_block_types=("CrossAttnUpBlock2D",) * 2,
            block_out_channels=(320, 640),
            layers_per_block=1,
            attention_head_dim=8,
            cross_attention_dim=768,
        ).eval()
        yield tiny.assembled(replace(SD15, resolution=64), denoiser, tiny.vae((4, 4, 8, 8), 4, 8))


def learned(base: Base, config: TrainConfig) -> dict[str, float]:
    of_config = replace(base, spec=replace(base.spec, presets={"quick": config}))
    return sizes_learned(of_config, StandInEngine(), references(base.resolution))


def test_quick_does_not_blow_up_on_layers_of_true_size_and_what_does_shows(base: Base) -> None:
    calm = learned(base, QUICK)
    wild = learned(base, replace(QUICK, lora_lr=80 * QUICK.lora_lr, token_lr=0.5, norm_pull=0.0))
    whole = QUICK.lora_steps / QUICK.with_steps(FEW_STEPS).lora_steps
    print(f"calm {calm}, wild {wild}")
    assert 0 < calm["lora_ratio"] * whole < 0.5, "even if every step went the same way"
    assert calm["row_norm"] < 1.5 * calm["usual_row_norm"]
    assert wild["lora_ratio"] > 0.5
    assert wild["row_norm"] > 3 * wild["usual_row_norm"]
