"""A zip from anywhere may be damaged or made with ill intent: it is refused, and nothing of it stays."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from magicapture.adapters.adapter import Adapter
from magicapture.adapters.info import AdapterError, AdapterInfo
from magicapture.bases import SD15
from magicapture.server.workspace import Workspace, new_key, uploads

Files = dict[str, bytes]


@pytest.fixture
def sound(tmp_path: Path) -> Files:
    info = AdapterInfo.of(SD15, preset="quick", rank=2, steps=3, best_step=3, engine="stand-in")
    lora, rows = {"conv_in.lora_A.weight": torch.rand(2, 4)}, {"clip_l": torch.rand(2, 32)}
    folder = Adapter(lora, rows, info).save(tmp_path / "sound")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(tmp_path: Path, package: Callable[[Path], object]) -> str:
    """Upload what ``package`` writes; give what the visitor reads."""
    root = tmp_path / "root"
    space = Workspace.of(new_key(), root)
    upload = root / "served" / ("0" * 64) / "anna.zip"
    upload.parent.mkdir(parents=True)
    package(upload)
    with pytest.raises(AdapterError) as error:
        space.shelf.import_zip(upload)
    assert [path for path in root.rglob("*") if path.is_file()] == []
    assert not (tmp_path / "evil").exists()
    assert space.shelf.stored() == []
    return str(error.value)


def packed(files: Files, method: int = zipfile.ZIP_DEFLATED) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, content in files.items():
                archive.writestr(name, content)

    return write


def with_info(files: Files, **changes: object) -> Files:
    return files | {"magicapture.json": json.dumps(json.loads(files["magicapture.json"]) | changes).encode()}


class Evil:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("evil"),)


def test_a_sound_one_is_accepted(tmp_path: Path, sound: Files) -> None:
    packed(sound)(tmp_path / "Anna in oil.zip")
    space = Workspace.of(new_key(), tmp_path / "root")
    assert space.shelf.load(space.shelf.import_zip(tmp_path / "Anna in oil.zip")).info.rank == 2
    assert space.shelf.stored()[0].title == "Anna in oil"
    assert (tmp_path / "Anna in oil.zip").is_file(), "it was no upload"


@pytest.mark.parametrize(
    "name",
    ["../../evil", "/tmp/evil", "pytorch_lora_weights.bin", "adapter/magicapture.json", "README.md/", "..\\evil"],
)
def test_only_an_adapters_own_files_are_unpacked(tmp_path: Path, sound: Files, name: str) -> None:
    assert "anna.zip holds" in refused(tmp_path, packed(sound | {name: b"x"}))


def test_one_of_an_earlier_embedded_base_is_refused(tmp_path: Path, sound: Files) -> None:
    earlier = with_info(sound, base="mini", base_source="mini")
    assert "anna was trained on an earlier embedded demo model" in refused(tmp_path, packed(earlier))


def test_a_pickle_is_never_run(tmp_path: Path, sound: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    disguised = sound | {"pytorch_lora_weights.safetensors": pickle.dumps(Evil())}
    assert "damaged" in refused(tmp_path, packed(disguised))


def test_a_bomb_is_refused_before_it_unpacks(tmp_path: Path, sound: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    text = sound | {"README.md": bytes(2 * 2**20)}
    assert "README.md in anna.zip is too large" in refused(tmp_path / "text", packed(text))
    zeros = sound | {"magicapture_targets.safetensors": bytes(9 * 2**20)}
    assert "unpacks to far more" in refused(tmp_path / "zeros", packed(zeros))
    monkeypatch.setattr(uploads, "MAX_ADAPTER_BYTES", 2**20)
    weights = sound | {"magicapture_targets.safetensors": os.urandom(2 * 2**20)}
    assert "at most 1 MB" in refused(tmp_path / "weights", packed(weights))


def test_weights_that_get_much_smaller_are_refused_before_they_unpack(tmp_path: Path, sound: Files) -> None:
    mostly_zeros = os.urandom(2**15) + bytes(2**19)
    assert "unpacks to far more" in refused(tmp_path, packed(sound | {"magicapture_targets.safetensors": mostly_zeros}))


@pytest.mark.parametrize("name", ["pytorch_lora_weights", "magicapture_emb", "magicapture_targets"])
def test_one_that_is_larger_than_its_base_allows_is_refused(tmp_path: Path, sound: Files, name: str) -> None:
    large = safetensors.torch.save({"unet.conv_in.lora_A.weight": torch.zeros(2, 3 * 2**19)})
    package = packed(sound | {f"{name}.safetensors": large}, zipfile.ZIP_STORED)
    assert "anna is larger than one of rank 2 for the base sd15 can be" in refused(tmp_path, package)


@pytest.mark.parametrize("name", ["pytorch_lora_weights", "magicapture_emb", "magicapture_targets"])
def test_a_hundred_thousand_tensors_are_refused_before_they_are_loaded(
    tmp_path: Path, sound: Files, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def many(count: int, longest: int) -> bytes:
        entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        header = json.dumps({f"{i:0{longest}}": entry for i in range(count)}).encode()
        return len(header).to_bytes(8, "little") + header

    monkeypatch.setattr("magicapture.adapters.adapter.Adapter.load", lambda _: pytest.fail("loaded"))
    for place, content in enumerate((many(100_000, 6), many(5000, 1), (2**62).to_bytes(8, "little"), b"")):
        package = packed(sound | {f"{name}.safetensors": content}, zipfile.ZIP_STORED)
        assert "more tensors" in refused(tmp_path / str(place), package)


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path: Path, sound: Files) -> None:
    size = 3 * 2**20

    def lying(path: Path) -> None:
        packed(sound | {"README.md": bytes(size)})(path)
        content = path.read_bytes()
        assert content.count(size.to_bytes(4, "little")) == 2, "in the entry's header and in the directory"
        path.write_bytes(content.replace(size.to_bytes(4, "little"), (9).to_bytes(4, "little")))

    assert "not a zip file that can be read" in refused(tmp_path, lying)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_packed_twice_is_refused(tmp_path: Path, sound: Files) -> None:
    def twice(path: Path) -> None:
        packed(sound)(path)
        with zipfile.ZipFile(path, "a") as archive:
            for name in sound:
                archive.writestr(name, b"")

    assert "each file once" in refused(tmp_path, twice)


def test_what_is_no_ordinary_zip_is_refused(tmp_path: Path, sound: Files) -> None:
    assert "not a zip" in refused(tmp_path / "a", lambda path: path.write_bytes(b"GIF89a"))
    assert "unusual" in refused(tmp_path / "b", packed(sound, zipfile.ZIP_LZMA))
    assert "lacks magicapture_emb.safetensors" in refused(
        tmp_path / "c", packed({name: content for name, content in sound.items() if "_emb" not in name})
    )


@pytest.mark.parametrize("text", [b"[]", b"\xff\xfe", b"[" * 10**5, b"{}", b"null"])
def test_an_adapter_that_does_not_say_what_it_is_is_refused(tmp_path: Path, sound: Files, text: bytes) -> None:
    assert "The adapter in anna" in refused(tmp_path, packed(sound | {"magicapture.json": text}))


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"base": "someone/else"}, "not known here: someone/else"),
        ({"base": "/etc"}, "not known here: /etc"),
        ({"base": "\U0001f600" * 200}, "not known here"),
        ({"base_source": 'x/y"); import os #'}, "not known here: sd15 (x/y"),
        ({"licence": "mit"}, "not known here: sd15 (stable-diffusion-v1-5/stable-diffusion-v1-5, mit)"),
        ({"rank": 10**8}, "rank"),
        ({"rank": True}, "rank"),
        ({"licence": "mit\ntags: [x]"}, "licence"),
        ({"preset": "x" * 300}, "preset"),
        ({"steps": None}, "steps"),
        ({"latent_mean": [0.1, float("nan")]}, "latent_mean"),
        ({"latent_mean": "0.1"}, "latent_mean"),
        ({"layouts": ["0" * 383]}, "layouts"),
        ({"palette": [128.0] * 6}, "palette"),
        ({"palette": [128.0] * 6 + [1e300]}, "palette"),
        ({"palette": [128.0] * 6 + [float("nan")]}, "palette"),
        ({"layouts": ["g" * 384]}, "layouts"),
        ({"layouts": ["0" * 384] * 65}, "layouts"),
        ({"scores": [{"step": 3, "likeness": float("nan"), "style": 0.5}]}, "scores"),
        ({"scores": [{"step": 3, "likeness": 0.5}]}, "scores"),
        ({"scores": [{"step": 4, "likeness": 0.5, "style": 0.5}]}, "scores"),
        ({"scores": [{"step": 3, "likeness": -2, "style": 0.5}]}, "scores"),
        ({"scores": [{"step": 3, "likeness": 1.5, "style": 0.5}]}, "scores"),
        ({"scores": [{"step": 3, "likeness": 0.5, "style": 1e300}]}, "scores"),
        ({"scores": [{"step": 3, "likeness": 0.5, "style": 10**400}]}, "scores"),
        ({"scores": [{"step": 3, "likeness": 0.5, "style": 0.5, "lora_ratio": -1}]}, "scores"),
        ({"scores": [{"step": 3, "likeness": 0.5, "style": 0.5, "row_norm": None}]}, "scores"),
        ({"latent_mean": [10**400]}, "latent_mean"),
        ({"latent_mean": [1e39]}, "latent_mean"),
        ({"palette": [10**400] * 7}, "palette"),
        ({"seed": 10**400}, "seed"),
        ({"best_step": None}, "best_step"),
        ({"best_step": 4}, "best_step"),
        ({"off": "identity"}, "off"),
        ({"prompts": {"composed": 3}}, "prompts"),
        ({"title": 7}, "title"),
        ({"format": 2}, "format"),
    ],
)
def test_claims_that_would_harm_the_server_are_refused(tmp_path: Path, sound: Files, claims: dict, said: str) -> None:
    assert said in refused(tmp_path, packed(with_info(sound, **claims)))


def test_scores_without_the_best_step_do_not_break_the_list_of_adapters(tmp_path: Path, sound: Files) -> None:
    facts = json.loads(sound["magicapture.json"]) | {"scores": [{"step": 3, "likeness": 0.5, "style": 0.5}]}
    del facts["best_step"]
    assert "best_step" in refused(tmp_path, packed(sound | {"magicapture.json": json.dumps(facts).encode()}))


@pytest.mark.parametrize(
    "rows",
    [
        {},
        {"clip_l": torch.rand(3, 32)},
        {"clip_l": torch.rand(2)},
        {"clip_l": torch.full((2, 32), torch.nan)},
        {"clip_l": torch.ones(2, 32, dtype=torch.int64)},
        {"clip_l": torch.ones(2, 32).to(torch.float8_e4m3fn)},
    ],
)
def test_words_of_odd_shapes_or_numbers_are_refused(tmp_path: Path, sound: Files, rows: dict) -> None:
    forged = sound | {"magicapture_emb.safetensors": safetensors.torch.save(rows)}
    assert "damaged" in refused(tmp_path, packed(forged))


def test_an_adapter_too_large_to_put_on_a_base_is_refused(tmp_path: Path, sound: Files) -> None:
    lora = {"unet.conv_in.lora_A.weight": torch.rand(129, 1)}
    large = with_info(sound, rank=129) | {"pytorch_lora_weights.safetensors": safetensors.torch.save(lora)}
    assert "rank" in refused(tmp_path, packed(large))
