"""The LoRA on a denoiser: fresh layers that are taken off again, and their state as plain tensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ModelMixin
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import Linear
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LORA_NAME = "magicapture"


class LoraProduct(torch.autograd.Function):
    """``W x + b + B (A x)`` with W and b frozen, where each sum is made by the product that adds to it.

    Left to autograd, sums are operations of their own and make room for their results: one forward, one backward.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor) -> Tensor:
        """Map ``x`` (N, I) to (N, O); ``weight``: (O, I), ``down``: A (R, I), ``up``: B (O, R), of one precision."""
        hidden, result = F.linear(x, down), F.linear(x, weight, bias)
        ctx.save_for_backward(x, hidden, weight, down, up)
        return torch.addmm(result, hidden, up.t(), out=result)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of x, where it wants one, A and B."""
        x, hidden, weight, down, up = ctx.saved_tensors
        hidden_grad, x_grad = grad @ up, None
        if ctx.needs_input_grad[0]:
            x_grad = grad @ weight
            torch.addmm(x_grad, hidden_grad, down, out=x_grad)
        return x_grad, None, None, hidden_grad.t() @ x, grad.t() @ hidden


class LeanLinear(Linear):
    """PEFT's LoRA on a linear layer, computed by ``LoraProduct`` where it takes part as it was trained, unscaled."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Map ``x`` (…, I) to (…, O)."""
        if self.disable_adapters or self.merged or self.scaling[LORA_NAME] != 1:
            return super().forward(x, *args, **kwargs)
        base = self.get_base_layer()
        sides = (side[LORA_NAME].weight for side in (self.lora_A, self.lora_B))
        x, down, up = (value.to(base.weight.dtype) for value in (x, *sides))
        return LoraProduct.apply(x.flatten(0, -2), base.weight, base.bias, down, up).unflatten(0, x.shape[:-1])


@contextmanager
def lora_layers(denoiser: ModelMixin, rank: int, targets: str) -> Iterator[list[nn.Parameter]]:
    """Put fresh LoRA layers of ``rank`` on the layers that ``targets`` matches, for the length of a ``with`` block.

    Gives their parameters, in float32 whatever the precision of ``denoiser``: small steps would be lost in bfloat16.
    The LoRA starts without effect (B = 0). Leaving puts the very layers back that were there.
    """
    before = vars(denoiser).get("_hf_peft_config_loaded")
    try:
        config = LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=targets)
        config._register_custom_module({nn.Linear: LeanLinear})
        denoiser.add_adapter(config, LORA_NAME)
        parameters = [parameter for name, parameter in denoiser.named_parameters() if "lora_" in name]
        for parameter in parameters:
            parameter.data = parameter.data.float()
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
