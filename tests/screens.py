"""The four ways in which the page is looked at, and what a visitor sees of it, tab by tab."""

from dataclasses import dataclass

from playwright.sync_api import Browser, Page, StorageState, expect
from running import PATIENCE
from visiting import load_examples, slide, start_training

TABS = ("references", "train", "portraits", "adapters")
ELEMENTS = """() => [...document.querySelectorAll("[role=tabpanel] [id]")]
    .filter(part => part.checkVisibility()).map(part => part.id)"""
"""The ids of what is seen in the open tab, in the order of the page."""
TOO_WIDE = """() => [...document.querySelectorAll(".gradio-container *")]
    .filter(part => part.checkVisibility() && part.getBoundingClientRect().right > innerWidth + 1)
    .filter(part => !part.closest(".magi-film, .magi-sets"))
    .map(part => `${part.tagName} ${part.id} ${part.className}`)"""
"""What reaches out of the window to the right, but for the strips that are meant to be moved sideways."""


@dataclass(frozen=True)
class Screen:
    """A browser of a visitor: its window in pixels, light or dark, and its language."""

    name: str
    width: int = 1180
    height: int = 900
    scheme: str = "light"
    locale: str = "en-GB"

    def open(self, browser: Browser, address: str, visitor: StorageState) -> Page:
        """Open the page as ``visitor``, with nothing in it that moves."""
        size = {"width": self.width, "height": self.height}
        context = browser.new_context(
            viewport=size, color_scheme=self.scheme, locale=self.locale, storage_state=visitor
        )
        page = context.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(address)
        page.add_style_tag(content="* { transition: none !important; animation: none !important; }")
        expect(page.locator("#person-verdicts .magi-tile").last).to_be_visible()
        return page


SCREENS = (
    Screen("light"),
    Screen("dark", scheme="dark"),
    Screen("phone", 390, 844),
    Screen("japanese", locale="ja-JP"),
)


def open_by_id(page: Page, tab: str) -> None:
    """Open a tab whatever its title is called, with all that it shows there."""
    page.locator(f"[role=tab][data-tab-id={tab}]").click()
    seen = {
        "references": "#to-training:enabled",
        "train": "#previews img >> nth=-1",
        "adapters": "#use-adapter:enabled",
    }
    expect(page.locator(seen.get(tab, "#portraits .magi-tile >> nth=-1"))).to_be_visible()


def become_visitor(browser: Browser, address: str, portraits: int, *, quickly: bool = False) -> StorageState:
    """Go from the consent to portraits, keep the best, and show the photos again; gives what the browser remembers.

    ``quickly`` takes few steps and enlarges a little.
    """
    page = browser.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(address)
    load_examples(page)
    start_training(page, 8 if quickly else None)
    expect(page.locator("#training-result")).to_contain_text("Your adapter is ready")
    page.locator("#to-portraits").click()
    slide(page, "count", portraits)
    if quickly:
        page.get_by_label("2×").check()  # what shows no face is compared with itself as drawn
    page.locator("#draw").click()
    expect(page.locator("#portraits .magi-tile")).to_have_count(portraits)
    page.locator("#portraits .keep").first.click()
    expect(page.locator("#portraits .kept")).to_be_visible()
    page.locator("[role=tab][data-tab-id=references]").click()
    page.locator("#load-examples").click()
    expect(page.locator("#to-training")).to_be_enabled()
    visitor = page.context.storage_state()
    page.close()
    return visitor
