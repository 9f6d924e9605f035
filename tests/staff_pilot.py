"""A pilot of six people from check to forget: the commands as HR types them, and the review as people do it.

``PYTHONPATH=. python tests/staff_pilot.py --out docs`` runs the pilot with the people of ``examples`` on the embedded
base, lets a browser decide, and writes ``docs/pilot.md`` with its plot. Who keeps what follows a rule, for there is
nobody to ask: the first portrait is kept, the other rejected; one person declines, one's photos show no face, one
withdraws.
"""

import argparse
import csv
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from running import CHROMIUM, PATIENCE, ROOT, SWITCHES, running_app
from visiting import reject

from magicapture.__main__ import main

PEOPLE = 6
DECLINES, SHOWS_NO_FACE, WITHDRAWS = 6, 5, 4
"""Which of them, from 1."""
PLOT = "pilot.svg"
MADE = """\
`PYTHONPATH=. python tests/staff_pilot.py --out docs` made this on a busy machine with two CPU cores, priced as if they
were an L4. Six people who do not exist, drawn by the embedded demo model, went through every command of `staff` on that
model, with {steps} steps of training each. One had declined, one had photos without a face; a browser opened the links
of the others and decided by rule: one withdrew, the others kept the first portrait and rejected the second. So it shows
that the way is whole and what a report holds; shares and minutes are the rule's, and say nothing about people."""


@dataclass
class StaffPilot:
    """One pilot in ``folder``, where ``photos`` holds a folder per person and ``style`` a look."""

    folder: Path
    photos: list[Path]
    style: Path
    options: list[str]
    told: dict[str, dict] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def manifest(self) -> Path:
        """Write who takes part; the photos of one show no face."""
        path = self.folder / "people.csv"
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            table = csv.writer(file)
            table.writerow(["person_id", "photos", "style", "count", "consent_at", "consent_version", "consent_scope"])
            for number, photos in enumerate(self.photos, start=1):
                mine = self.folder / "photos" / f"E{number:03}"
                shutil.copytree(photos, mine)
                if number == SHOWS_NO_FACE:
                    for photo in mine.iterdir():
                        Image.new("RGB", (512, 512), "grey").save(photo)
                consent = "declined" if number == DECLINES else "2026-11-03"
                table.writerow([f"E{number:03}", mine, self.style, 2, consent, "v1", "intranet"])
        return path

    def staff(self, name: str, *arguments: object, status: int = 0) -> dict:
        """Run one command; gives what its last line says."""
        said = StringIO()
        with redirect_stdout(said):
            ended = main(["staff", name, *map(str, arguments)])
        assert ended == status, said.getvalue()
        self.told[name] = json.loads(said.getvalue().splitlines()[-1])
        return self.told[name]

    def compute(self) -> None:
        """Check, plan and run."""
        manifest = self.manifest()
        self.staff("check", manifest, status=1)
        self.staff("plan", manifest, *self.options)
        self.staff("run", manifest, "--out", self.run, *self.options)

    def invite(self, address: str) -> dict[str, str]:
        """Ask for the links; gives them by id."""
        links = self.folder / "links.csv"
        self.staff("review", self.run, "--links", links, "--address", address)
        with links.open(newline="") as file:
            found = {row["person_id"]: row["link"] for row in csv.DictReader(file)}
        links.unlink()
        return found

    def finish(self) -> None:
        """Report, export, and forget one more."""
        self.staff("report", self.run, "--hardware", "l4")
        self.staff("export", self.run, "--out", self.folder / "hr")
        self.staff("forget", self.run, "E001")


def review(browser: Browser, link: str, *, withdraw: bool = False) -> Page:
    """Open one person's link, keep the best portrait and reject the other, or withdraw."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(link)
    page.get_by_role("button", name="Open my portraits").click()
    expect(page.locator("#review")).to_be_visible()
    expect(page.get_by_role("tab").filter(visible=True)).to_have_count(0)  # nothing to train or draw with
    expect(page.locator("#draw")).to_be_hidden()
    if withdraw:
        page.locator("#withdraw").click()
        with page.expect_navigation():
            page.locator("#really-withdraw").click()
        expect(page.locator("#said")).to_contain_text("everything of you is deleted")
    else:
        decide(page)
    return page


def make_report() -> None:
    """Make the pilot whose report stands in the documentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()
    expect.set_options(timeout=PATIENCE * 1000)
    drawn = sorted((ROOT / "examples").glob("person-*"))
    with tempfile.TemporaryDirectory(prefix="pilot-") as name:
        folder = Path(name)
        os.environ["MAGICAPTURE_ROOT"] = str(folder / "app" / "root")
        options = ["--base", "mini", "--steps", str(args.steps), "--best-of", "2"]
        people = [drawn[number % len(drawn)] for number in range(PEOPLE)]
        pilot = StaffPilot(folder, people, ROOT / "examples/style-engraving", options)
        pilot.compute()
        (folder / "app").mkdir()
        with running_app(folder / "app", ROOT / "examples", MAGICAPTURE_BASE="mini") as address:
            links = pilot.invite(address)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
                for number, link in enumerate(links.values(), start=1):
                    review(browser, link, withdraw=number == WITHDRAWS)
                browser.close()
        pilot.finish()
        report = (pilot.run / "report" / "report.md").read_text()
        head, body = report.replace("likeness.svg", PLOT).split("\n", 1)
        written = "\n".join([head, "", MADE.format(steps=args.steps), body.rstrip(), "", *commands(pilot.told), ""])
        (args.out / "pilot.md").write_text(written)
        shutil.copy(pilot.run / "report" / "likeness.svg", args.out / PLOT)
    print(json.dumps(pilot.told))


def commands(told: dict[str, dict]) -> Iterator[str]:
    """Give what each command said in its last line as a table; numbers alone, so that nobody is named."""
    yield "## Commands\n\n| command | what it said |\n|---|---|"
    for name, figures in told.items():
        numbers = [
            f"{key.replace('_', ' ')} {value}" for key, value in figures.items() if isinstance(value, int | float)
        ]
        yield f"| `staff {name}` | {', '.join(numbers)} |"


def decide(page: Page) -> None:
    """Keep the first portrait, which is the one most like the person, and reject the other."""
    portraits = page.locator("#portraits .portrait")
    expect(portraits).to_have_count(2)
    portraits.first.locator(".keep").click()
    expect(page.locator("#portraits .kept")).to_have_count(1)
    reject(page.locator("#portraits .new"), "Is not in the style")
    expect(portraits).to_have_count(1)


if __name__ == "__main__":
    make_report()
