"""One client that asks for all it can get keeps nobody else out."""

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import visitor
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from page_session import PageSession, file_data, gallery
from running import PATIENCE, running_app

from magicapture.server.gate.visits import PAGES_PER_ADDRESS
from magicapture.server.workspace import Workspace, new_key

PROMPTLY = 30
"""Seconds that what is never refused may take on a busy machine, while everything else is held up for minutes."""


@pytest.fixture(scope="module")
def held_up(address: str, examples: Path) -> Iterator[dict]:
    """Let a training hold the accelerator up for as long as the tests take, and then stop it."""
    client = Client(address, verbose=False)
    started = client.predict(*sets(examples), steps=10_000, consent=True, api_name="/train")
    while client.predict(started["job"], api_name="/job_status")["state"] == "waiting":
        time.sleep(0.3)
    yield started
    client.predict(started["key"], api_name="/delete_everything")


def sets(examples: Path) -> list[list[dict]]:
    folders = (examples / "person-someone", examples / "style-grey")
    return [[handle_file(path) for path in sorted(folder.glob("*.png"))] for folder in folders]


def test_sixty_unread_drawings_lock_nobody_out(address: str, app_folder: Path, examples: Path, held_up: dict) -> None:
    flood = PageSession(address)
    keys = [new_key() for _ in range(20)]
    spaces = [Workspace.of(key, app_folder / "root") for key in keys]
    adapters = [space.shelf.add(visitor.small_adapter(), "mine") for space in spaces]
    with ThreadPoolExecutor(20) as clients:
        asked = [clients.submit(flood.begin, "generate", keys[i % 20], adapters[i % 20], 12) for i in range(60)]
    assert all(answer.result().status_code in (200, 503) for answer in asked)

    started = time.monotonic()
    page = PageSession(address)
    key = page.enter()
    assert len(key) == 43
    page.send("input", "consent", consent=True)
    assert page.send("select", "adapters").is_success
    photo = page.upload("me.png", (examples / "person-someone/1.png").read_bytes())
    assert "magi-tile" in page.send("change", "person_photos", person_photos=gallery(photo)).text
    photo = page.upload("me.png", (examples / "person-someone/1.png").read_bytes())
    assert "usable" in page.call("check_photos", [file_data(photo)], "person").text
    assert page.send("click", "stop_training").is_success
    assert page.call("job_status", held_up["job"]).is_success
    assert page.call("stop_drawing", key).is_success
    assert page.call("delete_everything", key).is_success
    assert page.send("click", "really_delete").is_success
    assert httpx.get(address, timeout=PATIENCE).is_success
    assert time.monotonic() - started < PROMPTLY

    for drawer in keys:
        assert flood.call("delete_everything", drawer).is_success
    assert not [space for space in spaces if space.folder.exists()]


def test_who_comes_in_does_not_wait_for_the_photos_of_who_comes_in_again_and_again(
    address: str, examples: Path
) -> None:
    flood, newcomer = PageSession(address), PageSession(address)
    key = flood.enter()
    flood.send("input", "consent", consent=True)
    photo = (examples / "person-someone/1.png").read_bytes()
    for role in ("person", "style"):
        photos = [flood.upload(f"{number}.png", photo) for number in range(20)]
        flood.send("change", f"{role}_photos", **{f"{role}_photos": gallery(*photos)})
    entered = next(
        event
        for event in flood.config["dependencies"]
        if event["targets"][0][1] == "then" and any(flood._name(part) == "terms" for part in event["outputs"])
    )

    def come_back(page: PageSession) -> str:
        data = [page._parts[part]["props"].get("value") for part in entered["inputs"]]
        body = {"fn_index": entered["id"], "data": data, "session_hash": page.session_hash}
        return page.http.post("/gradio_api/queue/join", json=body).raise_for_status().json()["event_id"]

    started = time.monotonic()
    assert flood._outcome(come_back(flood)).is_success
    once = time.monotonic() - started
    for _ in range(40):
        come_back(flood)
    newcomer.enter()
    started = time.monotonic()
    assert newcomer._outcome(come_back(newcomer)).is_success
    assert time.monotonic() - started < 2 * once + 2, "it waits for the others"
    assert newcomer.call("delete_everything", key).is_success


@pytest.mark.slow
def test_pages_opened_by_the_hundred_take_no_memory_and_close_no_page_elsewhere(tmp_path: Path, examples: Path) -> None:
    with running_app(tmp_path, examples) as address:
        first, used, elsewhere = (PageSession(address) for _ in range(3))
        elsewhere.http.headers["x-forwarded-for"] = "203.0.113.7"
        for page in (first, used, elsewhere):
            page.enter()
        for number in range(PAGES_PER_ADDRESS + 5):
            used.session_hash, kept = secrets.token_hex(6), used.session_hash
            used.enter()
            used.session_hash = kept
            if number % 20 == 0:
                assert used.send("click", "keep_these").is_success
        for page in (used, elsewhere):
            assert page.send("click", "keep_these").is_success
        assert "reload it" in first.send("click", "keep_these").text
        first.enter()
        assert first.send("click", "keep_these").is_success


def test_a_dozen_keyless_trainings_are_refused_by_their_address(address: str, examples: Path, held_up: dict) -> None:
    client = Client(address, verbose=False)
    taken, refused = [], []
    for _ in range(12):
        try:
            taken += [client.predict(*sets(examples), steps=10_000, consent=True, api_name="/train")]
        except AppError as error:
            refused += [str(error)]
    assert len(taken) == 2, "besides the one that runs"
    with pytest.raises(AppError, match="from your network"):  # before its photos are looked at
        client.predict([], [], consent=True, api_name="/train")
    assert all("from your network wait or run already" in said for said in refused)
    for one in taken:
        client.predict(one["key"], api_name="/delete_everything")
    assert client.predict(held_up["job"], api_name="/job_status")["state"] == "running"


def test_portraits_that_are_deleted_while_they_are_drawn_do_not_come_back(address: str, app_folder: Path) -> None:
    page = PageSession(address)
    key = new_key()
    space = Workspace.of(key, app_folder / "root")
    adapter = space.shelf.add(visitor.small_adapter(), "mine")
    waiting = page.begin("generate", key, adapter, 12)
    assert waiting.is_success
    time.sleep(1)
    assert page.call("delete_everything", key).is_success
    heard = page.listen(f"/gradio_api/call/generate/{waiting.json()['event_id']}")
    assert "event: error" in heard
    time.sleep(2)
    assert not space.folder.exists()


def test_work_cannot_go_round_the_queue(address: str) -> None:
    page = PageSession(address)
    for endpoint in ("generate", "check_photos", "train", "score"):
        body = {"data": [], "session_hash": page.session_hash}
        for route in ("run", "api"):
            assert page.http.post(f"/gradio_api/{route}/{endpoint}", json=body).status_code == 404
