"""An adapter must reach the visitor's account whole, with nothing that was not meant to leave, and come back safely."""

import copy
import json
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import stand_in
import torch
from diffusers import StableDiffusionPipeline
from hub_server import READER, WRITER, Hub
from huggingface_hub import ModelCard, constants
from peft.utils import get_peft_model_state_dict
from PIL import Image

from magicapture.adapters.adapter import Adapter
from magicapture.bases import MINI
from magicapture.bases.base import FOR_OTHER_TOOLS
from magicapture.bases.words import PERSON, STYLE, prompt_for
from magicapture.server.hub import Account, HubError, account, pull, push
from magicapture.settings import settings

pytest_plugins = ["hub_fixtures"]
WEIGHTS = "pytorch_lora_weights.safetensors"
PUSHED = {".gitattributes", "README.md", WEIGHTS, "magicapture_emb.safetensors", "magicapture.json", *FOR_OTHER_TOOLS}


def test_a_push_makes_a_private_repository_with_the_very_files(server: Hub, folder: Path, portraits) -> None:
    url = push(folder, "oil-portraits", portraits, WRITER)
    repository = server.repositories["mona/oil-portraits"]
    assert url == f"{server.url}/mona/oil-portraits"
    assert repository.private
    assert repository.commits == 1
    for name in (WEIGHTS, "magicapture_emb.safetensors"):
        assert repository.files[name] == (folder / name).read_bytes()
    assert repository.files["images/1.png"] == portraits[0].read_bytes()
    assert server.asked("PUT", "/lfs/") == 7, "weights and pictures travel as large files"


def test_nothing_that_describes_a_face_leaves_with_it(server: Hub, folder: Path, portraits: list[Path]) -> None:
    (folder / "photos").mkdir()
    portraits[0].rename(folder / "photos" / "me.png")
    (folder / "me.jpg").write_bytes(b"a photo")
    assert (folder / "magicapture_targets.safetensors").is_file()
    push(folder, "mine", portraits[1:], WRITER)
    files = server.repositories["mona/mine"].files
    assert files.keys() == PUSHED | {"images/1.png"}
    assert "mother" not in "".join(files[name].decode() for name in ("README.md", "magicapture.json"))


