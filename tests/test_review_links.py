"""A person decides first: their link opens their portraits once, for them alone, and what they decide counts."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock
from urllib.parse import urlsplit

import pytest
from pilot import Member, Pilot
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from magicapture.__main__ import main
from magicapture.server.gate import layers
from magicapture.server.gate.review import YOURS
from magicapture.server.gate.visits import COOKIE, VISITS
from magicapture.server.workspace import Workspace, WorkspaceError, new_key
from magicapture.server.workspace.invitation import (
    INVITATION,
    Invitation,
    InvitationError,
    key_of,
    new_token,
    open_once,
)
from magicapture.settings import settings
from magicapture.staff.decisions import decided, kept_by_person
from magicapture.staff.engines import EngineError
from magicapture.staff.invite import cell_of, invite
from magicapture.staff.review_workspace import ReviewWorkspace
from magicapture.staff.run_folder import RESULT
from magicapture.ui.farewell import leave
from magicapture.ui.language import translate


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let the page's files lie in the test's own folder."""
    monkeypatch.setenv("MAGICAPTURE_ROOT", str(tmp_path / "root"))
    settings.cache_clear()
    yield tmp_path / "root"
    monkeypatch.undo()
    settings.cache_clear()


@pytest.fixture
def pilot(tmp_path: Path) -> Pilot:
    return Pilot(tmp_path / "run", [Member("anna"), Member("ben"), Member("cleo", unusable="blurred")])


def client(**changes: object) -> TestClient:
    """Give a browser before the gate, with a page behind it that tells nothing."""
    page = Starlette(routes=[Route("/", lambda _: PlainTextResponse("the page"))])
    page.tokens, page.cookie_id = {}, "here"
    for layer in reversed(layers(replace(settings(), **changes), translate)):
        page.add_middleware(layer.cls, *layer.args, **layer.kwargs)
    return TestClient(page, base_url="http://127.0.0.1", follow_redirects=False)


def post(browser: TestClient, token: str, **options: object) -> object:
    return browser.post("/review", data={"token": token}, **options)


def key_in(browser: TestClient) -> str | None:
    """Give the key that the browser's cookie leads to."""
    return VISITS._invitations.get(browser.cookies.get(COOKIE, ""))


def test_a_link_opens_its_persons_portraits_and_nobody_elses(pilot: Pilot, here: Path) -> None:
    tokens = {name: invite(pilot.run, pilot.number(name))[0] for name in ("anna", "ben")}
    for name, token in tokens.items():
        browser = client()
        answer = post(browser, token)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        workspace = Workspace.of(key_in(browser), here)
        shown = {portrait.facts["seed"] for portrait in workspace.portraits()}
        assert shown == {10 * pilot.number(name) + n for n in (1, 2)}


def test_fetching_a_link_as_previews_do_uses_nothing_up_and_carries_no_secret(pilot: Pilot, tmp_path: Path) -> None:
    main(["staff", "review", str(pilot.folder), "--links", str(tmp_path / "links.csv"), "--address", "http://h"])
    link = (tmp_path / "links.csv").read_text().splitlines()[1].split(",")[1]
    token = urlsplit(link).fragment
    assert token
    assert token not in link.partition("#")[0]
    browser = client()
    for method in ("GET", "HEAD", "OPTIONS", "PUT"):
        answer = browser.request(method, "/review")
        assert answer.status_code == (200 if method in ("GET", "HEAD") else 405)
    page = browser.get("/review")
    assert YOURS in page.text
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "same-origin"
    assert not re.search(r"(src|href)=", page.text), "nothing is loaded that could be told where from"
    assert browser.get(f"/review?token={token}").status_code == 200
    assert post(browser, token).status_code == 303, "it is still unused"


def test_a_link_opens_once_also_when_two_browsers_press_at_a_time(pilot: Pilot) -> None:
    token, _ = invite(pilot.run, pilot.number("anna"))
    browsers = [client() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda browser: post(browser, token), browsers))
    assert sorted(answer.status_code for answer in answers) == [303] + [403] * 5
    refused = next(answer for answer in answers if answer.status_code == 403)
    assert "opened before" in refused.text
    assert sum(key_in(browser) is not None for browser in browsers) == 1


@pytest.mark.parametrize("guess", ["", "x", "A" * 43, "../../etc/passwd", "A" * 43 + "%00", "\x00" * 43, "é" * 43])
def test_a_guessed_link_leads_nowhere_and_says_no_more(pilot: Pilot, guess: str) -> None:
    invite(pilot.run, pilot.number("anna"))
    browser = client()
    answer = post(browser, guess)
    assert answer.status_code == 403
    assert "leads nowhere" in answer.text
    assert key_in(browser) is None


def test_names_of_folders_and_keys_are_no_links(pilot: Pilot, here: Path) -> None:
    token, _ = invite(pilot.run, pilot.number("anna"))
    for known in (
        key_of(token),
        next((here / "served").iterdir()).name[:43],
        ("B" if token[0] == "A" else "A") + token[1:],
    ):
        with pytest.raises(InvitationError, match="leads nowhere"):
            open_once(known, here)


