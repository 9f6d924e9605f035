"""FLUX.2 [klein] on a pipeline of its true classes with random weights, from the photos to stock diffusers' picture."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import stand_in
import tiny
import tiny_flux2
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline, Flux2Transformer2DModel
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor

from magicapture.adapters.adapter import Adapter, applied
from magicapture.adapters.info import AdapterError
from magicapture.bases import FLUX2, BaseError, load_base, resolve_base
from magicapture.bases.flux2 import ROOMY_BYTES, Flux2
from magicapture.bases.flux2_files import ROWS_KEY, kohya_layers
from magicapture.bases.joint_attention import attention_to_words, record_joint_attention, refocusing_blocks
from magicapture.bases.lora import LORA_NAME, lora_layers
from magicapture.bases.schedule import FlowSchedule
from magicapture.bases.words import PERSON, STYLE, prompt_for
from magicapture.config import GenerateConfig
from magicapture.drawing.generation import draw, first_latents, generate
from magicapture.evaluation.methods import METHODS, Task
from magicapture.server.workspace.uploads import MAX_ADAPTER_BYTES

SHORT = replace(
    FLUX2.presets["quick"],
    token_steps=2,
    lora_steps=4,
    previews=1,
    preview_images=1,
    preview_steps=1,
    rank=2,
    lora_lr=0.02,
    identity_every=1,
    identity_limit=1.0,
)
BOTH = prompt_for("composed")


@pytest.fixture(scope="module")
def base() -> Flux2:
    return tiny_flux2.base()


@pytest.fixture(scope="module")
def adapter(base: Flux2) -> Adapter:
    with stand_in.training(base, SHORT) as run:
        for _ in run:
            pass
        return run.adapter()


@pytest.fixture
def rows(base: Flux2) -> dict[str, Tensor]:
    return base.initial_rows(0.017, torch.Generator().manual_seed(0))


def picture(base: Flux2, **settings: object) -> np.ndarray:
    return np.asarray(next(draw(base, [7], GenerateConfig(**settings)))).astype(int)


# Words


def test_a_learned_word_takes_the_place_of_one_row_of_the_encoders_output(base: Flux2, rows: dict) -> None:
    plain = base.condition(["a photo of person person in the portrait style"]).embeddings
    learned = {ROWS_KEY: torch.full_like(rows[ROWS_KEY], 3.0)}
    with base.concept_tokens(learned) as parameters:
        text = base.condition([BOTH])
        text.embeddings.sum().backward()
        (row,) = parameters.values()
    places = [index for index in range(512) if not torch.equal(text.embeddings[0, index], plain[0, index])]
    assert places == text.positions[:, 0].tolist()
    assert torch.all(text.embeddings[0, places] == 3.0)
    assert torch.all(row.grad == 1)


def test_words_start_as_the_ordinary_ones_that_stand_in_for_them(base: Flux2) -> None:
    start = base.initial_rows(0.0, torch.Generator())
    with base.concept_tokens(start):
        text = base.condition([prompt_for("source"), prompt_for("reference")])
    assert torch.allclose(text.embeddings, text.extras["plain"])


def test_a_prompt_says_where_the_words_stand_and_untaught_it_has_none(base: Flux2, rows: dict) -> None:
    prompts = [prompt_for("source"), prompt_for("reference"), "a person in a portrait", BOTH + ", a person, a portrait"]
    assert torch.all(base.condition(prompts).positions == -1)
    with base.concept_tokens(rows):
        person, style = base.condition(prompts).positions.tolist()
    assert person[0] == person[3] > 0 > person[1] == person[2]
    assert style[1] > 0 > style[0] == style[2]
    assert style[3] > person[3]


def test_no_id_is_added_that_a_spare_row_of_the_embedding_table_would_answer_to(base: Flux2, rows: dict) -> None:
    encoder, read = base.pipeline.text_encoder, []
    known = len(base.pipeline.tokenizer)
    assert encoder.get_input_embeddings().num_embeddings == known + tiny_flux2.SPARE_ROWS
    handle = encoder.get_input_embeddings().register_forward_pre_hook(lambda _, ids: read.append(ids[0]))
    try:
        with base.concept_tokens(rows):
            base.condition([BOTH + ", never read before"])
    finally:
        handle.remove()
    assert len(base.pipeline.tokenizer) == known
    assert all(ids.max() < known for ids in read)
    assert read


def test_the_encoder_reads_each_prompt_once_and_is_on_the_gpu_no_longer_than_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, moved = tiny_flux2.base(distilled=False), []
    encoder = base.pipeline.text_encoder
    to = encoder.to
    monkeypatch.setattr(encoder, "to", lambda device: (moved.append(str(device)), to(device))[1])
    with base.concept_tokens(base.initial_rows(0.0, torch.Generator())):
        moved.clear()
        for _ in range(3):
            base.condition([prompt_for("source"), BOTH])
    assert moved == [str(base.device), "cpu"]


def test_the_dial_moves_the_learned_words_and_nothing_else_of_the_prompt(base: Flux2, rows: dict) -> None:
    with base.concept_tokens({ROWS_KEY: rows[ROWS_KEY] + 1}):
        both, person, style = (base.condition([prompt_for(task)]) for task in ("composed", "source", "reference"))
    moved = both.towards(person, style, 1.0).expand(3)
    changed = (moved.embeddings[2] != both.embeddings[0]).any(dim=1).nonzero()[:, 0].tolist()
    at_person, at_style = both.positions[:, 0].tolist()
    plain = both.extras["plain"][0]
    assert changed == [at_person, at_style]
    assert torch.allclose(moved.embeddings[0, at_person], 2 * both.embeddings[0, at_person] - plain[at_person])
    assert torch.allclose(moved.embeddings[0, at_style], plain[at_style])


# Latents and schedule


def test_latents_are_packed_and_scaled_as_the_stock_pipeline_does(base: Flux2) -> None:
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = base.encode(images)
    assert mean.shape == std.shape == (2, *base.latent_shape) == (2, 128, 8, 8)
    assert torch.allclose(mean, base.pipeline._encode_vae_image(images, None), atol=1e-5)
    raw = base.pipeline.vae.encode(images).latent_dist.mode()
    assert torch.allclose(base.decode(mean), base.pipeline.vae.decode(raw).sample, atol=1e-4)


def test_a_window_of_latents_decodes_to_the_window_of_the_picture(base: Flux2) -> None:
    latents = torch.zeros(1, *base.latent_shape)
    marked = latents.clone()
    marked[:, :, 4, 3] = 3.0

    def where(part: tuple[slice, slice]) -> Tensor:
        change = (base.decode(marked[:, :, *part]) - base.decode(latents[:, :, *part])).abs().sum(dim=1)[0]
        return (change > change.quantile(0.98)).nonzero().float().mean(dim=0)

    whole, window = where((slice(None), slice(None))), where((slice(2, 7), slice(1, 6)))
    assert torch.allclose(window + torch.tensor([32.0, 16.0]), whole, atol=8)
    assert torch.allclose(whole, torch.tensor([4.5 * 16, 3.5 * 16]), atol=8)


def samples() -> tuple[Tensor, Tensor, Tensor]:
    clean, noise = torch.randn(2, 3, 128, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return clean, noise, torch.tensor([0, 500, 999])


def test_x0_is_recovered_from_the_velocity_and_the_schedule_ends_in_noise_alone(base: Flux2) -> None:
    clean, noise, timesteps = samples()
    schedule = base.schedule
    noisy = schedule.add_noise(clean, noise, timesteps)
    assert torch.allclose(schedule.predict_x0(noisy, schedule.target(clean, noise, timesteps), timesteps), clean)
    assert torch.equal(noisy[2], noise[2])
    assert torch.equal(first_latents(base, [3], torch.ones(128)), first_latents(base, [3], None))


def test_samples_are_noised_as_by_the_scheduler_that_draws(base: Flux2) -> None:
    clean, noise, _ = samples()
    stock = FlowMatchEulerDiscreteScheduler()
    timesteps = torch.tensor([99, 500, 999])
    theirs = stock.scale_noise(clean.float(), (timesteps + 1).float(), noise.float())
    assert torch.allclose(base.schedule.add_noise(clean, noise, timesteps).float(), theirs, atol=1e-6)


def test_times_are_drawn_where_stable_diffusions_are_by_signal_to_noise() -> None:
    schedule = FlowSchedule.of(FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), tokens=1024)
    late = torch.arange(20000) % 2 == 0
    share = schedule.share(schedule.draw_timesteps(late, torch.Generator().manual_seed(0)))
    alpha = tiny.base(sample_size=16).schedule.alphas_cumprod
    of_stable_diffusion = (1 - alpha).sqrt() / (alpha.sqrt() + (1 - alpha).sqrt())
    assert share[~late].median() == pytest.approx(of_stable_diffusion.median().item(), abs=0.05)
    assert share[late].mean() > share[~late].mean() + 0.1
    assert 0 < share.min() <= share.max() <= 1
    assert schedule.trust(torch.tensor([399])) == pytest.approx(0.36)


def test_a_scheduler_of_another_kind_is_no_flow() -> None:
    with pytest.raises(ValueError, match="no schedule of a flow"):
        FlowSchedule.of(tiny.base(sample_size=16).pipeline.scheduler, tokens=1024)


# Attention


def joint_input(base: Flux2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "noisy": torch.randn(2, *base.latent_shape, generator=generator),
        "timesteps": torch.tensor([100, 700]),
        "conditioning": base.condition([BOTH, prompt_for("source")]),
    }


def full_softmax(attention: torch.nn.Module, kwargs: dict, words: int) -> Tensor:
    """Compute all probabilities (B, heads, N, S) of a block's attention from its inputs, in the open."""
    hidden, text = kwargs["hidden_states"], kwargs.get("encoder_hidden_states")
    split = lambda tensor: tensor.unflatten(-1, (-1, attention.head_dim))  # noqa: E731
    if text is not None:
        query, key = attention.norm_q(split(attention.to_q(hidden))), attention.norm_k(split(attention.to_k(hidden)))
        query = torch.cat([attention.norm_added_q(split(attention.add_q_proj(text))), query], dim=1)
        key = torch.cat([attention.norm_added_k(split(attention.add_k_proj(text))), key], dim=1)
    else:
        query, key, _ = attention.to_qkv_mlp_proj(hidden)[..., : 3 * attention.inner_dim].chunk(3, dim=-1)
        query, key = attention.norm_q(split(query)), attention.norm_k(split(key))
    cos, sin = kwargs["image_rotary_emb"]

    def turned(tensor: Tensor) -> Tensor:
        pairs = tensor.unflatten(-1, (-1, 2))
        crossed = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).flatten(3)
        return tensor * cos[:, None] + crossed * sin[:, None]

    query, key = (turned(tensor).transpose(1, 2) for tensor in (query, key))
    return (query @ key.mT / attention.head_dim**0.5).softmax(dim=-1)[:, :, words:]


