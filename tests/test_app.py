"""The page as a visitor meets it, in a real browser, on a base small enough to train in seconds."""

import io
import json
import re
import urllib.request
import zipfile
from pathlib import Path

import running
from page_session import PageSession
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from running import PATIENCE
from visiting import consent, load_examples, open_tab, reject, slide, start_training

pytestmark = running.needs_browser


def test_from_photos_through_a_refresh_to_kept_portraits(page: Page, tmp_path: Path) -> None:
    load_examples(page)
    open_tab(page, "Train")
    page.locator("#keep-photos input").check()
    start_training(page, steps=8)
    page.reload()
    open_tab(page, "Train")
    expect(page.locator("#training-result")).to_contain_text("Your adapter is ready: 8 steps")
    expect(page.locator("#progress")).to_contain_text("Done")
    expect(page.locator("#previews img").first).to_be_visible()
    with page.expect_download() as archive:
        page.locator("#download-adapter").click()
    archive.value.save_as(tmp_path / "adapter.zip")
    assert "pytorch_lora_weights.safetensors" in zipfile.ZipFile(tmp_path / "adapter.zip").namelist()

    page.locator("#to-portraits").click()
    expect(page.locator("#adapter-status")).to_contain_text("8 steps")
    slide(page, "count", 3)
    slide(page, "strength", 0.5)
    page.get_by_label("with glasses").check()
    page.get_by_label("2×").check()
    page.locator("#draw").click()
    expect(page.locator("#portraits-said")).to_contain_text("3 portraits of 256 × 256 pixels")
    pictures = page.locator("#portraits .magi-tile")
    expect(pictures).to_have_count(3)
    pictures.first.get_by_role("button", name="Keep").click()
    expect(page.locator("#portraits .kept")).to_contain_text("kept ✓")
    page.reload()
    open_tab(page, "Portraits")
    expect(pictures).to_have_count(3)
    reject(page.locator("#portraits .new").first, "Has visible faults")
    expect(pictures).to_have_count(2)

    with page.expect_download() as portraits:
        page.locator("#download-portraits").click()
    portraits.value.save_as(tmp_path / "portraits.zip")
    kept = zipfile.ZipFile(tmp_path / "portraits.zip")
    assert len(kept.namelist()) == 1
    facts = json.loads(Image.open(io.BytesIO(kept.read(kept.namelist()[0]))).text["magicapture"])
    assert (facts["prompt"], facts["strength"]) == ("with glasses", 0.5)

    open_tab(page, "My adapters")
    page.locator("#adapter-title input, #adapter-title textarea").fill("Grey look")
    page.locator("#rename-adapter").click()
    expect(page.locator("#adapters-said")).to_contain_text("Renamed")
    with page.expect_file_chooser() as chooser:
        page.locator("#upload-adapter").click()
    chooser.value.set_files(tmp_path / "adapter.zip")
    expect(page.locator("#adapters-said")).to_contain_text("Uploaded")
    page.locator("#delete-adapter").click()
    expect(page.locator("#adapters-said")).to_contain_text("Deleted")
    expect(page.locator("#adapters-menu input")).to_have_value(re.compile("Grey look"))

    page.locator("#delete-everything").click()
    page.locator("#really-delete").click()
    expect(page.locator("#consent input")).not_to_be_checked()
    open_tab(page, "My adapters")
    expect(page.locator("#adapter-facts")).to_contain_text("No adapter is here yet")


