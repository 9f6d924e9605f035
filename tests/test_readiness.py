"""Nobody should learn from a refusal that their quota was too small: the page says the share before the start."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import stand_in
import torch
from PIL import Image
from visitor import uploaded

from magicapture.bases import FLUX2, MINI, SD15, SDXL
from magicapture.config import GenerateConfig, TrainConfig
from magicapture.photos.references import CheckedSet, Verdict
from magicapture.server import forecast
from magicapture.server.workspace import Workspace
from magicapture.settings import Settings
from magicapture.ui import readiness, train

CARDS = files("spaces.zero") / "configs.json"
"""What ``spaces`` knows of the platform's cards."""

CHECKED = CheckedSet("person", tuple(Verdict("me.jpg", reference) for reference in stand_in.references(32)))
MONA = {"name": "Mona", "preferred_username": "mona", "profile": "", "picture": ""}
STRANGER, MEMBER, PRO = None, gr.OAuthProfile(MONA), gr.OAuthProfile({**MONA, "isPro": True})


UNKNOWN = "NVIDIA GeForce GTX 1080 Ti"


def compute_on(gpu: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine have the GPU that PyTorch calls ``gpu``, or none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: gpu)


@pytest.mark.parametrize(
    ("profile", "factor", "said"),
    [
        (STRANGER, 1.5, "75% without an account, 30% with a free account"),
        (MEMBER, 1.5, "that is 30%."),
        (PRO, 1.5, "that is 4%."),
        (MEMBER, 1.0, "that is 20%."),
    ],
)
def test_the_share_of_the_quota_is_the_visitors_own_on_the_platforms_card(
    profile: gr.OAuthProfile | None, factor: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "get_config", lambda: {"duration_factor": factor})
    monkeypatch.setattr(readiness, "training_seconds", lambda *_: 60)
    monkeypatch.setattr(readiness, "ZERO_GPU", True)
    assert said in readiness.readiness(CHECKED, CHECKED, "mini", TrainConfig(), profile)


def test_an_account_is_not_needed_to_train_on_zero_gpu_and_to_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(forecast.SpacesConfig, "zero_gpu", True)
    dearest = max(card["duration_factor"] for card in json.loads(CARDS.read_text()))
    monkeypatch.setattr(forecast, "get_config", lambda: {"duration_factor": dearest})
    for spec in (SD15, MINI):
        training = forecast.training_seconds(spec.name, spec.presets["quick"])
        drawing = forecast.drawing_seconds(spec.name, GenerateConfig(count=4))
        assert forecast.quota_seconds(training + drawing) <= 0.8 * readiness.ANONYMOUS_QUOTA
        assert training <= Settings.from_environment().slice_seconds


