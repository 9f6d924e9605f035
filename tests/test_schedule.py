"""What the denoiser predicts, honoured everywhere: a base of velocities is trained and drawn with like one of noise."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import stand_in
import tiny
import torch
from diffusers import (
    DDIMScheduler,
    EDMDPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    SchedulerMixin,
)

from magicapture.adapters.start import NOISE, Start, generators
from magicapture.bases import Base, BaseError, load_base
from magicapture.bases.schedule import PREDICTION_TYPES, Schedule
from magicapture.config import GenerateConfig, TrainConfig
from magicapture.drawing.generation import draw_untouched, generate
from magicapture.evaluation.baselines import plain_loss
from magicapture.method.material import Material

SHORT = TrainConfig(token_steps=2, lora_steps=4, previews=1, preview_images=1, preview_steps=2, rank=2)


@pytest.fixture(scope="module")
def velocities() -> Base:
    return tiny.embedded()


def schedule(prediction_type: str) -> Schedule:
    return Schedule(DDIMScheduler(beta_schedule="scaled_linear").alphas_cumprod, prediction_type)


def samples() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    clean, noise = torch.randn(2, 3, 16, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return clean, noise, torch.tensor([0, 500, 999])


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_x0_is_recovered_exactly_from_what_a_perfect_denoiser_gives(prediction_type: str) -> None:
    clean, noise, timesteps = samples()
    ours = schedule(prediction_type)
    output = ours.target(clean, noise, timesteps)
    assert torch.allclose(ours.predict_x0(ours.add_noise(clean, noise, timesteps), output, timesteps), clean, atol=1e-9)


def test_noise_and_velocity_are_those_of_the_scheduler_that_draws() -> None:
    clean, noise, timesteps = samples()
    stock = DDIMScheduler(beta_schedule="scaled_linear", prediction_type="v_prediction")
    ours = Schedule.of(stock)
    assert torch.allclose(ours.add_noise(clean, noise, timesteps), stock.add_noise(clean, noise, timesteps))
    assert torch.allclose(ours.target(clean, noise, timesteps), stock.get_velocity(clean, noise, timesteps))
    assert torch.equal(schedule("epsilon").target(clean, noise, timesteps), noise)


def test_late_samples_are_noised_more_and_none_leaves_the_schedule() -> None:
    late = torch.arange(4000) % 2 == 0
    timesteps = schedule("epsilon").draw_timesteps(late, torch.ones(4000), torch.Generator().manual_seed(0))
    assert timesteps.min() >= 0
    assert timesteps.max() <= 999
    assert timesteps[late].double().mean() == pytest.approx(1000 * 2 / 3, rel=0.03)
    assert timesteps[~late].double().mean() == pytest.approx(500, rel=0.03)
    least = schedule("epsilon").draw_timesteps(late, torch.full((4000,), 0.7), torch.Generator().manual_seed(0))
    assert 690 < least.max() < 700


class Oracle:
    """A denoiser that knows the clean samples."""

    def __init__(self, base: Base, clean: torch.Tensor) -> None:
        self.schedule, self.clean = base.schedule, clean

    def __call__(self, noisy: torch.Tensor, timesteps: torch.Tensor, *_: object, **__: object) -> object:
        alpha = self.schedule.alphas_cumprod[timesteps].reshape(-1, 1, 1, 1)
        noise = (noisy - alpha.sqrt() * self.clean) / (1 - alpha).sqrt()
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * self.clean
        return type("Output", (), {"sample": velocity})


def test_a_perfect_denoiser_of_velocities_has_no_loss(velocities: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = torch.randn(1, 24, 16, 16, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(velocities.pipeline.unet, "forward", Oracle(velocities, clean))
    text = velocities.condition(["a portrait"]).expand(2)
    plain = plain_loss(velocities, clean.expand(2, -1, -1, -1), text, torch.Generator().manual_seed(1))
    assert plain.item() < 1e-6
    draw = Material.draw
    held = lambda *them: replace(drawn := draw(*them), latents=clean.expand_as(drawn.latents))  # noqa: E731
    monkeypatch.setattr(Material, "draw", held)
    with stand_in.training(velocities, SHORT) as run:
        terms = run.objective.terms(0, "tokens", 1.0, run.generator)
    assert terms["reconstruction"].item() < 1e-6


def test_a_base_of_velocities_with_other_latents_is_trained_and_draws(velocities: Base) -> None:
    assert (velocities.resolution, velocities.attention_side) == (256, 8)
    before = tiny.fingerprint(velocities)
    with stand_in.training(velocities, replace(SHORT, identity_limit=1.0, identity_every=1)) as run:
        events = list(run)
        adapter = run.adapter()
    assert set(events[-1].losses) == {"reconstruction", "attention", "identity"}
    assert all(np.isfinite(list(event.losses.values())).all() for event in events)
    assert adapter.start.mean.shape == (24,)
    (portrait,) = generate(velocities, stand_in.StandInEngine(), adapter, GenerateConfig(count=1, steps=2))
    assert portrait.image.size == (256, 256)
    assert tiny.fingerprint(velocities) == before


def test_drawing_starts_from_what_training_leaves_of_the_look(velocities: Base) -> None:
    mean = torch.linspace(-5, 5, 24)
    start, share = Start(mean).latents(velocities, generators([0, 1]))
    noise, _ = NOISE.latents(velocities, generators([0, 1]))
    left = velocities.pipeline.scheduler.alphas_cumprod[-1]
    assert share == 1
    assert start.shape == (2, 24, 16, 16)
    assert torch.allclose(
        start,
        left.sqrt() * mean[:, None, None] + (1 - left).sqrt() * noise,
    )


def test_the_stock_pipeline_draws_what_a_perfect_denoiser_of_velocities_knows(
    velocities: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = 0.5 * torch.randn(1, 24, 16, 16, generator=torch.Generator().manual_seed(0))
    (known,) = velocities.pipeline.image_processor.postprocess(velocities.decode(clean))

    def forward(noisy: torch.Tensor, timestep: torch.Tensor, *_: object, **__: object) -> tuple[torch.Tensor]:
        return (Oracle(velocities, clean)(noisy, timestep.expand(len(noisy))).sample,)

    monkeypatch.setattr(velocities.pipeline.unet, "forward", forward)
    (drawn,) = draw_untouched(velocities, "a portrait", 1)
    assert np.abs(np.asarray(drawn).astype(int) - np.asarray(known)).max() <= 2


@pytest.mark.parametrize(
    "scheduler",
    [
        DDIMScheduler(prediction_type="sample"),
        EDMDPMSolverMultistepScheduler(),  # of Playground 2.5
        FlowMatchEulerDiscreteScheduler(),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_a_base_that_predicts_something_else_is_refused_in_one_sentence(
    scheduler: SchedulerMixin, tmp_path: Path
) -> None:
    pipeline = tiny.base(sample_size=16).pipeline
    pipeline.scheduler = scheduler
    pipeline.save_pretrained(tmp_path)
    with pytest.raises(BaseError, match=r"cannot be used: .*neither noise .* nor velocity .*\. Choose another one\.$"):
        load_base(str(tmp_path))
