"""What comes from the Hub must be the adapter that was pushed, or be refused before it can do harm."""

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from hub_server import READER, WRITER, Hub
from huggingface_hub import constants

from magicapture.adapters.adapter import Adapter, AdapterError, applied
from magicapture.bases import Base
from magicapture.bases.base import FOR_OTHER_TOOLS
from magicapture.server.hub import HubError, account, pull, push
from magicapture.settings import settings

pytest_plugins = ["hub_fixtures"]
WEIGHTS = "pytorch_lora_weights.safetensors"
PUSHED = {".gitattributes", "README.md", WEIGHTS, "magicapture_emb.safetensors", "magicapture.json", *FOR_OTHER_TOOLS}


def test_a_pulled_adapter_is_the_one_that_was_pushed(server, folder, adapter, base, portraits, tmp_path) -> None:
    push(folder, "mine", portraits, WRITER)
    before = tiny.fingerprint(base)
    pulled = pull("mona/mine", tmp_path / "adapters" / "1", WRITER)
    assert tiny.fingerprint(base) == before
    for one in (pulled, Adapter.load(tmp_path / "adapters" / "1")):
        assert one.lora.keys() == adapter.lora.keys()
        assert all(torch.equal(one.lora[key], adapter.lora[key]) for key in adapter.lora)
        assert torch.equal(one.rows["clip_l"], adapter.rows["clip_l"])
    assert [path.name for path in (tmp_path / "adapters").iterdir()] == ["1"]
    assert {path.name for path in (tmp_path / "adapters" / "1").iterdir()} == PUSHED - {".gitattributes"}


def refused(repo_id: str, into: Path, words: str, token: str | None = None) -> None:
    with pytest.raises(HubError, match=rf"(?s){repo_id} was not loaded, and nothing has changed here.*{words}"):
        pull(repo_id, into / "1", token)
    assert not into.exists() or list(into.iterdir()) == []


def test_a_repository_that_is_not_there_or_not_theirs_is_named(server: Hub, folder: Path, base, tmp_path) -> None:
    push(folder, "mine", [], WRITER)
    into = tmp_path / "adapters"
    refused("mona/none", into, "no such repository", WRITER)
    refused("mona/mine", into, "no such repository", READER)
    refused("mona/mine", into, "no such repository")
    refused("mona/mine/tree/main", into, "must read")


def test_a_hub_that_cannot_be_reached_is_no_crash(server: Hub, folder: Path, base, tmp_path, monkeypatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        assert account(WRITER) is None
        with pytest.raises(HubError, match="is safe here: the connection"):
            push(folder, "mine", [], WRITER)
        refused("mona/mine", tmp_path / "adapters", "connection", WRITER)


def test_pickled_weights_are_never_fetched(server: Hub, folder: Path, base: Base, tmp_path: Path) -> None:
    push(folder, "mine", [], WRITER, private=False)
    files = server.repositories["mona/mine"].files
    files["pytorch_lora_weights.bin"] = files.pop(WEIGHTS)
    refused("mona/mine", tmp_path / "adapters", f"holds no adapter.*{WEIGHTS}")
    assert server.asked("GET", "/resolve/") == 0


def test_an_oversized_repository_is_refused_before_it_is_fetched(server: Hub, folder, base, tmp_path) -> None:
    push(folder, "mine", [], WRITER, private=False)
    server.repositories["mona/mine"].sizes[WEIGHTS] = 600_000_000
    refused("mona/mine", tmp_path / "adapters", "600 MB.*at most 256 MB")
    assert server.asked("GET", "/resolve/") == server.asked("HEAD", "/resolve/") == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base": "mini", "base_source": "mini"}, "mine was trained on an earlier embedded demo model"),
        ({"base": "sdxl"}, "not known here: sdxl"),
        ({"base": "evil/pipeline"}, "evil/pipeline"),
        ({"base_source": "evil/pipeline"}, "evil/pipeline"),
        ({"licence": "mit"}, "not known here: sd15"),
        ({"prompts": {"x": "y" * 2**20}}, "magicapture.json in mine is too large: at most 1 MB is read"),
        ({"rank": 10**9}, "damaged"),
        ({"rank": "2"}, "damaged"),
        ({"licence": None}, "damaged"),
    ],
)
def test_an_adapter_that_is_for_another_base_or_lies_is_refused(server, folder, base, tmp_path, change, words) -> None:
    push(folder, "mine", [], WRITER, private=False)
    files = server.repositories["mona/mine"].files
    files["magicapture.json"] = json.dumps(json.loads(files["magicapture.json"]) | change).encode()
    refused("mona/mine", tmp_path / "adapters", words)


def test_an_adapter_larger_than_its_base_allows_is_refused(server, adapter, base, tmp_path) -> None:
    first = next(key for key in adapter.lora if ".lora_A." in key)
    wider = replace(adapter, lora=adapter.lora | {first: torch.zeros(2, 3 * 2**19)}, targets=None)
    push(wider.save(tmp_path / "wider"), "mine", [], WRITER, private=False)
    refused("mona/mine", tmp_path / "adapters", "larger than one of rank 2 for the base sd15 can be")


def test_a_full_installation_fetches_nothing_and_says_so(server, folder, base, tmp_path, monkeypatch) -> None:
    push(folder, "mine", [], WRITER, private=False)
    monkeypatch.setenv("MAGICAPTURE_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("MAGICAPTURE_DISK_GB", "0.0001")
    settings.cache_clear()
    with pytest.raises(HubError, match=r"disk is full\. Nothing of yours is lost"):
        pull("mona/mine", tmp_path / "adapters" / "1")
    assert server.asked("GET", "/resolve/") == 0


def test_layers_of_another_shape_are_refused_and_leave_nothing_on_the_base(server, adapter, base, tmp_path) -> None:
    first = next(key for key in adapter.lora if ".lora_B." in key)
    wider = replace(adapter, lora=adapter.lora | {first: torch.zeros(99, 2)}, targets=None)
    push(wider.save(tmp_path / "wider"), "mine", [], WRITER, private=False)
    pulled = pull("mona/mine", tmp_path / "adapters" / "1", WRITER)
    before = tiny.fingerprint(base)
    with pytest.raises(AdapterError, match="layers do not fit"), applied(base, pulled):
        pass
    assert tiny.fingerprint(base) == before
