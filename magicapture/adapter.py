"""The result of a training: LoRA, tokens and what is known of them. Saving, loading, and putting it on a pipeline."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from magicapture.bases import Base
from magicapture.concepts import PERSON, STYLE, TOKENS, concept_tokens, prompt_for
from magicapture.scoring import Targets

LORA_FILE = "pytorch_lora_weights.safetensors"
ROWS_FILE = "magicapture_emb.safetensors"
INFO_FILE = "magicapture.json"
TARGETS_FILE = "magicapture_targets.safetensors"
LORA_NAME = "magicapture"


class AdapterError(Exception):
    """An adapter that cannot be used; the text says which file is wrong and why."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """A trained adapter.

    ``lora``: PEFT's state dict of the denoiser's LoRA; ``rows``: (2, D) embeddings of the trigger words; ``info``: what
    ``magicapture.json`` holds; ``targets``: what its portraits are scored against, None where they were left out.
    """

    lora: dict[str, Tensor]
    rows: Tensor
    info: dict = field(default_factory=dict)
    targets: Targets | None = None

    def save(self, folder: Path) -> Path:
        """Write the files that ``load`` reads and stock diffusers understands; gives ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=self.lora)
        save_file({"clip_l": self.rows.contiguous()}, folder / ROWS_FILE)
        if self.targets is not None:
            save_file({"person": self.targets.person, "style": self.targets.style}, folder / TARGETS_FILE)
        (folder / INFO_FILE).write_text(json.dumps(self.info, indent=2) + "\n")
        (folder / "README.md").write_text(model_card(self.info))
        return folder

    @classmethod
    def load(cls, folder: Path) -> "Adapter":
        """Read an adapter. Raises ``AdapterError`` when a file is missing or damaged."""
        missing = [name for name in (INFO_FILE, LORA_FILE, ROWS_FILE) if not (folder / name).is_file()]
        if missing:
            raise AdapterError(f"{folder.name} is not a complete adapter: it lacks {', '.join(missing)}.")
        try:
            info = json.loads((folder / INFO_FILE).read_text())
            lora = {key.removeprefix("unet."): value for key, value in load_file(folder / LORA_FILE).items()}
            rows = load_file(folder / ROWS_FILE)["clip_l"]
            scored = (folder / TARGETS_FILE).is_file()
            targets = Targets(**load_file(folder / TARGETS_FILE), engine=info["engine"]) if scored else None
        except (json.JSONDecodeError, SafetensorError, KeyError, TypeError) as error:
            raise AdapterError(f"The adapter in {folder.name} is damaged and cannot be read: {error}") from error
        return cls(lora, rows, info, targets)

    def zip(self, path: Path) -> Path:
        """Pack the adapter's files into ``path``, which ends in ``.zip``; gives it."""
        folder = self.save(path.with_suffix(""))
        shutil.make_archive(str(folder), "zip", folder)
        shutil.rmtree(folder)
        return path


@contextmanager
def lora_layers(unet: UNet2DConditionModel, rank: int, targets: str) -> Iterator[list[torch.nn.Parameter]]:
    """Put fresh LoRA layers of ``rank`` on the layers that ``targets`` matches, for the length of a ``with`` block.

    Gives their parameters; the LoRA starts without effect (B = 0). Leaving puts the very layers back that were there.
    """
    before = vars(unet).get("_hf_peft_config_loaded")
    try:
        unet.add_adapter(
            LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=targets), LORA_NAME
        )
        yield [parameter for name, parameter in unet.named_parameters() if "lora_" in name]
    finally:
        unet.unload_lora()
        if before is None:
            vars(unet).pop("_hf_peft_config_loaded", None)


@contextmanager
def applied(base: Base, adapter: Adapter) -> Iterator[None]:
    """Put ``adapter`` on ``base`` for the length of a ``with`` block; leaving restores every weight, token and hook.

    Raises ``AdapterError`` when the adapter was trained on a base of another shape.
    """
    width = base.pipeline.text_encoder.get_input_embeddings().embedding_dim
    if adapter.rows.shape != (len(TOKENS), width):
        raise AdapterError(f"The adapter's tokens do not fit the base {base.spec.name}: it was trained on another one.")
    with (
        concept_tokens(base.pipeline, adapter.rows),
        lora_layers(base.pipeline.unet, adapter.info["rank"], base.spec.lora_targets),
    ):
        load_lora(base.pipeline.unet, adapter.lora)
        yield


def lora_state(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """Copy the LoRA that is on ``unet`` to the CPU."""
    state = get_peft_model_state_dict(unet, adapter_name=LORA_NAME)
    return {key: value.detach().float().cpu().clone() for key, value in state.items()}


def load_lora(unet: UNet2DConditionModel, state: dict[str, Tensor]) -> None:
    """Set the LoRA that is on ``unet`` to ``state``. Raises ``AdapterError`` when its keys or shapes differ."""
    expected = get_peft_model_state_dict(unet, adapter_name=LORA_NAME)
    if {k: v.shape for k, v in expected.items()} != {k: v.shape for k, v in state.items()}:
        raise AdapterError("The adapter's layers do not fit this base model: it was trained on another one.")
    set_peft_model_state_dict(unet, state, adapter_name=LORA_NAME)


def new_info(base: Base, **details: object) -> dict:
    """Give what ``magicapture.json`` says of an adapter trained on ``base``, with ``details`` such as the rank."""
    libraries = ("torch", "diffusers", "transformers", "peft")
    return {
        "format": 1,
        "base": base.spec.name,
        "base_source": base.spec.source if base.spec.name != "mini" else "mini",
        "licence": base.spec.licence,
        "tokens": [PERSON, STYLE],
        "prompts": {task: prompt_for(task) for task in ("source", "reference", "composed")},
        "versions": {library: version(library) for library in libraries},
        **details,
    }


def model_card(info: dict) -> str:
    """Write the card that stands beside an adapter's files."""
    return f"""---
license: {info["licence"]}
base_model: {info["base_source"]}
instance_prompt: {info["prompts"]["composed"]}
tags: [text-to-image, diffusers, lora, template:sd-lora, magicapture]
---

# MagiCapture adapter

Draws one person ({PERSON}) in one look ({STYLE}), trained on a handful of photos of each with the preset
`{info["preset"]}` on the base `{info["base_source"]}`. Use it only with the consent of the person it shows.

```python
import torch
from diffusers import StableDiffusionPipeline
from safetensors import SafetensorError
from safetensors.torch import load_file

pipe = StableDiffusionPipeline.from_pretrained("{info["base_source"]}")
pipe.load_lora_weights(".")
rows = load_file("{ROWS_FILE}")["clip_l"]
pipe.load_textual_inversion(list(rows), token=["{PERSON}", "{STYLE}"])
image = pipe("{info["prompts"]["composed"]}").images[0]
```
"""
