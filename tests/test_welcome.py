"""The first screen, the finished example and the examples' pictures, each by itself and against forgery."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import running
import tiny
from page_session import PageSession
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from running import PATIENCE, ROOT, running_app
from visiting import consent, open_tab
from visitor import portrait, small_adapter, uploaded

from magicapture.adapters.adapter import Adapter
from magicapture.bases import MINI, load_base
from magicapture.config import TrainConfig
from magicapture.faces import load_engine
from magicapture.method.training import Training
from magicapture.photos.reading import photos_in
from magicapture.photos.references import Role, check_photos
from magicapture.server.workspace import Workspace
from magicapture.server.workspace.shelf import MOST_ADAPTERS
from magicapture.ui.examples import build_examples
from magicapture.ui.welcome import FINISHED, PICTURES, Showcase, finished_example, take_finished

SHOWN = "[...document.querySelectorAll('.magi-welcome .shown')].map(picture => picture.alt)"
SETS: tuple[tuple[str, Role], ...] = (("person-someone", "person"), ("style-grey", "style"))
PEOPLE, LOOKS = ("person-1", "person-2", "person-3"), ("style-engraving", "style-sepia")


@pytest.fixture(scope="module")
def furnished(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Start the app with pictures for the first screen, a finished adapter and several sets; gives address and root."""
    folder = tmp_path_factory.mktemp("furnished")
    furnish(folder, examples)
    with running_app(folder, folder / "examples") as address:
        yield address, folder / "root"


def furnish(folder: Path, examples: Path) -> None:
    base, engine = load_base(tiny.saved(folder / "base")), load_engine("builtin")
    found = [check_photos(photos_in(examples / name), role, engine, base.resolution).references for name, role in SETS]
    with Training(base, engine, *found, TrainConfig(token_steps=1, lora_steps=1, previews=1)) as training:
        list(training)
        training.adapter().save(folder / "examples" / FINISHED)
    for person in PEOPLE:
        shutil.copytree(examples / "person-someone", folder / "examples" / person)
    for look in LOOKS:
        shutil.copytree(examples / "style-grey", folder / "examples" / look)
    pictures = folder / "examples" / PICTURES
    pictures.mkdir()
    for name in (*PEOPLE, *LOOKS, *(f"{person}_{look}" for person in PEOPLE for look in LOOKS)):
        Image.new("RGB", (32, 32), "teal").save(pictures / f"{name}.webp")


def test_the_finished_example_that_ships_is_for_todays_embedded_base() -> None:
    adapter = finished_example(SimpleNamespace(base=SimpleNamespace(spec=MINI)))
    assert adapter is not None
    assert adapter.info.base_source == MINI.public_source


def opened(browser: Browser, address: str, **options: object) -> Page:
    page = browser.new_context(viewport={"width": 1180, "height": 900}, **options).new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(address)
    expect(page.locator("#consent input")).to_be_enabled()
    return page


@pytest.fixture
def page(browser: Browser, furnished: tuple[str, Path]) -> Iterator[Page]:
    """Open the page as a new visitor who wants no motion; nothing may go wrong in its scripts."""
    page = opened(browser, furnished[0], reduced_motion="reduce")
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    page.context.close()
    assert not faults


def test_pictures_that_are_not_complete_are_not_shown(tmp_path: Path) -> None:
    assert Showcase.read(tmp_path / "nothing") is None
    for name in ("person-1", "style-grey"):
        (tmp_path / f"{name}.webp").touch()
    assert Showcase.read(tmp_path) is None


def test_four_people_and_six_looks_ship_with_five_pictures_each() -> None:
    assert [len(photos_in(folder)) for folder in (ROOT / "examples").glob("person-*/")] == [5] * 4
    assert [len(photos_in(folder)) for folder in (ROOT / "examples").glob("style-*/")] == [5] * 6


@running.needs_browser
def test_the_first_picture_moves_on_until_the_visitor_chooses(browser: Browser, furnished: tuple[str, Path]) -> None:
    page = opened(browser, furnished[0])
    pictures = page.locator(".magi-welcome img")
    widths = pictures.evaluate_all("all => all.map(picture => picture.naturalWidth)")
    assert widths
    assert all(widths)
    page.wait_for_function(f"{SHOWN}.join() !== 'Person 1,Engraving,A portrait of Person 1, Engraving'")
    page.locator(".magi-welcome input[value=person-2]").click()
    person, look, portrait = page.evaluate(SHOWN)
    assert person == "Person 2"
    assert portrait == f"A portrait of Person 2, {look}"
    page.wait_for_timeout(4000)
    assert page.evaluate(SHOWN) == [person, look, portrait], "it moves although the visitor has chosen"
    page.locator(".magi-welcome .pause").click()
    page.wait_for_function(f"{SHOWN}[0] !== 'Person 2'")
    page.context.close()


@running.needs_browser
def test_who_wants_no_motion_sees_none_and_chooses_by_keyboard(page: Page) -> None:
    before = page.evaluate(SHOWN)
    page.wait_for_timeout(4000)
    assert page.evaluate(SHOWN) == before
    page.locator(".magi-welcome input[value=person-1]").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(SHOWN)[0] == "Person 2"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(SHOWN)[1] != before[1]


@running.needs_browser
def test_the_first_picture_makes_room_once_the_visitor_has_agreed(page: Page) -> None:
    expect(page.locator("#welcome")).to_be_visible()
    consent(page)
    expect(page.locator("#welcome")).to_be_hidden()
    page.reload()
    expect(page.locator("#consent input")).to_be_checked()
    expect(page.locator("#welcome")).to_be_hidden()


