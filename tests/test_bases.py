"""Which base is taken, and what a visitor reads when one cannot be had."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from weakref import WeakSet

import pytest
import tiny
import torch
import yaml
from diffusers import AutoencoderKL, AutoencoderTiny, StableDiffusionPipeline, UNet2DConditionModel
from httpx2 import ConnectTimeout, ReadError
from huggingface_hub import constants, hf_api

from magicapture.bases import (
    MINI,
    SD15,
    SPECS,
    Base,
    BaseError,
    BaseSpec,
    BaseUnavailableError,
    load_base,
    loading,
    registry,
    resident,
    resolve_base,
)
from magicapture.bases.lora import lora_layers
from magicapture.server.gpu import training_seconds
from magicapture.things.networks import DINOV2


def test_without_a_gpu_the_embedded_base_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAGICAPTURE_BASE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_base("auto") is MINI
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_base("auto") is SD15


def test_the_environment_names_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGICAPTURE_BASE", "sd15")
    assert resolve_base("auto") is SD15
    assert resolve_base("mini") is MINI


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the Hub answer whoever asks whether it does."""
    monkeypatch.setattr(loading, "model_info", lambda *_, **__: None)


@pytest.mark.parametrize("error", [OSError("no route"), ConnectTimeout("timed out"), ReadError("broken off")])
def test_a_base_out_of_reach_is_one_sentence_with_a_way_out(
    error: Exception, reachable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(StableDiffusionPipeline, "from_pretrained", refuse)
    resident._loader.cache_clear()
    with pytest.raises(BaseUnavailableError, match=r"stable-diffusion-v1-5.*embedded demo model"):
        load_base("sd15")


@pytest.mark.parametrize("answers", [True, False])
def test_where_the_hub_does_not_answer_a_base_is_loaded_from_this_machine(
    answers: bool, reachable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def load(kind: type, *_: object, local_files_only: bool, **__: object) -> object:
        asked[kind] = local_files_only
        if kind is StableDiffusionPipeline:
            return tiny.base(sample_size=16).pipeline
        raise OSError("it is not here")

    def swallow(*_: object, **__: object) -> None:
        raise ConnectTimeout("timed out")

    if not answers:
        monkeypatch.setattr(loading, "model_info", swallow)
    parts = (StableDiffusionPipeline, AutoencoderKL, AutoencoderTiny)
    for part in parts:
        monkeypatch.setattr(part, "from_pretrained", classmethod(load))
    resident._loader.cache_clear()
    assert load_base("sd15").spec is SD15
    resident._loader.cache_clear()
    assert asked == dict.fromkeys(parts, not answers)


def test_a_hub_that_takes_connections_and_never_answers_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "ANSWER_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(hf_api.api, "endpoint", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert loading.here_alone("someone/portraits")
        assert loading.pipeline_kind("someone/portraits", fetch=True) is None
    assert loading.here_alone(str(tmp_path))


def test_the_hub_is_not_asked_again_what_kind_a_base_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0" * 40
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(loading, "model_info", lambda *_, **__: pytest.fail("asked"))
    cached = tmp_path / "models--someone--portraits"
    tiny.base(sample_size=16).pipeline.save_config(cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    assert loading.pipeline_kind("someone/portraits", fetch=True) == "StableDiffusionPipeline"


def test_auto_falls_back_to_the_embedded_base(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def load(spec: BaseSpec) -> str:
        tried.append(spec.name)
        if spec is SD15:
            raise BaseUnavailableError
        return spec.name

    monkeypatch.setattr(resident, "_loader", lambda _: load)
    monkeypatch.setenv("MAGICAPTURE_BASE", "sd15")
    assert load_base("auto") == "mini"
    assert tried == ["sd15", "mini"]


def test_two_who_ask_at_once_load_a_base_once_and_nobody_waits_for_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, twice, go, loaded = threading.Event(), threading.Event(), threading.Event(), []

    def load(spec: BaseSpec) -> object:
        loaded.append(spec.name)
        if spec is SD15:
            (twice if begun.is_set() else begun).set()
            assert go.wait(10)
        return type("Loaded", (), {"spec": spec})()

    monkeypatch.setattr(resident, "_load", load)
    monkeypatch.setattr(resident, "_loader", cache(resident._loader.__wrapped__))
    with ThreadPoolExecutor() as threads:
        first = threads.submit(load_base, "sd15")
        assert begun.wait(10)
        second = threads.submit(load_base, "sd15")
        assert not twice.wait(0.1)
        load_base("mini")
        go.set()
    assert first.result() is second.result()
    assert loaded == ["sd15", "mini"]


def test_a_gpu_without_room_for_a_base_is_one_sentence_with_a_way_out(
    reachable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("Tried to allocate 5 GiB")

    monkeypatch.setattr(StableDiffusionPipeline, "from_pretrained", fill)
    resident._loader.cache_clear()
    with pytest.raises(BaseError, match=r"^The GPU has too little free memory for .* 1\.5, 512 px\. .* a smaller base"):
        load_base("sd15")


class SmallGpu:
    """Room for two bases; what holds one is the weights, which the garbage collector alone can free."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.weights: WeakSet = WeakSet()

    def load(self, spec: BaseSpec) -> Base:
        self.loads.append(spec.name)
        if len(self.weights) == 2:
            raise torch.OutOfMemoryError("Tried to allocate 5 GiB")
        base = tiny.base(sample_size=16)
        base.denoiser.itself = [base.denoiser]
        self.weights.add(base.denoiser)
        return replace(base, spec=spec)


@pytest.fixture
def small_gpu(monkeypatch: pytest.MonkeyPatch) -> SmallGpu:
    gpu = SmallGpu()
    monkeypatch.setattr(resident, "_load", gpu.load)
    monkeypatch.setattr(resident, "_loader", cache(resident._loader.__wrapped__))
    return gpu


def test_a_base_that_fits_alone_is_not_refused_for_those_that_nobody_uses(small_gpu: SmallGpu) -> None:
    for name in ("mini", "sd15", "sdxl", "sdxl"):
        assert load_base(name).spec.name == name
    assert small_gpu.loads == ["mini", "sd15", "sdxl", "sdxl"]
    assert len(small_gpu.weights) == 1


def test_a_base_that_somebody_uses_is_found_again_and_not_loaded_beside_itself(small_gpu: SmallGpu) -> None:
    used = load_base("mini")
    load_base("sd15")
    load_base("sdxl")
    assert load_base("mini") is used
    held = load_base("sdxl")
    with pytest.raises(BaseError, match=r"too little free memory for the base model Stable Diffusion 1\.5"):
        load_base("sd15")
    assert load_base("sdxl") is held
    assert load_base("mini") is used
    assert small_gpu.loads.count("mini") == 1


def test_two_sizes_of_a_base_share_its_weights(small_gpu: SmallGpu) -> None:
    small, large = load_base("sdxl"), load_base("sdxl-1024")
    assert (small.spec.name, large.spec.name) == ("sdxl", "sdxl-1024")
    assert (small.resolution, large.resolution) == (768, 1024)
    assert small.pipeline is large.pipeline
    assert load_base("sdxl") is small


def test_any_folder_of_the_family_is_a_base(tmp_path: Path) -> None:
    tiny.base(sample_size=16).pipeline.save_pretrained(tmp_path)
    base = load_base(str(tmp_path))
    assert (base.resolution, base.attention_side) == (128, 8)
    assert base.decoder is base.pipeline.vae


def test_half_precision_is_loaded_where_it_is_published_and_whole_where_it_is_not(tmp_path: Path) -> None:
    pipeline = tiny.base(sample_size=16).pipeline
    pipeline.save_pretrained(tmp_path, variant="fp16")
    assert not list(tmp_path.rglob("diffusion_pytorch_model.safetensors"))
    with torch.no_grad():
        pipeline.unet.conv_in.bias += 1  # told apart, beside the other
    half = load_base(str(tmp_path)).denoiser.conv_in.bias.clone()
    resident._loader.cache_clear()
    pipeline.unet.save_pretrained(tmp_path / "unet")
    assert torch.equal(load_base(str(tmp_path)).denoiser.conv_in.bias, half)
    resident._loader.cache_clear()
    for file in tmp_path.rglob("*.fp16.safetensors"):
        file.rename(file.with_name(file.name.replace(".fp16", "")))
    assert load_base(str(tmp_path)).resolution == 128


def test_a_space_fetches_beforehand_what_the_base_is_loaded_from_and_no_second_precision(tmp_path: Path) -> None:
    front = yaml.safe_load((Path(__file__).parents[1] / "README.md").read_text().split("---")[1])
    fetched = {source: set(files.split(",")) for source, files in map(str.split, front["preload_from_hub"])}
    assert fetched.keys() == {SD15.source, SD15.vae, SD15.tiny_decoder, DINOV2} <= set(front["models"])
    assert fetched[DINOV2] == {"config.json", "model.safetensors"}
    tiny.base(sample_size=16).pipeline.save_pretrained(tmp_path, variant="fp16")
    saved = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    tokenizer = {name for name in saved if name.startswith("tokenizer/")}  # saved in another way than the Hub has it
    assert saved - tokenizer <= fetched[SD15.source]
    weights = {name for name in fetched[SD15.source] if name.endswith(".safetensors")}
    assert all(".fp16." in name for name in weights)
    assert len(weights) == 3


def test_latents_are_scaled_as_the_denoiser_sees_them() -> None:
    base = tiny.base(sample_size=16)
    images = torch.rand(1, 3, 128, 128) * 2 - 1
    mean, _ = base.encode(images)
    raw = base.pipeline.vae.encode(images).latent_dist.mean
    assert torch.allclose(mean, raw * 0.18215)
    assert torch.allclose(base.decode(mean), base.pipeline.vae.decode(raw).sample, atol=1e-4)


def test_the_embedded_base_is_an_ordinary_diffusers_folder() -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(registry.MINI_WEIGHTS, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline("an oil painting of a man", num_inference_steps=2, guidance_scale=2.5).images[0]
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    assert picture.size == (side, side) == (MINI.resolution, MINI.resolution)
    weights = sum(path.stat().st_size for path in registry.MINI_WEIGHTS.rglob("*") if path.is_file())
    assert weights <= 95e6


def test_what_the_embedded_base_shows_is_drawn_by_its_decoder_and_judged_by_its_encoders_inverse() -> None:
    base = load_base("mini")
    images = torch.nn.functional.interpolate(torch.rand(1, 3, 16, 16) * 2 - 1, size=base.resolution, mode="bicubic")
    with torch.no_grad():
        latents, _ = base.encode(images)
        again, _ = base.encode(base.decode(latents))
        drawn = base.pipeline.vae.decode(latents.to(base.pipeline.vae.dtype)).sample
    assert torch.allclose(again, latents, atol=0.05 * float(latents.std()))
    assert base.pictures(latents) == base.pipeline.image_processor.postprocess(drawn)


@pytest.mark.parametrize("spec", [MINI, SD15])
def test_an_adapter_that_was_trained_here_is_not_too_large_to_be_taken_back(spec: BaseSpec) -> None:
    with torch.device("meta"):
        if spec.parts:
            denoiser = spec.parts()["unet"]
        else:
            denoiser = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(spec.source, subfolder="unet"))
        with lora_layers(denoiser, spec.presets["quick"].rank, spec.lora_targets) as parameters:
            for_each_rank = 4 * sum(map(torch.numel, parameters)) / spec.presets["quick"].rank
    assert 0.9 * spec.lora_bytes < for_each_rank <= spec.lora_bytes


def test_the_table_of_bases_says_what_is_known_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in readme.splitlines() if line.startswith("| `")]
    told = {row[0].strip("`"): row[2:6] for row in rows if row[0].strip("`") in SPECS}

    def quick(spec: BaseSpec) -> float:
        """Foretell it where the base is at home: on a CPU if it is embedded, else on a GPU."""
        monkeypatch.setattr(torch.cuda, "is_available", lambda: not spec.embedded)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "one that is not known")
        return training_seconds(spec.name, spec.presets["quick"])

    assert told == {
        name: [
            f"`{spec.family.__name__}`",
            spec.licence,
            f"{spec.download_gb} GB",
            f"{quick(spec):.0f} s",
        ]
        for name, spec in SPECS.items()
    }