def test_what_is_left_of_a_training_takes_what_is_left_of_its_time() -> None:
    quick = SD15.presets["quick"]
    whole, half, none = (forecast.training_seconds("sd15", quick, done) for done in (0, quick.steps // 2, quick.steps))
    assert whole > half > none == forecast.START_SECONDS["cpu"]
    assert forecast.training_seconds("sd15", replace(quick, images_per_task=1)) < whole
    assert forecast.training_seconds("sd15", replace(quick, one_task=True)) < whole


@pytest.mark.parametrize(("on_gpu", "seconds"), [(True, (7, 8)), (False, (10, 60))])
def test_who_waits_for_four_portraits_to_be_enlarged_is_told_how_long_it_takes_here(
    on_gpu: bool, seconds: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    least, most = seconds
    assert least <= forecast.enlarging_seconds([Image.new("RGB", (128, 128))] * 4) <= most


def test_a_base_that_is_meant_for_a_gpu_takes_a_cpu_hundreds_of_times_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = []
    for gpu in (UNKNOWN, None):
        compute_on(gpu, monkeypatch)
        seconds.append(forecast.drawing_seconds("sd15", GenerateConfig(count=4)))
    assert seconds[1] > 50 * seconds[0]


@pytest.mark.parametrize(
    ("base", "gpu", "counted", "candidates"),
    [
        ("mini", "Tesla T4", False, 4),
        ("sd15", "Tesla T4", False, 1),
        ("sd15", "NVIDIA H100 80GB HBM3", False, 4),
        ("sdxl", "NVIDIA H100 80GB HBM3", False, 4),
        ("sd15", UNKNOWN, False, 4),
        ("sdxl", UNKNOWN, False, 1),
        ("mini", None, False, 2),
        ("sd15", None, False, 1),
        ("mini", UNKNOWN, True, 1),
    ],
)
def test_portraits_are_the_best_of_several_where_that_is_prompt_and_no_quota_is_spent(
    base: str, gpu: str | None, counted: bool, candidates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute_on(gpu, monkeypatch)
    monkeypatch.setattr(forecast.SpacesConfig, "zero_gpu", counted)
    assert forecast.usual_candidates(base) == candidates
    one = forecast.drawing_seconds(base, GenerateConfig())
    assert forecast.drawing_seconds(base, GenerateConfig(best_of=candidates)) <= max(one, forecast.PROMPT_SECONDS)


@pytest.mark.parametrize(
    ("name", "counted", "times"),
    [
        ("Tesla T4", False, 252 / 65),
        ("NVIDIA A100-SXM4-80GB", False, 252 / 312),
        ("NVIDIA H200", False, 252 / 989),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", False, 1 / 2),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", True, 1),  # ZeroGPU lends half of it
        ("Tesla T4", True, 1),
        (UNKNOWN, False, 1),
        ("NVIDIA L40S", False, 1),
        ("NVIDIA GH200 480GB", False, 1),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", False, 1),
    ],
)
def test_nobody_is_promised_the_speed_of_another_gpu(
    name: str, counted: bool, times: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute_on(name, monkeypatch)
    monkeypatch.setattr(forecast.SpacesConfig, "zero_gpu", counted)
    quick, started = SD15.presets["quick"], forecast.START_SECONDS["cuda"]
    steps, previews = SD15.training_work(quick)
    lent = steps * SD15.step_seconds + previews * SD15.portrait_seconds
    assert forecast.training_seconds("sd15", quick) == pytest.approx(started + times * lent)
    portrait = forecast.drawing_seconds("sd15", GenerateConfig(count=1)) - started
    assert portrait == pytest.approx(times * SD15.portrait_seconds)


@pytest.mark.parametrize("gpu", ["T4", "A10G", "A100", "H100"])
def test_the_readme_has_the_forecasts_of_the_page_behind_the_floors(gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = (Path(__file__).parents[1] / "README.md").read_text().partition("| floor, forecast (s) |")[2]
    cells = next(line for line in table.splitlines() if line.startswith(f"| {gpu} |")).split("|")[2:-1]
    compute_on(f"NVIDIA {gpu}", monkeypatch)
    for spec, cell in zip((SD15, SDXL, FLUX2), cells, strict=True):
        if cell.strip() != "does not fit":
            floor, foretold = map(float, cell.split(","))
            assert foretold == round(forecast.training_seconds(spec.name, spec.presets["quick"])) > floor


def test_a_cluster_is_not_taken_for_the_gpu_of_the_machine_that_asks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    compute_on(UNKNOWN, monkeypatch)
    unknown = forecast.drawing_seconds("sd15", GenerateConfig())
    compute_on("Tesla T4", monkeypatch)
    monkeypatch.setattr(forecast, "cluster", lambda: SimpleNamespace(device=lambda: "cuda"))
    assert forecast.drawing_seconds("sd15", GenerateConfig()) == unknown


def test_words_cost_a_second_look_where_drawing_needs_none_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    started = forecast.START_SECONDS["cpu"]
    for base, times in (("mini", 2), ("sd15", 1)):
        plain, worded = (forecast.drawing_seconds(base, GenerateConfig(prompt=words)) for words in ("", "smiling"))
        assert worded - started == pytest.approx(times * (plain - started))


def test_where_time_is_not_counted_no_quota_is_mentioned() -> None:
    assert "quota" not in readiness.readiness(CHECKED, CHECKED, "mini", TrainConfig(), PRO)


@pytest.fixture
def begin(root: Path, mine: Workspace) -> Callable[[int], str]:
    """Give what starts a training on the photos that ``mine`` has now, cut to a number of pixels a side."""
    paths = {role: mine.ingest([uploaded(root)], role) for role in ("person", "style")}
    context = SimpleNamespace(
        settings=Settings.from_environment(), jobs=SimpleNamespace(start=lambda *_: SimpleNamespace(id="begun"))
    )
    request = SimpleNamespace(request=SimpleNamespace(scope={"client": ("192.0.2.1", 1), "headers": []}))

    def begin(side: int) -> str:
        sets = []
        for role, (path,) in paths.items():
            reference = replace(*stand_in.references(side, 1), name=path.name)
            sets.append(CheckedSet(role, (Verdict(path.name, reference),)))
        return train.start(context, mine, *sets, train.Choice("mini", "quick"), request)

    return begin


def test_a_training_waits_until_the_photos_are_cut_for_the_base_that_was_just_chosen(begin: Callable) -> None:
    with pytest.raises(gr.Error, match="looked at anew: wait a moment"):
        begin(2 * MINI.resolution)
    assert begin(MINI.resolution) == "begun"


@pytest.mark.parametrize("forget", [Workspace.forget_photos, Workspace.delete_everything])
def test_photos_that_another_page_deleted_are_not_trained_on(
    mine: Workspace, begin: Callable, forget: Callable
) -> None:
    forget(mine)
    with pytest.raises(gr.Error, match="are deleted meanwhile: add photos again"):
        begin(MINI.resolution)