def test_a_link_that_is_over_leads_nowhere_even_before_it_is_swept(pilot: Pilot, here: Path) -> None:
    token, _ = invite(pilot.run, pilot.number("anna"))
    folder = Workspace.of(key_of(token), here).folder
    past = Invitation(pilot.folder, 1, datetime.now(UTC) - timedelta(seconds=1))
    (folder / INVITATION).write_text(past.as_json())
    with pytest.raises(InvitationError, match="its time is up"):
        open_once(token, here)


def test_a_new_link_ends_the_old_one_and_keeps_what_was_decided(pilot: Pilot, here: Path) -> None:
    workspace = pilot.opened("anna", here)
    first, second = workspace.portraits()
    workspace.keep(first.path, None)
    workspace.reject(second.path, "artefacts")
    token, _ = invite(pilot.run, pilot.number("anna"))
    assert not workspace.folder.exists()
    again = Workspace.of(open_once(token, here), here)
    assert [(portrait.kept, portrait.facts["seed"]) for portrait in again.portraits()] == [(True, first.facts["seed"])]


def test_a_stolen_cookie_from_before_the_link_opens_nothing(pilot: Pilot) -> None:
    token, _ = invite(pilot.run, pilot.number("anna"))
    browser = client()
    browser.cookies.set(COOKIE, "planted")
    assert post(browser, token).status_code == 303
    assert "planted" not in VISITS._invitations


def test_a_strangers_page_cannot_open_a_link_in_a_visitors_browser(pilot: Pilot) -> None:
    token, _ = invite(pilot.run, pilot.number("anna"))
    assert post(client(), token, headers={"origin": "https://evil.example"}).status_code == 403
    assert post(client(), token, headers={"origin": "http://127.0.0.1"}).status_code == 303


def test_a_large_or_broken_form_is_refused(pilot: Pilot) -> None:
    assert post(client(), "A" * 10_000).status_code == 413
    assert client().post("/review", content=b"\xff\xfe=%zz").status_code == 403


def test_where_visitors_sign_in_the_link_is_the_sign_in_until_the_review_is_over(pilot: Pilot) -> None:
    token, _ = invite(pilot.run, pilot.number("anna"))
    browser = client(users={"anna": "a-secret"})
    answer = post(browser, token)
    assert answer.status_code == 303
    given = browser.cookies.get("access-token-unsecure-here")
    assert given
    assert browser.cookies.get(COOKIE)


def test_the_page_speaks_the_visitors_language(pilot: Pilot) -> None:
    answer = client().get("/review", headers={"accept-language": "ja,en;q=0.5"})
    assert "ポートレート" in answer.text
    assert 'lang="ja"' in answer.text
    hostile = client().get("/review", headers={"accept-language": '"><script>alert(1)</script>'})
    assert "alert(1)" not in hostile.text


def test_what_is_decided_counts_in_the_run_at_once(pilot: Pilot, here: Path) -> None:
    workspace = pilot.opened("anna", here)
    best, other = workspace.portraits()
    workspace.keep(best.path, None)
    workspace.reject(other.path, "not_like_me")
    assert list(kept_by_person(pilot.run)) == ["anna"]
    theirs = [one for one in decided(pilot.run) if one.entry.row.person_id == "anna"]
    assert [(one.decision, one.reason) for one in theirs] == [("kept", None), ("rejected", "not_like_me")]
    cell = pilot.run.cell(theirs[0].entry.key)
    assert sorted(path.name for path in cell.glob("*.png")) == ["portrait-1.png"], "what was rejected is deleted there"
    kept = workspace.portraits()[0]
    workspace.reject(kept.path, "other")
    assert kept_by_person(pilot.run) == {}


def test_a_decision_on_a_portrait_of_a_negative_seed_counts_for_that_portrait(pilot: Pilot, here: Path) -> None:
    key = f"{0:032x}"
    result = pilot.run.result(key)
    drawn = tuple(replace(one, seed=-one.seed) for one in result.portraits)
    (pilot.run.cell(key) / RESULT).write_text(replace(result, portraits=drawn).as_json())
    workspace = pilot.opened("anna", here)
    best = workspace.portraits()[0]
    workspace.reject(best.path, "not_like_me")
    assert [one.decision for one in decided(pilot.run) if one.entry.key == key] == ["rejected", "open"]
    assert not (pilot.run.cell(key) / "portrait-1.png").exists()


@pytest.mark.parametrize(
    "name",
    [
        "seed7-0123456789abcdef.png",
        "seed--1-portrait-1.png",
        f"seed7-{0:032x}-portrait-1.jpg",
        f"x-{0:032x}-portrait-1.png",
    ],
)
def test_a_picture_that_no_run_named_is_filed_under_none(name: str) -> None:
    with pytest.raises(ValueError, match="no portrait of a run"):
        cell_of(name)


