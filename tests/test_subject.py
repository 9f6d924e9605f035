"""What a visitor says of their subject is bounded, stays with the photos, and goes with them."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import stand_in
import tiny
from PIL import Image
from things import RED, scene, teapot, teapots
from visitor import files, make_old, uploaded

from magicapture.bases import MINI, SD15, BaseError
from magicapture.config import TrainConfig
from magicapture.photos.references import check_photos
from magicapture.photos.subjects import load_subject
from magicapture.server.consent import consent_for, give_consent
from magicapture.server.engine import TrainRequest
from magicapture.server.jobs import Jobs
from magicapture.server.plans import TrainingPlan
from magicapture.server.records import Records
from magicapture.server.wire import pack, unpack
from magicapture.server.workspace import TooLittleLikenessError, Workspace, WorkspaceError
from magicapture.server.workspace.portraits import require_likeness
from magicapture.server.workspace.retention import sweep
from magicapture.settings import settings
from magicapture.subject import noun_of
from magicapture.ui import judging, references, subject
from magicapture.ui.api_photos import subject_called
from magicapture.ui.live import caption
from magicapture.ui.readiness import what_is_missing


@pytest.mark.parametrize(
    ("written", "noun"),
    [
        ("a Teapot", "teapot"),
        ("my  old\tdog", "old dog"),
        ("an ice-cream", "ice-cream"),
        ("", "thing"),
        ("the", "thing"),
        ("a Person", "person"),
    ],
)
def test_a_name_is_read_as_people_write_it(written: str, noun: str) -> None:
    assert noun_of(written) == noun


@pytest.mark.parametrize(
    ("hostile", "said"),
    [
        ("<img src=x onerror=alert(1)>", "does not name a thing"),
        ("../../etc/passwd", "does not name a thing"),
        ("teapot\0", "does not name a thing"),
        ("<magi-style>", "does not name a thing"),
        ("急須", "does not name a thing"),
        ("théière", "does not name a thing"),
        ("x" * 41, "does not name a thing"),
        ("x " * 500_000, "does not name a thing"),
        ("a big red old round teapot", "does not name a thing"),
        ("teapot, masterpiece", "does not name a thing"),
        ("young woman", "is somebody"),
        ("snow-man", "is somebody"),
        ("person", ""),
        ("dead person", "is somebody"),
        ("naked statue", "is not trained here"),
    ],
)
def test_a_hostile_name_is_refused_in_one_sentence(hostile: str, said: str) -> None:
    if not said:
        assert noun_of(hostile) == hostile
        return
    with pytest.raises(ValueError, match=said) as refused:
        noun_of(hostile)
    assert len(str(refused.value)) < 180


def test_the_name_and_the_masks_go_with_the_photos(root: Path, mine: Workspace) -> None:
    mine.subject.name("teapot")
    photos = mine.ingest([uploaded(root, "a.jpg"), uploaded(root, "b.jpg")], "person")
    for photo in photos:
        mine.subject.store_mask(photo, Image.new("L", (10, 10), 255))
    assert mine.subject.noun == "teapot"
    assert set(mine.subject.masks("person")) == {"a.jpg", "b.jpg"}
    assert Image.open(mine.subject.masks("person")["a.jpg"]).size == (96, 64), "a mask is as large as its photo"
    mine.ingest(photos[1:], "person")
    assert set(mine.subject.masks("person")) == {"b.jpg"}
    mine.subject.name("person")
    assert mine.subject.noun == "person"
    mine.subject.name("dog")
    mine.forget_photos()
    assert mine.subject.noun == "person"
    assert mine.subject.masks("person") == {}
    with pytest.raises(WorkspaceError, match="not there any more"):
        mine.subject.store_mask(photos[1], Image.new("L", (10, 10), 255))
    assert files(root) == []


def test_what_was_said_of_the_photos_is_no_older_than_they_are_and_goes_by_their_clock(
    root: Path, mine: Workspace
) -> None:
    mine.subject.name("teapot")
    make_old(root, 2)
    (photo,) = mine.ingest([uploaded(root)], "person")
    mine.subject.store_mask(photo, Image.new("L", (10, 10), 255))
    sweep(root, 1, 24)
    assert mine.subject.noun == "teapot"
    make_old(root, 2)
    sweep(root, 1, 24)
    assert files(root) == []


def test_a_name_that_was_forged_on_the_disk_is_that_of_no_thing(mine: Workspace) -> None:
    (mine.place.part("photos", "subject") / "Tea pot!").touch()
    assert mine.subject.noun == "person"


def test_transparency_of_an_upload_is_its_mask_and_hidden_pixels_are_not_kept(root: Path, mine: Workspace) -> None:
    upload = uploaded(root, "cut.png")
    pixels = np.zeros((300, 300, 4), np.uint8)
    pixels[..., 0] = 77  # which somebody cut away
    picture = Image.fromarray(pixels)
    picture.paste(teapot(RED), (0, 0), teapot(RED))
    picture.save(upload)
    (photo,) = mine.ingest([upload], "person")
    with Image.open(photo) as stored:
        assert stored.getpixel((2, 2)) == (238, 238, 238)
    (verdict,) = check_photos([photo], "person", load_subject("teapot"), 64, mine.subject.masks("person")).verdicts
    assert verdict.status == "usable"
    opaque = uploaded(root, "opaque.png")
    Image.new("RGBA", (96, 64), (9, 9, 9, 255)).save(opaque)
    mine.ingest([photo, opaque], "person")
    assert set(mine.subject.masks("person")) == {photo.name}


def test_a_painted_mask_says_where_the_thing_is_and_its_background_stays(root: Path, mine: Workspace) -> None:
    upload = uploaded(root, "scene.png")
    scene(teapot(RED, side=150), 50, 50).save(upload)
    (photo,) = mine.ingest([upload], "person")
    thing = load_subject("teapot")
    assert check_photos([photo], "person", thing, 64).verdicts[0].status == "unusable"
    mine.subject.store_mask(photo, Image.new("L", (256, 256)).resize((64, 64)))
    (blank,) = check_photos([photo], "person", thing, 64, mine.subject.masks("person")).verdicts
    assert [problem.code for problem in blank.problems] == ["nothing_left"]
    mask = Image.new("L", (128, 128))
    mask.paste(255, (30, 50, 95, 90))
    mine.subject.store_mask(photo, mask)
    checked = check_photos([photo], "person", thing, 64, mine.subject.masks("person"))
    (reference,) = checked.references
    assert checked.subject == "teapot"
    assert 0.3 < reference.mask.mean() < 0.7
    assert np.asarray(reference.image)[:4].std() > 20, "the noise around it is there"
    mine.subject.masks("person")[photo.name].unlink()
    gone = check_photos([photo], "person", thing, 64, {photo.name: mine.folder / "photos/person-masks/gone.png"})
    assert [problem.code for problem in gone.verdicts[0].problems] == ["no_mask"]


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Give what the tab References asks of the process, with a base whose weights nobody needs."""
    monkeypatch.setattr(judging, "load_base", lambda _: SimpleNamespace(spec=SD15, resolution=64))
    records = Records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    yield SimpleNamespace(records=records, settings=settings(), jobs=Jobs(records))
    records.close()


