"""The page for visitors without a mouse, with weak eyes, or with a screen reader; on a base that trains in seconds."""

from collections.abc import Iterator

import pytest
import running
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from running import PATIENCE
from visiting import load_examples, open_tab

pytestmark = running.needs_browser

TABS = ("References", "Train", "Portraits", "My adapters")
STANDARD = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
CONTRAST = {
    "ignoreUnicode": True,
    "ignorePseudo": True,  # or all with a line drawn under or after it is left out, such as the tabs
    "boldValue": 700,
    "boldTextPt": 14,
    "largeTextPt": 18,
    "contrastRatio": {"normal": {"expected": 4.5}, "large": {"expected": 3}},
    "shadowOutlineEmMax": 0.2,
    "pseudoSizeThreshold": 0.25,
}
"""What axe takes when it is told nothing, but for the one that is explained."""
MARKED = """() => {
    const style = getComputedStyle(document.activeElement);
    return (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
}"""


def open_page(browser: Browser, address: str) -> Page:
    """Open the page as a new visitor, with nothing in it that fades: axe would see colours half way."""
    page = browser.new_context(viewport={"width": 1180, "height": 900}).new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(address)
    page.add_style_tag(content="* { transition: none !important; animation: none !important; }")
    expect(page.locator("#consent input")).to_be_enabled()
    return page


@pytest.fixture(scope="module")
def filled(browser: Browser, address: str) -> Iterator[Page]:
    """Give the page with the examples loaded and everything unfolded."""
    page = open_page(browser, address)
    load_examples(page)
    for tab in TABS:
        open_tab(page, tab)
        for fold in page.locator("button.label-wrap:visible").all():
            fold.click()
            expect(fold).to_have_attribute("aria-expanded", "true")
    yield page
    page.context.close()


def grave_faults(page: Page) -> list[str]:
    """Give what axe finds serious or critical."""
    options = {"runOnly": STANDARD, "checks": {"color-contrast": {"options": CONTRAST}}}
    found = Axe().run(page, options=options).response["violations"]
    grave = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    return [f"{fault['id']}: {node['target']} {node['failureSummary']}" for fault in grave for node in fault["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("tab", TABS)
def test_nobody_is_shut_out_by_colours_or_unnamed_parts(filled: Page, tab: str, scheme: str) -> None:
    filled.emulate_media(color_scheme=scheme)
    expect(filled.locator("body.dark")).to_have_count(1 if scheme == "dark" else 0)
    open_tab(filled, tab)
    assert grave_faults(filled) == []


def walk_to(page: Page, selector: str, key: str = "Tab") -> None:
    """Press ``key`` until the focus is on the element, and see that it shows."""
    for _ in range(60):
        page.keyboard.press(key)
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            assert page.evaluate(MARKED), f"The focus does not show on {selector}."
            return
    raise AssertionError(f"{key} does not lead to {selector}.")


def test_without_a_mouse_a_visitor_gets_from_the_consent_to_a_kept_portrait_and_away_again(
    browser: Browser, address: str
) -> None:
    page = open_page(browser, address)
    press = page.keyboard.press
    walk_to(page, "#consent input")
    press("Space")
    walk_to(page, "#load-examples")
    press("Enter")
    for role in ("person", "style"):
        expect(page.locator(f"#{role}-verdicts .magi-tile")).to_have_count(4)
    walk_to(page, "#person-verdicts .look")
    expect(page.locator("#person-verdicts .mask").first).to_have_css("opacity", "1")
    press("Delete")
    expect(page.locator("#person-verdicts .magi-tile")).to_have_count(3)
    expect(page.locator("#person-verdicts .look").first).to_be_focused()
    walk_to(page, "#to-training")
    press("Enter")

    expect(page.locator("#ready")).to_contain_text("Ready")
    walk_to(page, "#preset input")
    press("ArrowDown")
    expect(page.get_by_label("Balanced")).to_be_checked()
    press("ArrowUp")
    walk_to(page, "#advanced button")
    press("Enter")
    walk_to(page, "#steps input")
    page.keyboard.type("400")
    walk_to(page, "#start-training")
    expect(page.locator("#ready")).to_contain_text("400 steps")
    press("Enter")
    expect(page.locator("#progress")).to_contain_text("step")
    walk_to(page, "#stop-training")
    press("Enter")
    expect(page.locator("#training-result")).to_contain_text("Your adapter is ready")
    walk_to(page, "#to-portraits")
    press("Enter")

    expect(page.locator("#adapter-status")).to_contain_text("In use")
    walk_to(page, "#count input[type=range]")
    press("Home")
    press("ArrowRight")
    walk_to(page, "#upscale input")
    press("ArrowRight")
    expect(page.get_by_label("2×")).to_be_checked()
    walk_to(page, "#draw")
    press("Enter")
    expect(page.locator("#portraits .magi-tile")).to_have_count(2)
    expect(page.locator("#portraits-said")).to_contain_text("enlarged by")
    walk_to(page, "#portraits .look")
    press("c")
    expect(page.locator("#comparison img")).to_have_count(2)
    expect(page.locator("#compared")).to_contain_text("No photo is here to compare it with")
    press("r")
    expect(page.get_by_role("button", name="Does not look like the person").first).to_be_focused()
    assert grave_faults(page) == []
    press("Enter")
    expect(page.locator("#portraits .magi-tile")).to_have_count(1)
    expect(page.locator("#comparison img")).to_have_count(0)
    walk_to(page, "#portraits .look", "Shift+Tab")
    press("c")
    expect(page.locator("#comparison img")).to_have_count(2)
    press("k")
    expect(page.locator("#portraits .kept")).to_contain_text("kept ✓")
    expect(page.locator("#comparison img")).to_have_count(2)
    expect(page.locator("#portraits .look")).to_be_focused()
    walk_to(page, "[role=tab][data-tab-id=adapters]", "Shift+Tab")
    press("Enter")
    walk_to(page, "#delete-everything")
    press("Enter")
    walk_to(page, "#keep-everything")
    press("Enter")
    expect(page.locator("#delete-everything")).to_be_focused()
    press("Enter")
    walk_to(page, "#really-delete")
    press("Enter")
    expect(page.locator("#consent input")).not_to_be_checked()
    page.context.close()
