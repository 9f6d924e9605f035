"""The LoRA fused into the weights for drawing: the same pictures for less, and the base as it was afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import tiny
import torch

from magicapture.bases import MINI
from magicapture.bases.lora import fused_lora, lora_layers, lora_state

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