def test_two_visitors_at_once_see_only_what_is_theirs(page: Page, browser: Browser, address: str) -> None:
    second = browser.new_context().new_page()
    second.set_default_timeout(PATIENCE * 1000)
    second.goto(address)
    load_examples(page)
    load_examples(second)
    start_training(page)
    open_tab(second, "Train")
    expect(second.locator("#ready")).to_contain_text("Ready")
    second.locator("#start-training").click()
    expect(second.locator("#progress")).to_contain_text("Waiting: one is before you")
    page.locator("#stop-training").click()
    expect(page.locator("#training-result")).to_contain_text("Your adapter is ready")
    expect(page.locator("#progress")).to_contain_text("Stopped early")
    expect(second.locator("#progress")).to_contain_text("step")
    open_tab(second, "My adapters")
    expect(second.locator("#adapter-facts")).to_contain_text("No adapter is here yet")
    open_tab(second, "Train")
    second.locator("#stop-training").click()
    expect(second.locator("#training-result")).to_contain_text("Your adapter is ready")
    second.context.close()


def test_bad_photos_are_refused_in_plain_words_before_training(page: Page, tmp_path: Path) -> None:
    (tmp_path / "letter.jpg").write_text("not a picture")
    Image.new("RGB", (300, 300), "white").save(tmp_path / "wall.png")
    consent(page)
    page.locator("#person-photos input[type=file]").first.set_input_files(
        [tmp_path / "letter.jpg", tmp_path / "wall.png"]
    )
    verdicts = page.locator("#person-verdicts")
    expect(verdicts.locator(".magi-badge.unusable")).to_have_count(2)
    expect(verdicts).to_contain_text("None of these photos can be used")
    expect(verdicts).to_contain_text("No face")

    expect(page.locator("#to-training")).to_be_disabled()
    open_tab(page, "Train")
    expect(page.locator("#ready")).to_contain_text("cannot be used")
    expect(page.locator("#start-training")).to_be_disabled()
    expect(page.locator("#progress")).to_contain_text("Nothing is training")


def test_every_tab_says_what_to_do_first(page: Page) -> None:
    consent(page)
    expect(page.locator("#person-verdicts")).to_contain_text("Add photos of the person")
    expect(page.locator("#to-training")).to_be_disabled()
    expect(page.locator("#to-training-said")).to_have_text("There are no photos of the person yet.")
    open_tab(page, "Train")
    expect(page.locator("#to-portraits")).to_be_disabled()
    expect(page.locator("#to-portraits-said")).to_contain_text("There is no adapter yet")
    expect(page.locator("#start-training")).to_be_disabled()
    open_tab(page, "Portraits")
    expect(page.locator("#adapter-status")).to_contain_text("There is no adapter yet")
    expect(page.locator("#portraits-said")).to_contain_text("Portraits appear here")
    expect(page.locator("#keep-these")).to_be_disabled()
    expect(page.locator("#keep-these-said")).to_contain_text("No portrait waits for your choice")
    for button in ("#draw", "#stop-drawing"):
        expect(page.locator(button)).to_be_disabled()
    open_tab(page, "My adapters")
    expect(page.locator("#adapter-facts")).to_contain_text("No adapter is here yet")
    page.locator("#load-hub button").first.click()
    expect(page.locator("#load-from-hub")).to_be_disabled()


def test_what_cannot_be_done_yet_is_refused_whatever_a_browser_sends(address: str) -> None:
    session = PageSession(address)
    session.enter()
    for element, why in (("start_training", "no photos of the person yet"), ("draw", "There is no adapter yet")):
        refused = session.send("click", element)
        assert refused.status_code == 500
        assert why in refused.text


def test_a_phone_needs_no_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    load_examples(page)
    for tab in ("References", "Train", "Portraits", "My adapters"):
        open_tab(page, tab)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab


def test_nothing_is_offered_that_would_share_or_store_faces(address: str) -> None:
    with urllib.request.urlopen(f"{address}/config", timeout=PATIENCE) as answer:
        config = json.load(answer)
    assert not config.get("run_history")
    assert not config["analytics_enabled"]
    galleries = [c["props"] for c in config["components"] if c["type"] == "gallery"]
    assert all("share" not in str(gallery["buttons"]) for gallery in galleries)
    assert all("webcam" not in gallery["sources"] for gallery in galleries), "its picture has no room in the frame"
