"""What a visitor entrusts to the page stays theirs, and photos come without traces."""

import os
from pathlib import Path
from unittest.mock import Mock

import pytest
import stand_in
from PIL import Image, PngImagePlugin
from visitor import files, portrait, uploaded

from magicapture.photos.references import check_photos
from magicapture.server.workspace import Workspace, WorkspaceError, new_key
from magicapture.server.workspace.uploads import bare_photo

SECRET = "Rue des Peupliers"
GPS = 0x8825
ORIENTATION = 0x0112


def test_only_who_knows_the_key_finds_the_folder(root: Path) -> None:
    key = new_key()
    assert key != new_key()
    space = Workspace.of(key, root)
    assert not root.exists(), "looking must not leave a trace"
    assert space.photos("person") == space.portraits() == space.shelf.stored() == []
    assert not root.exists()
    assert space.place.part("jobs", "1").is_dir()
    assert space == Workspace.of(key, root) == Workspace.named(space.name, root)
    assert key not in str(space.folder)
    assert space.folder == root / "served" / space.name
    assert space.folder.stat().st_mode & 0o777 == 0o700
    for wrong in ("", "../" * 14 + "x", key + "a", key[:-1] + "/", None, "é" * 43):
        with pytest.raises(ValueError, match="key"):
            Workspace.of(wrong, root)
    with pytest.raises(ValueError, match="name of a visitor"):
        Workspace.named("../" + space.name, root)


def test_nothing_but_pixels_is_left_of_a_photo(root: Path, mine: Workspace) -> None:
    exif = Image.Exif()
    exif[0x010E] = SECRET
    exif[ORIENTATION] = 6
    exif.get_ifd(GPS)[29] = SECRET
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", SECRET)
    xmp = SECRET.encode()
    jpeg = uploaded(root, "a.jpg", exif=exif, comment=SECRET, xmp=xmp, icc_profile=b"no profile " + xmp)
    png = uploaded(root, "b.png", pnginfo=text, exif=exif, icc_profile=b"no profile " + xmp)
    assert xmp in jpeg.read_bytes()
    photos = mine.ingest([jpeg, png, uploaded(root, "c.webp", exif=exif, xmp=xmp)], "person")
    assert [path.name for path in photos] == ["a.jpg", "b.png", "c.jpg"]
    for path in photos:
        assert xmp not in path.read_bytes()
        with Image.open(path) as photo:
            assert photo.size == (64, 96), "the photo must stand upright"
            assert not photo.getexif()
            assert set(photo.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_large_photos_do_not_fill_the_disk(root: Path, mine: Workspace) -> None:
    large = uploaded(root)
    Image.new("RGB", (3000, 1500)).save(large)
    with Image.open(mine.ingest([large], "person")[0]) as photo:
        assert photo.size == (2048, 1024)


def test_uploads_are_gone_and_shipped_examples_stay(root: Path, mine: Workspace, tmp_path: Path) -> None:
    upload, example = uploaded(root), tmp_path / "example.png"
    Image.new("RGB", (64, 64)).save(example)
    photos = mine.ingest([upload, example], "person")
    assert not upload.parent.exists()
    assert example.is_file()
    assert files(root) == sorted(photos) == mine.photos("person")


def test_adding_a_photo_leaves_the_others_as_they_are(root: Path, mine: Workspace) -> None:
    first = mine.ingest([uploaded(root, "a.jpg"), uploaded(root, "b.jpg")], "person")
    style = mine.ingest([uploaded(root, "look.jpg")], "style")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in first}
    assert mine.ingest(first, "person") == first
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in first} == before
    second = mine.ingest([first[1], uploaded(root, "a.jpg")], "person")
    assert mine.photos("person") == sorted(second)
    assert first[1] in second
    assert mine.photos("style") == style
    assert mine.ingest([], "person") == mine.photos("person") == []


