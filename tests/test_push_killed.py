"""A server that dies in the middle of a push costs the visitor nothing: not here, and not on the Hub."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from hub_server import WRITER, running_hub
from page_session import PageSession
from running import PATIENCE, running_app, running_process
from visitor import files, small_adapter

from magicapture.bases.base import LORA_FILE
from magicapture.server.workspace import Workspace, new_key

TITLE = "My look"


def enter(address: str, key: str) -> PageSession:
    """Open the page, and on it the list of adapters, where the only one is chosen."""
    page = PageSession(address)
    assert page.enter(key) == key
    assert TITLE in page.send("select", "adapters").text
    return page


def push(page: PageSession) -> str:
    return page.send("click", "push_to_hub", hub_name="mine").text


@pytest.mark.slow
def test_an_adapter_is_whole_and_can_be_pushed_after_the_server_died_in_the_middle(
    examples: Path, tmp_path: Path
) -> None:
    key = new_key()
    visitor = Workspace.of(key, tmp_path / "root")
    folder = visitor.place.part("adapters") / visitor.shelf.add(small_adapter(), TITLE)
    whole = {path: path.read_bytes() for path in files(folder)}
    with running_hub() as hub:
        account = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "huggingface"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": WRITER,
        }
        hub.hold_uploads = True
        with running_process(tmp_path, examples, **account) as (address, app), ThreadPoolExecutor() as other:
            pushed = other.submit(push, enter(address, key))
            assert hub.held.wait(PATIENCE)
            app.kill()
            with pytest.raises(httpx.TransportError):
                pushed.result(PATIENCE)
        assert hub.repositories["mona/mine"].files.keys() == {".gitattributes"}
        assert hub.repositories["mona/mine"].commits == 0
        assert {path: path.read_bytes() for path in whole} == whole

        hub.hold_uploads = False
        with running_app(tmp_path, examples, **account) as address:
            assert f"Pushed: {hub.url}/mona/mine" in push(enter(address, key))
        assert hub.repositories["mona/mine"].commits == 1
        assert hub.repositories["mona/mine"].files[LORA_FILE] == whole[folder / LORA_FILE]
