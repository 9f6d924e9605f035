"""An adapter must survive being saved, read by other tools, put on a base and taken off again."""

import ast
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import stand_in
import tiny
import torch
from diffusers import StableDiffusionPipeline
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from magicapture.adapters.adapter import TARGETS_FILE, Adapter, applied
from magicapture.adapters.card import model_card
from magicapture.adapters.info import AdapterError, AdapterInfo
from magicapture.bases import FLUX2, MINI, SD15, SDXL, Base, BaseSpec
from magicapture.bases.words import PERSON, STYLE, prompt_for
from magicapture.config import GenerateConfig, TrainConfig
from magicapture.drawing.generation import draw, generate
from magicapture.scoring import likeness_in_words
from magicapture.server.workspace import Workspace


@pytest.fixture(scope="module")
def base() -> Base:
    return tiny.base(sample_size=16)


@pytest.fixture(scope="module")
def adapter(base: Base) -> Adapter:
    config = TrainConfig(keep_photos=True, token_steps=2, lora_steps=3, previews=0, rank=2, lora_lr=0.05)
    with stand_in.training(base, config) as training:
        for _ in training:
            pass
        return training.adapter()


def picture(base: Base) -> np.ndarray:
    return np.asarray(next(draw(base, [7], GenerateConfig(steps=3, guidance_scale=2.0, negative_prompt="blurry"))))


def test_saving_and_loading_keeps_everything(base: Base, adapter: Adapter, tmp_path: Path) -> None:
    loaded = Adapter.load(adapter.save(tmp_path / "a"))
    assert loaded.info == adapter.info
    assert torch.equal(loaded.rows["clip_l"], adapter.rows["clip_l"])
    assert loaded.start.mean.shape == (4,)
    assert torch.equal(loaded.start.mean, adapter.start.mean)
    assert vars(loaded.targets).keys() == vars(adapter.targets).keys()
    assert all(torch.equal(value, vars(adapter.targets)[name]) for name, value in vars(loaded.targets).items())
    assert loaded.photos.shape == (2, *base.latent_shape)
    assert torch.equal(loaded.photos, adapter.photos.half())
    assert loaded.lora.keys() == adapter.lora.keys()
    assert all(torch.equal(loaded.lora[key], adapter.lora[key]) for key in adapter.lora)


def test_layouts_and_palette_are_kept_only_for_a_base_that_draws_with_them(
    base: Base, adapter: Adapter, tmp_path: Path
) -> None:
    assert adapter.start.layouts is adapter.palette is None
    laying_out = replace(base, spec=replace(base.spec, layout_share=0.8, holds_palette=True))
    with stand_in.training(laying_out, TrainConfig(token_steps=1, lora_steps=1, previews=1, rank=2)) as training:
        (*_, last) = training
        laid_out = training.adapter()
    assert last.previews
    assert laid_out.start.layouts.shape == (2, 3, 8, 8)
    loaded = Adapter.load(laid_out.save(tmp_path / "a"))
    assert torch.equal(loaded.start.layouts, laid_out.start.layouts)
    assert loaded.palette.numbers == laid_out.palette.numbers


@pytest.mark.parametrize(
    "photos", [torch.full((1, 4, 2, 2), torch.nan), torch.rand(4, 2, 2), torch.zeros(1, 4, 2, 2).long()]
)
def test_forged_photos_are_refused(photos: torch.Tensor, adapter: Adapter, tmp_path: Path) -> None:
    file = adapter.save(tmp_path / "a") / TARGETS_FILE
    save_file(load_file(file) | {"photos": photos}, file)
    with pytest.raises(AdapterError, match="latents of photos"):
        Adapter.load(file.parent)


def test_without_photos_that_fit_it_draws_new_pictures_only(base: Base, adapter: Adapter) -> None:
    engine, settings = stand_in.StandInEngine(), GenerateConfig(count=1, steps=2)
    for photos, said in ((None, "keeps no photos"), (torch.rand(1, 4, 2, 2), "does not fit")):
        with pytest.raises(AdapterError, match=said):
            generate(base, engine, replace(adapter, photos=photos), replace(settings, strength=0.7))
    assert len(generate(base, engine, replace(adapter, photos=None), settings)) == 1


