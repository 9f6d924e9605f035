"""Stable Diffusion XL, on a pipeline of the true classes: two text encoders, a pooled prompt, sizes, half precision."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import stand_in
import tiny
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file

from magicapture.adapters.adapter import Adapter, applied
from magicapture.adapters.info import AdapterError
from magicapture.bases import SDXL, SPECS, Base, BaseError, load_base, loading, offered_bases, resident, resolve_base
from magicapture.bases.lora import lora_layers
from magicapture.bases.sdxl import StableDiffusionXL
from magicapture.bases.stable_diffusion import StableDiffusion
from magicapture.bases.words import PERSON, STYLE, prompt_for
from magicapture.config import GenerateConfig, TrainConfig
from magicapture.drawing.generation import dialled, draw, generate
from magicapture.evaluation.forecast import step_costs
from magicapture.faces import FaceEngine
from magicapture.method.training import Training
from magicapture.photos.references import check_photos
from magicapture.server.hub import MAX_BYTES
from magicapture.server.workspace.uploads import MAX_ADAPTER_BYTES
from magicapture.settings import settings
from magicapture.ui.language import translate

SHORT = TrainConfig(token_steps=2, lora_steps=3, previews=1, preview_images=1, preview_steps=2, rank=2, lora_lr=0.05)
SETTINGS = {"num_inference_steps": 3, "guidance_scale": 2.0, "height": 128, "width": 128}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base() -> Base:
    return tiny.xl()


@pytest.fixture(scope="module")
def adapter(base: Base) -> Adapter:
    with stand_in.training(base, replace(SHORT, previews=0)) as training:
        for _ in training:
            pass
        return training.adapter()


def in_half(*, mended: bool) -> Base:
    """Give a base as it lies on an older GPU, with the autoencoder mended for float16 or with the published one."""
    base = tiny.xl()
    base.pipeline.vae.register_to_config(force_upcast=not mended)
    for module in tiny.parts(base.pipeline).values():
        module.half()
    return StableDiffusionXL(base.spec, base.pipeline, base.pipeline.vae)


def picture(base: Base) -> np.ndarray:
    return np.asarray(next(draw(base, [7], GenerateConfig(steps=3, guidance_scale=2.0, negative_prompt="blurry"))))


def stock_picture(pipeline: StableDiffusionXLPipeline, prompt: str) -> np.ndarray:
    generator, scale = torch.Generator().manual_seed(7), {"scale": 0.8}
    made = pipeline(prompt, negative_prompt="blurry", generator=generator, cross_attention_kwargs=scale, **SETTINGS)
    return np.asarray(made.images[0])


def with_words(folder: Path, base_folder: Path) -> StableDiffusionXLPipeline:
    """Load the base and both words as the card says, without our code."""
    stock = StableDiffusionXLPipeline.from_pretrained(base_folder)
    rows, words = load_file(folder / "magicapture_emb.safetensors"), [PERSON, STYLE]
    stock.load_textual_inversion(list(rows["clip_l"]), token=words)
    second = {"tokenizer": stock.tokenizer_2, "text_encoder": stock.text_encoder_2}
    stock.load_textual_inversion(list(rows["clip_g"]), token=words, **second)
    stock.text_encoder_2.text_model.eos_token_id = stock.tokenizer_2.eos_token_id
    return stock


def test_prompts_are_read_as_the_pipeline_reads_them(base: Base) -> None:
    ours = base.condition(["a photo of a person"])
    with torch.no_grad():
        embeddings, _, pooled, _ = base.pipeline.encode_prompt("a photo of a person", do_classifier_free_guidance=False)
    assert torch.equal(ours.embeddings, embeddings)
    assert torch.equal(ours.extras["pooled"], pooled)
    assert ours.embeddings.shape[-1] == tiny.TEXT_WIDTH + tiny.SECOND_WIDTH


def test_the_prompt_is_pooled_at_its_end_and_not_at_a_learned_word(base: Base) -> None:
    # Words that are added have higher ids than the end of text, which such configurations find by the highest id.
    assert base.pipeline.text_encoder_2.config.eos_token_id == 2
    prompt, rows = prompt_for("composed"), base.initial_rows(0.017, torch.Generator().manual_seed(0))
    with torch.no_grad(), base.concept_tokens(rows):
        ours, encoder = base.condition([prompt]), base.clip["clip_g"]
        ids = encoder.tokenize([prompt])
        end = ids[0].tolist().index(encoder.tokenizer.eos_token_id)
        at_end = encoder.model.text_projection(encoder.model(ids).last_hidden_state[:, end])
    assert ids[0].argmax() == ours.positions[1, 0] < end
    assert torch.allclose(ours.extras["pooled"], at_end, atol=1e-6)


def test_both_words_learn_in_both_text_encoders_and_through_the_pooled_prompt_too(base: Base) -> None:
    with base.concept_tokens(base.initial_rows(0.017, torch.Generator().manual_seed(0))) as rows:
        assert {key: tuple(value.shape) for key, value in rows.items()} == {"clip_l": (2, 32), "clip_g": (2, 48)}
        text = base.condition([prompt_for("composed")])
        text.embeddings.square().sum().backward(retain_graph=True)
        assert all((value.grad.abs().sum(dim=1) > 0).all() for value in rows.values())
        for value in rows.values():
            value.grad = None
        base.predict(torch.randn(1, *base.latent_shape), torch.tensor([500]), text).output.sum().backward()
        through_all = rows["clip_g"].grad.clone()
        rows["clip_g"].grad = None
        text = base.condition([prompt_for("composed")])
        text.extras["pooled"] = text.extras["pooled"].detach()
        base.predict(torch.randn(1, *base.latent_shape), torch.tensor([500]), text).output.sum().backward()
        assert not torch.allclose(through_all, rows["clip_g"].grad)


def test_the_dial_moves_the_pooled_prompt(base: Base) -> None:
    with torch.no_grad(), base.concept_tokens(base.initial_rows(0.017, torch.Generator().manual_seed(0))):
        middle, end = (dialled(base, dial, "", 5.0).extras["pooled"] for dial in (0.5, 1.0))
        person, style, composed = (
            base.condition([prompt_for(task)]).extras["pooled"] for task in ("source", "reference", "composed")
        )
    assert torch.equal(middle, composed)
    assert torch.allclose(end, composed + (person - style) / 5.0)
    assert not torch.allclose(end, middle)


def test_the_denoiser_is_told_the_size_that_is_trained_and_drawn(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    told, forward = [], base.denoiser.forward

    def spy(*args: object, **kwargs: object) -> object:
        told.append(kwargs["added_cond_kwargs"]["time_ids"].tolist())
        return forward(*args, **kwargs)

    monkeypatch.setattr(base.denoiser, "forward", spy)
    base.predict(torch.randn(2, *base.latent_shape), torch.tensor([1, 2]), base.condition(["a photo", "a man"]))
    assert (base.resolution, base.latent_shape, base.attention_side) == (128, (4, 16, 16), 4)
    list(draw(base, [0], GenerateConfig(steps=1)))
    assert told == [[[128, 128, 0, 0, 128, 128]] * 2] * 2


def test_refocusing_looks_at_the_two_blocks_that_settle_content_and_look(base: Base) -> None:
    assert base.refocusing_layers() == [
        f"up_blocks.0.attentions.{block}.transformer_blocks.{depth}.attn2" for block in (0, 1) for depth in range(3)
    ]
    prediction = base.predict(
        torch.randn(1, *base.latent_shape), torch.tensor([9]), base.condition(["a photo"]), with_maps=True
    )
    assert prediction.maps.shape == (2, 6, 1, 4, 16)


def test_a_training_that_pauses_ends_with_the_same_adapter(base: Base) -> None:
    before = tiny.fingerprint(base)
    with stand_in.training(base, SHORT) as run:
        for event in run:
            if event.step == 4:
                checkpoint = run.checkpoint()
        whole = run.checkpoint().weights
    with stand_in.training(base, SHORT) as run:
        run.restore(checkpoint)
        assert [event.step for event in run] == [5]
        resumed = run.checkpoint().weights
    assert all(torch.equal(whole.rows[key], resumed.rows[key]) for key in ("clip_l", "clip_g"))
    assert all(torch.equal(whole.lora[key], resumed.lora[key]) for key in whole.lora)
    assert tiny.fingerprint(base) == before


def test_stock_diffusers_draws_the_same_picture_without_our_code(base: Base, adapter: Adapter, tmp_path: Path) -> None:
    folder, before = adapter.save(tmp_path / "adapter"), tiny.fingerprint(base)
    base.pipeline.save_pretrained(tmp_path / "base")
    with applied(base, adapter):
        ours = picture(base)
    assert tiny.fingerprint(base) == before
    stock = with_words(folder, tmp_path / "base")
    plain = stock_picture(stock, prompt_for("composed"))
    stock.load_lora_weights(folder, weight_name="pytorch_lora_weights.safetensors")
    theirs = stock_picture(stock, prompt_for("composed"))
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert np.abs(plain.astype(int) - theirs).max() > 1, "the LoRA has no effect"


def test_other_tools_read_the_same_lora_and_each_word_for_both_encoders(
    base: Base, adapter: Adapter, tmp_path: Path
) -> None:
    # ComfyUI and A1111 map lora_unet_<module with _ for .>; both look for a word's rows under clip_l and clip_g.
    folder = adapter.save(tmp_path / "adapter")
    base.pipeline.save_pretrained(tmp_path / "base")
    modules = {f"lora_unet_{name.replace('.', '_')}" for name, _ in base.denoiser.named_modules()}
    kohya = load_file(folder / "magicapture_kohya.safetensors")
    assert {key.split(".")[0] for key in kohya} <= modules
    stock = with_words(folder, tmp_path / "base")
    stock.load_lora_weights(folder, weight_name="magicapture_kohya.safetensors")
    with applied(base, adapter):
        ours = picture(base)
    assert np.abs(ours.astype(int) - stock_picture(stock, prompt_for("composed"))).max() <= 2
    for place, word in enumerate(("magi-person", "magi-style")):
        embedding = load_file(folder / f"{word}.safetensors")
        assert embedding.keys() == {"clip_l", "clip_g"}
        assert all(torch.equal(value, adapter.rows[key][place, None]) for key, value in embedding.items())


def test_the_code_on_the_card_draws_our_picture(
    base: Base, adapter: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(adapter.save(tmp_path / "adapter"))
    base.pipeline.save_pretrained(tmp_path / "base", variant="fp16")
    assert "license: openrail++" in Path("README.md").read_text()
    stand_in.assert_card_draws_our_picture(base, adapter, {SDXL.source: str(tmp_path / "base"), "768": "128"})


def test_words_and_lora_learn_in_float16_and_can_be_drawn_with() -> None:
    base = in_half(mended=True)
    assert base.pipeline.vae.dtype == torch.float16
    stand_in.assert_learns_and_draws_in_half(base, replace(SHORT, previews=0))


def test_the_published_autoencoder_overflows_float16_and_is_kept_in_float32() -> None:
    base = in_half(mended=False)
    vae = base.pipeline.vae
    assert (vae.dtype, base.dtype) == (torch.float32, torch.float16)
    with torch.no_grad():
        vae.decoder.conv_in.weight.mul_(2e5)  # activations as large as the published one's
        latents = torch.randn(2, *base.latent_shape, generator=torch.Generator().manual_seed(0))
        assert base.decode(latents).isfinite().all()
        assert all(moment.isfinite().all() for moment in base.encode(torch.rand(1, 3, 128, 128)))
        assert picture(base).std() > 0
        assert vae.half().decoder.conv_in.weight.isfinite().all()
        assert not vae.decode(latents.half() / vae.config.scaling_factor).sample.isfinite().all()


def test_adapters_of_other_bases_are_refused_in_plain_words(base: Base, adapter: Adapter) -> None:
    small = tiny.base(sample_size=16)
    before = tiny.fingerprint(base), tiny.fingerprint(small)
    narrow = replace(adapter, rows=adapter.rows | {"clip_g": torch.zeros(2, tiny.TEXT_WIDTH)})
    one_encoder = replace(adapter, rows={"clip_l": adapter.rows["clip_l"]})
    for on, wrong in ((base, narrow), (base, one_encoder), (small, adapter)):
        with (
            pytest.raises(AdapterError, match=r"does not fit the base .*: it was trained on another one\."),
            applied(on, wrong),
        ):
            pass
    assert (tiny.fingerprint(base), tiny.fingerprint(small)) == before


def test_the_name_chooses_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGICAPTURE_BASE", "sdxl")
    assert resolve_base("auto") is SDXL
    assert [SPECS[name].resolution for name in ("sdxl", "sdxl-1024")] == [768, 1024]
    assert all(set(spec.presets) == {"quick", "balanced", "paper"} for spec in SPECS.values())


def test_who_chooses_a_base_reads_licence_and_size_and_is_offered_a_large_one_only_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert SDXL.choice == "Stable Diffusion XL, 768 px · openrail++ · 7.3 GB to load once"
    assert (
        translate(SDXL.choice, "ja")
        == "Stable Diffusion XL（768 px）・ライセンス openrail++・初回に 7.3 GB を読み込みます"
    )
    monkeypatch.delenv("MAGICAPTURE_BASE", raising=False)
    assert list(offered_bases(gpu=False)) == ["mini", "sd15"]
    monkeypatch.setenv("MAGICAPTURE_BASE", "sdxl-1024")
    settings.cache_clear()
    assert list(offered_bases(gpu=False)) == ["mini", "sd15", "sdxl-1024"]
    assert offered_bases(gpu=True) == SPECS


def test_a_folder_says_itself_of_which_family_it_is(base: Base, tmp_path: Path) -> None:
    base.pipeline.save_pretrained(tmp_path)
    loaded = load_base(str(tmp_path))
    assert isinstance(loaded, StableDiffusionXL)
    assert loaded.resolution == 768
    assert loaded.spec.licence == "other"
    index = json.loads((tmp_path / "model_index.json").read_text())
    for unknown in ("StableDiffusionXLImg2ImgPipeline", "NoSuchPipeline"):
        (tmp_path / "model_index.json").write_text(json.dumps(index | {"_class_name": unknown}))
        with pytest.raises(BaseError, match=rf"cannot be used: it is a {unknown}, and StableDiffusionPipeline, "):
            load_base(str(tmp_path))
    for odd in ("[]", "{", '{"_class_name": 3}'):
        (tmp_path / "model_index.json").write_text(odd)
        assert resolve_base(str(tmp_path)).family is StableDiffusion


def test_the_hub_is_asked_for_a_family_when_a_base_is_loaded_and_not_for_a_strangers_adapter(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base.pipeline.save_config(tmp_path)
    asked = []

    def download(repo_id: str, file: str, *, local_files_only: bool) -> str:
        asked.append(repo_id)
        if local_files_only:
            raise OSError("it is not here")
        return str(tmp_path / file)

    monkeypatch.setattr(loading, "hf_hub_download", download)
    monkeypatch.setattr(loading, "model_info", lambda *_, **__: None)
    monkeypatch.setattr(resident, "_loader", lambda _: lambda spec: spec)
    assert resolve_base("someone/portraits-xl").family is StableDiffusion
    spec = load_base("someone/portraits-xl")
    assert (spec.family, spec.resolution) == (StableDiffusionXL, 768)
    assert (spec.tiny_decoder, spec.vae) == (SDXL.tiny_decoder, None)
    assert asked == ["someone/portraits-xl"] * 2
    load_base("sdxl")
    assert len(asked) == 2


def test_a_small_one_is_trained_from_photos_to_scored_portraits(
    base: Base, builtin: FaceEngine, examples: Path, tmp_path: Path
) -> None:
    person, style = (
        check_photos(sorted((examples / name).iterdir()), role, builtin, base.resolution).references
        for name, role in (("person-someone", "person"), ("style-grey", "style"))
    )
    config = SDXL.presets["quick"].with_steps(6)
    with Training(base, builtin, person, style, replace(config, previews=1, rank=2)) as training:
        events = list(training)
        made = training.adapter()
    assert [event.phase for event in events] == ["tokens"] + ["lora"] * 5
    assert {name for event in events for name in event.losses} == {"reconstruction", "attention", "identity"}
    assert events[-1].previews
    loaded = Adapter.load(made.save(tmp_path / "adapter"))
    assert (loaded.info.base, loaded.info.licence) == ("sdxl", "openrail++")
    portraits = generate(base, builtin, loaded, GenerateConfig(count=2, steps=2, dial=0.8))
    assert [portrait.image.size for portrait in portraits] == [(128, 128)] * 2


def test_the_true_size_is_known_and_an_adapter_for_it_is_small_enough_to_be_taken_back() -> None:
    base = StableDiffusionXL.skeleton(SDXL)
    counted = {name: sum(p.numel() for p in part.parameters()) for name, part in tiny.parts(base.pipeline).items()}
    assert {name: round(count / 1e6) for name, count in counted.items()} == {
        "unet": 2567, "text_encoder": 123, "text_encoder_2": 695, "vae": 84
    }  # fmt: skip
    assert (base.latent_shape, base.attention_side, base.row_widths) == (
        (4, 96, 96),
        24,
        {"clip_l": 768, "clip_g": 1280},
    )
    assert StableDiffusionXL.skeleton(SPECS["sdxl-1024"]).attention_side == 32
    crossed = sum(name.endswith("attn2") for name, _ in base.denoiser.named_modules())
    assert (len(base.refocusing_layers()), crossed) == (20, 70)
    with lora_layers(base.denoiser, SDXL.presets["quick"].rank, SDXL.lora_targets) as parameters:
        size = sum(parameter.numel() for parameter in parameters)
    assert 0.9 * SDXL.lora_bytes < 4 * size / SDXL.presets["quick"].rank <= SDXL.lora_bytes
    files = size * (4 + 2)  # in float32, and for other tools in float16
    assert 100e6 < files < 0.9 * min(MAX_ADAPTER_BYTES, MAX_BYTES)


@pytest.mark.slow
def test_training_at_the_true_size_fits_a_gpu_of_24_gb() -> None:
    (step,) = step_costs(SDXL, "lora", 1)  # the dearest: identity is judged too
    assert 6 < step.saved_gb < step.peak_memory_gb < 22
