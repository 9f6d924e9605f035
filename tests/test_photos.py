"""Reading photos of any origin."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin
from running import ROOT

from magicapture.photos.reading import PhotoError, read_photo


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, float) - np.asarray(b.resize(a.size), float)).mean())


@pytest.mark.parametrize(
    ("name", "original", "tolerance"),
    [
        ("exif_orientation6.jpg", "img3.jpg", 3),
        ("sixteen_bit.png", "img1.jpg", 1),
        ("sixteen_bit_grey.png", "img2.jpg", 2),
        ("cmyk.jpg", "img7.jpg", 8),
        ("phone.heic", "img7.jpg", 3),
        ("animated.gif", "img1.jpg", 8),
    ],
)
def test_a_good_photo_in_an_awkward_container_keeps_its_look(
    name: str, original: str, tolerance: float, shared: Path, sitter: Path
) -> None:
    photo, _ = read_photo(shared / "data/bad_inputs" / name)
    expected = Image.open(sitter / original).convert("RGB")
    if "grey" in name:
        expected = expected.convert("L").convert("RGB")
    assert difference(photo, expected) < tolerance


def test_a_decompression_bomb_is_never_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = struct.pack(">IIBBBBB", 12000, 9000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
    )
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(PhotoError, match="50 megapixels") as error:
        read_photo(path)
    assert error.value.problem.code == "too_large"


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "empty"), (b"words", "not_a_picture"), (None, "missing")], ids=["empty", "text", "gone"]
)
def test_a_file_that_is_no_photo_is_named_as_such(content: bytes | None, code: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PhotoError) as error:
        read_photo(path)
    assert error.value.problem.code == code


def test_a_broken_off_photo_is_not_used_with_a_grey_rest(portrait: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    portrait.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 5])
    with pytest.raises(PhotoError, match="damaged"):
        read_photo(path)


def test_deep_grey_is_not_washed_out(portrait: Image.Image, tmp_path: Path) -> None:
    grey = np.asarray(portrait.convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 250).save(tmp_path / "deep.png")
    photo, notes = read_photo(tmp_path / "deep.png")
    assert np.abs(np.asarray(photo)[..., 1] - grey * (250 / 257)).max() < 1
    assert "8 bits" in notes[0]


def test_cmyk_is_not_inverted(portrait: Image.Image, tmp_path: Path) -> None:
    portrait.convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert difference(read_photo(tmp_path / "print.jpg")[0], portrait) < 8


def test_transparency_becomes_a_light_background(portrait: Image.Image, tmp_path: Path) -> None:
    cut_out = portrait.copy()
    cut_out.putalpha(Image.radial_gradient("L").resize(portrait.size).point(lambda v: 255 if v < 128 else 0))
    cut_out.save(tmp_path / "cut_out.png")
    photo, notes = read_photo(tmp_path / "cut_out.png")
    assert min(photo.getpixel((0, 0))) > 200
    assert photo.getpixel((256, 256)) == portrait.getpixel((256, 256))
    assert "light background" in notes[0]


def test_an_animation_gives_its_first_frame_and_a_note(portrait: Image.Image, tmp_path: Path) -> None:
    portrait.save(tmp_path / "moving.gif", save_all=True, append_images=[Image.new("RGB", (512, 512), "red")])
    photo, notes = read_photo(tmp_path / "moving.gif")
    assert difference(photo, portrait) < 12
    assert "first frame" in notes[0]


def test_a_phone_photo_is_turned_as_its_exif_says(portrait: Image.Image, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    portrait.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.jpg", exif=exif, quality=95)
    assert difference(read_photo(tmp_path / "phone.jpg")[0], portrait) < 4


ODD_TAGS = {
    "a resolution beyond its type": struct.pack("<HHII", 0x0128, 4, 1, 700_000),
    "a width in letters": struct.pack("<HHI4s", 0x0100, 2, 4, b"abc"),
    "a place before the file": struct.pack("<HHIi", 0x8825, 9, 1, -8),
}


@pytest.mark.parametrize("odd", ODD_TAGS.values(), ids=ODD_TAGS)
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_phone_photo_with_an_odd_tag_beside_is_turned_all_the_same(
    odd: bytes, suffix: str, portrait: Image.Image, tmp_path: Path
) -> None:
    turned = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + turned + odd + struct.pack("<I", 0)
    path = tmp_path / f"phone{suffix}"
    portrait.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
    assert difference(read_photo(path)[0], portrait) < 4


@pytest.mark.parametrize("raised", [struct.error, OverflowError, SyntaxError, MemoryError, RecursionError])
@pytest.mark.parametrize(
    "step",
    [
        "PIL.PngImagePlugin.PngImageFile._open",
        "PIL.PngImagePlugin.PngImageFile.load",
        "magicapture.photos.reading._to_rgb",
    ],
)
def test_whatever_a_decoder_raises_is_told_as_that_photo_being_unreadable(
    raised: type[Exception], step: str, portrait: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    portrait.save(tmp_path / "photo.png")
    monkeypatch.setattr(step, Mock(side_effect=raised("odd bytes")))
    with pytest.raises(PhotoError) as error:
        read_photo(tmp_path / "photo.png")
    assert error.value.problem.severity == "unusable"


def test_colours_with_a_profile_are_brought_to_the_screen(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"held").replace(b"bXYZ", b"rXYZ").replace(b"held", b"bXYZ")
    Image.new("RGB", (64, 64), (250, 10, 10)).save(tmp_path / "swapped.png", icc_profile=swapped)
    red, _, blue = read_photo(tmp_path / "swapped.png")[0].getpixel((5, 5))
    assert blue > 200
    assert red < 50


def test_a_damaged_colour_profile_does_not_stop_a_good_photo(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (120, 90, 60)).save(tmp_path / "photo.png", icc_profile=b"no profile at all")
    assert read_photo(tmp_path / "photo.png")[0].getpixel((5, 5)) == (120, 90, 60)


def test_a_very_large_photo_is_shrunk_not_refused(tmp_path: Path) -> None:
    Image.new("RGB", (6000, 4500)).save(tmp_path / "large.png")
    assert read_photo(tmp_path / "large.png")[0].size == (4096, 3072)


def test_a_small_file_does_not_take_a_gigabyte(tmp_path: Path) -> None:
    for mode in ("1", "P", "LA", "RGBA", "I;16"):
        Image.new(mode, (7000, 7000)).save(tmp_path / f"{mode[0]}{len(mode)}.png")
    Image.new("CMYK", (7000, 7000)).save(tmp_path / "cmyk.jpg")
    Image.new("L", (7000, 7000)).save(tmp_path / "progressive.jpg", progressive=True)
    # Each in a process of its own, for what one has taken at most counts for those after it too.
    lines = (
        "import os, resource, sys; from pathlib import Path; from magicapture.photos.reading import read_photo\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "for path in sys.argv[1:]:\n"
        "    if os.fork() == 0:\n"
        "        before = peak(); picture, _ = read_photo(Path(path)); grown = peak() - before\n"
        "        print(*picture.size, grown, flush=True)\n"
        "        os._exit(0)\n"
        "    os.wait()"
    )
    command = [sys.executable, "-c", lines, *map(str, sorted(tmp_path.iterdir()))]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = [tuple(map(int, line.split())) for line in result.stdout.splitlines()]
    assert [size for *size, _ in found] == [[4096, 4096]] * 7
    assert all(50 < grown < 600 for *_, grown in found), found


def test_a_photo_of_the_largest_camera_is_taken_and_a_larger_one_is_not(tmp_path: Path) -> None:
    Image.new("L", (12_000, 9000)).save(tmp_path / "large.jpg")
    assert read_photo(tmp_path / "large.jpg")[0].size == (4096, 3072)
    Image.new("L", (12_000, 9300)).save(tmp_path / "larger.jpg")
    with pytest.raises(PhotoError, match="110 megapixels"):
        read_photo(tmp_path / "larger.jpg")