@running.needs_browser
def test_one_click_draws_scored_portraits_and_a_second_one_nothing_twice(page: Page) -> None:
    page.locator("#try-finished").dblclick()
    pictures = page.locator("#portraits .magi-tile")
    expect(pictures).to_have_count(4)
    expect(page.locator("#portraits")).not_to_contain_text("not comparable")
    expect(page.locator("#adapter-status")).to_contain_text("A finished example")
    page.get_by_role("button", name="Advanced").click()
    expect(page.get_by_label("Seed")).not_to_have_value("0")
    open_tab(page, "References")
    page.locator("#try-finished").click()
    expect(pictures.first).to_be_visible()
    page.wait_for_timeout(2000)
    expect(pictures).to_have_count(4)
    page.reload()
    open_tab(page, "Portraits")
    expect(page.locator("#adapter-status")).to_contain_text("A finished example")
    open_tab(page, "My adapters")
    page.locator("#adapters-menu input").click()
    expect(page.get_by_role("option")).to_have_count(1)
    page.keyboard.press("Escape")
    page.locator("#delete-adapter").click()
    expect(page.locator("#adapter-facts")).to_contain_text("No adapter is here yet")
    page.locator("#delete-everything").click()
    page.locator("#really-delete").click()
    expect(page.locator("#try-finished")).to_be_visible()
    open_tab(page, "Portraits")
    expect(pictures).to_have_count(0)


@running.needs_browser
def test_a_person_and_a_look_are_chosen_by_their_pictures(page: Page) -> None:
    consent(page)
    page.locator("[data-set=person-3]").click()
    expect(page.locator("#person-verdicts .magi-tile")).to_have_count(4)
    page.locator("[data-set=style-engraving]").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#style-verdicts .magi-tile")).to_have_count(4)
    open_tab(page, "Train")
    expect(page.locator("#ready")).to_contain_text("Ready")


def test_nothing_is_offered_that_would_take_the_place_of_a_visitors_own_photos(
    examples: Path, mine: Workspace, portrait: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(examples, folder := tmp_path / "examples")
    shutil.copytree(examples / "style-grey", folder / "style-second")
    monkeypatch.setattr("magicapture.ui.examples.EXAMPLES", folder)
    with gr.Blocks():
        offered = build_examples()

    def seen(visitor: Workspace | None) -> list[bool]:
        return [part["visible"] for part in offered.show(visitor)]

    assert seen(None) == [True] * 4
    for role in ("person", "style"):
        mine.ingest(offered.offers[0].sets[""][role], role)
    assert seen(mine) == [True] * 4, "these are the examples"
    portrait.save(own := uploaded(mine.folder.parents[1], "me.png"))
    mine.ingest([*mine.photos("person"), own], "person")
    assert seen(mine) == [True, False, False, True], "looks go with one's own photos"
    mine.forget_photos()
    assert seen(mine) == [True] * 4


def test_a_forged_click_on_an_example_loads_nothing(furnished: tuple[str, Path]) -> None:
    address, root = furnished
    session = PageSession(address)
    mine = Workspace.of(session.enter(), root)
    chosen = {"set": "person-1"}
    assert session.send("click", "person_sets", event_data=chosen).status_code == 500, "without consent"
    session.send("input", "consent", consent=True)
    for forged in ({"set": "../../etc"}, {"set": ["person-1"]}, {"set": "style-sepia"}, {}, [], "person-1", None, 7):
        assert session.send("click", "person_sets", event_data=forged).status_code == 500, forged
    assert not mine.photos("person")
    assert session.send("click", "person_sets", event_data=chosen).status_code == 200
    assert len(mine.photos("person")) == 4


def test_where_there_is_no_room_for_the_example_it_says_so(furnished: tuple[str, Path]) -> None:
    address, root = furnished
    session = PageSession(address)
    mine, adapter = Workspace.of(session.enter(), root), Adapter.load(root.parent / "examples" / FINISHED)
    for number in range(MOST_ADAPTERS):
        mine.shelf.add(replace(adapter, info=replace(adapter.info, seed=number + 1)), f"number {number}")
    refused = session.send("click", "try_finished")
    assert refused.status_code == 500
    assert "as many as there is room for" in refused.text
    assert len(mine.shelf.stored()) == MOST_ADAPTERS


def test_the_example_is_drawn_again_only_for_who_has_nothing_of_it(root: Path, mine: Workspace) -> None:
    root.mkdir()
    drawings, adapter = SimpleNamespace(of=lambda _: []), small_adapter()
    first, added = take_finished(adapter, drawings, mine)
    assert first == added
    assert take_finished(adapter, drawings, mine) == (first, first), "as when the page was left before it was drawn"
    assert take_finished(adapter, SimpleNamespace(of=lambda _: ["one"]), mine) == (first, gr.skip())
    mine.add_portrait(portrait(), label=False)
    assert take_finished(adapter, drawings, mine) == (first, gr.skip())


def test_the_example_is_offered_on_the_base_that_it_was_trained_on_alone(
    furnished: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = furnished[1].parent
    monkeypatch.setattr("magicapture.ui.examples.EXAMPLES", folder / "examples")
    fitting = SimpleNamespace(base=load_base(str(folder / "base")))
    assert finished_example(fitting) is not None
    assert finished_example(SimpleNamespace(base=tiny.base(sample_size=16))) is None
    monkeypatch.setattr("magicapture.ui.examples.EXAMPLES", tmp_path)
    assert finished_example(fitting) is None


@running.needs_browser
def test_without_pictures_and_adapter_the_page_begins_with_the_consent(browser: Browser, address: str) -> None:
    page = opened(browser, address)
    expect(page.locator("#consent input")).to_be_visible()
    expect(page.locator("#try-finished")).to_be_hidden()
    expect(page.locator(".magi-welcome")).to_have_count(0)
    page.context.close()
