"""Figures that decide which method visitors get: computed by hand here, and from real pictures."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image, ImageOps
from running import ROOT
from scipy import stats
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from magicapture.__main__ import main
from magicapture.evaluation import sampler
from magicapture.evaluation.compare import Comparison
from magicapture.evaluation.judge import closeness, dlib_descriptor
from magicapture.evaluation.looks import ClipLook, ImageNetLook
from magicapture.evaluation.metrics import Yardstick, attention_leak, diversity, measure, pixel_distance
from magicapture.evaluation.plan import PLANS, Cell, Plan, PlanError, Table, load_plan, plan_names, split
from magicapture.evaluation.report import group_rows, person_rows
from magicapture.evaluation.summary import Estimate, summarise
from magicapture.faces import FaceEngine
from magicapture.photos.references import CheckedSet, check_photos

TABLE = Table("t", ["untouched", "magicapture"], people=1, styles=1)


def portrait(likeness: float | None, style: float, *, copied: bool = False) -> dict:
    return {
        "likeness": likeness,
        "style": style,
        "sharpness": None if likeness is None else 0.5,
        "copied": copied,
        "aesthetic": None,
        "copy_paste": 0.2,
    }


def cell(method: str, *portraits: dict) -> dict:
    anchors = {
        "leak": None,
        "diversity": 0.1,
        "real_likeness": 0.6,
        "photos_style": 0.3,
        "own_style": 0.8,
        "training_seconds": 5.0,
    }
    return {"method": method, "person": 0, "style": 0, "seed": 0, "portraits": list(portraits), **anchors}


RESULTS = [
    cell("untouched", portrait(0.1, 0.2), portrait(0.3, 0.2)),
    cell("magicapture", portrait(0.6, 0.7), portrait(None, 0.7), portrait(0.6, 0.1, copied=True), portrait(0.2, 0.5)),
]


def test_shares_are_of_portraits_and_a_missing_face_counts_as_no_likeness() -> None:
    ours = summarise(RESULTS, TABLE)["magicapture"]
    assert ours.likeness.mean == pytest.approx((0.6 + 0 + 0.6 + 0.2) / 4)
    assert ours.way.mean == pytest.approx((0.35 - 0.2) / (0.6 - 0.2))
    assert (ours.faceless.mean, ours.copied.mean) == (0.25, 0.25)
    assert ours.person_only.mean == 0.25  # the one with style 0.1, nearer to the photos with 0.3
    assert ours.style_only.mean == 0.5  # the one without a face and the one no closer than the untouched base's mean
    assert ours.sharpness.mean == 0.5
    assert ours.style_way.mean == pytest.approx((0.5 - 0.2) / (0.8 - 0.2))


def test_photos_that_look_like_the_style_themselves_say_nothing_of_collapse() -> None:
    alike = {**RESULTS[1], "photos_style": 0.75}
    assert summarise([RESULTS[0], alike], TABLE)["magicapture"].person_only.mean is None


def test_what_was_not_measured_is_no_zero() -> None:
    ours = summarise([RESULTS[1]], TABLE)["magicapture"]  # without the untouched base
    assert (ours.way.mean, ours.style_only.mean, ours.leak.mean) == (None, None, None)


def test_an_interval_holds_its_mean_and_is_a_point_for_one_value() -> None:
    expected = stats.ttest_1samp([0.2, 0.9, 0.4], 0).confidence_interval()
    spread = Estimate.of([0.2, None, 0.9, 0.4])
    assert (spread.low, spread.high) == pytest.approx(tuple(expected))
    assert spread.mean == pytest.approx(0.5)
    assert Estimate.of([0.4]).measured == (0.4, 0.4, 0.4)
    assert Estimate.of([0.4, 0.4]).measured == (0.4, 0.4, 0.4)


def test_the_looks_of_one_person_are_no_people() -> None:
    results = [
        {**cell(method, portrait(likeness + look / 10, 0.5)), "person": person, "style": look}
        for method, likenesses in (("untouched", (0.1, 0.2)), ("magicapture", (0.5, 0.7)))
        for person, likeness in enumerate(likenesses)
        for look in range(3)
    ]
    ours = summarise(results, Table("t", ["untouched", "magicapture"], people=2, styles=3))["magicapture"]
    assert ours.likeness.measured == pytest.approx(Estimate.of([0.6, 0.8]).measured)
    alone = summarise(results, Table("t", ["untouched", "magicapture"], people=1, styles=3))["magicapture"]
    assert alone.likeness.measured == pytest.approx(Estimate.of([0.5, 0.6, 0.7]).measured)


def test_a_look_that_lies_hardly_further_says_little_of_the_way() -> None:
    results = [
        {**cell(method, portrait(0.5, style)), "style": look, "own_style": own, "person": person}
        for person in range(2)
        for look, (start, style_of_ours, own) in enumerate([(0.2, 0.5, 0.8), (0.79, 0.99, 0.8)])
        for method, style in (("untouched", start), ("magicapture", style_of_ours))
    ]
    ours = summarise(results, Table("t", ["untouched", "magicapture"], people=2, styles=2))["magicapture"]
    assert ours.style_way.mean == pytest.approx((0.3 + 0.2) / (0.6 + 0.01))


def test_closeness_is_one_minus_the_mean_distance() -> None:
    assert closeness(np.zeros(2), np.array([[0.6, 0.8], [0.0, 0.5]])) == pytest.approx(1 - 0.75)


@pytest.fixture(scope="module")
def sets(examples: Path, builtin: FaceEngine) -> tuple[CheckedSet, CheckedSet]:
    folders = (examples / "person-someone", examples / "style-grey")
    person, style = (sorted(folder.iterdir())[:2] for folder in folders)
    return check_photos(person, "person", builtin, 128), check_photos(style, "style", builtin, 128)


def test_a_copied_photo_is_told_from_a_portrait(
    sets: tuple[CheckedSet, CheckedSet], portrait: Image.Image, builtin: FaceEngine
) -> None:
    person, style = (checked.references for checked in sets)
    yardstick = Yardstick.of([portrait], person, style, builtin, dlib_descriptor, ImageNetLook())
    copy = measure(person[0].image, yardstick, builtin)
    assert copy["copied"]
    assert copy["likeness"] > 0.6
    assert copy["copy_paste"] == pytest.approx(1)
    assert measure(ImageOps.mirror(person[0].image), yardstick, builtin)["copied"]
    again = measure(portrait, yardstick, builtin)  # a photo that training did not see
    assert (again["copied"], again["copy_paste"] < 0) == (False, True)
    assert copy["style"] == pytest.approx(yardstick.photos_style, abs=0.1)
    assert yardstick.photos_style < yardstick.own_style
    nobody = measure(Image.linear_gradient("L").convert("RGB"), yardstick, builtin)
    assert (nobody["likeness"], nobody["sharpness"], nobody["copied"]) == (None, None, False)
    assert yardstick.real_likeness == pytest.approx(copy["likeness"], abs=0.1)
    assert nobody["style"] < copy["style"]


def test_photos_without_a_face_cannot_judge(sets: tuple[CheckedSet, CheckedSet], builtin: FaceEngine) -> None:
    with pytest.raises(ValueError, match="No face is found"):
        Yardstick.of(
            [Image.new("RGB", (64, 64))],
            sets[0].references,
            sets[1].references,
            builtin,
            dlib_descriptor,
            ImageNetLook(),
        )


def test_pictures_differ_by_their_pixels_and_features(portrait: Image.Image) -> None:
    dark, light = (Image.new("RGB", (64, 64), (v, v, v)) for v in (10, 30))
    assert pixel_distance(dark, light) == 20
    assert diversity([dark, dark], ImageNetLook()) == pytest.approx(0, abs=1e-6)
    assert diversity([dark, portrait], ImageNetLook()) > 0.05


def test_a_plan_lists_each_cell_once_and_one_pair_after_the_other() -> None:
    both = Table("u", ["magicapture", "copy"], people=1, styles=2)
    cells = Plan("p*", "s*", 1, [TABLE, both]).cells()
    assert len(cells) == len(set(cells)) == 5
    assert cells[:2] == [Cell("untouched", 0, 0, 0), Cell("magicapture", 0, 0, 0)]


def test_plans_that_come_along_can_be_read_and_wrong_ones_say_why(tmp_path: Path) -> None:
    assert {"default", "paper", "tiny"} <= set(plan_names())
    assert all(load_plan(name).cells() for name in plan_names())
    (tmp_path / "odd.toml").write_text('people = "p*"\n')
    for name, user_error in (("nothing", "There is no plan nothing"), (str(tmp_path / "odd.toml"), "cannot be read")):
        with pytest.raises(PlanError, match=user_error):
            load_plan(name)
    with pytest.raises(PlanError, match="no method magic"):
        Comparison(Plan("*", "*", 1, [Table("t", ["magic"], 1, 1)]), tmp_path, tmp_path)
    with pytest.raises(PlanError, match="no look odd: choose from imagenet, clip"):
        Comparison(Plan("*", "*", 1, [TABLE], look="odd"), tmp_path, tmp_path)
    with pytest.raises(PlanError, match="wants 1 folders"):
        Comparison(Plan("x*", "x*", 1, [TABLE]), tmp_path, tmp_path)


def test_nobody_judges_his_own_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("p1", "s1"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("MAGICAPTURE_FACE_ENGINE", "builtin")
    with pytest.raises(PlanError, match="builtin cannot judge the engine builtin: choose from dlib"):
        Comparison(Plan("p*", "s*", 1, [TABLE], judge="builtin"), tmp_path, tmp_path)


def test_judged_photos_are_never_trained_on() -> None:
    photos = [Path(f"{i}.jpg") for i in range(5)]
    judged, trained = split(photos)
    assert judged
    assert len(trained) >= len(judged)
    assert [*judged, *trained] == photos


def test_a_plan_ends_in_a_report_and_finished_cells_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    base, plan = tiny.saved(tmp_path / "base"), tmp_path / "plan.toml"
    plan.write_text(f'base = "{base}"\n' + (PLANS / "tiny.toml").read_text())
    command = ["evaluate", "--plan", str(plan), "--data", str(ROOT / "examples"), "--out", str(tmp_path)]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["cells"] == 3
    report = (tmp_path / "report.md").read_text()
    assert "| MagiCapture (ours) | " in report
    assert Image.open(tmp_path / "sheet.png").height == 5 * 96
    with (tmp_path / "portraits.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 6
    cells = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()} == cells


def test_likeness_to_each_person_tells_of_missing_faces() -> None:
    assert person_rows(RESULTS, TABLE) == [
        ["likeness to (no face)", "person 1"],
        ["The untouched base", "0.20"],
        ["MagiCapture (ours)", "0.35 (25%)"],
    ]


def test_groups_are_set_beside_the_first_one_with_an_interval() -> None:
    people = {"women": [1, 3], "men": [2, 4], "others": [5]}
    table = Table("t", ["magicapture"], people=5, styles=2, groups={"gender": people})
    results = [
        {**cell("magicapture", portrait(likeness + look / 10, 0.5)), "person": person, "style": look}
        for person, likeness in enumerate((0.35, 0.55, 0.55, 0.75, 0.45))
        for look in range(2)
    ]
    header, ours = group_rows(results, table, "gender")
    low, high = stats.ttest_ind([0.6, 0.8], [0.4, 0.6], equal_var=False).confidence_interval()
    assert header == ["likeness by gender", "women (2)", "men (2)", "men − women", "others (1)", "others − women"]
    assert ours == ["MagiCapture (ours)", "0.50", "0.70", f"0.20 [{low:.2f}, {high:.2f}]", "0.50", "0.00"]


def test_clip_compares_looks_outside_the_face(
    tmp_path: Path, portrait: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, projection_dim=8
    )
    torch.manual_seed(0)
    CLIPVisionModelWithProjection(config).save_pretrained(tmp_path)
    CLIPImageProcessor().save_pretrained(tmp_path)
    head = tmp_path / "head.pth"
    torch.save({"weight": torch.zeros(1, 8), "bias": torch.tensor([6.5])}, head)
    look = ClipLook(str(tmp_path), head.as_uri())
    everywhere = np.ones((portrait.height, portrait.width), np.float32)
    black = Image.new("RGB", portrait.size)
    assert look.features(portrait, None).norm() == pytest.approx(1, abs=1e-5)
    assert look.features(portrait, None) @ look.features(black, None) < 0.999
    assert look.features(portrait, everywhere) @ look.features(black, everywhere) == pytest.approx(1, abs=1e-5)
    assert look.aesthetic(portrait) == 6.5


def test_attention_that_leaks_is_seen(sets: tuple[CheckedSet, CheckedSet]) -> None:
    base = tiny.base(sample_size=16)
    with base.concept_tokens(base.initial_rows(0.1, torch.Generator().manual_seed(0))):
        leak = attention_leak(base, sets[1].references)
    covered = np.mean([reference.mask.mean() for reference in sets[1].references])
    assert leak == pytest.approx(1 - covered, abs=0.25)  # random attention looks everywhere alike


def test_samplers_draw_the_shipped_adapter_by_their_own_steps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sampler, "EULER_STEPS", 2)
    monkeypatch.setattr(sampler, "FAST_STEPS", (2,))
    monkeypatch.setattr("sys.argv", ["sampler", str(ROOT / "examples" / "adapter"), "--count", "1"])
    sampler.main()
    table, rows = capsys.readouterr().out.rsplit("\n", 2)[:2]
    euler, own = json.loads(rows)
    assert (euler["sampler"], own["sampler"], own["steps"]) == ("euler", "sde-dpmsolver++", 2)
    assert abs(euler["style"] - own["style"]) > 1e-3, "one sampler drew both"
    assert table.count("\n") == 3
