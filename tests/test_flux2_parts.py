"""How FLUX.2 [klein] is computed, part by part: words, latents, flow, and the maps of joint attention."""

import pytest
import tiny
import tiny_flux2
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
from torch import Tensor

from magicapture.adapters.start import NOISE, Start, generators
from magicapture.bases import FLUX2
from magicapture.bases.flux2 import Flux2
from magicapture.bases.flux2_files import ROWS_KEY
from magicapture.bases.joint_attention import attention_to_words, record_joint_attention, refocusing_blocks
from magicapture.bases.registry import FLUX2_ALONE
from magicapture.bases.schedule import FlowSchedule
from magicapture.bases.words import prompt_for

BOTH = prompt_for("composed")


@pytest.fixture(scope="module")
def base() -> Flux2:
    return tiny_flux2.base()


@pytest.fixture
def rows(base: Flux2) -> dict[str, Tensor]:
    return tiny_flux2.some_rows(base)


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


def test_of_a_thing_the_encoder_reads_its_name_and_its_last_token_is_exchanged(base: Flux2, rows: dict) -> None:
    plain = base.condition(["a photo of teapot teapot in the portrait style"]).embeddings[0]
    start = base.initial_rows(0.0, torch.Generator(), "teapot")
    with base.concept_tokens(start, "teapot"):
        assert torch.allclose(
            base.condition([prompt_for("source", noun="teapot")]).embeddings,
            base.condition([prompt_for("source", noun="teapot")]).extras["plain"],
        )
    with base.concept_tokens({ROWS_KEY: torch.full_like(rows[ROWS_KEY], 3.0)}, "teapot"):
        text = base.condition([prompt_for("composed", noun="teapot")])
    place = int(text.positions[0, 0])
    changed = (text.embeddings[0] != plain).any(dim=1).nonzero()[:, 0].tolist()
    assert changed == text.positions[:, 0].tolist()
    words = base.pipeline.tokenizer
    framed = base.words.tokenizer.apply_chat_template(
        [{"role": "user", "content": "a photo of teapot teapot in the portrait style"}], tokenize=False
    )
    first = framed.index("teapot")
    assert place == words(framed).char_to_token(first + len("teapot") - 1) > words(framed).char_to_token(first)


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
        for _ in range(3):
            base.condition([prompt_for("source"), BOTH])
    assert moved == [str(base.device), "cpu"]


def test_the_encoders_weights_are_put_back_and_not_copied_back(base: Flux2, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = base.pipeline.text_encoder
    here = [parameter.data_ptr() for parameter in encoder.parameters()]

    def to(device: object) -> None:
        """Copy the weights, as moving them to a GPU or from there does."""
        for parameter in encoder.parameters() if device != "cpu" else ():
            parameter.data = parameter.data.clone()

    monkeypatch.setattr(encoder, "to", to)
    base.condition(["never read before, nor moved"])
    assert [parameter.data_ptr() for parameter in encoder.parameters()] == here


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
    (with_mean, _), (without, _) = (start.latents(base, generators([3])) for start in (Start(torch.ones(128)), NOISE))
    assert torch.equal(with_mean, without)


def test_samples_are_noised_as_by_the_scheduler_that_draws(base: Flux2) -> None:
    clean, noise, _ = samples()
    stock = FlowMatchEulerDiscreteScheduler()
    timesteps = torch.tensor([99, 500, 999])
    theirs = stock.scale_noise(clean.float(), (timesteps + 1).float(), noise.float())
    assert torch.allclose(base.schedule.add_noise(clean, noise, timesteps).float(), theirs, atol=1e-6)


def test_times_are_drawn_where_stable_diffusions_are_by_signal_to_noise() -> None:
    schedule = FlowSchedule.of(FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), tokens=1024)
    late = torch.arange(20000) % 2 == 0
    share = schedule.share(schedule.draw_timesteps(late, torch.ones(20000), torch.Generator().manual_seed(0)))
    half = schedule.draw_timesteps(late, torch.full((20000,), 0.5), torch.Generator().manual_seed(0))
    alpha = tiny.base(sample_size=16).schedule.alphas_cumprod
    of_stable_diffusion = (1 - alpha).sqrt() / (alpha.sqrt() + (1 - alpha).sqrt())
    assert share[~late].median() == pytest.approx(of_stable_diffusion.median().item(), abs=0.05)
    assert share[late].mean() > share[~late].mean() + 0.1
    assert 0 < share.min() <= share.max() <= 1
    assert 0.49 < schedule.share(half).max() <= 0.5
    assert schedule.trust(torch.tensor([399])) == pytest.approx(0.36)


@pytest.mark.parametrize("preset", ["quick", "balanced", "paper"])
def test_no_preset_judges_a_face_where_more_than_six_tenths_are_noise(preset: str) -> None:
    assert FLUX2.presets[preset].identity_limit == FLUX2_ALONE.presets[preset].identity_limit == 0.6


def test_a_scheduler_of_another_kind_is_no_flow() -> None:
    with pytest.raises(ValueError, match="no schedule of a flow"):
        FlowSchedule.of(tiny.base(sample_size=16).pipeline.scheduler, tokens=1024)


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