def test_stock_diffusers_draws_the_same_picture_without_our_code(base: Base, adapter: Adapter, tmp_path: Path) -> None:
    folder = adapter.save(tmp_path / "adapter")
    base.pipeline.save_pretrained(tmp_path / "base")
    with applied(base, adapter):
        ours = picture(base)
    assert not np.array_equal(ours, picture_of(base.pipeline, "a photo")), "the adapter has no effect"

    stock = StableDiffusionPipeline.from_pretrained(tmp_path / "base", safety_checker=None)
    stock.load_lora_weights(folder)
    rows = load_file(folder / "magicapture_emb.safetensors")["clip_l"]
    stock.load_textual_inversion(list(rows), token=[PERSON, STYLE])
    theirs = picture_of(stock, prompt_for("composed"))
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_other_tools_find_the_lora_and_each_word_where_they_look(base: Base, adapter: Adapter, tmp_path: Path) -> None:
    # kohya's names, as ComfyUI and A1111 build them: lora_unet_<module with _ for .>, with down, up and alpha.
    folder = adapter.save(tmp_path / "adapter")
    lora = load_file(folder / "magicapture_kohya.safetensors")
    modules = {f"lora_unet_{name.replace('.', '_')}": module for name, module in base.denoiser.named_modules()}
    trained = {key.split(".")[0] for key in lora}
    assert len(trained) == len(adapter.lora) / 2
    for name in trained:
        down, up, alpha = (lora[f"{name}.{part}"] for part in ("lora_down.weight", "lora_up.weight", "alpha"))
        assert alpha == len(down) == adapter.info.rank, "the weight is alpha / rank = 1"
        assert (up @ down).shape == modules[name].weight.shape
    key = next(key for key in adapter.lora if ".lora_A." in key)
    kohya = "lora_unet_" + key.removesuffix(".lora_A.weight").replace(".", "_") + ".lora_down.weight"
    assert torch.equal(lora[kohya], adapter.lora[key].half())
    for word, row in zip(("magi-person", "magi-style"), adapter.rows["clip_l"], strict=True):
        (embedding,) = load_file(folder / f"{word}.safetensors").values()
        assert torch.equal(embedding, row[None])


def picture_of(pipeline: StableDiffusionPipeline, prompt: str) -> np.ndarray:
    generator = torch.Generator().manual_seed(7)
    settings = {"num_inference_steps": 3, "guidance_scale": 2.0, "cross_attention_kwargs": {"scale": 0.8}}
    return np.asarray(pipeline(prompt, negative_prompt="blurry", generator=generator, **settings).images[0])


@pytest.mark.parametrize("fails", [False, True])
def test_taking_it_off_restores_the_base_exactly(base: Base, adapter: Adapter, fails: bool) -> None:
    picture_before, before = picture_of(base.pipeline, "a photo"), tiny.fingerprint(base)
    try:
        with applied(base, adapter):
            assert tiny.fingerprint(base) != before
            if fails:
                raise RuntimeError
    except RuntimeError:
        pass
    assert tiny.fingerprint(base) == before
    assert np.array_equal(picture_of(base.pipeline, "a photo"), picture_before)


def test_putting_it_on_twice_draws_the_same(base: Base, adapter: Adapter) -> None:
    pictures = []
    for _ in range(2):
        with applied(base, adapter):
            pictures.append(picture(base))
    assert np.array_equal(*pictures)


def test_an_error_inside_keeps_its_own_name(base: Base, adapter: Adapter) -> None:
    with pytest.raises(ValueError, match="mine"), applied(base, adapter):
        raise ValueError("mine")


def test_an_adapter_of_another_base_is_refused_in_plain_words(base: Base, adapter: Adapter) -> None:
    before = tiny.fingerprint(base)
    wrong_rows = replace(adapter, rows={"clip_l": torch.zeros(2, 5)})
    wrong_layers = replace(adapter, lora={"conv_in.lora_A.weight": torch.zeros(1)})
    wrong_start = replace(adapter, info=replace(adapter.info, latent_mean=(0.0,) * 5))
    for wrong in (wrong_rows, wrong_layers, wrong_start):
        with pytest.raises(AdapterError, match="another one"), applied(base, wrong):
            pass
    assert tiny.fingerprint(base) == before


