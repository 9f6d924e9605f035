"""The training loop on a random base: what a visitor would lose if a phase, a term, a pause or the clean-up failed."""

from dataclasses import replace
from pathlib import Path

import pytest
import stand_in
import tiny
import torch
from PIL.Image import Image
from safetensors.torch import load_file
from stand_in import training

from magicapture.adapters.adapter import TARGETS_FILE
from magicapture.bases import Base, load_base
from magicapture.bases.schedule import Schedule
from magicapture.config import TrainConfig
from magicapture.faces import Face
from magicapture.method import objective
from magicapture.method.material import Material, Samples
from magicapture.method.objective import teaches_style
from magicapture.method.progress import Weights
from magicapture.method.training import Training
from magicapture.photos.references import check_photos

pytestmark = pytest.mark.usefixtures("one_thread")
SHORT = TrainConfig(token_steps=3, lora_steps=4, previews=2, preview_images=1, preview_steps=2, rank=2)


@pytest.fixture(scope="module")
def base() -> Base:
    return tiny.base(sample_size=16)


def flat(weights: Weights) -> dict[str, torch.Tensor]:
    return weights.lora | weights.rows


def weights_after(base: Base, config: TrainConfig, steps: int | None = None) -> dict[str, torch.Tensor]:
    with training(base, config) as run:
        for event in run:
            if event.step == steps:
                break
        return flat(run.checkpoint().weights)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_short_training_does_not_draw_more_than_it_learns() -> None:
    quick = TrainConfig(previews=4)
    assert [quick.with_steps(steps).previews for steps in (1, 8, 20, 39, 40, 320)] == [1, 1, 2, 3, 4, 4]
    assert replace(quick, previews=0).with_steps(8).previews == 0


def test_events_count_every_step_and_name_phase_and_losses(base: Base) -> None:
    with training(base, SHORT) as run:
        events = list(run)
    assert [e.step for e in events] == list(range(1, 8))
    assert [e.phase for e in events] == ["tokens"] * 3 + ["lora"] * 4
    assert set(events[0].losses) == {"reconstruction"}
    second = [set(event.losses) for event in events[3:]]
    assert second == [{"reconstruction", "attention"}, {"reconstruction", "attention", "identity"}] * 2
    assert [bool(e.previews) for e in events] == [False] * 4 + [True, False, True]


def test_an_adapter_keeps_no_photos_unless_they_were_to_be_kept(base: Base, tmp_path: Path) -> None:
    for keep in (False, True):
        with stand_in.training(base, replace(SHORT, keep_photos=keep)) as training:
            for _ in training:
                pass
            folder = training.adapter().save(tmp_path / str(keep))
        assert ("photos" in load_file(folder / TARGETS_FILE)) is keep


def test_first_phase_teaches_the_tokens_alone_and_the_second_both(base: Base) -> None:
    with training(base, SHORT) as run:
        start = run.checkpoint().weights
        for event in run:
            now = run.checkpoint().weights
            assert not same(now.rows, start.rows)
            lora_moved = any(not torch.equal(now.lora[k], start.lora[k]) for k in start.lora)
            assert lora_moved == (event.phase == "lora")


def test_the_same_seed_gives_the_same_adapter_and_another_seed_another(base: Base) -> None:
    first = weights_after(base, SHORT)
    assert same(first, weights_after(base, SHORT))
    assert not same(first, weights_after(base, replace(SHORT, seed=1)))


@pytest.mark.parametrize("pause", [1, 3, 5])
def test_a_pause_at_any_step_changes_nothing_in_the_result(base: Base, pause: int) -> None:
    with training(base, SHORT) as run:
        for event in run:
            if event.step == pause:
                break
        checkpoint = run.checkpoint()
    with training(base, SHORT) as run:
        run.restore(checkpoint)
        steps = [event.step for event in run]
        resumed, history = flat(run.checkpoint().weights), run.progress.history
    assert steps == list(range(pause + 1, 8))
    assert same(resumed, weights_after(base, SHORT))
    assert len(history) == 2


