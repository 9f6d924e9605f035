"""What the tests of visitors' files share: small things to store, and a look at the disk."""

import os
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image

from magicapture.adapters.adapter import Adapter
from magicapture.adapters.info import AdapterInfo
from magicapture.bases import MINI, SD15
from magicapture.drawing.portrait import Portrait
from magicapture.faces.likeness import DIMENSIONS
from magicapture.features import CHANNELS
from magicapture.scoring import Targets

HOUR = 3600


def uploaded(root: Path, name: str = "me.jpg", **options: object) -> Path:
    """Put a picture where Gradio puts uploads: into a folder named after a hash."""
    folder = root / "served" / os.urandom(32).hex()
    folder.mkdir(parents=True)
    Image.radial_gradient("L").convert("RGB").resize((96, 64)).save(folder / name, **options)
    return folder / name


def portrait(seed: int = 7, likeness: float | None = 0.5) -> Portrait:
    return Portrait(Image.new("RGB", (32, 32), "teal"), seed, likeness, 0.4, {"prompt": "with a hat"})


def small_adapter() -> Adapter:
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    lora = {f"{layer}.lora_A.weight": torch.rand(2, 8), f"{layer}.lora_B.weight": torch.rand(8, 2)}
    info = AdapterInfo.of(SD15, preset="quick", rank=2, steps=3, best_step=3, engine="stand-in")
    return Adapter(lora, {"clip_l": torch.rand(2, 32)}, info, some_targets())


def earlier_adapter() -> Adapter:
    """Give one as it was when the embedded base drew 128 px, and adapters called it by no more than its name."""
    adapter = small_adapter()
    return replace(adapter, info=replace(adapter.info, base=MINI.name, base_source=MINI.name))


def some_targets() -> Targets:
    person, style = (F.normalize(torch.rand(size), dim=0) for size in (DIMENSIONS, CHANNELS))
    return Targets(person, style, torch.tensor([0.2, 0.7]))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def make_old(path: Path, hours: float) -> None:
    then = time.time() - hours * HOUR
    for place in [*path.rglob("*"), path]:
        os.utime(place, (then, then))
