"""What the tests of pushing and of pulling share: a Hub on this machine, and an adapter with portraits."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from hub_server import Hub, running_hub
from huggingface_hub import constants, hf_api
from huggingface_hub.utils import _http
from PIL import Image
from visitor import some_targets

from magicapture.adapters.adapter import Adapter
from magicapture.adapters.info import AdapterInfo
from magicapture.bases import Base
from magicapture.bases.lora import lora_layers, lora_state
from magicapture.drawing.portrait import Portrait


@pytest.fixture(scope="module")
def base() -> Base:
    return tiny.base(sample_size=16)


@pytest.fixture(scope="module")
def adapter(base: Base) -> Adapter:
    with lora_layers(base.denoiser, 2, base.spec.lora_targets):
        lora = {key: torch.rand_like(value) / 50 for key, value in lora_state(base.denoiser).items()}
    info = AdapterInfo.of(
        base.spec, preset="quick", rank=2, steps=3, best_step=3, engine="stand-in", title="my mother in oil"
    )
    rows = {"clip_l": torch.rand(2, tiny.TEXT_WIDTH)}
    return Adapter(lora, rows, info, some_targets())


@pytest.fixture
def folder(adapter: Adapter, tmp_path: Path) -> Path:
    return adapter.save(tmp_path / "mine")


@pytest.fixture
def portraits(tmp_path: Path) -> list[Path]:
    image = Image.effect_noise((64, 64), 80).convert("RGB")
    drawn = [Portrait(image, seed, 0.5, 0.5, {"prompt": ("", "with glasses")[seed]}) for seed in range(2)]
    return [portrait.save(tmp_path / f"k{portrait.seed}.png") for portrait in drawn]


@pytest.fixture
def hub() -> Hub | None:
    """Give the Hub to start; a plain one if None."""
    return None


@pytest.fixture
def server(monkeypatch, tmp_path: Path, hub: Hub | None) -> Iterator[Hub]:
    """Start a Hub, and set what HF_ENDPOINT, HF_HOME and HF_HUB_DISABLE_XET set when a process starts with them."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda _: None))  # between its retries
    with running_hub(hub) as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(hf_api.api, "endpoint", running.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield running
    _http.close_session()
