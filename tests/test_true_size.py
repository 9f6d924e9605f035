"""Layers as wide as Stable Diffusion 1.5's: a rate that suits the embedded base may blow up there."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import tiny
from diffusers import UNet2DConditionModel
from stand_in import training

from magicapture.adapters.info import PreviewScore
from magicapture.bases import SD15, Base
from magicapture.config import TrainConfig

QUICK = SD15.presets["quick"]
SHORT = replace(QUICK.with_steps(12), images_per_task=1, warmup_steps=0, previews=1, preview_images=1, preview_steps=1)


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
        yield tiny.assembled(SD15, denoiser, tiny.vae((4, 4, 8, 8), 4, 8))


def last_preview(base: Base, config: TrainConfig) -> PreviewScore:
    with training(base, config) as run:
        for _ in run:
            pass
        return run.progress.history[-1]


def test_quick_does_not_blow_up_on_layers_of_true_size_and_what_does_shows(base: Base) -> None:
    usual = float(base.vocabulary()["clip_l"].norm(dim=1).median())
    calm = last_preview(base, SHORT)
    wild = last_preview(base, replace(SHORT, lora_lr=80 * QUICK.lora_lr, token_lr=0.5, norm_pull=0.0))
    whole = QUICK.lora_steps / SHORT.lora_steps
    print(f"‖ΔW‖/‖W‖ {calm['lora_ratio']:.3f} and {wild['lora_ratio']:.3f}, rows {calm['row_norm']:.2f} of {usual:.2f}")
    assert 0 < calm["lora_ratio"] * whole < 0.5, "even if every step went the same way"
    assert calm["row_norm"] < 1.5 * usual
    assert wild["lora_ratio"] > 0.5
    assert wild["row_norm"] > 3 * usual