def test_a_photo_among_the_pictures_is_refused_before_anything_is_sent(server: Hub, folder: Path, tmp_path) -> None:
    for name in ("me.jpg", "me.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
        with pytest.raises(HubError, match=f"{name} is not a portrait"):
            push(folder, "mine", [tmp_path / name], WRITER)
    assert server.requests == []


def test_the_card_tells_people_and_other_tools_what_it_is(server: Hub, folder: Path, portraits: list[Path]) -> None:
    push(folder, "mine", portraits, WRITER)
    card = ModelCard(server.repositories["mona/mine"].files["README.md"].decode())
    assert card.data.license == "creativeml-openrail-m"
    assert card.data.base_model == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert card.data.instance_prompt == prompt_for("composed")
    assert {"text-to-image", "diffusers", "lora", "template:sd-lora"} <= set(card.data.tags)
    assert card.data.widget == [
        {"text": prompt_for("composed"), "output": {"url": "images/1.png"}},
        {"text": f"{prompt_for('composed')}, with glasses", "output": {"url": "images/2.png"}},
    ]
    for said in ("<Gallery />", f"`{PERSON}`", f"`{STYLE}`", "consent", "deceive", "AI-made"):
        assert said in card.text


def test_a_card_without_pictures_or_with_the_demo_base_promises_neither(folder: Path, server: Hub) -> None:
    info = json.loads((folder / "magicapture.json").read_text()) | {"base": "mini", "base_source": MINI.public_source}
    (folder / "magicapture.json").write_text(json.dumps(info))
    push(folder, "mine", [], WRITER)
    card = ModelCard(server.repositories["mona/mine"].files["README.md"].decode())
    assert "widget" not in card.data
    assert "<Gallery />" not in card.text
    assert card.data.base_model is None
    assert 'from_pretrained("magicapture/mini/weights")' in card.text


def test_the_code_on_the_card_runs_with_stock_diffusers(server, folder, portraits, base, adapter, monkeypatch) -> None:
    push(folder, "mine", portraits, WRITER, private=False)
    code = stand_in.code_on(server.repositories["mona/mine"].files["README.md"].decode())
    stock = copy.deepcopy(base.pipeline)
    monkeypatch.setattr(StableDiffusionPipeline, "from_pretrained", lambda _, **_kw: stock)
    monkeypatch.setattr(StableDiffusionPipeline, "__call__", lambda _, prompt, **_kw: SimpleNamespace(images=[prompt]))
    named: dict = {}
    exec(code, named)
    assert named["image"] == prompt_for("composed")
    learned = stock.tokenizer.convert_tokens_to_ids([PERSON, STYLE])
    assert torch.equal(stock.text_encoder.get_input_embeddings().weight[learned], adapter.rows["clip_l"])
    lora = get_peft_model_state_dict(stock.unet, adapter_name="default_0")
    assert lora.keys() == adapter.lora.keys()
    assert all(torch.equal(lora[key], adapter.lora[key]) for key in lora)


def test_a_push_is_public_only_if_asked(server: Hub, folder: Path) -> None:
    push(folder, "mine", [], WRITER, private=False)
    assert not server.repositories["mona/mine"].private


@pytest.mark.parametrize(("token", "words"), [(READER, "no right to write"), ("hf_old", "expired"), (None, "sign in")])
def test_a_push_without_the_right_to_says_what_to_do(server: Hub, folder: Path, token: str | None, words: str) -> None:
    with pytest.raises(HubError, match=f"is safe here.*{words}"):
        push(folder, "mine", [], token)
    assert server.repositories == {}


@pytest.mark.parametrize("name", ["", "other/mine", "mine.", "a b", "a--b", "x" * 97, "../mine", "肖像"])
def test_an_impossible_name_is_refused_before_anything_is_sent(server: Hub, folder: Path, name: str) -> None:
    with pytest.raises(HubError, match="cannot be a repository's name"):
        push(folder, name, [], WRITER)
    assert server.requests == []


def test_an_incomplete_adapter_is_not_pushed(server: Hub, folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(HubError, match=f"Nothing was pushed.*lacks {WEIGHTS}"):
        push(folder, "mine", [], WRITER)
    assert server.requests == []


def test_a_push_leaves_what_has_the_name_already_as_it_is(server: Hub, folder: Path, adapter: Adapter) -> None:
    push(folder, "mine", [], WRITER)
    before = dict(server.repositories["mona/mine"].files)
    other = replace(adapter, lora={key: value + 1 for key, value in adapter.lora.items()}, targets=None)
    with pytest.raises(HubError, match=r"mona/mine already.*mine-2"):
        push(other.save(folder.parent / "other"), "mine", [], WRITER)
    assert server.repositories["mona/mine"].files == before
    server.hidden.add("mona/mine")  # made by hand: the right that a visitor lends does not reach it
    with pytest.raises(HubError, match="choose another name"):
        push(folder, "mine", [], WRITER)


def test_an_upload_that_is_cut_can_be_pushed_again_and_is_whole(server: Hub, folder: Path, portraits) -> None:
    server.cut_uploads = True
    with pytest.raises(HubError, match=r"is safe here: the connection.*Try again"):
        push(folder, "mine", portraits, WRITER)
    assert server.asked("PUT", "/lfs/") > 0
    assert server.repositories["mona/mine"].files.keys() == {".gitattributes"}, "half an adapter was left"
    server.cut_uploads = False
    push(folder, "mine", portraits, WRITER)
    files = server.repositories["mona/mine"].files
    assert files.keys() == PUSHED | {"images/1.png", "images/2.png"}
    assert files[WEIGHTS] == (folder / WEIGHTS).read_bytes()


def test_a_push_whose_answer_was_lost_can_be_repeated(server: Hub, folder: Path, portraits: list[Path]) -> None:
    server.lose_commits = True
    with pytest.raises(HubError, match="connection"):
        push(folder, "mine", portraits, WRITER)
    server.lose_commits = False
    push(folder, "mine", portraits[1:], WRITER)
    files = server.repositories["mona/mine"].files
    assert files.keys() == PUSHED | {"images/1.png"}, "a picture that is no longer ticked must go"
    assert files["images/1.png"] == portraits[1].read_bytes()


def test_a_private_push_never_fills_a_public_repository(server: Hub, folder: Path) -> None:
    server.cut_uploads = True
    with pytest.raises(HubError):
        push(folder, "mine", [], WRITER, private=False)
    server.cut_uploads = False
    with pytest.raises(HubError, match="another visibility"):
        push(folder, "mine", [], WRITER)


def test_the_account_is_shown_with_where_it_comes_from(server: Hub, monkeypatch) -> None:
    assert account() is None
    assert account("hf_old") is None
    assert account(READER) == Account("lisa", "sign-in")
    Path(constants.HF_TOKEN_PATH).write_text(READER)
    assert account() == Account("lisa", "this computer")
    monkeypatch.setenv("HF_TOKEN", WRITER)
    assert account() == Account("mona", "environment")
    assert account(READER) == Account("lisa", "sign-in")


def test_a_visitor_from_elsewhere_never_acts_with_the_owners_token(server, folder, base, tmp_path, monkeypatch) -> None:
    push(folder, "mine", [], WRITER)
    monkeypatch.setenv("HF_TOKEN", WRITER)
    for name, value in (("SPACE_ID", "mona/studio"), ("GRADIO_SERVER_NAME", "0.0.0.0")):
        server.requests.clear()
        with monkeypatch.context() as place:
            place.setenv(name, value)
            settings.cache_clear()
            assert account() is None
            with pytest.raises(HubError, match="sign in"):
                push(folder, "theirs", [])
            with pytest.raises(HubError, match="no such repository"):
                pull("mona/mine", tmp_path / "adapters" / "1")
        assert {token for _, _, token in server.requests} == {""}


def test_private_mode_opens_no_connection(server: Hub, folder: Path, base, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MAGICAPTURE_PRIVATE", "1")
    monkeypatch.setenv("MAGICAPTURE_USERS", "ann:secret")
    monkeypatch.setenv("HF_TOKEN", WRITER)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was opened"))
    assert account() is account(WRITER) is None
    with pytest.raises(HubError, match="MAGICAPTURE_PRIVATE"):
        push(folder, "mine", [], WRITER)
    with pytest.raises(HubError, match="MAGICAPTURE_PRIVATE"):
        pull("mona/mine", tmp_path / "adapters" / "1", WRITER)
