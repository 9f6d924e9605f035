"""Draw the pictures of the page that stand in the README: `PYTHONPATH=. python tests/screenshots.py`, in some minutes.

What they show is what the app did: photos of people who do not exist from ``examples``, and portraits of one of them.
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect, sync_playwright
from running import CHROMIUM, ROOT, SWITCHES, running_app
from screens import Screen, become_visitor, open_by_id

PICTURES = {
    "references": Screen("light", height=960),
    "train": Screen("light", height=960),
    "portraits": Screen("dark", height=960, scheme="dark"),
    "portraits-phone": Screen("phone", 390, 844, locale="ja-JP"),
}
"""By the name of the picture, which begins with that of the tab: the browser that sees it."""
PATIENCE_MS = 900_000


def main(folder: Path) -> None:
    """Write the pictures into ``folder``."""
    expect.set_options(timeout=PATIENCE_MS)
    with (
        tempfile.TemporaryDirectory() as place,
        running_app(Path(place), ROOT / "examples", MAGICAPTURE_BASE="mini", MAGICAPTURE_UPSCALER="") as address,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        visitor = become_visitor(browser, address, portraits=4)
        for name, screen in PICTURES.items():
            page = screen.open(browser, address, visitor)
            tab = name.partition("-")[0]
            open_by_id(page, tab)
            if tab == "portraits":
                page.locator("#portraits").evaluate("grid => grid.scrollIntoView()")
            page.screenshot(path=folder / f"page-{name}.png")
            page.context.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