def test_a_checkpoint_of_other_settings_is_refused(base: Base) -> None:
    with training(base, SHORT) as run:
        checkpoint = run.checkpoint()
    with training(base, replace(SHORT, seed=5)) as run, pytest.raises(ValueError, match="other settings"):
        run.restore(checkpoint)


def test_a_checkpoint_of_other_photos_is_refused(base: Base) -> None:
    found = stand_in.references(base.resolution, 3)
    sets = (found[:2], found[:2]), (found[1:], found[:2]), (found[:2], found[1:])
    with Training(base, stand_in.StandInEngine(), *sets[0], SHORT) as run:
        checkpoint = run.checkpoint()
    for person, style in sets[1:]:
        with (
            Training(base, stand_in.StandInEngine(), person, style, SHORT) as run,
            pytest.raises(ValueError, match="other photos"),
        ):
            run.restore(checkpoint)


def test_stopping_early_gives_a_usable_adapter(base: Base) -> None:
    with training(base, SHORT) as run:
        for event in run:
            if event.step == 2:
                break
        adapter = run.adapter()
    assert adapter.info.steps == 2
    assert adapter.rows["clip_l"].shape == (2, tiny.TEXT_WIDTH)
    assert adapter.lora


def test_the_best_preview_is_kept_and_not_the_last(base: Base) -> None:
    with training(base, SHORT) as run:
        for event in run:
            if event.step == 5:
                expected = run.checkpoint().weights
                run.progress.best_score = float("inf")  # nothing later can be better
        adapter = run.adapter()
    assert adapter.info.best_step == 5
    assert same(adapter.rows, expected.rows)


@pytest.mark.parametrize(
    ("off", "losses", "steps"),
    [
        ("identity", {"reconstruction", "attention"}, 7),
        ("attention", {"reconstruction", "identity"}, 7),
        ("composed", {"reconstruction", "attention", "identity"}, 7),
        ("tokens", {"reconstruction", "attention", "identity"}, 4),
    ],
)
def test_every_term_can_be_switched_off(base: Base, off: str, losses: set[str], steps: int) -> None:
    with training(base, replace(SHORT, off=frozenset({off}), previews=0, identity_every=1)) as run:
        events = list(run)
    assert set(events[-1].losses) == losses
    assert len(events) == steps


@pytest.mark.parametrize("term", ["attention", "identity"])
def test_each_term_alone_reaches_the_weights(base: Base, term: str) -> None:
    # The LoRA's second factor starts at 0, so its gradient shows that a term reaches the weights under training.
    with training(base, replace(SHORT, identity_limit=1.0)) as run:
        terms = run.objective.terms(0, "lora", 1.0, run.generator)
        assert terms[term].requires_grad
        terms[term].backward()
        (rows,) = run.rows.values()
        assert rows.grad.abs().sum() > 0
        assert sum(p.grad.abs().sum() for p in run.lora if p.grad is not None) > 0
        rows.grad = None


