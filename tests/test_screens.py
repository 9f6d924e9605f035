"""Every tab as it is seen, light, dark, on a phone and in Japanese: all is there, in order, and can be read."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import running
from playwright.sync_api import Browser, Page, StorageState, expect
from running import ROOT, running_app
from screens import ELEMENTS, SCREENS, TABS, TOO_WIDE, Screen, become_visitor, open_by_id
from test_accessibility import grave_faults
from visiting import consent

pytestmark = running.needs_browser

SEEN = {
    "references": "consent load-examples kind person-photos person-verdicts style-photos style-verdicts to-training",
    "train": "preset advanced ready start-training stop-training progress losses previews training-result "
    "download-adapter to-portraits-said to-portraits",
    "portraits": "adapter-status dial count chips upscale label draw stop-drawing portraits-said portraits "
    "keep-these-said keep-these download-portraits",
    "adapters": "adapters-menu adapter-facts use-adapter download-chosen delete-adapter adapter-title rename-adapter "
    "upload-adapter load-hub push-hub delete-everything",
}
"""What has to be seen in each tab, from top to bottom."""


@pytest.fixture(scope="module")
def visitor(browser: Browser, address: str) -> StorageState:
    """Give what the browser remembers of a visitor who has photos, an adapter, and a portrait of each kind."""
    return become_visitor(browser, address, portraits=2, quickly=True)


@pytest.fixture(scope="module", params=SCREENS, ids=lambda screen: screen.name)
def seen(request: pytest.FixtureRequest, browser: Browser, address: str, visitor: StorageState) -> Iterator[tuple]:
    page = request.param.open(browser, address, visitor)
    yield request.param, page
    page.context.close()


@pytest.mark.parametrize("tab", TABS)
def test_all_of_a_tab_is_seen_in_order_within_the_window_and_can_be_read(
    seen: tuple[Screen, Page], tab: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    screen, page = seen
    open_by_id(page, tab)
    page.screenshot(path=tmp_path_factory.getbasetemp() / f"{tab}-{screen.name}.png", full_page=True)
    expected = SEEN[tab].split()
    assert [element for element in page.evaluate(ELEMENTS) if element in expected] == expected
    assert page.evaluate(TOO_WIDE) == []
    assert grave_faults(page) == []


@pytest.fixture(scope="module")
def with_all_examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the app as it comes, with a finished example and every set of pictures on offer; gives its address."""
    with running_app(tmp_path_factory.mktemp("whole"), ROOT / "examples", MAGICAPTURE_BASE="mini") as address:
        yield address


@pytest.mark.parametrize("locale", ["en-GB", "ja-JP"])
def test_on_a_phone_the_photos_of_both_roles_fit_two_screens(
    browser: Browser, with_all_examples: str, locale: str
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, locale=locale)
    page.goto(with_all_examples)
    consent(page)
    expect(page.locator("#people-alone")).to_be_visible()
    expect(page.locator("#kind")).not_to_be_visible()
    for role in ("person", "style"):
        photos = sorted(next((ROOT / "examples").glob(f"{role}-*")).glob("*.*"))[:5]
        page.locator(f"#{role}-photos input[type=file]").first.set_input_files(photos)
        expect(page.locator(f"#{role}-verdicts .magi-tile")).to_have_count(5)
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate("document.documentElement.scrollHeight") <= 2 * 844
    page.close()


def test_the_titles_of_the_tabs_tell_what_is_done(browser: Browser, address: str, visitor: StorageState) -> None:
    page = SCREENS[0].open(browser, address, visitor)
    for title in ("References ✓", "Train ✓", "Portraits ✓", "My adapters"):
        expect(page.get_by_role("tab", name=title, exact=True)).to_be_visible()
    page.context.close()


def test_a_portrait_without_a_face_is_compared_with_itself_as_drawn(
    browser: Browser, address: str, visitor: StorageState
) -> None:
    page = SCREENS[0].open(browser, address, visitor)
    open_by_id(page, "portraits")
    page.locator("#portraits [data-event=compare]").first.click()
    expect(page.locator("#compared")).to_contain_text("No face was found in this portrait")
    pictures = page.locator("#comparison img")
    expect(pictures).to_have_count(2)
    for picture in pictures.all():
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("picture => picture.naturalWidth") > 0
    page.context.close()


def test_a_portrait_tells_how_it_was_drawn_and_comes_alone(
    browser: Browser, address: str, visitor: StorageState, tmp_path: Path
) -> None:
    page = SCREENS[0].open(browser, address, visitor)
    open_by_id(page, "portraits")
    best = page.locator("#portraits .magi-tile").first
    best.get_by_text("Seed and settings").click()
    expect(best.locator(".facts dl")).to_contain_text("Sampler steps")
    with page.expect_download() as portrait:
        best.get_by_text("Download", exact=True).click()
    assert Path(portrait.value.path()).read_bytes()[1:4] == b"PNG"
    page.context.close()


def test_the_machine_that_looks_at_the_page_has_japanese_letters() -> None:
    fonts = subprocess.run(["fc-list", ":lang=ja"], capture_output=True, text=True, check=True)
    assert fonts.stdout, "without them every letter is the same box; tests/run.sh installs some"
