"""The result of a training: LoRA, tokens and what is known of them. Saving, loading, and putting it on a pipeline."""

import json
import math
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from huggingface_hub import ModelCardData
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from magicapture.bases import Base
from magicapture.concepts import PERSON, STYLE, TOKENS, concept_tokens, prompt_for
from magicapture.messages import Message
from magicapture.scoring import Targets

LORA_FILE = "pytorch_lora_weights.safetensors"
ROWS_FILE = "magicapture_emb.safetensors"
INFO_FILE = "magicapture.json"
TARGETS_FILE = "magicapture_targets.safetensors"
LORA_NAME = "magicapture"
FACTS = {"base": str, "base_source": str, "licence": str, "preset": str, "rank": int}
"""What ``magicapture.json`` must say of an adapter before it can be used."""


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

    @property
    def latent_mean(self) -> Tensor | None:
        """Where its drawing starts from (see ``generation.first_latents``); None in adapters that do not say it."""
        mean = self.info.get("latent_mean")
        return None if mean is None else torch.tensor(mean, dtype=torch.float32)

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
            lacks = "{name} is not a complete adapter: it lacks {files}."
            raise AdapterError(Message(lacks, name=folder.name, files=", ".join(missing)))
        try:
            info = json.loads((folder / INFO_FILE).read_text())
            lora = {key.removeprefix("unet."): value for key, value in load_file(folder / LORA_FILE).items()}
            rows = load_file(folder / ROWS_FILE)["clip_l"]
            scored = (folder / TARGETS_FILE).is_file()
            targets = Targets(**load_file(folder / TARGETS_FILE), engine=info["engine"]) if scored else None
            _check_facts(info, lora)
        except (ValueError, SafetensorError, KeyError, TypeError) as error:
            damaged = "The adapter in {name} is damaged and cannot be read: {reason}"
            raise AdapterError(Message(damaged, name=folder.name, reason=error)) from error
        return cls(lora, rows, info, targets)

    def zip(self, path: Path) -> Path:
        """Pack the adapter's files into ``path``, which ends in ``.zip``; gives it."""
        folder = self.save(path.with_suffix(""))
        shutil.make_archive(str(folder), "zip", folder)
        shutil.rmtree(folder)
        return path


def _check_facts(info: dict, lora: dict[str, Tensor]) -> None:
    """Raise ``ValueError`` unless ``info`` describes ``lora``: layers of the rank that it names are made on loading."""
    wrong = [key for key, kind in FACTS.items() if not isinstance(info[key], kind)]
    mean = info.get("latent_mean", [])
    if not (isinstance(mean, list) and all(type(value) is float and math.isfinite(value) for value in mean)):
        wrong.append("latent_mean")
    ranks = {tuple(value.shape[:1]) for key, value in lora.items() if ".lora_A." in key}
    if wrong or ranks != {(info["rank"],)}:
        raise ValueError(f"{INFO_FILE} does not describe it ({', '.join(wrong) or 'rank'}).")


@contextmanager
def lora_layers(unet: UNet2DConditionModel, rank: int, targets: str) -> Iterator[list[torch.nn.Parameter]]:
    """Put fresh LoRA layers of ``rank`` on the layers that ``targets`` matches, for the length of a ``with`` block.

    Gives their parameters, in float32 whatever the precision of ``unet``: small steps would be lost in bfloat16. The
    LoRA starts without effect (B = 0). Leaving puts the very layers back that were there.
    """
    before = vars(unet).get("_hf_peft_config_loaded")
    try:
        unet.add_adapter(
            LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=targets), LORA_NAME
        )
        parameters = [parameter for name, parameter in unet.named_parameters() if "lora_" in name]
        for parameter in parameters:
            parameter.data = parameter.data.float()
        yield parameters
    finally:
        unet.unload_lora()
        if before is None:
            vars(unet).pop("_hf_peft_config_loaded", None)


