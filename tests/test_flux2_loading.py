"""FLUX.2 [klein] is found by name, Hub id or folder, and loaded where it can be trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_flux2
import torch
from diffusers import Flux2KleinPipeline, Flux2Transformer2DModel

from magicapture.bases import FLUX2, BaseError, BaseSpec, flux2, load_base, resolve_base
from magicapture.bases.flux2 import Flux2


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


@pytest.mark.parametrize("make", [Flux2.load, Flux2.random], ids=["loaded", "of random weights"])
@pytest.mark.parametrize(
    ("zero", "current", "recomputed"),
    [(True, 0, True), (False, 0, False), (False, 1, True)],
    ids=["ZeroGPU", "a large GPU", "a small one beside it"],
)
def test_activations_are_computed_anew_where_a_trainings_own_gpu_cannot_keep_them(
    zero: bool, current: int, recomputed: bool, make: Callable[[BaseSpec], Flux2], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process on ZeroGPU is shown the whole card, of which a worker gets half.
    memory = {0: 102e9, 1: 24e9}

    def properties(device: int | None = None) -> SimpleNamespace:
        return SimpleNamespace(total_memory=memory[current if device is None else device])

    loaded, parts = tiny_flux2.pipeline(), tiny_flux2.parts()
    monkeypatch.setattr(flux2.SpacesConfig, "zero_gpu", zero)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    monkeypatch.setattr(flux2, "fast_dtype", lambda: torch.float32)
    monkeypatch.setattr(Flux2KleinPipeline, "from_pretrained", lambda *_, **__: loaded)
    for module in (loaded.transformer, loaded.vae, parts["transformer"], parts["drawing"], parts["vae"]):
        monkeypatch.setattr(module, "to", lambda _, module=module: module)  # there is no GPU to go to
    base = make(replace(FLUX2, drawn_with=None, parts=lambda: parts))
    assert base.denoiser.is_gradient_checkpointing == recomputed


@pytest.mark.parametrize("make", [Flux2.load, Flux2.random])
def test_a_gpu_without_bfloat16_is_refused_in_one_sentence(
    make: Callable[[BaseSpec], Flux2], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flux2, "fast_dtype", lambda: torch.float16)
    with pytest.raises(BaseError, match="which lacks bfloat16"):
        make(FLUX2)


def test_where_the_hub_does_not_answer_both_denoisers_are_loaded_from_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def load(kind: type, *_: object, local_files_only: bool, **__: object) -> object:
        asked.append((kind, local_files_only))
        return tiny_flux2.pipeline() if kind is Flux2KleinPipeline else tiny_flux2.transformer(seed=1)

    kinds = (Flux2KleinPipeline, Flux2Transformer2DModel)
    for kind in kinds:
        monkeypatch.setattr(kind, "from_pretrained", classmethod(load))
    Flux2.load(FLUX2, here=True)
    assert asked == [(kind, True) for kind in kinds]
