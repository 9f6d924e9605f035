"""What one visitor has, no other reaches: whatever they guess, forge or replay."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import visitor
from page_session import PageSession, file_data, gallery, raw_get
from PIL import Image

from magicapture.server.workspace import Workspace, new_key


@dataclass(frozen=True)
class Anna:
    """The visitor that others try to reach: what she has, and the page that she has open."""

    key: str
    workspace: Workspace
    adapter: str
    page: PageSession

    @property
    def photo(self) -> Path:
        return self.workspace.photos("person")[0]

    @property
    def portrait(self) -> Path:
        return self.workspace.portraits()[0].path


@pytest.fixture(scope="module")
def root(app_folder: Path) -> Path:
    return app_folder / "root"


@pytest.fixture(scope="module")
def anna(address: str, root: Path) -> Anna:
    key = new_key()
    workspace = Workspace.of(key, root)
    workspace.ingest([visitor.uploaded(root)], "person")
    workspace.add_portrait(visitor.portrait(), label=False)
    adapter = workspace.shelf.add(visitor.small_adapter(), "Anna in oil")
    workspace.shelf.zip(adapter)
    page = PageSession(address)
    assert page.enter(key) == key
    return Anna(key, workspace, adapter, page)


@pytest.fixture
def ben(address: str) -> PageSession:
    """Give the page of another visitor."""
    page = PageSession(address)
    page.enter()
    page.send("input", "consent", consent=True)
    return page


def shelf(page: PageSession, **forged: object) -> str:
    """Open the tab My adapters; gives what comes back."""
    return page.send("select", "adapters", **forged).text


@pytest.fixture(autouse=True)
def nothing_of_annas_moves(anna: Anna, root: Path) -> Iterator[None]:
    """After each attempt Anna has what she had, and nobody else has a copy of it."""
    before = {path: path.read_bytes() for path in visitor.files(anna.workspace.folder)}
    yield
    assert {path: path.read_bytes() for path in visitor.files(anna.workspace.folder)} == before
    others = set()
    for path in visitor.files(root / "served"):
        if not path.is_relative_to(anna.workspace.folder):
            with suppress(FileNotFoundError):  # of a visitor who has left
                others.add(path.read_bytes())
    assert not others & set(before.values())


def test_the_page_shows_annas_adapter_to_anna(anna: Anna) -> None:
    assert "Anna in oil" in shelf(anna.page)


def test_a_photo_is_shown_to_nobody_who_only_knows_its_path(anna: Anna, ben: PageSession, address: str) -> None:
    for written in (anna.photo, quote(str(anna.photo)), f"{anna.photo.parent}/../person/{anna.photo.name}"):
        for route in ("file=", "file/"):
            assert raw_get(address, f"/gradio_api/{route}{written}")[0] in (403, 404)
            for page in (anna.page, ben):  # it is shown to her in the page itself
                assert page.http.get(f"/gradio_api/{route}{written}").status_code in (403, 404)


def test_a_crop_of_a_photo_is_shown_to_whose_it_is_alone(anna: Anna, ben: PageSession, address: str) -> None:
    crop = anna.workspace.store_crop("me.jpg", Image.new("RGB", (8, 8), "teal"))
    assert anna.page.http.get(f"/gradio_api/file={crop}").content == crop.read_bytes()
    assert ben.http.get(f"/gradio_api/file={crop}").status_code == 404
    assert raw_get(address, f"/gradio_api/file={crop}")[0] == 404
    crop.unlink()


def test_plans_and_measurements_of_faces_are_shown_to_nobody(anna: Anna) -> None:
    folder = anna.workspace.folder
    for name in ("plan.pt", "checkpoint.pt", "plan.part"):
        (anna.workspace.place.part("jobs", "1") / name).write_bytes(b"secret")
    files = [path for path in visitor.files(folder) if path.suffix in (".pt", ".part", ".safetensors", ".json")]
    assert len(files) > 5
    for path in files:
        assert anna.page.http.get(f"/gradio_api/file={path}").status_code == 404
    for path in visitor.files(folder / "jobs"):
        path.unlink()


def test_a_portrait_and_a_zip_are_there_for_programs_that_know_the_path(anna: Anna, address: str) -> None:
    assert raw_get(address, f"/gradio_api/file={anna.portrait}") == (200, anna.portrait.read_bytes())
    assert raw_get(address, f"/gradio_api/file={anna.workspace.shelf.zip(anna.adapter)}")[0] == 200


def test_an_upload_is_shown_to_who_sent_it_and_goes_when_they_leave(
    address: str, ben: PageSession, examples: Path
) -> None:
    photo = (examples / "person-someone/1.png").read_bytes()
    mine, theirs = ben.upload("me.png", photo), PageSession(address).upload("me.png", photo)
    assert ben.http.get(f"/gradio_api/file={mine}").content == photo
    assert ben.http.get(f"/gradio_api/file={theirs}").status_code == 404
    assert raw_get(address, f"/gradio_api/file={mine}")[0] == 404
    assert ben.send("click", "really_delete").is_success
    assert not Path(mine).exists()
    assert Path(theirs).exists()
    Path(theirs).unlink()


def test_a_page_is_only_its_visitors_even_if_the_name_of_its_session_is_known(anna: Anna, address: str) -> None:
    thief = PageSession(address, anna.page.session_hash)
    for answer in (shelf(thief), thief.send("click", "really_delete").text):
        assert "Anna in oil" not in answer
        assert "opened by someone else" in answer
    url = f"/gradio_api/queue/data?session_hash={anna.page.session_hash}"
    assert thief.http.get(url).status_code == 403
    assert thief.http.get(f"/gradio_api/heartbeat/{anna.page.session_hash}").status_code == 403
    wish = {"session_hash": anna.page.session_hash, "fn_index": 0, "event_id": "0"}
    assert thief.http.post("/gradio_api/cancel", json=wish).status_code == 403
    assert anna.page.http.post("/gradio_api/cancel", json=wish).is_success
    with anna.page.http.stream("GET", f"/gradio_api/heartbeat/{anna.page.session_hash}") as alive:
        assert alive.is_success
    assert "Anna in oil" in shelf(anna.page)


@pytest.mark.parametrize("route", ["/gradio_api/file=", "/gradio_api/file/", "/file="])
@pytest.mark.parametrize(
    "path",
    [
        "{root}/records.sqlite",
        "{root}/records.sqlite-wal",
        "{root}/served/../records.sqlite",
        "{anna}/../../records.sqlite",
        "{root}/served",
        "{root}/served/",
        "{anna}",
        "{anna}/photos/person/",
        "{anna}/../" + "0" * 64 + "/photos/person/me.jpg",
        "{root}/served/" + "f" * 64 + "/portraits/new/seed7.png",
        "{examples}/../isolation0/root/records.sqlite",
        "{examples}/person-someone/../../../../../../../../etc/passwd",
        "/etc/passwd",
        "../../etc/passwd",
        "app.py",
        "magicapture/settings.py",
        "file://{root}/records.sqlite",
    ],
)
def test_guessed_paths_lead_nowhere(
    anna: Anna, address: str, root: Path, examples: Path, route: str, path: str
) -> None:
    target = path.format(root=root, anna=anna.workspace.folder, examples=examples)
    for written in (target, quote(target, safe=""), quote(target).replace("..", "%2e%2e")):
        status, content = raw_get(address, route + written)
        assert status in (403, 404)
        assert b"SQLite" not in content


@pytest.mark.parametrize("role", ["person", "style"])
@pytest.mark.parametrize("what", ["photo", "portrait"])
def test_another_visitors_file_is_not_taken_as_ones_own_photo(
    anna: Anna, ben: PageSession, role: str, what: str
) -> None:
    element = f"{role}_photos"
    answer = ben.send("change", element, **{element: gallery(getattr(anna, what))})
    assert "is not there any more" in answer.text
    assert "magi-tile" not in answer.text


@pytest.mark.parametrize("path", ["/etc/passwd", "app.py", "{root}/records.sqlite", "{root}/served/../records.sqlite"])
def test_a_file_of_the_server_is_not_taken_as_a_photo(ben: PageSession, root: Path, path: str) -> None:
    file = path.format(root=root)
    for answer in (
        ben.send("change", "person_photos", person_photos=gallery(file)),
        ben.send("upload", "upload_adapter", upload_adapter=file_data(file)),
        ben.call("check_photos", [file_data(file)], "person"),
    ):
        assert answer.status_code == 500


@pytest.mark.parametrize("url", ["http://127.0.0.1:7860/face.jpg", "https://example.org/face.jpg"])
def test_the_server_fetches_no_photo_for_anyone(ben: PageSession, url: str) -> None:
    for answer in (
        ben.send("change", "person_photos", person_photos=gallery(url)),
        ben.send("upload", "upload_adapter", upload_adapter=file_data(url.replace("jpg", "zip"))),
    ):
        assert "Nothing is fetched from elsewhere" in answer.text


def test_visitors_may_send_the_same_photo_at_the_same_time(address: str, examples: Path) -> None:
    photo = (examples / "person-someone/1.png").read_bytes()
    first, second = PageSession(address), PageSession(address)
    uploads = [page.upload("me.png", photo) for page in (first, second)]
    assert uploads[0] != uploads[1]
    for page, upload in zip((first, second), uploads, strict=True):
        page.enter()
        page.send("input", "consent", consent=True)
        assert "magi-tile" in page.send("change", "person_photos", person_photos=gallery(upload)).text


def test_another_visitors_adapter_is_not_taken_as_ones_own_upload(anna: Anna, ben: PageSession) -> None:
    package = anna.workspace.shelf.zip(anna.adapter)
    assert "is not there any more" in ben.send("upload", "upload_adapter", upload_adapter=file_data(package)).text


def test_programs_cannot_name_another_visitors_file(anna: Anna, ben: PageSession) -> None:
    for answer in (
        ben.call("check_photos", [file_data(anna.photo)], "person"),
        ben.call("check_photos", [f"/gradio_api/file={anna.photo}"], "person"),
        ben.call("score", [file_data(anna.portrait)], [file_data(anna.photo)], None, True),
    ):
        assert answer.status_code == 500
        assert '"sentence"' not in answer.text
        assert '"likeness"' not in answer.text


def test_another_visitors_adapter_cannot_be_used_by_its_id(anna: Anna, ben: PageSession) -> None:
    assert "Anna in oil" not in ben.send("input", "adapters_menu", adapters_menu=anna.adapter).text
    assert "Anna in oil" not in shelf(ben, state=anna.adapter)
    for element in ("use_adapter", "rename_adapter", "delete_adapter", "push_to_hub"):
        assert ben.send("click", element, state=anna.adapter).status_code == 500
    answer = ben.call("generate", new_key(), anna.adapter, 1)
    assert answer.status_code == 500
    assert "Anna" not in answer.text


def test_the_name_of_a_folder_is_not_the_key_to_it(anna: Anna, ben: PageSession) -> None:
    for key in (anna.workspace.name, anna.workspace.name[:43], str(anna.workspace.folder), "../" + anna.workspace.name):
        ben.enter(key)
        assert "Anna in oil" not in shelf(ben)


def test_states_that_the_server_keeps_cannot_be_forged(anna: Anna, ben: PageSession) -> None:
    forged = {"folder": str(anna.workspace.folder), "_type": "Workspace"}
    for state in (forged, str(anna.workspace.folder), [str(anna.portrait)]):
        assert "Anna in oil" not in shelf(ben, state=state)
        for event in ("keep", "reject", "compare"):
            assert ben.send(event, "portraits", anna.portrait.name, state=state).status_code == 500
            for name in (anna.portrait.name, str(anna.portrait), f"../../{anna.portrait.name}", "", None, [], {}):
                answer = ben.send(event, "portraits", {"name": name, "reason": "other"}, state=state)
                assert answer.status_code == 500
                assert "there any more" in answer.text
        for name in (anna.photo.name, str(anna.photo), None):
            assert ben.send("remove", "person_verdicts", {"name": name}, state=state).is_success
        for element in ("keep_these", "stop_training"):
            ben.send("click", element, state=state)


@pytest.mark.parametrize("change", [lambda name: name[:-1], lambda name: name[::-1], lambda _: "", lambda _: "*"])
def test_a_guessed_session_finds_nothing(anna: Anna, address: str, change: object) -> None:
    guess = PageSession(address)
    guess.session_hash = change(anna.page.session_hash)
    assert "Anna in oil" not in shelf(guess)
    heard = guess.listen(f"/gradio_api/queue/data?session_hash={guess.session_hash}")
    assert '"session_not_found":true' in heard


@pytest.mark.parametrize("job", ["", "1", "0" * 32, "../jobs", "*", "' OR 1=1 --"])
def test_guessed_trainings_do_not_exist(ben: PageSession, job: str) -> None:
    for endpoint in ("job_status", "stop_job"):
        answer = ben.call(endpoint, job)
        assert answer.status_code == 500
        assert "There is no such training" in answer.text


@pytest.mark.parametrize("endpoint", ["generate", "job_status"])
def test_guessed_events_tell_nothing(ben: PageSession, endpoint: str) -> None:
    assert ben.listen(f"/gradio_api/call/{endpoint}/{'0' * 32}").startswith("event: error")


def test_components_run_none_of_their_methods_for_strangers(anna: Anna, ben: PageSession) -> None:
    for part in ben.config["components"]:
        for name in ("preprocess", "ls", "as_example", "__class__"):
            body = {
                "data": {"path": str(anna.photo)},
                "component_id": part["id"],
                "fn_name": name,
                "session_hash": ben.session_hash,
            }
            assert ben.http.post("/gradio_api/component_server", json=body).status_code in (404, 500)


def test_nobody_deletes_anothers_things(ben: PageSession) -> None:
    ben.send("input", "consent", consent=False)
    ben.send("click", "really_delete")
    assert ben.call("delete_everything", new_key()).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/monitoring",
        "/monitoring/summary",
        "/monitoring/guess",
        "/gradio_api/runs",
        "/gradio_api/run-history/records",
        "/gradio_api/profiling/traces",
        "/gradio_api/vibe-code",
        "/gradio_api/call/v2/train",
        "/docs",
        "/redoc",
        "/gradio_api/file=http://127.0.0.1/",
        "/gradio_api/file/https://example.org/",
        "/gradio_api/file=%68ttp://127.0.0.1/",
        "/gradio_api/proxy=https://example.hf.space/",
    ],
)
def test_routes_that_would_tell_of_others_are_closed(address: str, path: str) -> None:
    status, _ = raw_get(address, path)
    assert status in (403, 404)


def test_no_link_writes_a_visitors_page_to_the_disk(anna: Anna, address: str, root: Path) -> None:
    path = f"/gradio_api/deep_link?session_hash={anna.page.session_hash}"
    assert raw_get(address, path)[0] == 404
    assert not (root / "served" / "deep_links").exists()


def test_nothing_that_shares_or_tracks_is_switched_on(ben: PageSession) -> None:
    assert not ben.config["analytics_enabled"]
    assert not ben.config.get("run_history")
    assert not ben.config.get("is_share")
    kinds = {part["type"] for part in ben.config["components"]}
    assert not kinds & {"deeplinkbutton", "flagging"}
    buttons = [part["props"].get("buttons") or [] for part in ben.config["components"]]
    assert "share" not in str(buttons)
