"""Upscaling: the right size, the truth about what did it, and no failure where weights are missing or broken."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from magicapture.drawing import enhance


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return tiny.upscaler(tmp_path)


def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAGICAPTURE_UPSCALER", raising=False)
    monkeypatch.setattr(enhance.importlib.util, "find_spec", lambda _: None)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_without_weights_it_enlarges_all_the_same_and_says_how(
    picture: Image.Image, monkeypatch: pytest.MonkeyPatch, factor: int
) -> None:
    no_package(monkeypatch)
    enlarged, said = enhance.upscale(picture, factor)
    assert enlarged.size == (20 * factor, 12 * factor)
    assert said == "Lanczos (no Real-ESRGAN weights here)"


@pytest.mark.parametrize("factor", [2, 4])
def test_a_network_named_by_the_environment_is_used_and_named(
    picture: Image.Image, weights: Path, monkeypatch: pytest.MonkeyPatch, factor: int
) -> None:
    monkeypatch.setenv("MAGICAPTURE_UPSCALER", str(weights))
    enlarged, said = enhance.upscale(picture, factor)
    assert enlarged.size == (20 * factor, 12 * factor)
    assert said.startswith("tiny-x4")
    assert "×4" in said


def test_tiles_join_without_seams(picture: Image.Image, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGICAPTURE_UPSCALER", str(weights))
    monkeypatch.setattr(enhance, "fast_dtype", lambda: torch.float32)
    whole, _ = enhance.upscale(picture, 4)
    monkeypatch.setattr(enhance, "TILE", 8)
    tiled, _ = enhance.upscale(picture, 4)
    assert np.abs(np.asarray(whole, int) - np.asarray(tiled, int)).max() <= 1


@pytest.mark.parametrize("content", [None, b"not a network"])
def test_missing_or_broken_weights_still_give_a_picture_and_say_so(
    picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    path = tmp_path / "broken.pth"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("MAGICAPTURE_UPSCALER", str(path))
    enlarged, said = enhance.upscale(picture, 2)
    assert enlarged.size == (40, 24)
    assert said == "Lanczos (broken.pth could not be read as an upscaler)"


def test_the_weights_of_the_package_are_read_as_real_esrgan_and_sharpen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAGICAPTURE_UPSCALER", raising=False)
    if enhance.upscaler_path() is None:
        pytest.skip("the optional package with Real-ESRGAN's weights is not installed")
    edge = Image.fromarray(np.repeat(np.repeat([[40, 200]], 12, 1), 24, 0).astype(np.uint8)).convert("RGB")
    sharp, said = enhance.upscale(edge, 4)
    assert said == "Real-ESRGAN ×4"
    values = np.asarray(sharp.convert("L"), int)
    assert abs(values[48, 10] - 40) < 12, "colours are kept"
    assert abs(values[48, 85] - 200) < 12
    lanczos = np.asarray(edge.resize(sharp.size, Image.Resampling.LANCZOS).convert("L"), int)
    assert np.abs(np.diff(values[48])).max() >= np.abs(np.diff(lanczos[48])).max(), "an edge does not get softer"


def test_an_ncnn_file_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.bin"
    path.write_bytes(b"\0" * 64)
    with pytest.raises(ValueError, match="RealESRGAN_x4plus"):
        enhance.read_ncnn_rrdbnet(path)


def test_a_factor_below_one_is_refused(picture: Image.Image) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        enhance.upscale(picture, 0)