@pytest.mark.parametrize("kind", ["transformer_blocks", "single_transformer_blocks"])
def test_maps_are_the_words_columns_of_the_full_softmax(base: Flux2, rows: dict, kind: str) -> None:
    block, seen = getattr(base.denoiser, kind)[1], []
    with base.concept_tokens(rows), torch.no_grad():
        given = joint_input(base)
        plain = base.predict(**given).output
        handle = block.attn.register_forward_pre_hook(lambda _m, _a, kwargs: seen.append(kwargs), with_kwargs=True)
        with record_joint_attention([block]) as recorder:
            output = base.predict(**given).output
        handle.remove()
        positions = given["conditioning"].positions
        maps = recorder.word_maps(positions, 512)
        expected = full_softmax(block.attn, seen[0], 512)
    assert torch.equal(output, plain), "recording changes nothing"
    assert maps.shape == (2, 1, 2, 2, 64)
    for word, sample in ((0, 0), (1, 0), (0, 1)):
        assert torch.allclose(maps[word, 0, sample], expected[sample, :, :, positions[word, sample]], atol=1e-6)
    assert expected.sum(dim=-1).mean() == pytest.approx(1)


def test_attention_to_a_few_keys_has_value_and_gradient_of_the_full_softmax_whatever_the_chunk() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, n, 3, 8, generator=generator).requires_grad_() for n in (10, 15))
    positions = torch.tensor([[4, 7], [0, -1]])
    full = (query.transpose(1, 2) @ key.transpose(1, 2).mT / 8**0.5).softmax(dim=-1)
    weights = torch.randn(2, 3, 10, generator=generator)
    expected = torch.stack([full[0, :, :, 4], full[1, :, :, 7]])
    gradients = torch.autograd.grad((expected * weights).sum(), (query, key))
    for chunk in (3, 10, 256):
        maps = attention_to_words(query, key, positions, chunk)
        assert torch.allclose(maps[0], expected, atol=1e-6)
        ours = torch.autograd.grad((maps[0] * weights).sum(), (query, key))
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, gradients, strict=True))