def test_a_missing_or_broken_file_is_named(adapter: Adapter, tmp_path: Path) -> None:
    folder = adapter.save(tmp_path / "a")
    (folder / "magicapture_emb.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"magicapture_emb\.safetensors"):
        Adapter.load(folder)
    adapter.save(folder)
    (folder / "magicapture.json").write_text("{")
    with pytest.raises(AdapterError, match="cannot be read"):
        Adapter.load(folder)


def test_an_adapter_scored_by_another_recogniser_is_not_compared_but_still_draws(
    adapter: Adapter, tmp_path: Path
) -> None:
    folder = adapter.save(tmp_path / "a")
    info = json.loads((folder / "magicapture.json").read_text())
    assert info.pop("scored_by") == "mobilefacenet"
    (folder / "magicapture.json").write_text(json.dumps(info))
    save_file({"person": torch.rand(512), "style": torch.rand(192)}, folder / "magicapture_targets.safetensors")
    loaded = Adapter.load(folder)
    assert loaded.targets is None
    assert likeness_in_words(None) == "not comparable"
    assert torch.equal(loaded.rows["clip_l"], adapter.rows["clip_l"])


def test_targets_that_fit_no_score_are_refused_before_anything_is_drawn(adapter: Adapter, tmp_path: Path) -> None:
    folder = adapter.save(tmp_path / "a")
    save_file(vars(adapter.targets) | {"person": torch.rand(512)}, folder / "magicapture_targets.safetensors")
    with pytest.raises(AdapterError, match="wrong shape"):
        Adapter.load(folder)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("person", lambda person: person * torch.nan),
        ("person", lambda person: person * 100),
        ("person", lambda person: person * 0),
        ("person", lambda person: person.double()),
        ("style", lambda style: style * torch.inf),
        ("style", lambda style: style * 100),
        ("style_range", lambda style_range: style_range * torch.nan),
        ("style_range", lambda style_range: style_range + 1e6),
    ],
)
def test_forged_targets_are_refused_before_they_score_a_portrait(
    name: str, change: Callable[[torch.Tensor], torch.Tensor], adapter: Adapter, tmp_path: Path
) -> None:
    file = adapter.save(tmp_path / "a") / TARGETS_FILE
    known = load_file(file)
    save_file(known | {name: change(known[name])}, file)
    with pytest.raises(AdapterError, match="What its portraits are scored against"):
        Adapter.load(file.parent)


def test_the_zip_holds_the_files_other_tools_read(adapter: Adapter, mine: Workspace) -> None:
    names = zipfile.ZipFile(mine.shelf.zip(mine.shelf.add(adapter, "mine"))).namelist()
    assert {"pytorch_lora_weights.safetensors", "magicapture_emb.safetensors", "magicapture.json", "README.md"} <= set(
        names
    )


def test_the_code_on_the_card_draws_our_picture(
    base: Base, adapter: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(adapter.save(tmp_path / "adapter"))
    base.pipeline.save_pretrained(tmp_path / "base", variant="fp16")
    here = {"stable-diffusion-v1-5/stable-diffusion-v1-5": str(tmp_path / "base"), "512": "128"}
    stand_in.assert_card_draws_our_picture(base, adapter, here)


def test_the_code_on_the_card_loads_half_the_weights_onto_a_gpu_unless_any_machine_can_draw_with_them() -> None:
    own = replace(SDXL, name="someone/portraits-xl", variant=None, vae=None)
    codes = {spec: spec.family.usage(spec, spec.source, "person", None, (0.1,) * 4) for spec in (SD15, SDXL, own, MINI)}
    for spec, code in codes.items():
        loaded = 0 if spec is MINI else 1 + (spec.vae is not None)
        assert code.count("from_pretrained(") == max(loaded, 1)
        assert code.count("torch_dtype=torch.float16") == loaded
        assert code.count('"cuda"') == (2 if loaded else 0), "the pipeline, and what it starts from"
        assert ('variant="fp16"' in code) == (spec in (SD15, SDXL))


def test_the_card_names_base_licence_and_trigger_words(adapter: Adapter, tmp_path: Path) -> None:
    card = (adapter.save(tmp_path / "a") / "README.md").read_text()
    for fact in ("stable-diffusion-v1-5", "creativeml-openrail-m", PERSON, STYLE, "load_lora_weights"):
        assert fact in card


@pytest.mark.parametrize("spec", [SD15, SDXL, FLUX2])
def test_nothing_that_an_adapter_says_of_itself_is_run_or_rendered_by_its_card(spec: BaseSpec) -> None:
    evil = 'x/y"); import os; os.abort() # \\ ``` `` <script> [here](https://evil.example) {rank}: *x* ---'
    info = AdapterInfo.of(spec, preset=evil, rank=2, steps=3, best_step=3, engine="stand-in")
    card = ModelCard(model_card(replace(info, base_source=evil, licence=evil), "mona/mine", [("images/1.png", evil)]))
    assert (card.data.license, card.data.base_model, card.data.widget[0]["text"]) == (evil, None, evil)
    before, code, after = re.fullmatch(r"(?s)(.*)```python\n(.*)\n```\n(.*)", card.text).groups()
    nodes = list(ast.walk(ast.parse(code)))
    assert not [node for node in nodes if isinstance(node, ast.Import) and node.names[0].name == "os"]
    assert spec is FLUX2 or evil in {node.value for node in nodes if isinstance(node, ast.Constant)}
    assert "evil" not in (before + after).replace(f"```` {evil} ````", "")
