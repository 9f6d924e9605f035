"""What a visitor does on the page, step by step, as tests in a browser do it."""

import re
from contextlib import suppress

from playwright.sync_api import Locator, Page, expect


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=re.compile(rf"^{name}( ✓)?$")).click()


def consent(page: Page) -> None:
    page.locator("#consent input").check()
    expect(page.locator("#load-examples")).to_be_visible()


def load_examples(page: Page) -> None:
    consent(page)
    page.locator("#load-examples").click()
    for role in ("person", "style"):
        expect(page.locator(f"#{role}-verdicts .magi-tile").nth(3)).to_be_visible()
    expect(page.locator("#to-training")).to_be_enabled()


def start_training(page: Page, steps: int | None = None) -> None:
    open_tab(page, "Train")
    expect(page.locator("#ready")).to_contain_text("Ready")
    if steps:
        page.locator("#advanced button").first.click()
        page.locator("#steps input").fill(str(steps))
        page.locator("#steps input").blur()
        expect(page.locator("#ready")).to_contain_text(f"{steps} steps")
    page.locator("#start-training").click()
    expect(page.locator("#progress")).to_contain_text("step")


def slide(page: Page, slider: str, value: float) -> None:
    """Type the number of a slider; again where the tab, only just opened, has put its first one back."""
    field, chosen = (page.locator(f"#{slider} input[type={kind}]") for kind in ("number", "range"))
    for _ in range(10):
        field.fill(str(value))
        field.blur()
        with suppress(AssertionError):
            return expect(chosen).to_have_value(str(value), timeout=5000)
    raise AssertionError(f"the page does not take {value} for the {slider}")


def reject(portrait: Locator, reason: str) -> None:
    portrait.get_by_text("Reject", exact=True).click()
    portrait.get_by_role("button", name=reason).click()