def test_the_identity_term_pulls_the_drawn_face_towards_the_person(base: Base) -> None:
    with training(base, replace(SHORT, identity_limit=1.0)) as run:
        optimizer = torch.optim.Adam([*run.rows.values(), *run.lora], lr=1e-2)
        losses = []
        for _ in range(25):
            loss = run.objective.terms(0, "lora", 1.0, torch.Generator().manual_seed(3))["identity"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.01


def test_identity_can_be_judged_on_composed_samples_alone(base: Base) -> None:
    # Without composed prompts nothing is left to judge, and the term is 0.
    config = replace(SHORT, identity_limit=1.0, identity_every=1, identity_tasks=("composed",), previews=0)
    with training(base, replace(config, off=frozenset({"composed"}))) as run:
        assert all(event.losses.get("identity", 0.0) == 0.0 for event in run)
    with training(base, config) as run:
        assert any(event.losses.get("identity", 0.0) > 0.0 for event in run)


def test_the_first_lora_steps_are_small_where_a_base_needs_it(base: Base) -> None:
    with training(base, replace(SHORT, warmup_steps=4, previews=0)) as run:
        rates = [run.optimizer.param_groups[1]["lr"] / SHORT.lora_lr for event in run if event.phase == "lora"]
    assert rates == pytest.approx([0.25, 0.5 * 0.775, 0.75 * 0.55, 0.325])


def test_learned_words_do_not_outgrow_the_vocabulary(base: Base) -> None:
    def longest(pull: float) -> float:
        with training(base, replace(SHORT, token_lr=0.5, norm_pull=pull, previews=0)) as run:
            for event in run:
                if event.phase == "lora":
                    break
            return float(run.rows["clip_l"].detach().norm(dim=1).max())

    usual = float(base.vocabulary()["clip_l"].norm(dim=1).median())
    assert longest(0.0) > 2 * usual
    assert longest(100.0) < 1.5 * usual


def test_a_training_that_blows_up_shows_in_what_its_previews_say(base: Base) -> None:
    def last(config: TrainConfig) -> dict:
        with training(base, config) as run:
            for _ in run:
                pass
            return run.progress.history[-1]

    calm, wild = last(SHORT), last(replace(SHORT, lora_lr=3.0))
    assert 0 < calm["lora_ratio"] < 0.1
    assert wild["lora_ratio"] > 0.5
    assert calm["row_norm"] > 0


@pytest.mark.parametrize("fails", [False, True])
def test_the_base_is_left_exactly_as_it_was(base: Base, fails: bool) -> None:
    before = tiny.fingerprint(base)
    try:
        with training(base, SHORT) as run:
            for event in run:
                if fails and event.step == 5:
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert tiny.fingerprint(base) == before


@pytest.mark.parametrize("role", ["person", "style"])
def test_photos_that_were_cut_for_another_base_are_refused(base: Base, role: str) -> None:
    sets = {name: stand_in.references(base.resolution) for name in ("person", "style")}
    sets[role][1:] = stand_in.references(2 * base.resolution, 1)
    with pytest.raises(ValueError, match="cut for another base model"):
        Training(base, stand_in.StandInEngine(), *sets.values(), SHORT)


@pytest.mark.parametrize(("timestep", "judged"), [(99, False), (100, True), (599, True), (600, False)])
def test_identity_is_judged_between_two_shares_of_noise(
    base: Base, timestep: int, judged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Schedule, "draw_timesteps", lambda _, late, *__: torch.full((len(late),), timestep))
    config = replace(SHORT, identity_from=0.1, identity_limit=0.6)
    with training(base, config) as run:
        identity = run.objective.terms(0, "lora", 1.0, run.generator)["identity"]
    assert bool(identity != 0) is judged


def test_the_least_noisy_samples_are_judged(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, trust = [], Schedule.trust
    monkeypatch.setattr(Schedule, "draw_timesteps", lambda _, late, *__: 500 - 10 * torch.arange(len(late)))
    monkeypatch.setattr(Schedule, "trust", lambda self, timesteps: trust(self, seen.append(timesteps) or timesteps))
    config = replace(SHORT, images_per_task=2, identity_images=2, identity_from=0.0, identity_limit=1.0)
    with training(base, config) as run:
        run.objective.terms(0, "lora", 1.0, run.generator)
    samples = 3 * config.images_per_task
    assert seen[0].tolist() == [500 - 10 * (samples - 1), 500 - 10 * (samples - 2)]


@pytest.mark.parametrize("together", [True, False])
def test_terms_are_weighted_and_maps_compared_as_set(
    base: Base, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared, compare = [], objective.refocusing_loss

    def watched(*args: torch.Tensor, heads_together: bool) -> torch.Tensor:
        compared.append(heads_together)
        return compare(*args, heads_together=heads_together)

    monkeypatch.setattr(objective, "refocusing_loss", watched)
    config = replace(SHORT, attention_weight=0.5, identity_weight=3.0, identity_every=2, heads_together=together)
    with training(base, config) as run:
        run.objective.terms(1, "lora", 1.0, run.generator)
        total = run.objective.total({"reconstruction": 1, "attention": 10, "identity": 100})
    assert compared == [together]
    assert total == 1 + 0.5 * 10 + 3 * 2 * 100


def test_training_without_photos_says_so(base: Base) -> None:
    with pytest.raises(ValueError, match="at least one usable photo"):
        Training(base, stand_in.StandInEngine(), [], stand_in.references(base.resolution), SHORT)


def test_pictures_of_the_style_are_noised_no_further_than_set(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    draw = Schedule.draw_timesteps

    def spy(schedule: Schedule, *settings: object) -> torch.Tensor:
        drawn.append(draw(schedule, *settings))
        return drawn[-1]

    monkeypatch.setattr(Schedule, "draw_timesteps", spy)
    config = replace(SHORT, token_steps=0, lora_steps=20, images_per_task=1, previews=0, style_until=0.3)
    with training(base, config) as run:
        assert [event.phase for event in run] == ["lora"] * 20
    source, reference, composed = torch.stack(drawn).T
    assert source.max() > 700
    assert 200 < max(reference.max(), composed.max()) < 300


def test_a_look_that_shows_nobody_is_learned_outside_its_middle(base: Base, tmp_path: Path) -> None:
    class Nobody(stand_in.StandInEngine):
        def detect(self, image: Image) -> list[Face]:
            return []

    for seed in range(2):
        stand_in.noise_reference(64, seed).image.save(tmp_path / f"{seed}.png")
    looks = check_photos(sorted(tmp_path.iterdir()), "style", Nobody(), base.resolution).references
    with Training(base, stand_in.StandInEngine(), stand_in.references(base.resolution), looks, SHORT) as run:
        losses = [event.losses for event in run]
        drawn = run.objective.material.draw(["reference"], 1, run.generator)
        scores = run.adapter().info.scores
    assert all(value == value for terms in losses for value in terms.values())  # noqa: PLR0124  no NaN
    assert all("identity" in terms for terms in losses[4::2]), "whoever is drawn there is to be the person"
    middle = drawn.loss_masks.shape[-1] // 2
    assert drawn.loss_masks[0, 0, middle, middle] == 0
    assert drawn.loss_masks[0, 0, 0].min() == 1
    assert scores[-1]["style"] is not None


def test_one_task_a_step_as_published_takes_all_tasks_in_turn(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    draw = Material.draw

    def spy(material: Material, tasks: list[str], count: int, generator: torch.Generator) -> Samples:
        drawn.append(tasks)
        return draw(material, tasks, count, generator)

    monkeypatch.setattr(Material, "draw", spy)
    config = replace(SHORT, lora_steps=20, previews=0, one_task=True)
    with training(base, config) as run:
        losses = [event.losses for event in run]
    assert all(len(tasks) == 1 for tasks in drawn)
    assert {task for tasks in drawn for task in tasks} == {"source", "reference", "composed"}
    assert all(value == value for terms in losses for value in terms.values())  # noqa: PLR0124  no NaN


def test_batches_lie_in_memory_as_a_cpu_is_fast_with(base: Base) -> None:
    # Group normalisation with the channels last takes many times as long there.
    with training(base, SHORT) as run:
        assert run.objective.material.draw(["source"], 2, run.generator).latents.is_contiguous()
    assert load_base("mini").pipeline.unet.conv_in.weight.is_contiguous() != torch.cuda.is_available()


def test_one_composed_sample_of_a_batch_keeps_a_face_that_can_be_judged() -> None:
    tasks = ["source", "source", "reference", "reference", "composed", "composed"]
    assert [teaches_style(tasks, i) for i in range(6)] == [False, False, True, True, False, True]