@pytest.mark.parametrize("kind", ["transformer_blocks", "single_transformer_blocks"])
@pytest.mark.parametrize("recomputed", [False, True])
def test_the_maps_alone_move_the_words_with_gradient_checkpointing_too(
    base: Flux2, rows: dict, kind: str, recomputed: bool
) -> None:
    def gradient() -> Tensor:
        with base.concept_tokens(rows) as parameters:
            given = joint_input(base)
            with record_joint_attention([getattr(base.denoiser, kind)[1]]) as recorder:
                base.predict(**given)
            recorder.word_maps(given["conditioning"].positions, 512).square().sum().backward()
            return next(iter(parameters.values())).grad

    expected = gradient()
    assert expected.abs().sum(dim=1).min() > 0
    if recomputed:
        base.denoiser.enable_gradient_checkpointing()
        try:
            assert torch.allclose(gradient(), expected, rtol=1e-4, atol=1e-9)
        finally:
            base.denoiser.disable_gradient_checkpointing()


def test_the_refocused_blocks_are_the_single_ones_from_the_fifth_to_the_ninth(base: Flux2) -> None:
    assert refocusing_blocks(base.denoiser) == list(base.denoiser.single_transformer_blocks)[4:]
    shallow = Flux2Transformer2DModel.from_config({**base.denoiser.config, "num_single_layers": 4})
    with pytest.raises(ValueError, match="no single-stream block"):
        refocusing_blocks(shallow)


