"""What is done in My adapters is answered with the list as it is then: no later answer can show an older one."""

import re

from page_session import PageSession, file_data
from visitor import make_old, small_adapter

from magicapture.server.workspace import Workspace
from magicapture.ui.session import adapter_in_use


def listed(page: PageSession, trigger: str, element: str, **values: object) -> set[str]:
    """Send an event; gives the titles in the menu of its answer."""
    answer = page.send(trigger, element, **values)
    assert answer.is_success, answer.text
    return set(re.findall(r"(Anna|Berta|Clara) ·", answer.text))


def test_uploading_renaming_and_deleting_each_answer_with_the_list(address: str, mine: Workspace) -> None:
    page = PageSession(address)
    page.enter()
    seen = set()
    for title in ("Anna", "Berta"):
        package = mine.shelf.zip(mine.shelf.add(small_adapter(), title))
        uploaded = page.upload(f"{title}.zip", package.read_bytes())
        seen.add(title)
        assert listed(page, "upload", "upload_adapter", upload_adapter=file_data(uploaded)) == seen
    assert listed(page, "click", "rename_adapter", adapter_title="Clara") == {"Anna", "Clara"}
    assert listed(page, "click", "delete_adapter") == {"Anna"}
    assert listed(page, "click", "delete_adapter") == set()


def test_whoever_comes_back_goes_on_with_the_newest_adapter_that_can_be_read(mine: Workspace) -> None:
    assert adapter_in_use(None, "") == adapter_in_use(mine, "") == ""
    older, newer, damaged = (mine.shelf.add(small_adapter(), title) for title in ("Anna", "Berta", "Clara"))
    make_old(mine.folder / "adapters" / older, 2)
    make_old(mine.folder / "adapters" / newer, 1)
    (mine.folder / "adapters" / damaged / "magicapture.json").write_text("{")
    assert adapter_in_use(mine, "") == newer
    assert adapter_in_use(mine, older) == older
