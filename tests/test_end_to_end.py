"""The whole way on the embedded base, by the command line: photos in, an adapter, portraits of that person out."""

import io
import json
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from magicapture.__main__ import main
from magicapture.bases import MINI, load_base
from magicapture.evaluation import bench
from magicapture.evaluation.judge import closeness, dlib_descriptor
from magicapture.faces import load_engine

EXAMPLES = Path(__file__).parents[1] / "examples"
PERSON, ANOTHER, STYLE = EXAMPLES / "person-1", EXAMPLES / "person-2", EXAMPLES / "style-pencil"


def run(*arguments: object, status: int = 0) -> dict:
    """Run one command of the command line; gives the JSON object in its last line."""
    with redirect_stdout(io.StringIO()) as said:
        assert main([*map(str, arguments)]) == status
    return json.loads(said.getvalue().splitlines()[-1])


def run_apart(*arguments: object) -> dict:
    """Do the same in a process of its own, as it is typed."""
    command = [sys.executable, "-m", "magicapture", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train ``quick``, for half as long as visitors do."""
    folder = tmp_path_factory.mktemp("adapter")
    run_apart("train", "--person", PERSON, "--style", STYLE, "--out", folder, "--base", "mini", "--steps", 110)
    return folder


@pytest.fixture(scope="module")
def portraits(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("portraits")
    rows = run("generate", adapter, "--out", folder, "--count", 6)["portraits"]
    return [Path(row["file"]) for row in rows]


def likeness(portraits: list[Image.Image], photos: list[Image.Image]) -> float:
    """Give the mean closeness of every portrait to all the photos, by dlib; a portrait without a face counts 0."""
    engine = load_engine("builtin")
    known = np.stack([dlib_descriptor(photo, engine) for photo in photos])
    found = [dlib_descriptor(portrait, engine) for portrait in portraits]
    return float(np.mean([0 if face is None else closeness(face, known) for face in found]))


def test_portraits_are_of_that_person_and_of_nobody_else(portraits: list[Path]) -> None:
    drawn = [Image.open(path).convert("RGB") for path in portraits]
    photos = {
        person: [Image.open(p).convert("RGB") for p in sorted(person.glob("*.jpg"))] for person in (PERSON, ANOTHER)
    }
    base = load_base("mini")
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(drawn))]
    with torch.no_grad():
        untouched = base.pipeline(
            ["a drawing of a person"] * len(drawn),
            generator=generators,
            guidance_scale=MINI.untouched_guidance_scale,
            num_inference_steps=MINI.sampling_steps,
        )
    ours = likeness(drawn, photos[PERSON])
    assert ours > likeness(untouched.images, photos[PERSON]) + 0.05
    assert ours > likeness(drawn, photos[ANOTHER]) + 0.05


def test_portraits_are_in_the_look(portraits: list[Path]) -> None:
    # Pencil drawings have no colour; the photos of the person have.
    def colourfulness(path: Path) -> float:
        pixels = np.asarray(Image.open(path).convert("RGB").resize((64, 64)), np.float32)
        return float((pixels.max(axis=2) - pixels.min(axis=2)).mean())

    drawn = np.mean([colourfulness(path) for path in portraits])
    photos = np.mean([colourfulness(path) for path in PERSON.glob("*.jpg")])
    assert drawn < 0.7 * photos


def test_the_dial_trades_likeness_for_style(adapter: Path, tmp_path: Path) -> None:
    def means(dial: float) -> np.ndarray:
        asked = ("--out", tmp_path / str(dial), "--count", 8, "--dial", dial)
        rows = run("generate", adapter, *asked)["portraits"]
        return np.array([[row["likeness"], row["style"]] for row in rows]).mean(axis=0)

    style_end, person_end = means(0.0), means(1.0)
    assert person_end[0] > style_end[0] + 0.01
    assert person_end[1] < style_end[1] - 0.01


def test_a_portrait_says_how_it_was_made(portraits: list[Path]) -> None:
    facts = json.loads(Image.open(portraits[0]).text["magicapture"])
    assert facts["steps"] == MINI.sampling_steps
    assert -1 <= facts["likeness"] <= 1


def test_scores_come_out_of_the_command_line(portraits: list[Path]) -> None:
    result = run("score", *portraits, "--person", PERSON, "--style", STYLE)
    assert len(result["images"]) == len(portraits)
    assert result["mean"]["likeness"] == pytest.approx(np.mean([row["likeness"] for row in result["images"]]))


def test_unusable_photos_end_in_status_one_and_a_sentence(tmp_path: Path) -> None:
    Image.new("RGB", (800, 800), "white").save(tmp_path / "white.png")
    result = run("check", tmp_path, status=1)
    assert result["usable"] is False
    assert result["photos"][0]["problems"] == ["no_face"]
    error = run("train", "--person", tmp_path, "--style", STYLE, "--out", tmp_path / "out", status=1)["error"]
    assert error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("base", ["tiny", pytest.param("mini", marks=pytest.mark.slow)])
def test_bench_reports_both_loops(base: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    few = {"ROUNDS": 1, "WARMUP_STEPS": 0, "TIMED_STEPS": 1, "FEW_STEPS": 2, "MATRIX_SIDE": 64}
    for name, number in few.items():
        monkeypatch.setattr(bench, name, number)
    monkeypatch.setenv("MAGICAPTURE_UPSCALER", str(tiny.upscaler(tmp_path)))
    result = run("bench", "--base", tiny.saved(tmp_path / "base") if base == "tiny" else base)
    assert result["step_ratio"] == pytest.approx(
        result["seconds_per_step"] / result["dreambooth_lora_seconds_per_step"]
    )
    assert result["seconds_per_portrait"] > 0
    assert result["peak_memory_gb"] > 0