def test_photos_of_one_name_do_not_replace_each_other(root: Path, mine: Workspace) -> None:
    photos = mine.ingest([uploaded(root, "IMG.jpg"), uploaded(root, "IMG.jpg")], "person")
    assert [path.name for path in photos] == ["IMG.jpg", "IMG-2.jpg"]
    odd = [uploaded(root, name) for name in ("..jpg.jpg", "<b>&\n.jpg", "写真 1.png", "x" * 200 + ".jpg")]
    assert [path.name for path in mine.ingest(odd, "style")] == ["jpg.jpg", "b.jpg", "写真_1.png", "x" * 40 + ".jpg"]


def test_an_unreadable_file_is_kept_so_that_the_check_can_say_what_is_wrong(root: Path, mine: Workspace) -> None:
    upload = uploaded(root, "letter.JPG")
    upload.write_text("not a picture")
    photos = mine.ingest([upload], "person")
    assert files(root) == photos
    assert mine.ingest(photos, "person") == photos
    verdict = check_photos(photos, "person", stand_in.StandInEngine(), 64).verdicts[0]
    assert (verdict.name, verdict.problems[0].code) == ("letter.jpg", "not_a_picture")


def test_one_photo_that_no_decoder_is_ready_for_does_not_take_the_others_along(
    root: Path, mine: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "_open", Mock(side_effect=OverflowError("odd bytes")))
    photos = mine.ingest([uploaded(root, name) for name in ("a.jpg", "odd.png", "c.jpg")], "person")
    assert files(root) == mine.photos("person") == sorted(photos)
    verdicts = check_photos(photos, "person", stand_in.StandInEngine(), 64).verdicts
    assert [(verdict.name, verdict.status) for verdict in verdicts if verdict.reference is None] == [
        ("odd.png", "unusable")
    ]


def test_too_many_or_too_heavy_uploads_change_nothing_and_do_not_stay(root: Path, mine: Workspace) -> None:
    before = mine.ingest([uploaded(root)], "person")
    heavy = uploaded(root, "heavy.jpg")
    os.truncate(heavy, 31 * 2**20)
    with pytest.raises(WorkspaceError, match=r"heavy\.jpg has more than 30 MB"):
        mine.ingest([*before, uploaded(root), heavy], "person")
    with pytest.raises(WorkspaceError, match="21 photos; use at most 20"):
        mine.ingest([*before, *(uploaded(root) for _ in range(20))], "person")
    assert files(root) == before


def test_nobody_can_take_in_what_is_not_theirs(root: Path, mine: Workspace, other: Workspace) -> None:
    photo = other.ingest([uploaded(root)], "person")[0]
    records = root / "records.sqlite"
    records.write_text("all jobs")
    theirs = [photo, other.add_portrait(portrait(), label=False), records]
    before = files(root)
    for path in [*theirs, mine.folder / "photos" / ".." / ".." / photo.relative_to(root / "served"), root / "none"]:
        for take in (lambda path: mine.ingest([path], "person"), mine.shelf.import_zip):
            with pytest.raises(WorkspaceError, match="not there any more"):
                take(path)
    assert files(root) == before


def test_files_of_the_server_cannot_be_pulled_into_a_folder(mine: Workspace, root: Path, tmp_path: Path) -> None:
    (tmp_path / "passwords").write_text("secret")
    with pytest.raises(WorkspaceError, match="not a picture"):
        mine.ingest([tmp_path / "passwords"], "person")
    with pytest.raises(ValueError, match="role"):
        mine.ingest([], "../../..")
    assert (tmp_path / "passwords").read_text() == "secret"
    assert files(root) == []


def test_photos_go_when_training_is_over(root: Path, mine: Workspace) -> None:
    for role in ("person", "style"):
        mine.ingest([uploaded(root)], role)
    kept = mine.add_portrait(portrait(), label=False)
    mine.forget_photos()
    assert files(root) == [kept]
    mine.forget_photos()


def test_an_upload_that_another_page_takes_meanwhile_is_asked_for_again(
    root: Path, mine: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_too_late(source: Path) -> tuple:
        source.unlink()
        return bare_photo(source)

    monkeypatch.setattr("magicapture.server.workspace.uploads.bare_photo", read_too_late)
    with pytest.raises(WorkspaceError, match=r"went away .* upload it again"):
        mine.ingest([uploaded(root)], "person")