# Training


@pytest.mark.parametrize("term", ["attention", "identity"])
def test_each_term_alone_reaches_words_and_layers(base: Flux2, term: str) -> None:
    with stand_in.training(base, SHORT) as run:
        loss = run.objective.terms(0, "lora", 1.0, run.generator)[term]
        loss.backward()
        (row,) = run.rows.values()
        assert row.grad.abs().sum() > 0
        assert sum(p.grad.abs().sum() for p in run.lora if p.grad is not None) > 0


def test_every_projection_of_attention_learns(base: Flux2) -> None:
    with lora_layers(base.denoiser, 2, base.spec.lora_targets) as parameters:
        names = {name.split(".lora_")[0] for name, _ in base.denoiser.named_parameters() if "lora_" in name}
    assert len(names) == 2 * 8 + 6 * 2
    assert len(parameters) == 2 * len(names)


def test_training_pauses_goes_on_and_leaves_both_denoisers_as_they_were(base: Flux2) -> None:
    before = fingerprint(base)
    with stand_in.training(base, SHORT) as run:
        events = []
        for event in run:
            events.append(event)
            if event.step == 4:
                checkpoint = run.checkpoint()
        whole = run.checkpoint().weights
    assert set(events[-1].losses) == {"reconstruction", "attention", "identity"}
    assert all(np.isfinite(list(event.losses.values())).all() for event in events)
    assert [len(event.previews) for event in events] == [0, 0, 0, 0, 0, 1]
    with stand_in.training(base, SHORT) as run:
        run.restore(checkpoint)
        assert [event.step for event in run] == [5, 6]
        resumed = run.checkpoint().weights
    assert torch.equal(resumed.rows[ROWS_KEY], whole.rows[ROWS_KEY])
    assert all(torch.equal(resumed.lora[key], value) for key, value in whole.lora.items())
    assert fingerprint(base) == before


