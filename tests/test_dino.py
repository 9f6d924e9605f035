"""Things compared by DINOv2: models of the true classes with random weights, from a folder, the Hub, or nowhere."""

import io
import json
import logging
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from hub_server import Hub, Repository
from safetensors.torch import load_file, save_file
from things import BLUE, RED, scene, teapot, teapots, tiled_looks
from transformers import ViTConfig, ViTModel

from magicapture.__main__ import main
from magicapture.adapters.adapter import Adapter, AdapterError
from magicapture.adapters.info import AdapterInfo
from magicapture.bases import SD15
from magicapture.config import TrainConfig
from magicapture.method.training import Training
from magicapture.photos.references import check_photos
from magicapture.server.wire import pack, unpack
from magicapture.settings import settings
from magicapture.subject import Reference
from magicapture.things import networks
from magicapture.things.networks import DINOV2, Dino, ThingNetworkError, load_network
from magicapture.things.thing import Thing
from magicapture.ui.page import things

pytest_plugins = ["hub_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread", "fresh_networks")
SHORT = TrainConfig(token_steps=2, lora_steps=4, previews=1, preview_images=1, preview_steps=2, rank=2)


@pytest.fixture
def fresh_networks() -> None:
    networks._load.cache_clear()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.dino(tmp_path_factory.mktemp("models") / "tiny-dino")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return teapots(tmp_path_factory.mktemp("teapot"))


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiled_looks(tmp_path_factory.mktemp("looks"))