def test_what_does_not_reach_its_least_likeness_is_not_kept_in_the_run_either(pilot: Pilot, here: Path) -> None:
    workspace = pilot.opened("anna", here)
    with pytest.raises(WorkspaceError, match=r"0\.95"):
        workspace.keep(workspace.portraits()[0].path, 0.95)
    assert kept_by_person(pilot.run) == {}


def test_withdrawing_forgets_the_person_and_the_link(pilot: Pilot, here: Path) -> None:
    workspace = pilot.opened("anna", here)
    workspace.delete_everything()
    assert not workspace.folder.exists()
    assert "anna" not in pilot.run.numbers()
    assert pilot.run.log_lines()[-1]["what"] == "forgotten"
    assert "ben" in pilot.run.numbers()


def test_who_cannot_be_forgotten_everywhere_is_told_and_can_try_again(pilot: Pilot, here: Path, monkeypatch) -> None:
    workspace = pilot.opened("anna", here)
    unreachable = Mock(side_effect=EngineError("Hugging Face Jobs need an account"))
    with monkeypatch.context() as patch:
        patch.setattr("magicapture.staff.forget.end_jobs", unreachable)
        with pytest.raises(WorkspaceError, match="not everything is deleted: try again"):
            workspace.delete_everything()
    workspace.delete_everything()
    assert not workspace.folder.exists()
    assert "anna" not in pilot.run.numbers()


def test_a_decision_that_cannot_be_written_down_is_not_taken(pilot: Pilot, here: Path) -> None:
    workspace = pilot.opened("anna", here)
    pilot.folder.rename(pilot.folder.with_name("elsewhere"))
    with pytest.raises(WorkspaceError, match="nothing has changed"):
        workspace.keep(workspace.portraits()[0].path, None)
    assert [portrait.kept for portrait in workspace.portraits()] == [False, False]


def test_who_withdraws_keeps_what_they_made_on_the_page_besides(pilot: Pilot, here: Path) -> None:
    context = Mock()
    request = SimpleNamespace(username=None, request=Request({"type": "http", "headers": [], "client": None}))
    besides, token = new_key(), invite(pilot.run, pilot.number("ben"))[0]
    assert leave(context, pilot.opened("anna", here), besides, request) == besides
    open_once(token, here)
    reviewed = ReviewWorkspace(Workspace.of(key_of(token), here).place)
    assert leave(context, reviewed, key_of(token), request) == "", "who sent the link knows this key"
    assert pilot.run.numbers().keys() == {"cleo"}


def test_a_run_that_was_moved_away_is_told_and_nothing_is_lost(pilot: Pilot, here: Path) -> None:
    workspace = pilot.opened("anna", here)
    pilot.folder.rename(pilot.folder.with_name("elsewhere"))
    portrait = workspace.portraits()[0]
    with pytest.raises(WorkspaceError, match="cannot be reached"):
        workspace.reject(portrait.path, "other")
    assert portrait.path.is_file()
    with pytest.raises(WorkspaceError, match="cannot be reached"):
        workspace.delete_everything()
    assert not pilot.folder.exists(), "nothing was written beside the run"


def test_links_are_written_for_everyone_ready_once_and_anew_for_those_named(
    pilot: Pilot, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    links = tmp_path / "links.csv"
    command = ["staff", "review", str(pilot.folder), "--links", str(links), "--address", "https://p.example/"]
    assert main(command) == 0
    first = links.read_text().splitlines()
    assert [line.split(",")[0] for line in first] == ["person_id", "anna", "ben"], "cleo has no portraits"
    assert first[1].split(",")[1].startswith("https://p.example/review#")
    assert links.stat().st_mode & 0o077 == 0
    assert main(command) == 0
    assert links.read_text().splitlines() == first, "what may be unsent stays, and nobody gets a second link"
    assert main([*command, "--again", "anna"]) == 0
    head, ben, anna = links.read_text().splitlines()
    assert [head, ben] == [first[0], first[2]]
    assert anna.startswith("anna,")
    assert anna != first[1]
    links.unlink()
    assert main(command) == 0
    assert links.read_text().splitlines() == ["person_id,link,valid_until"], "what was sent and deleted is sent once"
    assert main([*command, "--again", "nobody"]) == 1
    assert "nobody" in capsys.readouterr().err


@pytest.mark.parametrize("links", ["people.csv", "nowhere/links.csv"])
def test_nobody_is_invited_whose_link_could_not_be_written(pilot: Pilot, tmp_path: Path, links: str, capsys) -> None:
    (tmp_path / "people.csv").write_text("person_id,photos,style\nanna,a,b\n")
    assert main(["staff", "review", str(pilot.folder), "--links", str(tmp_path / links)]) == 1
    assert Path(links).name in capsys.readouterr().err
    assert (tmp_path / "people.csv").read_text().endswith("anna,a,b\n")
    assert not any(line["what"] == "review_invited" for line in pilot.run.log_lines())


def test_an_ordinary_visitors_folder_is_no_review(here: Path) -> None:
    workspace = Workspace.of(key_of(new_token()), here)
    assert type(ReviewWorkspace.if_invited(workspace)) is Workspace
