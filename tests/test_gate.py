"""What the app answers to requests that no page of its own would send."""

import asyncio
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from page_session import PageSession, gallery
from running import PATIENCE, running_app
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from magicapture.server.gate.answer import address_of
from magicapture.server.gate.sign_in import TRIES, checks_password
from magicapture.server.records import Records
from magicapture.server.workspace import Workspace
from magicapture.settings import Settings

MB = 2**20


@pytest.fixture(scope="module")
def private_address(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of an app where visitors sign in."""
    with running_app(tmp_path_factory.mktemp("users"), examples, MAGICAPTURE_USERS="anna:a-secret") as address:
        yield address


def asked(address: str, method: str = "GET", path: str = "/config", **headers: str) -> httpx.Response:
    return httpx.request(method, address + path, headers=headers, timeout=PATIENCE)


def answer_to(address: str, *sent: bytes) -> bytes:
    """Send bytes as they are, and read what comes back until the server hangs up or is done."""
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port), timeout=PATIENCE) as connection:
        try:
            for part in sent:
                connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough
        return connection.recv(65536)


def stored(folder: Path) -> set[Path]:
    return {path for path in (folder / "root/served").rglob("*") if path.is_file()}


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "", "a b"])
def test_a_name_that_a_stranger_points_here_leads_nowhere(address: str, host: str) -> None:
    for path in ("/", "/config", "/gradio_api/mcp/schema", "/gradio_api/info"):
        said = answer_to(address, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert said.split()[1] in (b"421", b"400")


@pytest.mark.parametrize("host", ["localhost:7860", "192.168.1.5:7860", "[::1]:7860"])
def test_the_page_is_found_by_its_addresses(address: str, host: str) -> None:
    assert asked(address, host=host).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:1", "null", "http://127.0.0.1"])
def test_scripts_of_other_pages_can_neither_read_nor_do_anything(address: str, origin: str) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    for method, path in (
        ("POST", "/gradio_api/mcp/"),
        ("POST", "/gradio_api/call/check_photos"),
        ("POST", "/gradio_api/upload"),
        ("GET", "/config"),
    ):
        sent = {"json": body} if method == "POST" else {}
        answer = httpx.request(method, address + path, headers={"origin": origin}, timeout=PATIENCE, **sent)
        assert answer.status_code == 403
        assert "other pages" in answer.text
    assert asked(address, origin=address).status_code == 200


def test_answers_are_not_guessed_at_nor_framed(address: str, app_folder: Path) -> None:
    for path in ("/", "/config", "/nothing", "/gradio_api/vibe-code"):
        headers = asked(address, path=path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'self'" in headers["content-security-policy"]


def test_a_recording_is_not_written_anywhere(address: str, app_folder: Path) -> None:
    before = {path for path in app_folder.rglob("*") if path.is_file()}
    for path in ("process_recording", "component_server", "vibe-edit", "vibe-code", "run-history/connect"):
        answer = httpx.post(f"{address}/gradio_api/{path}", files={"video": ("a.mp4", b"x" * 1000)}, timeout=PATIENCE)
        assert answer.status_code == 404
    assert {path for path in app_folder.rglob("*") if path.is_file()} <= before


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/gradio_api/queue/join", "application/json"),
        ("/gradio_api/call/check_photos", "application/json"),
        ("/gradio_api/upload", "multipart/form-data; boundary=b"),
        ("/gradio_api/mcp/", "application/json"),
        ("/login", "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_is_refused_before_it_is_read(address: str, path: str, kind: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {400 * MB}\r\n\r\n"
    started = time.monotonic()
    assert answer_to(address, head.encode(), b"[").split()[1] == b"413"
    assert time.monotonic() - started < 5


def test_a_body_that_does_not_say_its_size_is_cut_off(address: str, app_folder: Path) -> None:
    before = stored(app_folder)
    head = b"POST /gradio_api/reset HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n" % MB + b"x" * MB + b"\r\n"
    assert answer_to(address, head, *[chunk] * 8).split()[1] in (b"400", b"413")
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.zip"\r\n\r\n'
    kind = b"Content-Type: multipart/form-data; boundary=b\r\n"
    upload = head.replace(b"reset", b"upload").replace(b"Host", kind + b"Host")
    assert answer_to(address, upload, b"%x\r\n" % len(part) + part + b"\r\n", *[chunk] * 340).split()[1] == b"413"
    assert stored(app_folder) <= before


def test_a_field_of_a_form_is_not_held_in_memory(address: str) -> None:
    form = {"data": {"x": "y" * 10 * MB}, "files": {"files": b""}}
    answer = httpx.post(f"{address}/gradio_api/upload", timeout=PATIENCE, **form)
    assert answer.status_code in (400, 413)
    many = [("files", (f"{number}.png", b"x")) for number in range(100)]
    assert httpx.post(f"{address}/gradio_api/upload", files=many, timeout=PATIENCE).status_code in (400, 413)


def test_words_of_a_visitors_own_do_not_hold_the_page_up(address: str) -> None:
    page = PageSession(address)
    page.http.headers["accept-language"] = "ja"
    words = "Ready: 1 photo of the person, 1 of the style. " * 220
    started = time.monotonic()
    page.call("train", [], [], words, 0, 0, True)
    page.call("generate", words[:43], words, 1)
    assert asked(address).status_code == 200
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("endpoint", "data"),
    [
        ("generate", ["{key}"]),
        ("generate", ["{key}", "0", "many", "", 0.5, 0, 1, True]),
        ("generate", ["{key}", "0", 4, 7, 0.5, 0, 1, True]),
        ("generate", ["{key}", None, 4.5, "", 0.5, 0, 1, True]),
        ("generate", [["{key}"], "0", 1, "", 0.5, 0, 1, True]),
        ("generate", [{"key": "{key}"}, {}, 1, "", "high", 0, 1, True]),
        ("generate", ["{key}", "0", 1, "", 0.5, -1, 1, True]),
        ("generate", ["{key}", "0", 1, "", 0.5, 0, 1, True, "much"]),
        ("generate", ["{key}", "0", 1, "", 0.5, 0, 1, True, 0.1]),
        ("generate", ["{key}", "0", 1, "", 0.5, 2**70, 3, True]),
        ("generate", ["{key}", "0", 1, "x" * 10_000, 0.5, 0, 1, True]),
        ("train", [None, 3, "quick", "few", 0, True, "{key}"]),
        ("train", [[], [], "quick", 10**9, 0, True, "{key}"]),
        ("train", [[], [], "quick", 0, 2**70, True, "{key}"]),
        ("train", ["abc", "abc", ["quick"], 0, 0, True, "{key}"]),
        ("check_photos", [7, "person"]),
        ("check_photos", [[None, 7, {}], "person"]),
        ("check_photos", [[], {}]),
        ("delete_everything", [7]),
        ("job_status", [{}]),
        ("job_status", [["{key}"]]),
    ],
)
def test_a_wrong_argument_is_told_in_one_sentence_and_not_logged(
    address: str, app_folder: Path, endpoint: str, data: list
) -> None:
    key = "k" * 43
    given = json.loads(json.dumps(data).replace("{key}", key))
    before = len((app_folder / "log.txt").read_text())
    answer = PageSession(address).call(endpoint, *given)
    assert answer.status_code == 500
    said = answer.text.split('"error":')[-1]
    assert len(said) < 400
    assert said.count(".") <= 3
    assert "null" not in said.split(",")[0], "an error that nobody explains"
    logged = (app_folder / "log.txt").read_text()[before:]
    assert key not in logged
    assert "Traceback" not in logged


@pytest.mark.parametrize("prompt", ["x" * 201, ["x" * 100_000], {"x": "y" * 100_000}, [["x"] * 100], 7, None])
def test_no_kind_of_value_brings_more_words_than_a_prompt_may_have(address: str, prompt: object) -> None:
    answer = PageSession(address).call("generate", "k" * 43, "0" * 16, 1, prompt)
    assert "prompt must be a text of at most 200 characters" in answer.text


@pytest.mark.parametrize(
    ("trigger", "element", "values"),
    [
        ("change", "preset", {"steps": "{words}"}),
        ("change", "preset", {"number": [["{words}"]]}),
        ("change", "preset", {"checkboxgroup": ["{words}"]}),
        ("change", "preset", {"dropdown": "{words}"}),
        ("change", "preset", {"steps": 10**9}),
        ("change", "person_photos", {"person_photos": ["{words}"]}),
        ("change", "person_photos", {"person_photos": {"image": {"path": "{words}"}}}),
        ("upload", "upload_adapter", {"upload_adapter": {"path": ["{words}"]}}),
        ("click", "use_mask", {"canvas": "{words}"}),
    ],
)
def test_what_a_field_of_the_page_cannot_take_is_told_in_one_sentence_and_not_logged(
    address: str, app_folder: Path, trigger: str, element: str, values: dict
) -> None:
    page, words = PageSession(address), "what nobody else is to read"
    page.http.headers["accept-language"] = "ja"
    page.enter()
    before = len((app_folder / "log.txt").read_text())
    answer = page.send(trigger, element, **json.loads(json.dumps(values).replace("{words}", words)))
    assert answer.status_code == 500
    assert "入力し直してください" in answer.json()["error"]
    logged = (app_folder / "log.txt").read_text()[before:]
    assert words not in logged
    assert "Traceback" not in logged


def test_without_consent_no_photo_is_stored(address: str, app_folder: Path, examples: Path) -> None:
    page = PageSession(address)
    key = page.enter()
    upload = page.upload("me.png", (examples / "person-someone/1.png").read_bytes())
    assert "tick the box" in page.send("change", "person_photos", person_photos=gallery(upload)).text
    assert not Workspace.of(key, app_folder / "root").photos("person")
    assert page.send("click", "load_examples").status_code == 500
    assert not Workspace.of(key, app_folder / "root").photos("person")


def test_who_agrees_no_longer_is_asked_again_and_until_then_no_photo_is_stored(
    address: str, app_folder: Path, examples: Path
) -> None:
    page, photo = PageSession(address), (examples / "person-someone/1.png").read_bytes()
    key = page.enter()
    page.send("input", "consent", consent=True)
    page.send("change", "person_photos", person_photos=gallery(page.upload("me.png", photo)))
    workspace = Workspace.of(key, app_folder / "root")
    assert workspace.photos("person")
    page.send("input", "consent", consent=False)
    late = page.send("change", "person_photos", person_photos=gallery(page.upload("me.png", photo)))
    assert "tick the box" in late.text
    assert not workspace.photos("person")
    assert page.send("click", "load_examples").status_code == 500
    assert Records(f"sqlite:///{app_folder / 'root/records.sqlite'}").latest_consent(workspace.name) is None


def test_the_page_notices_whenever_what_its_steps_depend_on_has_changed(address: str) -> None:
    config = PageSession(address).config
    states = {part["id"] for part in config["components"] if part["type"] == "state"}
    watched = {part for event in config["dependencies"] for part, _ in event["targets"]} & states
    unqueued = [event for event in config["dependencies"] if event["backend_fn"] and not event["queue"]]
    assert watched
    # What an event also asks for it gives back as it was.
    assert [event["targets"] for event in unqueued if watched & set(event["outputs"]) - set(event["inputs"])] == []


def test_who_guesses_passwords_is_not_heard_any_more(private_address: str) -> None:
    def try_to(password: str) -> int:
        form = {"username": "anna", "password": password}
        return httpx.post(f"{private_address}/login", data=form, timeout=PATIENCE).status_code

    assert try_to("a-secret") == 200
    assert [try_to(f"guess {number}") for number in range(TRIES)] == [400] * TRIES
    assert try_to("guess") == try_to("a-secret") == 429


def test_nobody_is_signed_out_by_a_strangers_link(private_address: str) -> None:
    assert asked(private_address, path="/logout").status_code == 405
    assert asked(private_address, path="/logout", **{"sec-fetch-site": "cross-site"}).status_code == 405
    assert asked(private_address, "POST", "/logout").status_code == 302


def test_a_name_that_nobody_has_takes_as_long_as_one_that_somebody_has() -> None:
    is_right = checks_password({"anna": "a-secret", "bén": "ünsecret"})
    assert is_right("anna", "a-secret")
    assert is_right("bén", "ünsecret")
    assert not is_right("anna", "ünsecret")
    assert not is_right("nobody", "a-secret")

    def seconds(name: str) -> float:
        started = time.process_time()  # of this process alone, whatever else the machine does
        for _ in range(5_000):
            is_right(name, "guess")
        return time.process_time() - started

    in_turn = [(seconds("anna"), seconds("nobody")) for _ in range(20)]  # a slow minute is slow for both
    known, unknown = (min(taken) for taken in zip(*in_turn, strict=True))
    assert abs(known - unknown) < 0.3 * known


@pytest.mark.parametrize(
    ("variables", "asker"),
    [
        ({"SPACE_ID": "mona/studio"}, "203.0.113.9"),
        ({}, "10.16.3.80"),
        ({"FORWARDED_ALLOW_IPS": "10.16.3.80"}, "10.0.1.2"),
    ],
)
def test_on_a_space_visitors_are_told_apart_by_their_own_addresses(
    variables: dict[str, str], asker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SPACE_ID", "FORWARDED_ALLOW_IPS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    heard = []

    async def note(scope: dict, *_: object) -> None:
        heard.append(address_of(scope))

    forwarded = (b"x-forwarded-for", b"192.0.2.66, 203.0.113.9, 10.0.1.2")  # the first is what the visitor claims
    scope = {"type": "http", "client": ("10.16.3.80", 1), "headers": [forwarded]}
    asyncio.run(ProxyHeadersMiddleware(note, Settings.from_environment().proxies)(scope, None, None))
    assert heard == [asker]


@pytest.mark.parametrize(
    ("variables", "lends"),
    [
        ({}, True),
        ({"GRADIO_SERVER_NAME": "localhost"}, True),
        ({"GRADIO_SERVER_NAME": "0.0.0.0"}, False),
        ({"GRADIO_SERVER_NAME": "192.168.1.5"}, False),
        ({"MAGICAPTURE_HOSTS": "portraits.example"}, False),
        ({"SPACE_ID": "mona/studio"}, False),
        ({"GRADIO_SERVER_NAME": "0.0.0.0", "MAGICAPTURE_HOST_TOKEN": "1"}, True),
    ],
)
def test_visitors_from_elsewhere_do_not_act_with_the_owners_token(
    variables: dict[str, str], lends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GRADIO_SERVER_NAME", "SPACE_ID", *[name for name in os.environ if name.startswith("MAGICAPTURE")]):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings.from_environment().lends_host_token is lends