def trained(context: SimpleNamespace, root: Path, mine: Workspace) -> None:
    """Let the visitor's training on a teapot, to which they agreed, be over: their photos are gone."""
    give_consent(context.records, mine, "teapot")
    mine.subject.name("teapot")
    mine.ingest([uploaded(root)], "person")
    mine.forget_photos()


def test_photos_that_are_added_after_a_training_show_what_the_page_still_says(
    context: SimpleNamespace, root: Path, mine: Workspace
) -> None:
    trained(context, root, mine)
    upload = uploaded(root, "cut.png")
    teapot(RED).save(upload)
    _, checked, _, _ = references.add(context, "person", [(str(upload), None)], SD15.name, mine, None, (), "teapot")
    assert (checked.subject, checked.verdicts[0].status) == ("teapot", "usable")
    assert mine.subject.noun == "teapot"


def test_a_consent_to_photos_of_a_thing_is_none_to_photos_of_a_person(
    context: SimpleNamespace, root: Path, mine: Workspace
) -> None:
    trained(context, root, mine)
    upload = str(uploaded(root))
    *_, said, _ = references.add(context, "person", [(upload, None)], SD15.name, mine, None, (), "person")
    assert "tick the box" in said
    assert mine.photos("person") == []
    assert not consent_for(context.records, mine, "person")
    references.agree(context, True, mine, SD15.name, "teapot")
    assert not consent_for(context.records, mine, "person"), "the page asked for the teapot's"


def test_who_says_after_a_training_that_the_photos_show_a_person_agrees_to_that(
    context: SimpleNamespace, root: Path, mine: Workspace
) -> None:
    trained(context, root, mine)
    subject.choose(context, mine, "person", "", SD15.name, "teapot")
    assert consent_for(context.records, mine, "person")
    assert mine.subject.noun == "person"


def test_what_the_photos_show_travels_with_the_training(tmp_path: Path) -> None:
    photos = stand_in.references(32)
    plan = TrainingPlan("mini", photos, photos, TrainConfig(), subject="teapot")
    request = TrainRequest("mini", photos, photos, TrainConfig(), None, 1.0, "teapot")
    assert unpack(pack(plan)).subject == unpack(pack(request)).subject == "teapot"


def test_a_base_that_knows_people_alone_refuses_a_thing_to_programs_too() -> None:
    embedded = SimpleNamespace(base=SimpleNamespace(spec=MINI), engine=stand_in.StandInEngine())
    with pytest.raises(BaseError, match="people alone"):
        subject_called(embedded, "a teapot")
    assert subject_called(embedded, "person") is embedded.engine
    assert subject_called(SimpleNamespace(base=tiny.base(sample_size=16)), "a teapot").noun == "teapot"


def test_sets_of_two_subjects_are_not_trained_on(tmp_path: Path) -> None:
    photos = sorted(teapots(tmp_path).iterdir())
    person = check_photos(photos, "person", load_subject("teapot"), 32)
    style = check_photos(photos, "style", stand_in.StandInEngine(), 32)
    assert "looked at anew" in what_is_missing(person, style)
    assert what_is_missing(None, None, "teapot").startswith("There are no photos of the teapot yet")


def test_a_bound_for_faces_and_words_about_them_leave_things_alone() -> None:
    facts = {"likeness": 0.2, "style": 0.5}
    with pytest.raises(TooLittleLikenessError):
        require_likeness(facts, 0.4)
    require_likeness(facts | {"subject": "teapot"}, 0.4)
    assert caption(facts) == "not you 0.20 · style 0.50"
    assert caption(facts | {"subject": "teapot"}) == "likeness 0.20 · style 0.50"
