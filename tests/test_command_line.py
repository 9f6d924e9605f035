"""The command line must see a photo as the page does, and say in one sentence what it cannot use."""

import json
from pathlib import Path

import pytest
from PIL import Image

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


def test_a_file_that_is_no_picture_is_named(person: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "letter.jpg").write_text("Dear all")
    assert main(["score", str(tmp_path / "letter.jpg"), "--person", str(person)]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["error"].startswith("letter.jpg: ")
