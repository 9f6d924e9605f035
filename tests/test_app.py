"""The page as a visitor meets it, in a real browser, on a base small enough to train in seconds."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import skimage.data
import tiny
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium")
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE = 180
"""Seconds that one step may take on a busy machine."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed; tests/run.sh installs it")


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give examples of a person and a look: crops of one picture in the public domain, in colour and in grey."""
    folder = tmp_path_factory.mktemp("examples")
    portrait = Image.fromarray(skimage.data.astronaut()).crop((60, 0, 400, 340))
    for name, grey in (("person-someone", False), ("style-grey", True)):
        (folder / name).mkdir()
        for i in range(4):
            crop = portrait.crop((12 * i, 6 * i, 300 + 12 * i, 300 + 6 * i))
            (crop.convert("L") if grey else crop).save(folder / name / f"{i + 1}.png")
    return folder


@pytest.fixture(scope="module")
def address(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the app on a free port and give its address."""
    folder = tmp_path_factory.mktemp("app")
    tiny.base(sample_size=16).pipeline.save_pretrained(folder / "base")
    log = (folder / "log.txt").open("w+")
    environment = {
        **os.environ,
        "MAGICAPTURE_BASE": str(folder / "base"),
        "MAGICAPTURE_EXAMPLES": str(examples),
        "MAGICAPTURE_FACE_ENGINE": "builtin",
        "GRADIO_TEMP_DIR": str(folder / "cache"),
        "PYTHONUNBUFFERED": "1",
    }
    environment.pop("GRADIO_SERVER_PORT", None)
    app = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        yield wait_for_address(app, Path(log.name))
    finally:
        app.terminate()
        app.wait(timeout=30)
        log.close()


def wait_for_address(app: subprocess.Popen, log: Path) -> str:
    """Read in the log where the app serves."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and app.poll() is None:
        for word in log.read_text().split():
            if word.startswith("http://127.0.0.1"):
                return word
        time.sleep(0.5)
    raise AssertionError(f"The app did not start:\n{log.read_text()}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Open the page in a fresh session; nothing may go wrong in its scripts."""
    expect.set_options(timeout=PATIENCE * 1000)
    context = browser.new_context(viewport={"width": 1180, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(address)
    expect(page.get_by_role("tab", name="1 · References")).to_be_visible()
    yield page
    context.close()
    assert not faults


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def load_examples(page: Page) -> None:
    page.locator("#load-examples").click()
    for role in ("person", "style"):
        expect(page.locator(f"#{role}-verdicts .magi-card")).to_have_count(4)


def test_from_photos_to_downloaded_portraits(page: Page, tmp_path: Path) -> None:
    load_examples(page)
    expect(page.locator("#person-verdicts .magi-card img")).to_have_count(4)

    open_tab(page, "2 · Train")
    expect(page.locator("#ready")).to_contain_text("Ready")
    page.locator("#advanced button").first.click()
    page.locator("#steps input").fill("8")
    page.locator("#steps input").blur()
    expect(page.locator("#ready")).to_contain_text("8 steps")
    page.locator("#start-training").click()
    expect(page.locator("#training-result")).to_contain_text("Your adapter is ready: 8 steps")
    expect(page.locator("#progress")).to_contain_text("Done")
    expect(page.locator("#previews img").first).to_be_visible()
    with page.expect_download() as archive:
        page.locator("#download-adapter").click()
    archive.value.save_as(tmp_path / "adapter.zip")
    assert "pytorch_lora_weights.safetensors" in zipfile.ZipFile(tmp_path / "adapter.zip").namelist()

    page.locator("#to-portraits").click()
    expect(page.locator("#adapter-status")).to_contain_text("8 steps")
    page.locator("#count input[type=number]").fill("2")
    page.locator("#count input[type=number]").blur()
    page.get_by_label("with glasses").check()
    page.locator("#draw").click()
    expect(page.locator("#portraits-said")).to_contain_text("2 portraits of 128 × 128 pixels")
    expect(page.locator("#portraits")).to_contain_text("style")
    with page.expect_download() as portraits:
        page.locator("#download-portraits").click()
    portraits.value.save_as(tmp_path / "portraits.zip")
    pictures = zipfile.ZipFile(tmp_path / "portraits.zip")
    assert len(pictures.namelist()) == 2
    facts = json.loads(Image.open(io.BytesIO(pictures.read(pictures.namelist()[0]))).text["magicapture"])
    assert facts["prompt"] == "with glasses"


def test_stopping_keeps_what_was_learned(page: Page) -> None:
    load_examples(page)
    open_tab(page, "2 · Train")
    expect(page.locator("#ready")).to_contain_text("Ready")
    page.locator("#start-training").click()
    expect(page.locator("#progress")).to_contain_text("step")
    page.locator("#stop-training").click()
    expect(page.locator("#training-result")).to_contain_text("Your adapter is ready")
    expect(page.locator("#progress")).to_contain_text("Stopped early")


def test_bad_photos_are_refused_in_plain_words_before_training(page: Page, tmp_path: Path) -> None:
    (tmp_path / "letter.jpg").write_text("not a picture")
    Image.new("RGB", (300, 300), "white").save(tmp_path / "wall.png")
    page.locator("#person-photos input[type=file]").first.set_input_files(
        [tmp_path / "letter.jpg", tmp_path / "wall.png"]
    )
    verdicts = page.locator("#person-verdicts")
    expect(verdicts.locator(".magi-badge.unusable")).to_have_count(2)
    expect(verdicts).to_contain_text("None of these photos can be used")
    expect(verdicts).to_contain_text("No face")

    open_tab(page, "2 · Train")
    expect(page.locator("#ready")).to_contain_text("cannot be used")
    page.locator("#start-training").click()
    expect(page.get_by_test_id("toast-body")).to_contain_text("The photos of the person cannot be used")
    expect(page.locator("#progress")).to_contain_text("Nothing is training")


def test_every_tab_says_what_to_do_first(page: Page) -> None:
    expect(page.locator("#person-verdicts")).to_contain_text("Add photos of the person")
    open_tab(page, "2 · Train")
    page.locator("#start-training").click()
    expect(page.get_by_test_id("toast-body")).to_contain_text("There are no photos of the person yet")
    open_tab(page, "3 · Portraits")
    expect(page.locator("#adapter-status")).to_contain_text("There is no adapter yet")
    page.locator("#draw").click()
    expect(page.get_by_test_id("toast-body").last).to_contain_text("There is no adapter yet")


def test_a_phone_needs_no_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    load_examples(page)
    for tab in ("1 · References", "2 · Train", "3 · Portraits"):
        open_tab(page, tab)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab


def test_nothing_is_offered_that_would_share_or_store_faces(address: str) -> None:
    with urllib.request.urlopen(f"{address.rstrip('/')}/config", timeout=PATIENCE) as answer:
        config = json.load(answer)
    assert not config.get("run_history")
    assert not config["analytics_enabled"]
    galleries = [c["props"] for c in config["components"] if c["type"] == "gallery"]
    assert all("share" not in str(gallery["buttons"]) for gallery in galleries)
