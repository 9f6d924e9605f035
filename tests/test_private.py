"""What a company is promised: a private installation keeps to itself, and only those who may come in see it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import running
from gradio_client import Client, handle_file
from gradio_client.exceptions import AuthenticationError
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect
from running import PATIENCE, ROOT, running_app
from visiting import load_examples, open_tab, slide, start_training

from magicapture.faces import EngineUnavailableError, load_engine
from magicapture.settings import settings

USERS = {"anna": "a-secret", "ben": "another-secret"}
UNSET = ("MAGICAPTURE_FACE_ENGINE", "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT")
"""What the app finds empty in its environment."""


@pytest.fixture(scope="module")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the variables that let a Python process write down its outgoing connections."""
    folder = tmp_path_factory.mktemp("watcher")
    shutil.copy(Path(__file__).with_name("watcher.py"), folder / "sitecustomize.py")
    return {"PYTHONPATH": str(folder), "WATCHER_LOG": str(folder / "log.txt")}


@pytest.fixture(scope="module")
def address(examples: Path, watcher: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the app in private mode and give its address."""
    private = {
        "MAGICAPTURE_PRIVATE": "1",
        "MAGICAPTURE_USERS": " ".join(f"{name}:{password}" for name, password in USERS.items()),
        "MAGICAPTURE_MIN_LIKENESS": "0.99",
        **dict.fromkeys(UNSET, ""),
    }
    with running_app(tmp_path_factory.mktemp("private"), examples, **private, **watcher) as address:
        yield address


@pytest.fixture
def outside() -> list[str]:
    """Give the list of what the browser asks of other hosts, or is kept from asking."""
    return []


@pytest.fixture
def page(browser: Browser, address: str, outside: list[str]) -> Iterator[Page]:
    """Open the page in a browser that reaches nothing but the app."""
    context = browser.new_context()
    here = urlsplit(address).netloc

    def let_through(route: Route) -> None:
        url = route.request.url
        if urlsplit(url).netloc == here:
            route.continue_()
        else:
            outside.append(url)
            route.abort()

    def listen(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            outside.append(message.text)

    context.route("**/*", let_through)
    page = context.new_page()
    page.on("console", listen)
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(address)
    yield page
    context.close()


def sign_in(page: Page, name: str) -> None:
    page.get_by_label("username").fill(name)
    page.get_by_label("password").fill(USERS[name])
    page.get_by_role("button", name="Login").click()
    expect(page.locator("#consent input")).to_be_enabled()


def signed_in(address: str, name: str) -> httpx.Client:
    client = httpx.Client(base_url=address, timeout=PATIENCE)
    client.post("/login", data={"username": name, "password": USERS[name]}).raise_for_status()
    return client


@running.needs_browser
def test_who_signs_out_by_the_button_is_out(page: Page, address: str) -> None:
    sign_in(page, "ben")
    open_tab(page, "My adapters")
    page.locator("#sign-out").click()
    expect(page.get_by_label("password")).to_be_visible()
    assert page.request.get(f"{address}/config").status == 401


@running.needs_browser
def test_nothing_leaves_the_machine_from_sign_in_to_portraits(
    page: Page, outside: list[str], watcher: dict[str, str]
) -> None:
    sign_in(page, "anna")
    foot = page.locator(".magi-foot")
    expect(foot).to_contain_text("private mode")
    expect(foot).to_contain_text("adapters and portraits after 24 hours")
    expect(foot).to_contain_text("Faces: builtin")
    load_examples(page)
    start_training(page, steps=4)
    expect(page.locator("#training-result")).to_contain_text("Your adapter is ready: 4 steps")
    page.locator("#to-portraits").click()
    slide(page, "count", 1)
    page.locator("#draw").click()
    expect(page.locator("#portraits-said")).to_contain_text("1 portrait of 128 × 128 pixels")
    page.locator("#portraits .keep").click()
    expect(page.get_by_test_id("toast-body")).to_contain_text("can be kept here from a likeness of 0.99")
    open_tab(page, "My adapters")
    expect(page.locator("#upload-adapter")).to_be_attached()
    expect(page.locator("#load-hub, #push-hub")).to_have_count(0)
    assert not outside
    assert Path(watcher["WATCHER_LOG"]).read_text().split() == ["watching"]


def test_the_watcher_sees_a_connection_that_would_leave_the_machine(watcher: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    lines = "import socket; socket.create_connection(('192.0.2.1', 80))"
    command = [sys.executable, "-c", lines]
    result = subprocess.run(command, env={**os.environ, **watcher, "WATCHER_LOG": str(log)}, check=False)
    assert result.returncode != 0
    assert "192.0.2.1" in log.read_text()


@pytest.mark.parametrize(
    "attempt",
    [
        "socket.create_connection(('192.0.2.1', 80))",
        "socket.getaddrinfo('huggingface.co', 443)",
        "socket.gethostbyname('huggingface.co')",
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 53))",
        "socket.socket(socket.AF_INET6).connect(('2001:db8::1', 80))",
        "socket.gethostbyname_ex('huggingface.co')",
        "socket.gethostbyaddr('192.0.2.1')",
        "socket.getnameinfo(('192.0.2.1', 80), 0)",
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
        "socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)",
        "__import__('subprocess').run(['true'])",
        "__import__('os').system('true')",
        "__import__('os').execv('/bin/true', ['true'])",
        "__import__('os').posix_spawn('/bin/true', ['true'], {})",
    ],
)
def test_whatever_a_library_tries_a_private_installation_opens_no_connection(attempt: str) -> None:
    lines = f"import socket; from magicapture.offline import go_offline; go_offline(); {attempt}"
    result = subprocess.run([sys.executable, "-c", lines], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "OutgoingConnectionError: MAGICAPTURE_PRIVATE=1" in result.stderr


def test_asking_for_ones_own_full_name_asks_nobody() -> None:
    ask = "print(socket.getfqdn('192.0.2.1'))"
    lines = f"import socket; from magicapture.offline import go_offline; go_offline(); {ask}"
    result = subprocess.run([sys.executable, "-c", lines], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.stdout.strip() in ("192.0.2.1", ""), "as without a network"


def test_a_private_installation_still_reaches_its_own_page() -> None:
    lines = (
        "import socket; from magicapture.offline import go_offline; go_offline();"
        "server = socket.create_server(('localhost', 0)); socket.create_connection(server.getsockname())"
    )
    subprocess.run([sys.executable, "-c", lines], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    "path",
    [
        "/config",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/gradio_api/file=app.py",
        "/gradio_api/queue/data?session_hash=guess",
        "/gradio_api/queue/status",
        "/gradio_api/upload_progress?upload_id=guess",
        "/gradio_api/call/generate/guess",
    ],
)
def test_who_has_not_signed_in_reads_nothing(address: str, path: str) -> None:
    assert httpx.get(address + path, timeout=PATIENCE).status_code in (401, 404)


@pytest.mark.parametrize("path", ["upload", "queue/join", "run/predict", "call/generate"])
def test_who_has_not_signed_in_starts_nothing(address: str, path: str) -> None:
    body = {"json": {"data": [], "fn_index": 0, "session_hash": "guess"}}
    assert httpx.post(f"{address}/gradio_api/{path}", timeout=PATIENCE, **body).status_code == 401


def test_who_has_not_signed_in_gets_an_empty_page(address: str) -> None:
    text = httpx.get(address, timeout=PATIENCE).text
    assert '"auth_required":true' in text
    assert "magi-head" not in text


def test_browsers_are_told_to_load_nothing_from_elsewhere(address: str) -> None:
    policy = httpx.get(address, timeout=PATIENCE).headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "http" not in policy


def test_programs_get_in_with_a_name_and_password_and_not_without(address: str, examples: Path) -> None:
    photos = [handle_file(path) for path in sorted((examples / "person-someone").glob("*.png"))]
    client = Client(address, auth=("anna", USERS["anna"]), verbose=False)
    assert client.predict(photos, api_name="/check_photos")["usable"]
    with pytest.raises(AuthenticationError):
        Client(address, verbose=False)
    with pytest.raises(ValueError, match="Could not login"):
        Client(address, auth=("anna", "guess"), verbose=False)


@pytest.mark.parametrize("path", ["mcp", "mcp/", "mcp/sse", "mcp/schema"])
def test_programs_that_cannot_sign_in_find_no_tools(address: str, path: str) -> None:
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accepted = {"accept": "application/json, text/event-stream"}
    for answer in (
        httpx.get(f"{address}/gradio_api/{path}", timeout=PATIENCE),
        httpx.post(f"{address}/gradio_api/{path}", json=request, headers=accepted, timeout=PATIENCE),
    ):
        assert answer.status_code in (401, 404, 405)


def test_an_address_that_is_set_to_nothing_is_this_machines_own(address: str) -> None:
    place = urlsplit(address)
    listening = [each.laddr for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    assert {each.ip for each in listening if each.port == place.port} == {"127.0.0.1"}


def test_a_wrong_password_lets_nobody_in(address: str) -> None:
    answer = httpx.post(f"{address}/login", data={"username": "anna", "password": "guess"}, timeout=PATIENCE)
    assert answer.status_code == 400
    assert not answer.cookies


@pytest.mark.parametrize(
    "route", ["file=https://example.org/face.jpg", "file/http://192.0.2.1/", "proxy=https://x.hf.space"]
)
def test_nobody_can_make_the_server_fetch_something(address: str, watcher: dict[str, str], route: str) -> None:
    log = Path(watcher["WATCHER_LOG"])
    before = log.read_text()
    assert signed_in(address, "ben").get(f"/gradio_api/{route}").status_code == 404
    assert log.read_text() == before


def test_companies_never_run_models_that_are_for_research_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGICAPTURE_PRIVATE", "1")
    monkeypatch.setenv("MAGICAPTURE_USERS", "anna:a-secret")
    monkeypatch.setattr("magicapture.faces.pack_folder", lambda pack: Path("/packs") / pack)
    monkeypatch.setenv("MAGICAPTURE_FACE_ENGINE", "auto")
    assert load_engine().name == "builtin"
    monkeypatch.setenv("MAGICAPTURE_FACE_ENGINE", "insightface")
    settings.cache_clear()
    with pytest.raises(EngineUnavailableError, match="private mode"):
        load_engine()
