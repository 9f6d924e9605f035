"""FLUX.2 [klein] on a pipeline of its true classes with random weights, from the photos to stock diffusers' picture."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import stand_in
import things
import tiny
import tiny_flux2
import torch
from diffusers import Flux2KleinPipeline, Flux2Transformer2DModel
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor

from magicapture.adapters.adapter import Adapter, applied
from magicapture.adapters.info import AdapterError
from magicapture.bases import FLUX2, BaseError, resolve_base
from magicapture.bases.flux2 import Flux2
from magicapture.bases.flux2_files import ROWS_KEY, kohya_layers
from magicapture.bases.lora import LORA_NAME, lora_layers
from magicapture.bases.words import PERSON, STYLE, prompt_for
from magicapture.config import GenerateConfig
from magicapture.drawing.generation import draw, generate
from magicapture.evaluation.methods import METHODS, Task
from magicapture.method.training import Training
from magicapture.photos.references import check_photos
from magicapture.server.workspace.uploads import MAX_ADAPTER_BYTES
from magicapture.subject import PERSON_NOUN
from magicapture.things.thing import Thing

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


@pytest.fixture
def rows(base: Flux2) -> dict[str, Tensor]:
    return tiny_flux2.some_rows(base)


@pytest.fixture(scope="module")
def adapter(base: Flux2) -> Adapter:
    with stand_in.training(base, SHORT) as run:
        for _ in run:
            pass
        return run.adapter()


def picture(base: Flux2, noun: str = PERSON_NOUN, **settings: object) -> np.ndarray:
    return np.asarray(next(draw(base, [7], GenerateConfig(**settings), noun=noun))).astype(int)


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
    before = tiny_flux2.fingerprint(base)
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
    assert tiny_flux2.fingerprint(base) == before


def test_in_half_precision_words_and_lora_learn_in_float32_and_are_drawn_with() -> None:
    base = tiny_flux2.base()
    for module in (base.denoiser, base.artist.transformer, base.pipeline.vae, base.pipeline.text_encoder):
        module.to(torch.bfloat16)
    with stand_in.training(base, SHORT) as run:
        events = list(run)
        assert all(parameter.dtype == torch.float32 for parameter in (*run.lora, *run.rows.values()))
        assert any(parameter.abs().sum() > 0 for parameter in run.lora[1::2])
        adapter = strong(run.adapter())
    assert all(np.isfinite(list(event.losses.values())).all() for event in events)
    with applied(base, adapter):
        assert np.abs(picture(base) - picture(base, lora_scale=0.0)).max() > 2


def test_all_that_a_training_or_a_portrait_asks_the_encoder_for_is_read_at_once() -> None:
    def reader(base: Flux2) -> list[list[str]]:
        """Replace what moves the encoder to the GPU; gives what it is asked to read each time."""
        read: list[list[str]] = []

        def encode(prompts: list[str]) -> Tensor:
            read.append(prompts)
            return torch.ones(len(prompts), base.words.length, tiny_flux2.ROW_WIDTH)

        base.words.encode, base.words.length = encode, 64
        return read

    base, fresh = tiny_flux2.base(), tiny_flux2.base()
    trips = reader(base)
    with stand_in.training(base, replace(SHORT, token_steps=0, lora_steps=1)) as run:
        (last,) = run
        adapter = run.adapter()
    assert last.previews
    assert len(trips) == 1
    trips = reader(fresh)
    with applied(fresh, adapter):
        picture(fresh)
    assert len(trips) == 1


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


def teapot_training(base: Flux2, folder: Path) -> Training:
    """Give a training on photos of a teapot in a look of tiles."""
    thing = Thing("teapot")
    files = {
        "person": sorted(things.teapots(folder).glob("*.png")),
        "style": sorted(things.tiled_looks(folder).glob("*.jpg")),
    }
    person, style = (check_photos(paths, role, thing, base.resolution).references for role, paths in files.items())
    return Training(base, thing, person, style, replace(SHORT, previews=0))


@pytest.mark.parametrize(("distilled", "noun"), [(True, "person"), (False, "person"), (True, "teapot")])
def test_the_code_on_the_card_lets_stock_diffusers_draw_our_picture(
    distilled: bool, noun: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_flux2.base(distilled=distilled)
    tiny_flux2.some_rows(base)  # from its first call on the encoder has hooks of its own
    before = tiny_flux2.fingerprint(base)
    learn = stand_in.training(base, replace(SHORT, previews=0))
    with learn if noun == "person" else teapot_training(base, tmp_path) as run:
        losses = [event.losses for event in run]
        adapter = strong(run.adapter())
    assert tiny_flux2.fingerprint(base) == before
    assert "identity" in losses[-1]
    assert adapter.info.subject == noun
    composed = prompt_for("composed", noun=noun)
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
        ours = picture(base, noun, steps=4, guidance_scale=1.0)
        assert torch.equal(names["embeddings"], base.condition([composed]).embeddings)
    assert np.abs(ours - np.asarray(names["image"])).max() <= 1
    with applied(base, replace(adapter, lora={key: 0 * value for key, value in adapter.lora.items()})):
        assert np.abs(ours - picture(base, noun, steps=4, guidance_scale=1.0)).max() > 2


def test_it_does_not_start_from_a_photo(base: Flux2, adapter: Adapter) -> None:
    kept = replace(adapter, photos=torch.zeros(1, *base.latent_shape))
    with pytest.raises(BaseError, match="cannot start from a photo"):
        generate(base, stand_in.StandInEngine(), kept, GenerateConfig(count=1, steps=1, strength=0.7))


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


def test_one_of_a_base_that_is_not_on_this_machine_is_read_and_fits_once_that_is_there(
    base: Flux2, adapter: Adapter, tmp_path: Path
) -> None:
    folder = adapter.save(tmp_path / "adapter")
    facts = json.loads((folder / "magicapture.json").read_text())
    own = {"base": "someone/klein-of-their-own", "base_source": "someone/klein-of-their-own"}
    (folder / "magicapture.json").write_text(json.dumps(facts | own))
    assert resolve_base(own["base"]).family is not Flux2, "nothing says here what it is"
    loaded = Adapter.load(folder)
    assert loaded.lora.keys() == adapter.lora.keys()
    with applied(base, loaded):
        pass


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
    before, wrong = tiny_flux2.fingerprint(base), spoil(adapter)
    with pytest.raises(AdapterError, match=r"^The adapter[^.]*another[^.]*\.$"), applied(base, wrong):
        pass
    assert tiny_flux2.fingerprint(base) == before


def test_stable_diffusion_refuses_an_adapter_of_this_base(adapter: Adapter) -> None:
    other = tiny.base(sample_size=16)
    with pytest.raises(AdapterError, match="another"), applied(other, adapter):
        pass


# Its own editing


def test_the_base_edits_two_references_without_training(base: Flux2) -> None:
    person, style = stand_in.references(base.resolution), stand_in.references(base.resolution, 3)[1:]
    before = tiny_flux2.fingerprint(base)
    with METHODS["edited"].learn(Task(base, stand_in.StandInEngine(), person, style)) as draw_seeds:
        first, again, second = draw_seeds([0, 0, 1])
    assert first.size == (base.resolution, base.resolution)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    other = [replace(reference, image=reference.image.rotate(90)) for reference in style]
    with METHODS["edited"].learn(Task(base, stand_in.StandInEngine(), person, other)) as draw_seeds:
        assert not np.array_equal(first, draw_seeds([0])[0]), "the look is seen"
    assert tiny_flux2.fingerprint(base) == before


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


def test_the_loras_of_the_true_size_fit_a_file_that_can_be_uploaded(klein: Flux2Transformer2DModel) -> None:
    with torch.device("meta"), lora_layers(klein, FLUX2.presets["quick"].rank, FLUX2.lora_targets):
        ours = get_peft_model_state_dict(klein, adapter_name=LORA_NAME)
        theirs = kohya_layers(ours)
    assert 4 * sum(value.numel() for value in (*ours.values(), *theirs.values())) < 0.7 * MAX_ADAPTER_BYTES
    for_each_rank = 4 * sum(value.numel() for value in ours.values()) / FLUX2.presets["quick"].rank
    assert 0.9 * FLUX2.lora_bytes < for_each_rank <= FLUX2.lora_bytes