def fingerprint(base: Flux2) -> dict[str, object]:
    """Give all that an adapter could leave behind on the parts of both pipelines."""
    found: dict[str, object] = {"tokenizer": (id(base.pipeline.tokenizer), len(base.pipeline.tokenizer))}
    parts = {"artist": base.artist.transformer, **{n: getattr(base.pipeline, n) for n in ("transformer", "vae")}}
    for part, root in {**parts, "text_encoder": base.pipeline.text_encoder}.items():
        found[part] = sorted(
            vars(root).keys() - {"_diffusers_hook"}
        )  # the stock pipeline's own, from its first call on
        for name, module in root.named_modules():
            found[f"{part}.{name}"] = (id(module), len(module._forward_hooks), len(module._forward_pre_hooks))
        for name, value in root.state_dict().items():
            found[f"{part}:{name}"] = (value.dtype, value.double().sum().item(), value.double().square().sum().item())
        for name, value in root.named_parameters():
            found[f"{part}?{name}"] = value.requires_grad
    return found


# Drawing


def strong(adapter: Adapter) -> Adapter:
    """Give ``adapter`` with so much learned that a picture without it is another one."""
    lora = {key: 300 * value if ".lora_B." in key else value for key, value in adapter.lora.items()}
    return replace(adapter, lora=lora, rows={key: 20 * value for key, value in adapter.rows.items()})


def test_what_was_learned_on_the_base_is_drawn_by_the_distilled_one(base: Flux2, adapter: Adapter) -> None:
    adapter = strong(adapter)
    with applied(base, adapter):
        learned, weak = picture(base), picture(base, lora_scale=0.0)
        assert base.denoiser.training is False
    rows_only = replace(adapter, lora={key: torch.zeros_like(value) for key, value in adapter.lora.items()})
    with applied(base, rows_only):
        words = picture(base)
    assert np.array_equal(weak, words)
    assert np.abs(learned - words).max() > 2
    (portrait,) = generate(base, stand_in.StandInEngine(), adapter, GenerateConfig(count=1))
    assert portrait.settings["steps"] == 4


