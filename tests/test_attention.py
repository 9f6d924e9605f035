"""Recording and refocusing of cross-attention."""

import pytest
import tiny
import torch

from magicapture.bases.attention import pick_words, record_attention, refocusing_layers
from magicapture.method.losses import refocusing_loss, scaled_maps


def test_layers_are_the_five_of_stable_diffusion_at_a_quarter_of_the_latents() -> None:
    assert refocusing_layers(tiny.unet(), 16) == [
        "down_blocks.2.attentions.0.transformer_blocks.0.attn2",
        "down_blocks.2.attentions.1.transformer_blocks.0.attn2",
        "up_blocks.1.attentions.0.transformer_blocks.0.attn2",
        "up_blocks.1.attentions.1.transformer_blocks.0.attn2",
        "up_blocks.1.attentions.2.transformer_blocks.0.attn2",
    ]


def test_a_side_without_layers_is_an_error_and_not_a_silent_zero() -> None:
    with pytest.raises(ValueError, match="5 × 5"):
        refocusing_layers(tiny.unet(), 5)


def run(unet: torch.nn.Module, text: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(1)
    return unet(torch.randn(2, 4, 64, 64), torch.tensor([10, 500]), text).sample


def test_recording_changes_no_prediction_and_is_undone() -> None:
    unet, text = tiny.unet(), torch.randn(2, 7, tiny.TEXT_WIDTH)
    before = dict(unet.attn_processors)
    with torch.no_grad():
        plain = run(unet, text)
        with record_attention(unet, refocusing_layers(unet, 16)) as recorder:
            recorded = run(unet, text)
    maps = recorder.take()
    assert [tuple(m.shape) for m in maps] == [(2, 8, 256, 7)] * 5
    assert torch.allclose(torch.stack([m.sum(dim=-1) for m in maps]), torch.ones(()))
    assert torch.allclose(plain, recorded, atol=1e-5)
    assert all(unet.attn_processors[name] is processor for name, processor in before.items())


def test_processors_are_put_back_when_something_goes_wrong() -> None:
    unet = tiny.unet()
    before = dict(unet.attn_processors)
    with pytest.raises(RuntimeError), record_attention(unet, refocusing_layers(unet, 16)):
        raise RuntimeError
    assert all(unet.attn_processors[name] is processor for name, processor in before.items())


def test_maps_carry_a_gradient_and_refocusing_alone_moves_the_text() -> None:
    unet, text = tiny.unet().requires_grad_(False), torch.randn(2, 7, tiny.TEXT_WIDTH, requires_grad=True)
    with record_attention(unet, refocusing_layers(unet, 16)) as recorder:
        run(unet, text)
    maps = recorder.take()
    assert all(m.requires_grad for m in maps)
    masks = torch.zeros(2, 16, 16)
    masks[:, 4:12, 4:12] = 1
    picked = pick_words(maps, torch.tensor([[2, 3]]))
    refocusing_loss(picked, torch.tensor([[True, True]]), masks[None]).backward()
    assert text.grad[0, 2].abs().sum() > 0


PRESENT = torch.tensor([[True]])


def test_each_word_is_picked_at_its_own_place_in_every_prompt() -> None:
    maps = [torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)]
    picked = pick_words(maps, torch.tensor([[1, 2], [4, -1]]))
    assert picked.shape == (2, 2, 2, 3, 4)
    assert torch.equal(picked[0, 1, 1], maps[1][1, :, :, 2])
    assert torch.equal(picked[1, 0, 0], maps[0][0, :, :, 4])


def test_refocusing_penalises_only_what_lies_outside_the_mask() -> None:
    # One word, one layer, one sample, one head, four places.
    maps = torch.tensor([[[[[0.1, 0.2, 0.3, 0.5]]]]])
    assert scaled_maps(maps).flatten().tolist() == pytest.approx([0, 0.25, 0.5, 1], abs=1e-4)
    mask = torch.tensor([[[[0.0, 0.0], [0.0, 1.0]]]])
    assert refocusing_loss(maps, PRESENT, mask).item() == pytest.approx((0.25**2 + 0.5**2) / 4, abs=1e-4)
    assert refocusing_loss(maps, PRESENT, torch.ones(1, 1, 2, 2)).item() == 0


def test_heads_are_averaged_before_the_square_as_the_authors_do() -> None:
    heads = torch.tensor([[[[[0.0, 1.0], [1.0, 0.0]]]]])  # two heads that look away from each other
    mask = torch.zeros(1, 1, 1, 2)
    assert refocusing_loss(heads, PRESENT, mask, heads_together=True).item() == pytest.approx(0.5**2, abs=1e-4)
    assert refocusing_loss(heads, PRESENT, mask).item() == pytest.approx(0.5, abs=1e-4)


def test_a_word_that_no_prompt_has_does_not_halve_the_loss() -> None:
    maps, masks = torch.rand(2, 1, 2, 3, 4), torch.zeros(2, 2, 2, 2)
    first = refocusing_loss(maps[:1, :, :1], PRESENT, masks[:1, :1])
    assert torch.allclose(refocusing_loss(maps, torch.tensor([[True, False], [False, False]]), masks), first)
    assert refocusing_loss(maps, torch.zeros(2, 2, dtype=torch.bool), masks) == 0


def test_a_flat_map_gives_no_nan() -> None:
    flat = torch.full((1, 1, 1, 1, 4), 0.5, requires_grad=True)
    loss = refocusing_loss(flat, PRESENT, torch.zeros(1, 1, 2, 2))
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(flat.grad).all()


def test_minimum_and_range_are_constants_to_the_gradient() -> None:
    maps = torch.tensor([[[[[0.1, 0.2, 0.3, 0.5]]]]], requires_grad=True)
    refocusing_loss(maps, PRESENT, torch.zeros(1, 1, 2, 2)).backward()
    # d/dA of mean(((A − 0.1) / 0.4)²) = 2 (A − 0.1) / 0.4² / 4
    assert maps.grad.flatten().tolist() == pytest.approx([0, 0.3125, 0.625, 1.25], abs=1e-3)
