"""A thing instead of a person: photos with alpha in, an adapter, pictures of that thing out."""

import io
import json
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import stand_in
import tiny
import torch
from PIL import Image
from things import BLUE, RED, scene, teapot, teapots, tiled_looks

from magicapture.__main__ import main
from magicapture.adapters.adapter import Adapter
from magicapture.adapters.info import AdapterInfo
from magicapture.bases import MINI, SD15, BaseError
from magicapture.bases.words import prompt_for
from magicapture.config import TrainConfig
from magicapture.method.training import Training
from magicapture.photos.references import check_photos
from magicapture.photos.subjects import load_subject
from magicapture.subject import Reference
from magicapture.things.thing import Thing

pytestmark = pytest.mark.usefixtures("one_thread")
SHORT = TrainConfig(token_steps=2, lora_steps=4, previews=1, preview_images=1, preview_steps=2, rank=2)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return teapots(tmp_path_factory.mktemp("teapot"))


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiled_looks(tmp_path_factory.mktemp("looks"))


def references(folder: Path, role: str, size: int) -> list[Reference]:
    return check_photos(sorted(folder.iterdir()), role, Thing("teapot"), size).references


def run(*arguments: object, status: int = 0) -> dict:
    said = io.StringIO()
    with redirect_stdout(said):
        assert main([str(argument) for argument in arguments]) == status
    return json.loads(said.getvalue().splitlines()[-1])


def test_the_command_line_learns_a_teapot_and_draws_and_scores_it(photos: Path, looks: Path, tmp_path: Path) -> None:
    base, out = tiny.saved(tmp_path / "base"), tmp_path / "adapter"
    assert run("check", photos, "--subject", "teapot")["usable"]
    trained = ("--person", photos, "--style", looks, "--out", out, "--base", base, "--steps", 6)
    assert run("train", *trained, "--subject", "teapot")["steps"] == 6
    info = AdapterInfo.read(out)
    assert (info.subject, info.engine) == ("teapot", "efficientnet-lite0")
    assert info.prompts["composed"] == "a photo of <magi-person> teapot in the <magi-style> style"
    assert "<magi-person> teapot" in (out / "README.md").read_text()
    drawn = run("generate", out, "--out", tmp_path / "drawn", "--count", 2, "--steps", 2)["portraits"]
    assert all(-1 <= row["likeness"] <= 1 for row in drawn)
    scored = run("score", drawn[0]["file"], "--person", photos, "--style", looks, "--subject", "teapot")["mean"]
    assert set(scored) == {"likeness", "style"}


def test_a_base_that_knows_faces_alone_refuses_a_thing_in_one_sentence(
    photos: Path, looks: Path, tmp_path: Path
) -> None:
    asked = ("--person", photos, "--style", looks, "--out", tmp_path / "out", "--base", "mini", "--subject", "teapot")
    assert "people alone" in run("train", *asked, status=1)["error"]
    assert not (tmp_path / "out").exists()
    with pytest.raises(BaseError, match="people alone"):
        MINI.require("teapot")
    MINI.require("person")
    SD15.require("teapot")


def test_a_photo_that_does_not_say_where_the_thing_is_is_refused_and_a_look_is_not(tmp_path: Path) -> None:
    scene(teapot(RED, side=128), 60, 60).save(tmp_path / "whole.png")
    Image.new("RGBA", (200, 200)).save(tmp_path / "nothing.png")
    teapot(RED, side=40).save(tmp_path / "tiny.png")
    thing, paths = Thing("teapot"), sorted(tmp_path.iterdir())
    codes = [[p.code for p in v.problems] for v in check_photos(paths, "person", thing, 128).verdicts]
    assert codes == [["nothing_left"], ["thing_too_small"], ["no_mask"]]
    (look,) = check_photos([tmp_path / "whole.png"], "style", thing, 128).references
    assert look.mask[64, 64] == 1
    assert look.mask[:20].max() == 0


def test_the_crop_holds_the_thing_and_nothing_of_its_mirror_image(photos: Path) -> None:
    cornered = Image.new("RGBA", (300, 300))
    cornered.paste(teapot(RED, side=150), (-20, -40))
    path = photos.parent / "cornered.png"
    cornered.save(path)
    (reference,) = check_photos([path], "person", Thing("teapot"), 128).references
    assert reference.landmarks.shape == (4, 2)
    inside = reference.mask[reference.landmarks[0, 1].astype(int) + 2 :, :]
    assert inside.mean() > 0.2
    rows = np.flatnonzero(reference.mask.max(axis=1) > 0.5)
    assert rows[-1] - rows[0] < 128 / 1.2, "mirrored at the upper edge it would reach further"