@pytest.mark.parametrize("distilled", [True, False])
def test_the_code_on_the_card_lets_stock_diffusers_draw_our_picture(
    distilled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_flux2.base(distilled=distilled)
    with stand_in.training(base, replace(SHORT, previews=0)) as run:
        for _ in run:
            pass
        adapter = strong(run.adapter())
    stock = Flux2KleinPipeline(
        **{**base.pipeline.components, "transformer": base.artist.transformer}, is_distilled=distilled
    )
    stock.save_pretrained(tmp_path / "base")
    monkeypatch.chdir(adapter.save(tmp_path / "adapter"))
    code = re.search(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)[1]
    code = code.replace(FLUX2.drawn_with, str(tmp_path / "base")).replace("bfloat16", "float32").replace("cuda", "cpu")
    code = code.replace("512", "128").replace(
        ").images[0]", "    generator=torch.Generator().manual_seed(7),\n).images[0]"
    )
    names: dict[str, object] = {}
    exec(code, names)
    with applied(base, adapter):
        ours = picture(base, steps=4, guidance_scale=1.0)
        assert torch.equal(names["embeddings"], base.condition([BOTH]).embeddings)
    assert np.abs(ours - np.asarray(names["image"])).max() <= 1
    with applied(base, replace(adapter, lora={key: 0 * value for key, value in adapter.lora.items()})):
        assert np.abs(ours - picture(base, steps=4, guidance_scale=1.0)).max() > 2


def test_without_a_distilled_one_the_base_draws_with_guidance(rows: dict) -> None:
    base = tiny_flux2.base(distilled=False)
    with base.concept_tokens(rows):
        assert np.abs(picture(base, steps=2, guidance_scale=4.0) - picture(base, steps=2, guidance_scale=1.0)).max() > 1


# Files


def test_an_adapter_is_read_back_as_it_was(adapter: Adapter, tmp_path: Path) -> None:
    loaded = Adapter.load(adapter.save(tmp_path / "adapter"))
    assert loaded.info.base == "flux2-klein"
    assert loaded.info.licence == "apache-2.0"
    assert torch.equal(loaded.rows[ROWS_KEY], adapter.rows[ROWS_KEY])
    assert loaded.lora.keys() == adapter.lora.keys()
    assert all(torch.equal(loaded.lora[key], value) for key, value in adapter.lora.items())


def test_other_tools_read_the_lora_under_the_names_of_the_original_model(adapter: Adapter, tmp_path: Path) -> None:
    folder = adapter.save(tmp_path / "adapter")
    assert not list(folder.glob("magi-*.safetensors")), "no other tool has a place for these words"
    card = (folder / "README.md").read_text()
    assert all(fact in card for fact in ("apache-2.0", FLUX2.source, PERSON, STYLE, "no other tool"))
    assert {key.split("blocks_")[0] for key in load_file(folder / "magicapture_kohya.safetensors")} == {
        "lora_unet_double_",
        "lora_unet_single_",
    }
    theirs = Flux2KleinPipeline.lora_state_dict(folder, weight_name="magicapture_kohya.safetensors")
    assert theirs.keys() == {f"transformer.{key}" for key in adapter.lora}
    assert all(torch.equal(value, adapter.lora[key.removeprefix("transformer.")]) for key, value in theirs.items())


def wrong_rows(adapter: Adapter) -> Adapter:
    return replace(adapter, rows={ROWS_KEY: torch.zeros(2, 5)})


def rows_of_another_encoder(adapter: Adapter) -> Adapter:
    return replace(adapter, rows={"clip_l": adapter.rows[ROWS_KEY]})


def wrong_layers(adapter: Adapter) -> Adapter:
    return replace(adapter, lora=dict(list(adapter.lora.items())[:-2]))


@pytest.mark.parametrize("spoil", [wrong_rows, rows_of_another_encoder, wrong_layers])
def test_an_adapter_of_another_base_is_refused_in_one_sentence(
    base: Flux2, adapter: Adapter, spoil: Callable[[Adapter], Adapter]
) -> None:
    before, wrong = fingerprint(base), spoil(adapter)
    with pytest.raises(AdapterError, match=r"^The adapter[^.]*another[^.]*\.$"), applied(base, wrong):
        pass
    assert fingerprint(base) == before


def test_stable_diffusion_refuses_an_adapter_of_this_base(adapter: Adapter) -> None:
    other = tiny.base(sample_size=16)
    with pytest.raises(AdapterError, match="another"), applied(other, adapter):
        pass


# The registry


def test_a_folder_is_recognised_by_its_index_and_trained_on_itself(tmp_path: Path) -> None:
    tiny_flux2.pipeline().save_pretrained(tmp_path)
    spec = resolve_base(str(tmp_path))
    assert (spec.family, spec.drawn_with, spec.guidance_scale) == (Flux2, None, 4.0)
    base = load_base(str(tmp_path))
    assert base.artist.transformer is base.denoiser
    assert base.artist.config.is_distilled is False
    assert base.condition(["a photo"]).embeddings.shape == (1, 512, tiny_flux2.ROW_WIDTH)


def test_the_names_of_the_base_all_mean_the_same() -> None:
    assert resolve_base("flux2-klein") is resolve_base("black-forest-labs/FLUX.2-klein-base-4B") is FLUX2


def test_a_distilled_one_is_refused_in_one_sentence(tmp_path: Path) -> None:
    pipeline = tiny_flux2.pipeline()
    pipeline.register_to_config(is_distilled=True)
    pipeline.save_pretrained(tmp_path)
    with pytest.raises(BaseError, match="distilled to few steps, which training would undo"):
        load_base(str(tmp_path))


def test_a_base_of_an_unknown_family_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(BaseError, match="it is a FluxPipeline"):
        load_base(str(tmp_path))


# Its own editing


def test_the_base_edits_two_references_without_training(base: Flux2) -> None:
    person, style = stand_in.references(base.resolution), stand_in.references(base.resolution, 3)[1:]
    before = fingerprint(base)
    with METHODS["edited"].learn(Task(base, stand_in.StandInEngine(), person, style)) as draw_seeds:
        first, again, second = draw_seeds([0, 0, 1])
    assert first.size == (base.resolution, base.resolution)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    other = [replace(reference, image=reference.image.rotate(90)) for reference in style]
    with METHODS["edited"].learn(Task(base, stand_in.StandInEngine(), person, other)) as draw_seeds:
        assert not np.array_equal(first, draw_seeds([0])[0]), "the look is seen"
    assert fingerprint(base) == before


# The true size


@pytest.fixture(scope="module")
def klein() -> Flux2Transformer2DModel:
    """Give the denoiser of FLUX.2 [klein] 4B without its weights."""
    with torch.device("meta"):
        shapes = Flux2Transformer2DModel(
            num_layers=5,
            num_single_layers=20,
            num_attention_heads=24,
            joint_attention_dim=7680,
            guidance_embeds=False,
        )
    return shapes.to(torch.bfloat16).requires_grad_(False).eval()


def saved_gb(klein: Flux2Transformer2DModel, batch: int) -> float:
    """Count what a step with 512 px keeps for its backward pass, maps included, beside weights, in gigabytes."""
    weights = {parameter.untyped_storage()._cdata for parameter in klein.parameters()}
    kept: dict[int, object] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with (
        torch.device("meta"),
        lora_layers(klein, FLUX2.presets["quick"].rank, FLUX2.lora_targets),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        record_joint_attention(refocusing_blocks(klein)) as recorder,
    ):
        for parameter in klein.parameters():
            parameter.data = parameter.data.to(torch.bfloat16)
        text = torch.zeros(batch, 512, 7680, dtype=torch.bfloat16, requires_grad=True)
        pictures = torch.zeros(batch, 1024, 128, dtype=torch.bfloat16)
        places = torch.zeros(1024, 4), torch.zeros(512, 4)
        klein(pictures, text, torch.zeros(batch), *places)
        recorder.word_maps(torch.zeros(2, batch, dtype=torch.long), 512)
    return sum(storage.nbytes() for number, storage in kept.items() if number not in weights) / 1e9


def test_two_denoisers_of_the_true_size_and_a_step_fit_the_memory_that_the_readme_names(
    klein: Flux2Transformer2DModel,
) -> None:
    weights = 2 * 2 * sum(parameter.numel() for parameter in klein.parameters()) / 1e9
    assert weights == pytest.approx(15.5, abs=0.1)
    assert 60 < weights + saved_gb(klein, batch=6) < 0.95 * ROOMY_BYTES / 1e9
    klein.enable_gradient_checkpointing()
    try:
        assert saved_gb(klein, batch=6) < 8
    finally:
        klein.disable_gradient_checkpointing()


def test_the_loras_of_the_true_size_fit_a_file_that_can_be_uploaded(klein: Flux2Transformer2DModel) -> None:
    with torch.device("meta"), lora_layers(klein, FLUX2.presets["quick"].rank, FLUX2.lora_targets):
        ours = get_peft_model_state_dict(klein, adapter_name=LORA_NAME)
        theirs = kohya_layers(ours)
    assert 4 * sum(value.numel() for value in (*ours.values(), *theirs.values())) < 0.7 * MAX_ADAPTER_BYTES
