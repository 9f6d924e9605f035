"""The recipe of the embedded base: what it learns from, its computed encoder, and a training from end to end."""

import json
import random
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image

from magicapture.bases.linear import LinearDecoder
from magicapture.mini import train
from magicapture.mini.autoencoder import Encoder, new_vae
from magicapture.mini.captions import Captions
from magicapture.mini.card import Repeated, picture_of
from magicapture.mini.config import CONFIGS, GPU, MiniConfig, RedrawingConfig
from magicapture.mini.data import COLOR, MOST, Portraits, load_portraits, sampling_weights, shifted, with_looks
from magicapture.mini.klt import write_klt
from magicapture.mini.labels import cheek_tone
from magicapture.mini.looks import HELD_OUT, LOOKS, apply_looks
from magicapture.mini.redrawing import Redrawing

PLAIN = {"medium": COLOR, "gender": "man", "glasses": False, "facial_hair": "none", "hat": False}
PLAIN |= {"background": "flag", "view": "frontal"}
TINY = MiniConfig(
    vae=replace(
        GPU.vae, size=128, channels=(8, 8, 16, 16, 32), groups=4, latent_channels=4, steps=3, batch=2, window=4
    ),
    unet=replace(GPU.unet, channels=(32, 64), attention=(False, True), text_width=64, text_layers=1, steps=2, batch=2),
    looks_each=1,
)
TINY = replace(TINY, mending=replace(TINY.vae, adversarial_from=0.0))


def pictures(count: int, side: int) -> torch.Tensor:
    """Draw smooth colours with some detail, (N, 3, S, S) in [-1, 1]."""
    torch.manual_seed(0)
    coarse = torch.nn.functional.interpolate(torch.rand(count, 3, 6, 6), (side, side), mode="bicubic")
    return ((coarse + 0.1 * torch.rand(count, 3, side, side)) * 1.8 - 0.9).clamp(-1, 1)


