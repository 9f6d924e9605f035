"""The command line must see a photo as the page does, and say in one sentence what it cannot use."""

import json
from pathlib import Path

import pytest
from PIL import Image
from visitor import earlier_adapter

from magicapture.__main__ import main

ORIENTATION, TURNED_LEFT = 0x0112, 8


@pytest.fixture
def person(examples: Path) -> Path:
    return examples / "person-someone"


def test_a_photo_that_a_camera_turned_is_scored_upright(portrait: Image.Image, person: Path, tmp_path, capsys) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED_LEFT
    portrait.save(tmp_path / "upright.png")
    portrait.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "turned.png", exif=exif)
    assert main(["score", str(tmp_path / "upright.png"), str(tmp_path / "turned.png"), "--person", str(person)]) == 0
    upright, turned = json.loads(capsys.readouterr().out.splitlines()[-1])["images"]
    assert upright["likeness"] > 0.5
    assert turned["likeness"] == pytest.approx(upright["likeness"], abs=1e-6)


def test_an_adapter_of_an_earlier_embedded_base_is_refused_in_one_sentence(tmp_path: Path, capsys) -> None:
    adapter, out = earlier_adapter().save(tmp_path / "anna"), tmp_path / "out"
    for base in ([], ["--base", "mini"]):
        assert main(["generate", str(adapter), "--out", str(out), *base]) == 1
        assert json.loads(capsys.readouterr().out)["error"] == (
            "The adapter in anna was trained on an earlier embedded demo model and cannot be used with today's: train "
            "it again, with the same photos."
        )
    assert not out.exists()


def test_a_file_that_is_no_picture_is_named(person: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "letter.jpg").write_text("Dear all")
    assert main(["score", str(tmp_path / "letter.jpg"), "--person", str(person)]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["error"].startswith("letter.jpg: ")
