"""What visitors are told about their photos, and what training gets of them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import tiny
from PIL import Image, ImageDraw, ImageFilter
from visitor import uploaded

from magicapture.faces import FaceEngine
from magicapture.photos.outline import mask_overlay
from magicapture.photos.references import Role, Verdict, check_photos
from magicapture.server.workspace import Workspace
from magicapture.ui import judging
from magicapture.ui.photo_grid import photo_grid

TEMPLATE = np.array([[0.3975, 0.4753], [0.6001, 0.4759], [0.5006, 0.5949], [0.4160, 0.6989], [0.5813, 0.7009]])
"""Mean landmarks of the portraits that the embedded base was trained on, as shares of the side."""

EXPECTED = {
    "several_people.jpg": ("unusable", {"several_people"}),
    "no_face.jpg": ("unusable", {"no_face"}),
    "thumbnail_face64.jpg": ("warning", {"face_too_small"}),
    "far_away_face64.jpg": ("warning", {"face_too_small"}),
    "blurred.jpg": ("warning", {"blurred"}),
    "dark.jpg": ("warning", {"too_dark"}),
    "profile.jpg": ("warning", {"turned", "other_person"}),
    "sunglasses.jpg": ("warning", {"eyes_covered"}),
    "exif_orientation6.jpg": ("usable", set()),
    "sideways_no_exif.jpg": ("usable", set()),
    "sixteen_bit.png": ("usable", set()),
    "sixteen_bit_grey.png": ("usable", set()),
    "cmyk.jpg": ("usable", set()),
    "transparent.png": ("usable", set()),
    "animated.gif": ("usable", set()),
    "truncated.jpg": ("unusable", {"truncated"}),
    "phone.heic": ("usable", set()),
    "text_renamed.jpg": ("unusable", {"not_a_picture"}),
    "empty.jpg": ("unusable", {"empty"}),
    "panorama_12000x200.jpg": ("unusable", {"extreme_shape"}),
    "huge_20000x20000.png": ("unusable", {"too_large"}),
    "other_person.jpg": ("warning", {"other_person"}),
}
LIKE_IMG1 = {"sixteen_bit.png", "sixteen_bit_grey.png", "animated.gif"}
"""Made from photos that would count as their duplicates: they are uploaded with other photos."""


def verdict(
    picture: Image.Image, engine: FaceEngine, tmp_path: Path, name: str = "photo.png", role: Role = "person"
) -> Verdict:
    picture.save(tmp_path / name)
    return check_photos([tmp_path / name], role, engine, 128).verdicts[0]


def codes(checked: Verdict) -> set[str]:
    return {problem.code for problem in checked.problems}


# The uploads that go wrong.


def test_every_known_bad_upload_is_tried(shared: Path) -> None:
    known = json.loads((shared / "data/bad_inputs/expected.json").read_text())
    assert {name for name in known if not name.startswith("duplicate_of")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_bad_upload_gets_the_verdict_that_a_visitor_needs(
    name: str, shared: Path, sitter: Path, builtin: FaceEngine
) -> None:
    good = [sitter / f"img{i}.jpg" for i in ((5, 6, 8) if name in LIKE_IMG1 else (1, 2, 5))]
    checked = check_photos([*good, shared / "data/bad_inputs" / name], "person", builtin, 128)
    status, expected = EXPECTED[name]
    bad = checked.verdicts[-1]
    assert (bad.status, codes(bad)) == (status, expected)
    assert [v.status for v in checked.verdicts[:-1]] == ["usable"] * 3
    assert (bad.reference is None) == (status == "unusable")
    assert bad.sentence.startswith(name)


def test_a_copy_of_a_photo_is_noticed_and_left_out(shared: Path, sitter: Path, builtin: FaceEngine) -> None:
    copy = next((shared / "data/bad_inputs").glob("duplicate_of_*"))
    checked = check_photos([sitter / "img1.jpg", sitter / "img2.jpg", copy], "person", builtin, 128)
    assert (checked.verdicts[2].status, codes(checked.verdicts[2])) == ("unusable", {"duplicate"})
    assert len(checked.references) == 2


def test_good_photos_of_everybody_are_not_complained_about(shared: Path, builtin: FaceEngine) -> None:
    for person in sorted((shared / "data/people").iterdir()):
        checked = check_photos(sorted(person.glob("*.jpg")), "person", builtin, 64)
        assert [v.sentence for v in checked.verdicts if v.status != "usable"] == []


def test_paintings_and_engravings_are_not_refused_as_dark_or_blurred(shared: Path, builtin: FaceEngine) -> None:
    for style in sorted((shared / "data/styles").iterdir()):
        checked = check_photos(sorted(style.glob("*.jpg")), "style", builtin, 64)
        assert [v.sentence for v in checked.verdicts if v.status != "usable"] == []


def test_crops_sit_like_the_portraits_that_the_base_has_learned(sitter: Path, builtin: FaceEngine) -> None:
    checked = check_photos(sorted(sitter.glob("*.jpg")), "person", builtin, 128)
    mean = np.mean([(r.landmarks + 0.5) / 128 for r in checked.references], axis=0)
    assert np.abs(mean - TEMPLATE)[[0, 1, 3, 4]].max() < 0.03
    assert np.abs(mean.mean(axis=0) - TEMPLATE.mean(axis=0)).max() < 0.015


# Judging.


@pytest.fixture
def visitor(
    root: Path, mine: Workspace, portrait: Image.Image, builtin: FaceEngine, monkeypatch: pytest.MonkeyPatch
) -> Workspace:
    """Give a visitor who has a photo of a person."""
    monkeypatch.setattr(judging, "load_subject", lambda _: builtin)
    portrait.save(upload := uploaded(root, "me.png"))
    mine.ingest([upload], "person")
    return mine


def test_a_good_photo_becomes_a_complete_reference(builtin: FaceEngine, portrait: Image.Image, tmp_path: Path) -> None:
    good = verdict(portrait, builtin, tmp_path)
    assert good.status == "usable", good.sentence
    reference = good.reference
    assert reference.image.size == (128, 128)
    assert reference.mask.shape == (128, 128)
    assert reference.mask.dtype == np.float32
    assert np.abs(reference.landmarks / 128 - TEMPLATE).max() < 0.06
    assert all(reference.mask[y, x] == 1 for x, y in reference.landmarks.astype(int))
    assert reference.mask[[0, 0, -1, -1], [0, -1, 0, -1]].max() == 0
    assert reference.mask[120, 64] == 0, "the neck"
    assert np.linalg.norm(reference.embedding) == pytest.approx(1)


def test_landmarks_stay_on_the_face_at_every_size(builtin: FaceEngine, portrait: Image.Image, tmp_path: Path) -> None:
    portrait.save(tmp_path / "photo.png")
    small, large = (
        check_photos([tmp_path / "photo.png"], "person", builtin, size).references[0].landmarks for size in (64, 512)
    )
    assert np.allclose((small + 0.5) / 64, (large + 0.5) / 512, atol=1e-3)


@pytest.mark.parametrize("turned", [Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270])
def test_a_photo_on_its_side_is_turned_upright(
    turned: Image.Transpose, builtin: FaceEngine, portrait: Image.Image, tmp_path: Path
) -> None:
    lying = verdict(portrait.transpose(turned), builtin, tmp_path)
    assert "turned" in " ".join(lying.notes)
    upright = verdict(portrait, builtin, tmp_path).reference.image
    assert np.abs(np.asarray(lying.reference.image, float) - np.asarray(upright, float)).mean() < 8


def sunglasses(portrait: Image.Image) -> Image.Image:
    ImageDraw.Draw(portrait).rectangle((175, 95, 275, 125), fill=(8, 8, 8))
    return portrait


def beside_each_other(portrait: Image.Image) -> Image.Image:
    pair = Image.new("RGB", (640, 512))
    pair.paste(portrait.crop((60, 0, 380, 512)))
    pair.paste(portrait.crop((60, 0, 380, 512)).transpose(Image.Transpose.FLIP_LEFT_RIGHT), (320, 0))
    return pair


SPOILT = {
    "blurred": lambda p: p.filter(ImageFilter.GaussianBlur(6)),
    "too_dark": lambda p: p.point(lambda v: v // 6),
    "blown_out": lambda p: p.point(lambda v: min(255, v * 2)),
    "eyes_covered": sunglasses,
    "several_people": beside_each_other,
    "face_too_small": lambda p: p.resize((300, 300)),
    "extreme_shape": lambda p: p.resize((2560, 512)),
    "no_face": lambda p: p.crop((300, 250, 512, 512)),
}


@pytest.mark.parametrize("code", SPOILT)
def test_a_spoilt_photo_is_told_what_is_wrong(
    code: str, builtin: FaceEngine, portrait: Image.Image, tmp_path: Path
) -> None:
    spoilt = verdict(SPOILT[code](portrait), builtin, tmp_path)
    assert code in codes(spoilt), spoilt.sentence


@pytest.mark.parametrize("code", ["eyes_covered", "too_dark"])
def test_a_picture_of_a_style_may_have_dark_eyes_and_shadows(
    code: str, builtin: FaceEngine, portrait: Image.Image, tmp_path: Path
) -> None:
    spoilt = portrait.point(lambda v: v // 4) if code == "too_dark" else sunglasses(portrait)
    assert code in codes(verdict(spoilt, builtin, tmp_path))
    assert code not in codes(verdict(spoilt, builtin, tmp_path, role="style"))


def test_a_look_may_show_nobody_and_teaches_by_all_but_the_middle(builtin: FaceEngine, tmp_path: Path) -> None:
    cup = Image.fromarray(skimage.data.coffee())
    assert codes(verdict(cup, builtin, tmp_path)) == {"no_face"}
    assert verdict(cup, builtin, tmp_path).reference is None
    found = verdict(cup, builtin, tmp_path, role="style")
    assert (found.status, codes(found)) == ("warning", {"no_face"})
    assert "all of the picture but its middle teaches the look" in found.sentence
    side = min(cup.size)
    left, top = (cup.width - side) // 2, (cup.height - side) // 2
    middle = cup.crop((left, top, left + side, top + side)).resize((128, 128), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(found.reference.image, float) - np.asarray(middle, float)).mean() < 2
    assert found.reference.landmarks == pytest.approx(TEMPLATE * 128, abs=1)
    columns, rows = found.reference.landmarks.round().astype(int).T
    assert found.reference.mask[rows, columns].all(), "a face that is drawn there is the person's"
    assert found.reference.mask.mean() < 0.15


def test_a_face_too_small_to_learn_from_is_refused(builtin: FaceEngine, portrait: Image.Image, tmp_path: Path) -> None:
    tiny = verdict(portrait.resize((160, 160)), builtin, tmp_path)
    assert tiny.status == "unusable"
    assert codes(tiny) == {"face_too_small"}


def test_the_same_photo_saved_twice_is_used_once(builtin: FaceEngine, portrait: Image.Image, tmp_path: Path) -> None:
    portrait.save(tmp_path / "one.png")
    portrait.resize((400, 400)).save(tmp_path / "two.jpg", quality=60)
    checked = check_photos([tmp_path / "one.png", tmp_path / "two.jpg"], "person", builtin, 128)
    assert [v.status for v in checked.verdicts] == ["usable", "unusable"]
    assert "same photo as one.png" in checked.verdicts[1].sentence
    assert [r.name for r in checked.references] == ["one.png"]
    grid = photo_grid(checked, [tmp_path / "one.png", tmp_path / "two.jpg"])
    assert "1 of 2 can be used" in grid
    assert "two.jpg: not usable" in grid
    badges = re.findall(r'role="img" aria-label="([^"]+)"[^>]*>(.)</span>', grid)
    assert badges == [("usable", "✓"), ("not usable", "⊘")], "one sign has room, and is read out in words"


@pytest.mark.parametrize(("base", "side"), [("mini", 256), ("sd15", 512), ("sdxl", 768), ("flux2-klein", 512)])
def test_photos_are_checked_at_the_size_of_a_base_that_is_not_loaded_for_it(
    base: str, side: int, visitor: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "load_base", lambda name: pytest.fail(f"{name} was loaded"))
    checked, _ = judging.judge("person", base, visitor)
    assert [reference.image.size for reference in checked.references] == [(side, side)]


def test_photos_are_checked_at_the_size_that_an_installations_own_base_has(visitor: Workspace, tmp_path: Path) -> None:
    checked, _ = judging.judge("person", tiny.saved(tmp_path / "base"), visitor)
    assert [reference.image.size for reference in checked.references] == [(128, 128)]


def test_the_page_can_show_what_is_learned(builtin: FaceEngine, portrait: Image.Image, tmp_path: Path) -> None:
    good = verdict(portrait, builtin, tmp_path).reference
    mask = np.asarray(Image.fromarray((good.mask * 255).astype(np.uint8)).resize((256, 256))) / 255
    alpha = np.asarray(mask_overlay(good, 256))[..., 3]
    assert 200 < (alpha == 255).sum() < 3000, "the outline is a line"
    assert mask[alpha == 255].min() < 0.5 < mask[alpha == 255].max(), "and runs along the edge of the mask"
    assert mask[alpha == 0].min() > 0.4, "within it the face is seen as it is"
    assert mask[alpha == 140].max() < 0.6, "around it all is darker"