def portraits(attributes: list[dict]) -> Portraits:
    known = [{"enlarged": False} | a for a in attributes]
    pixels = ((pictures(len(known), 64) + 1) * 127.5).byte()
    return Portraits(pixels, known, sampling_weights(known))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Hold portraits as the data sets do."""
    (tmp_path / "set" / "128").mkdir(parents=True)
    rows = []
    for number, pixels in enumerate(pictures(24, 128)):
        array = ((pixels.permute(1, 2, 0) + 1) * 127.5).numpy().astype(np.uint8)
        rows.append({"file": f"{number}.png", "has_256": False, "attributes": PLAIN | {"gender": "woman"}})
        Image.fromarray(array).save(tmp_path / "set" / "128" / rows[-1]["file"])
    (tmp_path / "set" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "set" / "exclude.txt").write_text("3.png\n")
    return tmp_path / "set"


def test_the_computed_encoder_says_the_most_that_a_linear_one_can() -> None:
    images, vae = pictures(48, 64), new_vae(GPU.vae).eval()
    write_klt(vae, images)
    with torch.no_grad():
        latents = vae.encode(images).latent_dist
        spread = latents.mean.std(dim=(0, 2, 3))
        assert (spread[:-1] >= 0.95 * spread[1:]).all(), "the first channels say the most"
        assert latents.mean.mean(dim=(0, 2, 3)).abs().max() < 0.01
        assert latents.std.max() < 0.01
        as_one = Encoder(vae)(images)
        assert (as_one - latents.mean).norm() / latents.mean.norm() < 2e-3
        # what is left of the pictures, as errors are weighed: no other directions keep more than the principal ones
        seen = vae.encoder.conv_in(images)[:, :3]
        blocks = torch.nn.functional.pixel_unshuffle(seen, 16).permute(0, 2, 3, 1).reshape(-1, 768)
        blocks = blocks - blocks.mean(dim=0)
        best = torch.linalg.svdvals(blocks)[: len(spread)].square().sum()
        flat = as_one.permute(0, 2, 3, 1).reshape(-1, len(spread))
        kept = blocks - flat @ torch.linalg.lstsq(flat, blocks).solution
        assert 1 - kept.square().sum() / blocks.square().sum() > 0.9 * best / blocks.square().sum()


def test_a_linear_encoder_is_undone_by_its_inverse() -> None:
    images, vae = pictures(4, 64), new_vae(GPU.vae).eval()
    write_klt(vae, images)
    latents = Encoder(vae)(images)
    decoder = LinearDecoder(vae)
    assert torch.allclose(Encoder(vae)(decoder.decode(latents).sample), latents, atol=1e-3)
    window = decoder.decode(latents[:, :, 1:3, :2]).sample
    assert torch.equal(window, decoder.decode(latents).sample[:, :, 16:48, :32])


def test_an_error_of_colour_counts_more_than_one_of_lightness() -> None:
    vae = new_vae(GPU.vae).eval()
    write_klt(vae, pictures(8, 64))
    lighter, redder = (torch.tensor(shift).view(1, 3, 1, 1) for shift in ([1.0, 1.0, 1.0], [3**0.5, 0.0, -(3**0.5)]))
    with torch.no_grad():
        lightness, colour = (vae.encoder.conv_in(shift.expand(1, 3, 8, 8)).norm() for shift in (lighter, redder))
    assert colour / lightness == pytest.approx(2.0 * 2**0.5, rel=1e-3)


def test_a_base_is_trained_and_drawn_by_stock_diffusers(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CONFIGS, "cpu", replace(TINY, unet=replace(TINY.unet, workers=0)))
    monkeypatch.setattr(sys, "argv", ["train", "--data", str(folder), "--run", str(tmp_path / "run")])
    train.main()
    assert torch.load(tmp_path / "run" / "decoder.pt", weights_only=True)["step"] == 3
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "run" / "pipeline", torch_dtype=torch.float32)
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert pipeline("a photo of a woman", num_inference_steps=2).images[0].size == (128, 128)
    trained = AutoencoderKL.from_pretrained(tmp_path / "run" / "vae-trained").decoder.conv_out.weight
    assert not torch.equal(before := pipeline.vae.decoder.conv_out.weight, trained.half().float()), "it was mended"
    train.main()  # goes on from the end: there is nothing left to do
    again = StableDiffusionPipeline.from_pretrained(tmp_path / "run" / "pipeline", torch_dtype=torch.float32)
    assert torch.equal(before, again.vae.decoder.conv_out.weight)


def test_each_redrawing_starts_under_as_much_noise_as_its_timestep_says(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, unet=replace(TINY.unet, workers=0))
    monkeypatch.setitem(CONFIGS, "cpu", config)
    monkeypatch.setattr(sys, "argv", ["train", "--data", str(folder), "--run", str(tmp_path), "--stages", "unet"])
    train.main()
    redraw = Redrawing(tmp_path / "pipeline", load_portraits([folder], 128), RedrawingConfig())
    draw, given = redraw.pipeline.__class__.__call__, []
    monkeypatch.setattr(
        redraw.pipeline.__class__,
        "__call__",
        lambda pipeline, *prompts, **options: given.append(options["latents"]) or draw(pipeline, *prompts, **options),
    )
    latents = torch.zeros(4, 4, 8, 8)
    for first in (600, 200):
        redraw.settings = RedrawingConfig(share=0.5, timesteps=(first, first), guidance_scales=(1.0,))
        drawn = redraw(latents, [PLAIN | {"enlarged": False}] * 4)
        assert torch.equal(drawn[2:], latents[2:])
        assert not torch.equal(drawn[:2], latents[:2])
        spread = (1 - redraw.schedule.alphas_cumprod[first]).sqrt().item()
        assert given[-1].std().item() == pytest.approx(spread, rel=0.1), "a sampler noises by its own steps"


def test_excluded_and_held_out_portraits_are_never_learned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magicapture.mini.data.HELD_OUT_EVERY", 4)
    known, held_out = load_portraits([folder], 128), load_portraits([folder], 128, held_out=True)
    assert len(known) + len(held_out) == 23
    assert len(held_out) > 0
    seen = {p.numpy().tobytes() for p in known.pixels}
    assert not seen & {p.numpy().tobytes() for p in held_out.pixels}


def test_small_originals_are_marked_in_every_caption(folder: Path) -> None:
    found = load_portraits([folder], 256)
    assert found.pixels.shape[-1] == 256
    caption = Captions(found, random.Random(0))
    assert all(caption(a).endswith(", blurry") for a in found.attributes)
    assert "blurry" not in caption(found.attributes[0] | {"enlarged": False})


def test_women_and_men_stand_for_a_person_alike_often() -> None:
    found = portraits([PLAIN] * 30 + [PLAIN | {"gender": "woman"}] * 10)
    caption, rng = Captions(found, random.Random(0)), random.Random(1)
    who = Counter()
    for attributes in rng.choices(found.attributes, found.weights.tolist(), k=4000):
        if " person" in caption(attributes):
            who[attributes["gender"]] += 1
    assert 0.4 < who["woman"] / who.total() < 0.6


def test_no_portrait_is_drawn_so_often_that_it_is_learned_by_heart() -> None:
    found = portraits([PLAIN] * 99 + [PLAIN | {"medium": "drawing"}])
    assert found.weights.max() <= 1.01 * MOST * found.weights.mean()


def test_looks_change_the_picture_and_nothing_else_of_it() -> None:
    images = pictures(len(LOOKS), 64)
    drawn = apply_looks(images, torch.arange(len(LOOKS)))
    assert drawn.isfinite().all()
    assert drawn.abs().max() <= 1
    assert ((drawn - images).abs().mean(dim=(1, 2, 3)) > 0.02).all()
    assert torch.equal(apply_looks(images, torch.full((len(LOOKS),), -1)), images)


def test_looks_that_are_kept_out_are_never_learned() -> None:
    found = with_looks(portraits([PLAIN] * 40), 0.4, 4)
    media = {a["medium"] for a in found.attributes}
    assert len(media) > 5
    assert not media & {look.name for look in HELD_OUT}
    assert float(found.weights[:40].sum() / found.weights.sum()) == pytest.approx(0.6, abs=0.01)


def test_moving_a_picture_blurs_nothing() -> None:
    images = pictures(8, 32)
    moved = shifted(images, 3)
    for before, after in zip(images, moved, strict=True):
        places = [(y, x) for y in range(-3, 4) for x in range(-3, 4)]
        inner = after[:, 3:-3, 3:-3]
        assert any(torch.equal(inner, before[:, 3 + y : 29 + y, 3 + x : 29 + x]) for y, x in places)


def test_what_repeats_a_training_portrait_is_known_again(portrait: Image.Image) -> None:
    known = torch.from_numpy(np.array(portrait.crop((100, 0, 356, 256)))).permute(2, 0, 1)
    smooth = ((pictures(1, 256)[0] + 1) * 127.5).byte()
    photo, mirrored, stranger = (
        picture_of(Portraits(pixels[None], [{}], torch.ones(1)), 0) for pixels in (known, known.flip(-1), smooth)
    )
    repeated = Repeated.of(Portraits(known[None], [{}], torch.ones(1)))
    assert repeated.pixels(photo)
    assert repeated.pixels(mirrored)
    assert not repeated.pixels(stranger)
    assert repeated.face(photo)
    assert not repeated.face(stranger)


@pytest.mark.parametrize(
    ("skin", "tone"),
    [((235, 200, 180), "light"), ((170, 120, 90), "medium"), ((110, 70, 50), "dark"), ((9, 9, 9), None)],
)
def test_the_tone_of_cheeks_is_told_at_every_size(skin: tuple[int, int, int], tone: str | None) -> None:
    for side in (128, 256):
        assert cheek_tone(torch.tensor(skin, dtype=torch.uint8)[:, None, None].expand(3, side, side)) == tone