@contextmanager
def applied(base: Base, adapter: Adapter) -> Iterator[None]:
    """Put ``adapter`` on ``base`` for the length of a ``with`` block; leaving restores every weight, token and hook.

    Raises ``AdapterError`` when the adapter was trained on a base of another shape.
    """
    if not _has_same_widths(base, adapter):
        unfit = "The adapter does not fit the base {base}: it was trained on another one."
        raise AdapterError(Message(unfit, base=base.spec.name))
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
    _require_same_layers(unet, state)
    set_peft_model_state_dict(unet, state, adapter_name=LORA_NAME)


def require_fit(base: Base, adapter: Adapter) -> None:
    """Raise ``AdapterError`` unless ``adapter`` was trained on ``base``.

    Reads the base's configuration only, so that it may be in use meanwhile and nothing is left on it.
    """
    if adapter.info["base"] != base.spec.name or not _has_same_widths(base, adapter):
        other = "The adapter was trained on another base, {base}, not on {here}."
        raise AdapterError(Message(other, base=adapter.info["base"], here=base.spec.name))
    with torch.device("meta"):  # shapes without weights
        unet = UNet2DConditionModel.from_config(base.pipeline.unet.config)
    with lora_layers(unet, adapter.info["rank"], base.spec.lora_targets):
        _require_same_layers(unet, adapter.lora)


def _has_same_widths(base: Base, adapter: Adapter) -> bool:
    """Compare the tokens with the text encoder, and what drawing starts from with the latents."""
    width, channels = base.pipeline.text_encoder.config.hidden_size, base.pipeline.unet.config.in_channels
    mean = adapter.latent_mean
    return adapter.rows.shape == (len(TOKENS), width) and (mean is None or mean.shape == (channels,))


def _require_same_layers(unet: UNet2DConditionModel, state: dict[str, Tensor]) -> None:
    expected = get_peft_model_state_dict(unet, adapter_name=LORA_NAME)
    if {k: v.shape for k, v in expected.items()} != {k: v.shape for k, v in state.items()}:
        raise AdapterError("The adapter's layers do not fit this base model: it was trained on another one.")


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


def model_card(info: dict, repo_id: str | None = None, gallery: Sequence[tuple[str, str]] = ()) -> str:
    """Write the card that stands beside an adapter's files, or in its repository ``repo_id`` on the Hub.

    ``gallery``: path in the repository and prompt of each picture to show. The fields in front are those that the Hub
    and other tools read (https://huggingface.co/docs/hub/model-cards).
    """
    source, prompt = info["base_source"], prompt_for("composed")
    start = START.format(mean=[round(value, 3) for value in info["latent_mean"]]) if "latent_mean" in info else ""
    metadata = ModelCardData(
        license=info["licence"],
        base_model=source if re.fullmatch(r"[\w.-]+/[\w.-]+", source) else None,  # elsewhere it is a folder
        instance_prompt=prompt,
        tags=["text-to-image", "diffusers", "lora", "template:sd-lora", "magicapture"],
        widget=[{"text": text, "output": {"url": path}} for path, text in gallery] or None,
    )
    template = (Path(__file__).parent / "adapter_card.md").read_text()
    return template.format(
        metadata=metadata.to_yaml(),
        gallery="<Gallery />\n\n" if gallery else "",
        preset=info["preset"],
        source=source,
        licence=info["licence"],
        person=PERSON,
        style=STYLE,
        prompt=prompt,
        pipeline="magicapture/mini/weights" if source == "mini" else source,
        mini="`mini` is a folder of the MagiCapture app: run this beside it.\n\n" if source == "mini" else "",
        lora=repo_id or ".",
        rows=f'hf_hub_download("{repo_id}", "{ROWS_FILE}")' if repo_id else f'"{ROWS_FILE}"',
        imports="from huggingface_hub import hf_hub_download\n" if repo_id else "",
        torch="import torch\n" if start else "",
        start=start,
        latents=", latents=latents" if start else "",
        lora_file=LORA_FILE,
    )


START = """
mean = torch.tensor({mean})  # of the look's latents: drawing that starts from it keeps to the look's colours
left, side = pipe.scheduler.alphas_cumprod[-1], pipe.unet.config.sample_size
latents = left.sqrt() * mean[:, None, None] + (1 - left).sqrt() * torch.randn(1, len(mean), side, side)
"""
