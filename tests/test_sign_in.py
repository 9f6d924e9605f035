"""On a Space, a visitor signs in and takes an adapter to their own account: nothing of theirs is lost on the way."""

import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import running
from hub_server import ACCOUNTS, READER, WRITER, Hub, running_hub
from huggingface_hub import metadata_load
from oauth_server import Provider, running_provider
from page_session import PageSession, file_data
from playwright.sync_api import Browser, Page, expect
from running import PATIENCE, ROOT, running_app
from visiting import load_examples, open_tab, start_training
from visitor import portrait, small_adapter

from magicapture.bases.base import FOR_OTHER_TOOLS
from magicapture.server.workspace import Workspace

pytestmark = running.needs_browser
SIGN_IN, SIGN_OUT = "Sign in with Hugging Face", f"Logout ({ACCOUNTS[WRITER]})"
WEIGHTS = "pytorch_lora_weights.safetensors"
PUSHED = {".gitattributes", "README.md", WEIGHTS, "magicapture_emb.safetensors", "magicapture.json", *FOR_OTHER_TOOLS}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        space_host = f"127.0.0.1:{free.getsockname()[1]}"
    with running_provider(space_host, ACCOUNTS[WRITER], WRITER) as provider:
        yield provider


@pytest.fixture(scope="module")
def app_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("space")


@pytest.fixture(scope="module")
def address(hub: Hub, provider: Provider, app_folder: Path, examples: Path) -> Iterator[str]:
    """Start the app as on a Space whose owner's token lies in its settings."""
    readme = metadata_load(ROOT / "README.md")
    assert readme["hf_oauth"]
    space = {
        **provider.environment(scopes=" ".join(["openid", "profile", *readme["hf_oauth_scopes"]])),
        "GRADIO_SERVER_PORT": provider.space_host.split(":")[1],
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(app_folder / "huggingface"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": READER,
    }
    with running_app(app_folder, examples, **space) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str, hub: Hub, language: str) -> Iterator[Page]:
    """Open the page in a fresh session; the Hub has been asked nothing yet."""
    hub.requests.clear()
    context = browser.new_context(viewport={"width": 1180, "height": 900}, locale=language)
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(address)
    yield page
    context.close()


@pytest.fixture
def language() -> str:
    return "en-GB"


def keep_portraits(adapter: Path, root: Path) -> list[bytes]:
    """Put two portraits, with the seeds 0 and 1, beside the adapter's folder as kept ones; gives what they hold."""
    visitor = Workspace.named(adapter.parents[1].name, root)
    return [visitor.keep(visitor.add_portrait(portrait(seed), label=False), None).read_bytes() for seed in range(2)]


def go_by(page: Page, button: str) -> None:
    """Leave the page by a button, and wait until a page is there again."""
    with page.expect_event("load"):
        page.get_by_role("button", name=button).click()


def push(page: Page, name: str) -> None:
    page.locator("#hub-name input, #hub-name textarea").fill(name)
    page.locator("#push-to-hub").click()


def test_a_visitor_signs_in_loses_nothing_and_takes_the_adapter_to_their_own_account(
    page: Page, hub: Hub, provider: Provider, app_folder: Path
) -> None:
    load_examples(page)
    start_training(page, steps=2)
    expect(page.locator("#training-result")).to_contain_text("Your adapter is ready: 2 steps")
    adapter = max(app_folder.glob("root/served/*/adapters/*"), key=lambda path: path.stat().st_mtime)
    kept = keep_portraits(adapter, app_folder / "root")
    open_tab(page, "My adapters")
    mine = page.locator("#adapters-menu input")
    expect(mine).not_to_have_value("")
    title = mine.input_value()
    go_by(page, SIGN_IN)
    assert page.url == f"http://{provider.space_host}/"
    open_tab(page, "My adapters")
    expect(page.get_by_role("button", name=SIGN_OUT)).to_be_visible()
    assert provider.asked[-1]["scope"] == "openid profile contribute-repos"
    expect(mine).to_have_value(title)
    assert hub.requests == []
    page.get_by_role("button", name="Push to my account").click()
    expect(page.locator("#hub-account")).to_contain_text("It goes to the account mona (known from: sign-in)")
    expect(page.locator("#hub-pictures input")).to_have_count(len(kept))
    page.locator("#hub-pictures").get_by_label("seed 1").check()
    push(page, "my-portraits")
    expect(page.locator("#adapters-said")).to_contain_text(f"Pushed: {hub.url}/mona/my-portraits")

    (repo_id,) = hub.repositories
    assert repo_id == "mona/my-portraits"
    assert hub.repositories[repo_id].private
    files = hub.repositories[repo_id].files
    assert files.keys() == PUSHED | {"images/1.png"}
    assert files[WEIGHTS] == (adapter / WEIGHTS).read_bytes()
    assert files["images/1.png"] == kept[1]
    assert {token for _, _, token in hub.requests if token} == {WRITER}

    page.get_by_role("button", name="Load from the Hub").click()
    page.locator("#hub-repository input, #hub-repository textarea").fill(repo_id)
    page.locator("#load-from-hub").click()
    expect(page.locator("#adapters-said")).to_contain_text(f"Loaded {repo_id}")
    expect(mine).to_have_value(re.compile(repo_id))


def test_who_has_not_signed_in_is_told_to_and_nothing_is_sent(
    page: Page, address: str, hub: Hub, tmp_path: Path
) -> None:
    open_tab(page, "My adapters")
    page.get_by_role("button", name="Push to my account").click()
    expect(page.locator("#hub-account")).to_contain_text("Nobody is signed in to the Hub here: sign in above")
    expect(page.locator("#push-to-hub")).to_be_disabled()

    forger = PageSession(address)
    forger.enter()
    folder = small_adapter().save(tmp_path / "adapter")
    package = Path(shutil.make_archive(str(folder), "zip", folder))
    uploaded = file_data(forger.upload(package.name, package.read_bytes()))
    assert forger.send("upload", "upload_adapter", upload_adapter=uploaded).is_success
    assert "sign in to the Hub first" in forger.send("click", "push_to_hub", hub_name="mine").text
    assert hub.requests == []


@pytest.mark.parametrize("language", ["ja-JP"])
def test_signing_in_and_out_works_in_another_language(page: Page) -> None:
    for button, after in ((SIGN_IN, SIGN_OUT), (SIGN_OUT, SIGN_IN)):
        open_tab(page, "マイアダプター")
        go_by(page, button)
        open_tab(page, "マイアダプター")
        expect(page.get_by_role("button", name=after)).to_be_visible()
