"""The LoRA fused into the weights for drawing: the same pictures for less, and the base as it was afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import tiny
import torch
import torch.nn.functional as F
from peft.tuners.lora.layer import Linear

from magicapture.bases import MINI
from magicapture.bases.lora import LeanLinear, LoraProduct, fused_lora, lora_layers, lora_state

LATENTS, TEXT = torch.randn(2, 4, 16, 16), torch.randn(2, 7, tiny.TEXT_WIDTH)


@contextmanager
def learned(dtype: torch.dtype = torch.float32) -> Iterator[torch.nn.Module]:
    """Give a denoiser with a LoRA that does something, on attention and convolutions."""
    unet = tiny.unet(16).requires_grad_(False).to(dtype)
    with lora_layers(unet, 2, MINI.lora_targets) as parameters:
        for parameter in parameters:
            parameter.data.normal_(0, 0.2)
        yield unet


@torch.no_grad()
def drawn(unet: torch.nn.Module) -> torch.Tensor:
    return unet(LATENTS.to(unet.dtype), torch.tensor([10, 500]), TEXT.to(unet.dtype)).sample.float()


def gradients(unet: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Give the gradients of a loss by what it reaches: text, and each matrix of the LoRA."""
    text = TEXT.clone().requires_grad_()
    output = unet(LATENTS, torch.tensor([10, 500]), text).sample
    unet.zero_grad()
    F.mse_loss(output, torch.zeros_like(output)).backward()
    reached = {name: value.grad.clone() for name, value in unet.named_parameters() if value.requires_grad}
    return {"output": output.detach(), "text": text.grad, **reached}


def test_layers_compute_and_learn_what_those_of_the_library_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with learned() as unet:
        ours = gradients(unet)
        monkeypatch.setattr(LeanLinear, "forward", Linear.forward)
        theirs = gradients(unet)
    assert len(ours) > 100
    for name, value in theirs.items():
        assert torch.allclose(ours[name], value, rtol=1e-3, atol=1e-5 * value.abs().max()), name


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_those_of_finite_differences(bias: bool) -> None:
    torch.manual_seed(0)
    x, down, up = (torch.randn(*shape, dtype=torch.double, requires_grad=True) for shape in ((5, 4), (2, 4), (3, 2)))
    weight, b = torch.randn(3, 4, dtype=torch.double), torch.randn(3, dtype=torch.double) if bias else None
    assert torch.autograd.gradcheck(LoraProduct.apply, (x, weight, b, down, up))


def test_fused_layers_predict_what_the_lora_beside_them_does() -> None:
    with learned() as unet:
        beside, plain = drawn(unet), drawn(unet)
        with fused_lora(unet, 1.0):
            fused = drawn(unet)
        with fused_lora(unet, 0.0):
            without = drawn(unet)
    assert torch.equal(beside, plain)
    assert torch.allclose(fused, beside, atol=1e-4)
    assert (without - beside).abs().max() > 0.01


def test_the_scale_is_that_of_the_library() -> None:
    with learned() as unet:
        with fused_lora(unet, 0.6):
            fused = drawn(unet)
        with torch.no_grad():
            text, scale = {"encoder_hidden_states": TEXT}, {"cross_attention_kwargs": {"scale": 0.6}}
            beside = unet(LATENTS, torch.tensor([10, 500]), **text, **scale).sample
    assert torch.allclose(fused, beside, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fails", [False, True])
def test_the_very_weights_come_back(dtype: torch.dtype, fails: bool) -> None:
    with learned(dtype) as unet:
        before = {name: (value.data_ptr(), value.clone()) for name, value in unet.state_dict().items()}
        lora, picture = lora_state(unet), drawn(unet)
        try:
            with fused_lora(unet, 0.7):
                drawn(unet)
                if fails:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
        after = unet.state_dict()
        assert all(after[name].data_ptr() == place for name, (place, _) in before.items())
        assert all(torch.equal(after[name], value) for name, (_, value) in before.items())
        assert all(torch.equal(value, lora[name]) for name, value in lora_state(unet).items())
        assert torch.equal(drawn(unet), picture)


def test_a_denoiser_without_a_lora_is_drawn_with_as_it_is() -> None:
    unet = tiny.unet(16)
    plain = drawn(unet)
    with fused_lora(unet, 0.7):
        assert torch.equal(drawn(unet), plain)