def test_a_look_that_says_where_its_thing_is_is_cut_around_it_and_not_beyond_its_edges(tmp_path: Path) -> None:
    wide = Image.new("RGBA", (600, 200), (90, 90, 90, 0))
    wide.paste(teapot(BLUE, side=150), (440, 20))
    wide.save(tmp_path / "wide.png")
    (look,) = check_photos([tmp_path / "wide.png"], "style", Thing("teapot"), 100).references
    # The square of 200 px ends at the right edge, so that the teapot's middle, 519 px, lies 119 px from its left one.
    assert look.landmarks[:, 0].mean() == pytest.approx(119 / 2, abs=4)


def test_a_few_stray_pixels_do_not_make_the_thing_larger(tmp_path: Path) -> None:
    picture = teapot(RED)
    picture.save(tmp_path / "clean.png")
    picture.putpixel((299, 0), (*RED, 255))
    picture.save(tmp_path / "stray.png")
    clean, stray = (check_photos([p], "person", Thing("teapot"), 64).verdicts[0] for p in sorted(tmp_path.iterdir()))
    assert np.abs(clean.reference.landmarks - stray.reference.landmarks).max() <= 2


def test_the_same_thing_is_nearer_than_one_of_another_colour_and_is_found_where_it_stands(photos: Path) -> None:
    thing = Thing("teapot")
    wanted = np.mean([reference.embedding for reference in references(photos, "person", 128)], axis=0)
    wanted /= np.linalg.norm(wanted)
    same, other = (thing.find(scene(teapot(colour, 1, 128), 120, 10), wanted) for colour in (RED, BLUE))
    assert same[1] @ wanted > other[1] @ wanted + 0.2
    rows, columns = np.nonzero(same[0])
    assert rows.mean() < 128 < columns.mean()


def test_what_stands_around_a_thing_does_not_count(photos: Path) -> None:
    (reference, *_) = references(photos, "person", 128)
    pixels = np.asarray(reference.image).copy()
    pixels[reference.mask == 0] = (0, 160, 0)
    thing = Thing("teapot")
    moved = thing.embed(Image.fromarray(pixels), reference.mask, reference.landmarks)
    swapped = thing.embed(Image.fromarray(pixels[:, :, ::-1].copy()), reference.mask, reference.landmarks)
    assert moved @ reference.embedding > 0.9
    assert swapped @ reference.embedding < moved @ reference.embedding - 0.2


def test_likeness_of_a_thing_reaches_the_weights(photos: Path, looks: Path) -> None:
    base = tiny.base(sample_size=16)
    config = replace(SHORT, identity_limit=1.0, identity_tasks=("composed",))
    side = base.resolution
    found = references(photos, "person", side), references(looks, "style", side)
    with Training(base, Thing("teapot"), *found, config) as training:
        terms = training.objective.terms(0, "lora", 1.0, training.generator)
        terms["identity"].backward()
        assert sum(p.grad.abs().sum() for p in training.lora if p.grad is not None) > 0
        adapter = training.unscored_adapter()
    assert adapter.info.subject == "teapot"


def test_a_mirrored_thing_keeps_its_corners_in_order(photos: Path, looks: Path) -> None:
    base = tiny.base(sample_size=16)
    side = base.resolution
    found = references(photos, "person", side), references(looks, "style", side)
    with Training(base, Thing("teapot"), *found, SHORT) as training:
        corners = training.objective.material.person.landmarks
    for upper_left, upper_right, lower_right, _ in corners.flatten(0, 1):
        assert upper_left[0] < upper_right[0]
        assert upper_right[1] < lower_right[1]


@pytest.mark.parametrize("noun", ["", "Teapot", "tea\npot", "<magi-style>", "a" * 41, "one two three four five", "茶"])
def test_what_is_no_noun_names_no_thing(noun: str) -> None:
    with pytest.raises(ValueError, match="does not name a thing"):
        Thing(noun)
    facts = json.loads(AdapterInfo.of(SD15, preset="quick", rank=2, steps=2, best_step=1, engine="x").as_json())
    with pytest.raises(ValueError, match="subject"):
        AdapterInfo.parse(facts | {"subject": noun})


def test_faces_stay_the_default() -> None:
    assert load_subject().noun == "person"
    assert prompt_for("reference") == "a photo of a person in the <magi-style> style"
    assert prompt_for("reference", noun="umbrella") == "a photo of an umbrella in the <magi-style> style"


def test_targets_of_a_thing_are_not_read_as_those_of_a_face(photos: Path, looks: Path, tmp_path: Path) -> None:
    base = tiny.base(sample_size=16)
    side = base.resolution
    found = references(photos, "person", side), references(looks, "style", side)
    with Training(base, Thing("teapot"), *found, SHORT) as training:
        next(iter(training))
        adapter = training.adapter()
    adapter.save(tmp_path)
    assert torch.equal(Adapter.load(tmp_path).targets.person, adapter.targets.person)
    forged = replace(adapter.info, subject="person")
    (tmp_path / "magicapture.json").write_text(forged.as_json())
    assert Adapter.load(tmp_path).targets is None
    assert stand_in.StandInEngine.noun == "person"
