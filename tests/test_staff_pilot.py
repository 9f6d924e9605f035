"""A whole pilot, from the manifest to what HR gets, with people deciding in a browser in between."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from playwright.sync_api import Browser
from running import needs_browser, running_app
from staff_pilot import PEOPLE, WITHDRAWS, StaffPilot, review

from magicapture.settings import settings
from magicapture.staff.decisions import OPENED


@pytest.fixture
def pilot(examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StaffPilot]:
    """Give a pilot of six people on a base that trains in seconds; all six have the same face."""
    base = tiny.saved(tmp_path / "base")
    monkeypatch.setenv("MAGICAPTURE_ROOT", str(tmp_path / "app" / "root"))
    monkeypatch.setenv("MAGICAPTURE_FACE_ENGINE", "builtin")
    settings.cache_clear()
    people = [examples / "person-someone"] * PEOPLE
    options = ["--base", base, "--steps", "2", "--best-of", "1"]
    yield StaffPilot(tmp_path, people, examples / "style-grey", options)
    settings.cache_clear()


@pytest.mark.slow
@needs_browser
def test_a_pilot_from_check_to_forget(pilot: StaffPilot, examples: Path, browser: Browser, tmp_path: Path) -> None:
    pilot.compute()
    assert (pilot.told["check"]["skipped"], len(pilot.told["check"]["unusable"])) == (1, 1)
    assert (pilot.told["run"]["done"], pilot.told["run"]["unusable"]) == (4, 1)
    (tmp_path / "app").mkdir()
    with running_app(tmp_path / "app", examples) as address:
        links = pilot.invite(address)
        assert list(links) == ["E001", "E002", "E003", "E004"]
        for number, link in enumerate(links.values(), start=1):
            page = review(browser, link, withdraw=number == WITHDRAWS)
            page.context.close()
        again = browser.new_page()
        again.goto(links["E002"])
        again.get_by_role("button", name="Open my portraits").click()
        assert "opened before" in again.locator("#said").inner_text()
        assert links["E002"].partition("#")[2] not in again.content() + again.url
    pilot.finish()
    report = (pilot.run / "report" / "report.md").read_text()
    assert "by what was wrong: no face (1)." in report
    assert pilot.told["report"] == {
        "report": str(pilot.run / "report" / "report.md"),
        "invited": 6,
        "withdrawn": 1,
        "consented": 4,
        "usable": 3,
        "kept": 3,
    }
    assert not re.search(r"E00\d", report)
    assert pilot.told["export"]["people"] == 3
    assert sorted(path.name for path in (tmp_path / "hr").iterdir()) == ["E002.jpg", "E003.jpg", "photos.csv"]
    log = [json.loads(line) for line in (pilot.run / "log.jsonl").read_text().splitlines()]
    assert sum(line["what"] == OPENED for line in log) == 4
    assert sum(line["what"] == "forgotten" for line in log) == 2
    assert not re.search(r"E00\d", (pilot.run / "log.jsonl").read_text())
    assert "E004" not in (pilot.run / "manifest.jsonl").read_text()
