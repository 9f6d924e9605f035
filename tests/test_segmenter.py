"""A thing is found by its name in a photo that nobody has masked, by a model of the true class with random weights."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from httpx2 import ReadTimeout
from PIL import Image
from things import RED, scene, teapot
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPSegProcessor, ViTImageProcessor

from magicapture.photos.references import Verdict, check_photos
from magicapture.settings import settings
from magicapture.things import segmenter
from magicapture.things.thing import Thing

SIDE = 32


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a CLIPSeg with random weights, whose maps are brought to a mean of zero."""
    words, folder = tiny.tokenizer(), tmp_path_factory.mktemp("clipseg")
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    ends = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1}
    torch.manual_seed(0)
    config = CLIPSegConfig(
        text_config=small | ends | {"vocab_size": len(words)},
        vision_config=small | {"image_size": SIDE, "patch_size": 8},
        projection_dim=16,
        reduce_dim=8,
        extract_layers=[0, 1, 2],
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )
    CLIPSegForImageSegmentation(config).save_pretrained(folder)
    CLIPSegProcessor(ViTImageProcessor(size={"height": SIDE, "width": SIDE}), words).save_pretrained(folder)
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    scene(teapot(RED, side=150), 50, 50).save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


def use(source: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGICAPTURE_SEGMENTER", str(source))
    settings.cache_clear()
    segmenter._load.cache_clear()


def verdict(photo: Path) -> Verdict:
    return check_photos([photo], "person", Thing("teapot"), 64).verdicts[0]


def test_what_the_model_shows_becomes_the_mask(model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(model, monkeypatch)
    picture = Image.open(photo)
    network = segmenter._load(str(model))[1]
    seen = network.forward
    shift: list[float] = []

    def around_its_median(**inputs: torch.Tensor) -> object:
        answer = seen(**inputs)
        shift.append(float(answer.logits.median()))
        answer.logits = answer.logits - answer.logits.median()
        return answer

    monkeypatch.setattr(network, "forward", around_its_median)
    monkeypatch.setattr(segmenter, "SHOWN", 0.5)
    mask = segmenter.find_thing(picture, "teapot", str(model))
    assert (mask.size, mask.mode) == (picture.size, "L")
    assert 0.3 < (np.asarray(mask) == 255).mean() < 0.7
    found = verdict(photo)
    assert found.reference is not None
    assert "found by the thing's name" in found.sentence
    monkeypatch.setattr(segmenter, "SHOWN", 1.1)
    assert "No teapot was found" in verdict(photo).sentence
    assert len(shift) == 3


def test_the_visitors_own_mask_goes_first(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(model, monkeypatch)
    monkeypatch.setattr(segmenter, "_load", None)
    teapot(RED).save(tmp_path / "cut.png")
    assert verdict(tmp_path / "cut.png").status == "usable"


def test_without_the_model_one_sentence_says_what_to_do(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*_: object, **__: object) -> None:
        raise ReadTimeout("The read operation timed out")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for broken in (False, True):
        if broken:
            monkeypatch.setattr(segmenter.CLIPSegProcessor, "from_pretrained", cut_off)
        use(photo.parent / "nowhere", monkeypatch)
        said = verdict(photo)
        assert said.status == "unusable"
        assert "is neither on this machine nor to be had from here. Paint over the photo" in said.sentence


@pytest.mark.parametrize("silent", [True, False])
def test_a_hub_that_gives_no_answer_is_not_asked_for_the_model(silent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for = []

    def load(_: str, *, local_files_only: bool) -> None:
        asked_for.append(local_files_only)
        raise OSError

    monkeypatch.setattr(segmenter, "here_alone", lambda _: silent)
    monkeypatch.setattr(segmenter.CLIPSegProcessor, "from_pretrained", load)
    segmenter._load.cache_clear()
    with pytest.raises(segmenter.SegmenterUnavailableError):
        segmenter._load("nobody/clipseg")
    assert asked_for == [silent]
