"""The LoRA on a denoiser: fresh layers that are taken off again, and their state as plain tensors."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import LoraVariant
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn

LORA_NAME = "magicapture"


class LeanLora(LoraVariant):
    """What PEFT computes for a linear layer, ``W x + s B (A x)``, in one operation less forward and two backward."""

    @staticmethod
    def forward(module: LoraLayer, active_adapter: str, x: Tensor, result: Tensor, **_: object) -> Tensor:
        """Add the LoRA's part of ``x`` (…, I) to ``result`` (…, O)."""
        down, up = (side[active_adapter].weight for side in (module.lora_A, module.lora_B))
        hidden = F.linear(x, down).flatten(0, -2).to(result.dtype)
        scale = module.scaling[active_adapter]
        added = torch.addmm(result.flatten(0, -2), hidden, up.t().to(result.dtype), alpha=scale)
        return added.view(result.shape)


@contextmanager
def lora_layers(denoiser: nn.Module, rank: int, targets: str) -> Iterator[list[nn.Parameter]]:
    """Put fresh LoRA layers of ``rank`` on the layers that ``targets`` matches, for the length of a ``with`` block.

    Gives their parameters, in float32 whatever the precision of ``denoiser``: small steps would be lost in bfloat16.
    The LoRA starts without effect (B = 0). Leaving puts the very layers back that were there.
    """
    before = vars(denoiser).get("_hf_peft_config_loaded")
    try:
        denoiser.add_adapter(
            LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=targets), LORA_NAME
        )
        parameters = [parameter for name, parameter in denoiser.named_parameters() if "lora_" in name]
        for parameter in parameters:
            parameter.data = parameter.data.float()
        for module in denoiser.modules():
            if isinstance(module, LoraLayer) and isinstance(module.get_base_layer(), nn.Linear):
                module.lora_variant[LORA_NAME] = LeanLora()
        yield parameters
    finally:
        denoiser.unload_lora()
        if before is None:
            vars(denoiser).pop("_hf_peft_config_loaded", None)


def enable_lora(denoiser: nn.Module, enabled: bool) -> None:
    """Let the LoRA on ``denoiser`` take part and learn, or leave it out and in peace."""
    for module in denoiser.modules():
        if isinstance(module, LoraLayer):
            module.enable_adapters(enabled)


@contextmanager
@torch.no_grad()
def fused_lora(denoiser: nn.Module, scale: float) -> Iterator[None]:
    """Draw as with the LoRA on ``denoiser``, times ``scale``, at the cost of drawing without it.

    Its layers get weights of their own, W + ``scale`` ΔW, for the length of a ``with`` block: one product a layer
    instead of three. Leaving puts the very tensors back that were there. Without a LoRA this does nothing.
    """
    layers = [module for module in denoiser.modules() if isinstance(module, LoraLayer)]
    before = [layer.get_base_layer().weight.data for layer in layers]
    try:
        for layer, weight in zip(layers, before, strict=True):
            changed = weight.float() + scale * layer.get_delta_weight(LORA_NAME).float()
            layer.get_base_layer().weight.data = changed.to(weight.dtype)
            layer.merged_adapters.append(LORA_NAME)  # so that PEFT leaves its own products out
        yield
    finally:
        for layer, weight in zip(layers, before, strict=True):
            layer.get_base_layer().weight.data = weight
            layer.merged_adapters.clear()


def lora_state(denoiser: nn.Module) -> dict[str, Tensor]:
    """Copy the LoRA that is on ``denoiser`` to the CPU."""
    state = get_peft_model_state_dict(denoiser, adapter_name=LORA_NAME)
    return {key: value.detach().float().cpu().clone() for key, value in state.items()}


@torch.no_grad()
def lora_ratio(denoiser: nn.Module) -> float:
    """Give ‖ΔW‖ / ‖W‖ over the layers with a LoRA: 0 at first, a few per cent when trained, near 1 when it blew up."""
    layers = [module for module in denoiser.modules() if isinstance(module, LoraLayer)]
    changed = sum(float(layer.get_delta_weight(LORA_NAME).square().sum()) for layer in layers)
    whole = sum(float(layer.get_base_layer().weight.float().square().sum()) for layer in layers)
    return (changed / whole) ** 0.5


def load_lora(denoiser: nn.Module, state: dict[str, Tensor]) -> None:
    """Set the LoRA that is on ``denoiser`` to ``state``. Raises ``ValueError`` when its keys or shapes differ."""
    require_same_layers(denoiser, state)
    set_peft_model_state_dict(denoiser, state, adapter_name=LORA_NAME)


def require_same_layers(denoiser: nn.Module, state: dict[str, Tensor]) -> None:
    """Raise ``ValueError`` unless ``state`` has the keys and shapes of the LoRA that is on ``denoiser``."""
    expected = get_peft_model_state_dict(denoiser, adapter_name=LORA_NAME)
    if {k: v.shape for k, v in expected.items()} != {k: v.shape for k, v in state.items()}:
        raise ValueError("The LoRA does not fit the layers of this denoiser.")


@contextmanager
def lora_too(other: nn.Module, denoiser: nn.Module, targets: str) -> Iterator[None]:
    """Put the LoRA that is on ``denoiser`` on ``other`` as well, for the length of a ``with`` block.

    ``other`` has the same layers. Without a LoRA, or where the two are one, this does nothing.
    """
    if other is denoiser or not any(isinstance(module, LoraLayer) for module in denoiser.modules()):
        yield
        return
    state = lora_state(denoiser)
    rank = next(len(value) for key, value in state.items() if ".lora_A." in key)
    with lora_layers(other, rank, targets):
        load_lora(other, state)
        yield
