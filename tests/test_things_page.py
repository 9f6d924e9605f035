"""A thing on the page, in a browser: named, painted over, trained, drawn; and what is refused on the way."""

import re
import time
from pathlib import Path

import pytest
import running
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from playwright.sync_api import Browser, Page, expect
from running import PATIENCE
from things import RED, scene, teapot, teapots, tiled_looks
from visiting import consent, open_tab, slide, start_training

pytestmark = running.needs_browser


@pytest.fixture(scope="module")
def cut_out(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(teapots(tmp_path_factory.mktemp("teapot")).iterdir())


@pytest.fixture(scope="module")
def in_scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Draw two photos that do not say where the teapot is: in the middle of 256 pixels."""
    folder = tmp_path_factory.mktemp("scenes")
    for turn in range(2):
        scene(teapot(RED, turn, 150), 50, 50).save(folder / f"scene-{turn}.jpg")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(tiled_looks(tmp_path_factory.mktemp("looks")).iterdir())


def name_thing(page: Page, noun: str) -> None:
    page.get_by_label("A thing or an animal").check()
    page.locator("#noun input, #noun textarea").fill(noun)
    page.locator("#noun input, #noun textarea").press("Enter")


def add(page: Page, role: str, paths: list[Path]) -> None:
    page.locator(f"#{role}-photos input[type=file]").first.set_input_files(paths)


def paint(page: Page, *, around: bool = False) -> None:
    """Drag the brush over the middle of the canvas, or around it."""
    canvas = page.locator("#canvas canvas").first
    expect(canvas).to_be_visible()
    page.wait_for_timeout(1500)
    box = canvas.bounding_box()
    middle, reach = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), min(box["width"], box["height"]) / 5
    way = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)] if around else [(-1, 0), (1, 0), (-1, 0.3), (1, 0.3)]
    page.mouse.move(middle[0] + reach * way[0][0], middle[1] + reach * way[0][1])
    page.mouse.down()
    for x, y in way[1:]:
        page.mouse.move(middle[0] + reach * x, middle[1] + reach * y, steps=3)
    page.mouse.up()


def test_a_teapot_is_named_painted_over_trained_and_drawn(
    page: Page, cut_out: list[Path], in_scenes: list[Path], looks: list[Path], tmp_path: Path
) -> None:
    consent(page)
    expect(page.locator("#people-alone")).not_to_be_visible()
    name_thing(page, "a Teapot")
    expect(page.locator("#person-verdicts")).to_contain_text("Add photos of the teapot")
    expect(page.locator("#to-training-said")).to_contain_text("There are no photos of the teapot yet")
    expect(page.get_by_label("what they show is mine")).to_be_checked()
    add(page, "person", [*cut_out[:2], *in_scenes])
    tiles = page.locator("#person-verdicts .magi-tile")
    expect(tiles).to_have_count(4)
    expect(page.locator("#person-verdicts .magi-badge.unusable")).to_have_count(2)
    expect(page.locator("#person-verdicts")).to_contain_text("Paint over it")
    page.screenshot(path=tmp_path / "named.png", full_page=True)

    page.reload()
    expect(tiles).to_have_count(4)
    expect(page.locator("#noun input, #noun textarea")).to_have_value("teapot")
    expect(page.get_by_label("A thing or an animal")).to_be_checked()
    page.get_by_role("button", name="Paint over scene-0.jpg").click()
    expect(page.locator("#painting")).to_contain_text("scene-0.jpg: paint over the teapot")
    page.locator("#use-mask").click()
    expect(page.get_by_test_id("toast-body").last).to_contain_text("Nothing is painted yet")
    paint(page)
    page.screenshot(path=tmp_path / "painting.png", full_page=True)
    page.locator("#use-mask").click()
    expect(page.locator("#painting")).to_contain_text("scene-1.jpg: paint over the teapot")
    paint(page, around=True)
    page.locator("#use-mask").click()
    expect(page.locator("#painting")).not_to_be_visible()
    expect(page.locator("#person-verdicts")).to_contain_text("4 of 4 can be used")
    add(page, "style", looks)
    expect(page.locator("#to-training-said")).to_contain_text("Ready: 4 photos of the teapot, 4 of the style")
    tiles.nth(2).locator(".look").click()
    page.screenshot(path=tmp_path / "ready.png", full_page=True)

    start_training(page, 4)
    expect(page.locator("#training-result")).to_contain_text(re.compile(r"step 4: likeness 0\.\d+ · style"))
    page.screenshot(path=tmp_path / "trained.png", full_page=True)
    page.locator("#to-portraits").click()
    expect(page.locator("#adapter-status")).to_contain_text("In use: Teapot, quick")
    expect(page.locator("#adapter-status")).to_contain_text("It shows a thing: teapot.")
    expect(page.locator("#chips")).to_contain_text("on a table")
    slide(page, "count", 1)
    page.get_by_label("on a table").check()
    page.get_by_label("as drawn").check()
    page.locator("#draw").click()
    portrait = page.locator("#portraits .magi-tile")
    expect(portrait.locator(".caption")).to_contain_text("likeness")
    portrait.locator("[data-event=compare]").click()
    expect(page.locator("#compared")).to_contain_text("No photo is here to compare it with.")
    page.screenshot(path=tmp_path / "drawn.png", full_page=True)
    portrait.get_by_text("Reject", exact=True).click()
    expect(portrait).to_contain_text("Does not look like the thing")
    open_tab(page, "My adapters")
    expect(page.locator("#adapter-facts")).to_contain_text("It shows a thing: teapot.")

    open_tab(page, "References")
    add(page, "person", cut_out[2:3])
    expect(page.locator("#person-verdicts")).to_contain_text("Only 1 usable photo")
    expect(page.locator("#to-training-said")).to_contain_text("Ready: 1 photo of the teapot, 4 of the style")
    page.reload()
    expect(tiles).to_have_count(1)
    expect(page.get_by_label("what they show is mine")).to_be_checked()


def test_a_hostile_name_is_refused_and_the_one_before_stays(page: Page) -> None:
    consent(page)
    name_thing(page, "dog")
    expect(page.locator("#person-verdicts")).to_contain_text("Add photos of the dog")
    for name, said in (("<b>dog</b>", "does not name a thing"), ("young woman", "is somebody")):
        name_thing(page, name)
        expect(page.get_by_test_id("toast-body").last).to_contain_text(said)
    page.reload()
    expect(page.locator("#noun input, #noun textarea")).to_have_value("dog")
    page.get_by_label("A person", exact=True).check()
    expect(page.locator("#person-verdicts")).to_contain_text("Add photos of the person")
    expect(page.locator("#noun")).not_to_be_visible()
    page.locator("#consent input").uncheck()
    expect(page.locator("#kind")).not_to_be_visible()


def test_on_a_phone_a_thing_can_be_named_and_painted(
    browser: Browser, address: str, in_scenes: list[Path], tmp_path: Path
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(address)
    consent(page)
    name_thing(page, "teapot")
    expect(page.locator("#person-verdicts")).to_contain_text("Add photos of the teapot")
    add(page, "person", in_scenes)
    page.get_by_role("button", name="Paint over scene-0.jpg").click()
    expect(page.locator("#painting")).to_contain_text("paint over the teapot")
    paint(page)
    page.screenshot(path=tmp_path / "phone.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#cancel-mask").click()
    expect(page.locator("#painting")).not_to_be_visible()
    context.close()


def test_programs_train_a_thing_by_its_name_too(address: str, cut_out: list[Path], looks: list[Path]) -> None:
    client = Client(address, verbose=False)
    photos, pictures = ([handle_file(path) for path in paths] for paths in (cut_out, looks))
    checked = client.predict(photos, subject="a teapot", api_name="/check_photos")
    assert [photo["status"] for photo in checked["photos"]] == ["usable"] * 4
    with pytest.raises(AppError, match="does not name a thing"):
        client.predict(photos, subject="<img src=x>", api_name="/check_photos")
    with pytest.raises(AppError, match=r"photos of the dog cannot be used.*Nothing says which part"):
        client.predict(pictures, photos, subject="dog", consent=True, api_name="/train")
    started = client.predict(photos, pictures, steps=2, consent=True, subject="teapot", api_name="/train")
    while (status := client.predict(started["job"], api_name="/job_status"))["state"] in ("waiting", "running"):
        time.sleep(0.3)
    assert status["state"] == "finished", status
    _, facts = client.predict(started["key"], status["adapter"], count=1, api_name="/generate")
    assert -1 <= facts[0]["likeness"] <= 1
    scored = client.predict(photos[:1], photos, consent=True, subject="teapot", api_name="/score")
    assert scored["mean"]["likeness"] > 0.3
    client.predict(started["key"], api_name="/delete_everything")