def use(source: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGICAPTURE_THING_NETWORK", str(source))
    settings.cache_clear()


def references(folder: Path, role: str, size: int) -> list[Reference]:
    return check_photos(sorted(folder.iterdir()), role, Thing("teapot"), size).references


def run(*arguments: object, status: int = 0) -> dict:
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(io.StringIO()):
        assert main([str(argument) for argument in arguments]) == status
    return json.loads(said.getvalue().splitlines()[-1])


def asked(server: Hub) -> list[tuple]:
    """Give what was asked of the model."""
    return [request for request in server.requests if DINOV2 in request[1]]


def test_a_teapot_is_learned_drawn_and_scored_by_it_and_not_compared_by_another(
    model: Path, photos: Path, looks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(model, monkeypatch)
    base, out = tiny.saved(tmp_path / "base"), tmp_path / "adapter"
    trained = ("--person", photos, "--style", looks, "--out", out, "--base", base, "--steps", 6)
    assert run("train", *trained, "--subject", "teapot")["steps"] == 6
    info = AdapterInfo.read(out)
    assert info.engine == info.scored_by == load_network().name
    assert info.engine.startswith("tiny-dino ")
    assert str(model.parent) not in info.as_json()
    assert Adapter.load(out).targets.person.shape == (32,)
    (drawn,) = run("generate", out, "--out", tmp_path / "drawn", "--count", 1, "--steps", 2)["portraits"]
    assert -1 <= drawn["likeness"] <= 1
    scored = run("score", drawn["file"], "--person", photos, "--style", looks, "--subject", "teapot")["mean"]
    assert scored["likeness"] == pytest.approx(drawn["likeness"], abs=0.05)  # another size of the photos

    use("imagenet", monkeypatch)
    assert Adapter.load(out).targets is None
    (drawn,) = run("generate", out, "--out", tmp_path / "again", "--count", 1, "--steps", 2)["portraits"]
    assert drawn["likeness"] is None


def test_the_identity_term_reaches_the_weights_through_it(
    model: Path, photos: Path, looks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(model, monkeypatch)
    base = tiny.base(sample_size=16)
    found = references(photos, "person", base.resolution), references(looks, "style", base.resolution)
    config = replace(SHORT, identity_limit=1.0, identity_tasks=("composed",))
    with Training(base, Thing("teapot"), *found, config) as training:
        terms = training.objective.terms(0, "lora", 1.0, training.generator)
        assert 0 < terms["identity"] < 2
        terms["identity"].backward()
        assert sum(p.grad.abs().sum() for p in training.lora if p.grad is not None) > 0


@pytest.mark.parametrize("registers", [0, 3])
def test_what_is_outside_the_mask_changes_nothing_and_gets_no_gradient(registers: int, tmp_path: Path) -> None:
    network = Dino.load(str(tiny.dino(tmp_path / "dino", registers=registers)), here=True)
    torch.manual_seed(1)
    side = network.side
    things, weights = torch.rand(2, 3, side, side) * 2 - 1, torch.zeros(2, 1, side, side)
    weights[:, :, 8:20, 8:20] = 1
    things.requires_grad_()
    found = network(things, weights)
    assert found.shape == (2, network.width)
    assert torch.allclose(found.norm(dim=1), torch.ones(2))
    found[:, 0].sum().backward()
    inside = weights.expand_as(things) > 0
    assert things.grad[inside].abs().min() > 0
    assert things.grad[~inside].abs().max() == 0
    others = torch.where(inside, things.detach(), torch.rand_like(things))
    assert torch.allclose(network(others, weights), found, atol=1e-6)
    assert not torch.allclose(network(things.detach().flip(1), weights), found, atol=1e-2)


def test_a_thing_thinner_than_a_patch_and_no_thing_at_all_give_finite_numbers(model: Path) -> None:
    network = Dino.load(str(model), here=True)
    weights = torch.zeros(2, 1, network.side, network.side)
    weights[0, :, 5, 3:30] = 0.2
    things = torch.rand(2, 3, network.side, network.side, requires_grad=True)
    network(things, weights).sum().backward()
    assert things.grad.isfinite().all()
    assert things.grad[0].abs().sum() > 0


def test_photos_of_another_colour_are_less_alike_and_a_thing_is_found_in_a_picture(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(model, monkeypatch)
    thing, found = Thing("teapot"), references(photos, "person", 128)
    wanted = sum(reference.embedding for reference in found)
    wanted /= (wanted @ wanted) ** 0.5
    mask, same = thing.find(scene(teapot(RED, 1, 128), 120, 10), wanted)
    assert mask.shape == (256, 256)
    assert same @ wanted > thing.find(scene(teapot(BLUE, 1, 128), 120, 10), wanted)[1] @ wanted


def test_models_of_one_name_are_told_apart_by_their_weights(model: Path, tmp_path: Path) -> None:
    first, same = (Dino.load(str(model), here=True) for _ in range(2))
    other = Dino.load(str(tiny.dino(tmp_path / model.name, seed=1)), here=True)
    assert first.name == same.name != other.name
    assert first.name.split()[0] == other.name.split()[0]


def test_photos_that_another_network_compared_are_not_trained_on(
    model: Path, photos: Path, looks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("imagenet", monkeypatch)
    base = tiny.base(sample_size=16)
    found = references(photos, "person", base.resolution), references(looks, "style", base.resolution)
    sent = unpack(pack(found[0]))
    use(model, monkeypatch)
    with pytest.raises(ValueError, match=r"were compared by efficientnet-lite0, and here tiny-dino \w{8} would"):
        Training(base, Thing("teapot"), sent, found[1], SHORT)
    Training(base, Thing("teapot"), [replace(r, embedded_by="") for r in sent], found[1], SHORT)


def test_targets_of_another_length_than_its_own_are_refused(
    model: Path, photos: Path, looks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(model, monkeypatch)
    base = tiny.base(sample_size=16)
    found = references(photos, "person", base.resolution), references(looks, "style", base.resolution)
    with Training(base, Thing("teapot"), *found, SHORT) as training:
        next(iter(training))
        training.adapter().save(tmp_path)
    targets = load_file(tmp_path / "magicapture_targets.safetensors")
    save_file(targets | {"person": torch.rand(192)}, tmp_path / "magicapture_targets.safetensors")
    with pytest.raises(AdapterError, match="not 32 numbers"):
        Adapter.load(tmp_path)


def test_it_is_fetched_from_the_hub_once_and_auto_takes_what_is_there_and_asks_nobody(
    server: Hub,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = {path.name: path.read_bytes() for path in model.iterdir()}
    server.repositories[DINOV2] = Repository(private=False, files=files)
    use("auto", monkeypatch)
    assert load_network().name == "efficientnet-lite0"
    assert not asked(server)
    use(DINOV2, monkeypatch)
    fetched = load_network()
    assert fetched.name.startswith("dinov2-small ")
    assert server.asked("GET", "model.safetensors") == 1
    before = asked(server)
    networks._load.cache_clear()
    use("auto", monkeypatch)
    assert load_network().name == fetched.name
    assert asked(server) == before


def test_a_model_that_cannot_be_had_is_replaced_in_one_sentence(
    photos: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    use("nobody/dinov2", monkeypatch)
    with caplog.at_level(logging.WARNING, networks.__name__):
        found = check_photos(sorted(photos.iterdir()), "person", Thing("teapot"), 64)
    assert found.usable
    assert found.references[0].embedded_by == "efficientnet-lite0"
    said = "nobody/dinov2 is neither on this machine nor to be had from here: things are compared by efficientnet-lite0"
    ours = [record.getMessage() for record in caplog.records if record.name == networks.__name__]
    assert ours == [f"{said} instead."]
    assert said in things(SD15)


def test_a_hub_that_gives_no_answer_is_not_asked_for_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for = []

    def load(source: str, *, here: bool) -> None:
        asked_for.append((source, here))
        raise OSError

    monkeypatch.setattr(networks, "here_alone", lambda source: source == "silent/dinov2")
    monkeypatch.setattr(Dino, "load", load)
    for source in ("silent/dinov2", "nobody/dinov2"):
        use(source, monkeypatch)
        assert load_network().lacking
    assert asked_for == [("silent/dinov2", True), ("nobody/dinov2", False)]


def test_another_kind_of_model_is_refused_and_so_is_half_a_model(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTModel(ViTConfig(**small)).save_pretrained(tmp_path / "vit")
    weights = load_file(model / "model.safetensors")
    for name, content in {
        "half": {key: value for key, value in weights.items() if "layer.1." not in key},
        "wide": weights | {"layernorm.weight": torch.ones(24)},
    }.items():
        tiny.dino(tmp_path / name)
        save_file(content, tmp_path / name / "model.safetensors", {"format": "pt"})
    tiny.dino(tmp_path / "damaged")
    (tmp_path / "damaged/model.safetensors").write_bytes(b"no weights")
    for name in ("vit", "half", "wide", "damaged"):
        use(tmp_path / name, monkeypatch)
        with pytest.raises(ThingNetworkError, match=f"{name} is no DINOv2 model that can be read: set MAGIC"):
            load_network()
    assert "is no DINOv2 model" in run("check", photos, "--subject", "teapot", status=1)["error"]


def test_the_page_says_what_compares_things_and_how_little_its_numbers_say(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(model, monkeypatch)
    said = things(SD15)
    assert said.startswith("Things: tiny-dino ")
    assert "who knows its licence" in said
    assert said.endswith("have no words.")
