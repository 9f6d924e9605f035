"""The app starts, or says in one sentence why it cannot."""

import gc
import importlib
import os
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import pytest
import tiny
import tiny_flux2
import torch
from diffusers import StableDiffusionPipeline

from magicapture.bases import load_base, resident


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Give the entry as a new process would import it; what it sets for that process is put back."""
    with patch.dict(os.environ):
        monkeypatch.setenv("MAGICAPTURE_ROOT", str(tmp_path / "root"))
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.delitem(sys.modules, "app", raising=False)
        entry = importlib.import_module("app")
        monkeypatch.setattr(entry, "prepare", lambda: None)
        monkeypatch.setattr(entry, "keep_sweeping", lambda *_: None)
        yield entry
    del sys.modules["app"]


def unknown(folder: Path) -> None:
    folder.mkdir()
    (folder / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')


def distilled(folder: Path) -> None:
    pipeline = tiny_flux2.pipeline()
    pipeline.register_to_config(is_distilled=True)
    pipeline.save_pretrained(folder)


@pytest.mark.parametrize(
    ("save", "said"),
    [
        (unknown, "it is a FluxPipeline"),
        (distilled, "distilled to few steps"),
        (tiny.saved, "The GPU has too little free memory"),
    ],
)
def test_a_base_that_cannot_be_used_ends_the_start_in_its_sentence(
    save: Callable[[Path], None], said: str, app: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("Tried to allocate 5 GiB")

    save(tmp_path / "base")
    monkeypatch.setenv("MAGICAPTURE_BASE", str(tmp_path / "base"))
    monkeypatch.setattr(StableDiffusionPipeline, "from_pretrained", fill)
    app.settings.cache_clear()
    with pytest.raises(SystemExit, match=said):
        app.main()


def test_a_database_that_cannot_be_opened_ends_the_start_in_its_sentence(
    app: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "records.sqlite")
    app.settings.cache_clear()
    with pytest.raises(SystemExit, match="DATABASE_URL must be an address"):
        app.main()


def test_the_page_does_not_keep_a_base_from_making_room_for_another_one(
    app: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAGICAPTURE_BASE", tiny.saved(tmp_path / "base"))
    monkeypatch.setenv("MAGICAPTURE_FACE_ENGINE", "builtin")
    app.settings.cache_clear()
    context = app.loaded(app.opened_records())
    weights = weakref.ref(load_base().denoiser)
    resident._loader.cache_clear()
    gc.collect()
    assert weights() is None
    assert context.base.resolution == 128
