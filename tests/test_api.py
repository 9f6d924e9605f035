"""The app from code: the README's own example, MCP, and what strangers get to see, which is nothing."""

import asyncio
import base64
import json
import re
import time
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult
from PIL import Image
from running import PATIENCE, ROOT

ENDPOINTS = ["check_photos", "train", "job_status", "stop_job", "stop_drawing", "generate", "score"]
ENDPOINTS += ["delete_everything"]


@pytest.fixture(scope="module")
def client(address: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(address, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


@pytest.fixture(scope="module")
def person(examples: Path) -> list[dict]:
    return handles(examples / "person-someone")


@pytest.fixture(scope="module")
def style(examples: Path) -> list[dict]:
    return handles(examples / "style-grey")


@pytest.fixture(scope="module")
def owner(client: Client, person: list[dict], style: list[dict]) -> dict:
    """Give a visitor with an adapter: their ``key``, ``job`` and ``adapter``."""
    started = client.predict(person, style, steps=2, consent=True, api_name="/train")
    while (status := client.predict(started["job"], api_name="/job_status"))["state"] in ("waiting", "running"):
        time.sleep(0.3)
    assert status["state"] == "finished", status
    return {**started, "adapter": status["adapter"]}


def handles(folder: Path) -> list[dict]:
    return [handle_file(path) for path in sorted(folder.glob("*.png"))]


def stored(folder: Path) -> set[Path]:
    """List the pictures on the server's disk; those of visitors who have left may go at any moment."""
    return {path for path in (folder / "root" / "served").rglob("*") if path.suffix in (".png", ".jpg", ".txt")}


def call_tool(address: str, name: str, arguments: dict) -> CallToolResult:
    async def call() -> CallToolResult:
        async with (
            streamable_http_client(f"{address}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            assert sorted(tools) == sorted(ENDPOINTS)
            assert all(tool.description for tool in tools.values())
            return await session.call_tool(name, arguments)

    return asyncio.run(call())


def test_the_example_in_the_readme_runs_as_it_stands(
    address: str,
    app_folder: Path,
    examples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    readme = (ROOT / "README.md").read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "gradio_client" in block]
    for was, becomes in (("http://127.0.0.1:7860", address), ("steps=0", "steps=8")):
        assert was in code
        code = code.replace(was, becomes)
    (tmp_path / "examples").mkdir()
    for name, stands_for in (("person-1", "person-someone"), ("style-engraving", "style-grey")):
        (tmp_path / "examples" / name).symlink_to(examples / stands_for)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    before = stored(app_folder)
    exec(compile(code, "README.md", "exec"), names)
    assert names["status"]["steps"] == 8
    with Image.open(names["portraits"][0]) as picture:
        facts = json.loads(picture.text["magicapture"])
    assert facts["prompt"] == "with glasses"
    assert facts["likeness"] == names["scores"][0]["likeness"]
    assert "step 8 of 8" in capsys.readouterr().out
    assert stored(app_folder) <= before


def test_every_public_endpoint_is_meant_to_be_one_and_is_described(address: str) -> None:
    info = httpx.get(f"{address}/gradio_api/info", timeout=PATIENCE).json()
    assert sorted(info["named_endpoints"]) == sorted(f"/{name}" for name in ENDPOINTS)
    assert not info["unnamed_endpoints"]
    assert all(endpoint["description"] for endpoint in info["named_endpoints"].values())


def test_bad_photos_are_refused_in_words_that_help_and_nothing_of_them_is_kept(
    client: Client, app_folder: Path, person: list[dict], style: list[dict], tmp_path: Path
) -> None:
    before = stored(app_folder)
    Image.new("RGB", (300, 300), "white").save(tmp_path / "wall.png")
    (tmp_path / "letter.jpg").write_text("not a picture")
    bad = [handle_file(tmp_path / name) for name in ("wall.png", "letter.jpg")]
    verdict = client.predict([*bad, person[0]], api_name="/check_photos")
    assert [photo["status"] for photo in verdict["photos"]] == ["unusable", "unusable", "usable"]
    assert verdict["usable"]
    with pytest.raises(AppError, match=r"photos of the person cannot be used.*wall\.png: No face"):
        client.predict(bad, style, consent=True, api_name="/train")
    assert stored(app_folder) <= before


def test_without_consent_no_photo_is_looked_at_or_kept(
    client: Client, app_folder: Path, person: list[dict], style: list[dict]
) -> None:
    before = stored(app_folder)
    with pytest.raises(AppError, match="without consent"):
        client.predict(person, style, api_name="/train")
    with pytest.raises(AppError, match="without consent"):
        client.predict(person, person, api_name="/score")
    assert stored(app_folder) <= before


def test_a_picture_scores_highest_for_who_is_in_it(client: Client, person: list[dict], style: list[dict]) -> None:
    scores = client.predict(person[:1], person, style, consent=True, api_name="/score")
    assert scores["images"][0]["likeness"] > 0.8
    assert scores["images"][0]["style"] == scores["mean"]["style"]
    alone = client.predict(person[:1], person, consent=True, api_name="/score")
    assert alone["images"][0]["style"] is None
    assert set(alone["mean"]) == {"likeness"}


def test_a_strangers_key_or_id_opens_nothing(
    client: Client, owner: dict, person: list[dict], style: list[dict]
) -> None:
    other = client.predict(person, style, steps=1, consent=True, api_name="/train")
    with pytest.raises(AppError, match="adapter is not there"):
        client.predict(other["key"], owner["adapter"], api_name="/generate")
    with pytest.raises(AppError, match="adapter is not there"):
        client.predict(other["key"], f"../../{owner['adapter']}", api_name="/generate")
    for key in ("", "../x", "a" * 43 + "\n", owner["adapter"]):
        with pytest.raises(AppError, match="no key"):
            client.predict(key, owner["adapter"], api_name="/generate")
    for name in ("job_status", "stop_job"):
        with pytest.raises(AppError, match="no such training"):
            client.predict("0" * 32, api_name=f"/{name}")
    client.predict(other["key"], api_name="/delete_everything")
    with pytest.raises(AppError, match="no such training"):
        client.predict(other["job"], api_name="/job_status")
    assert client.predict(owner["job"], api_name="/job_status")["state"] == "finished"


def test_no_path_or_address_makes_another_visitors_file_ones_own_photo(
    address: str, client: Client, app_folder: Path, owner: dict
) -> None:
    client.predict(owner["key"], owner["adapter"], count=1, api_name="/generate")
    portrait = next((app_folder / "root" / "served").glob("*/portraits/new/*.png"))
    for secret in (portrait, app_folder / "root" / "records.sqlite", Path("/etc/passwd")):
        for photo in (str(secret), f"{address}/gradio_api/file={secret}"):
            result = call_tool(address, "check_photos", {"photos": [photo]})
            assert result.isError
            assert "no file that was uploaded here" in result.content[0].text
        file = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
        assert call_tool(address, "check_photos", {"photos": [file]}).isError
        event = httpx.post(f"{address}/gradio_api/call/check_photos", json={"data": [[file], "person"]}).json()
        answer = httpx.get(f"{address}/gradio_api/call/check_photos/{event['event_id']}", timeout=PATIENCE).text
        assert "event: error" in answer
        assert "usable" not in answer
    assert portrait.is_file()


def test_an_assistant_can_check_photos_over_mcp(address: str, app_folder: Path, examples: Path) -> None:
    before = stored(app_folder)
    photo = (examples / "person-someone" / "1.png").read_bytes()
    with httpx.Client(base_url=address, timeout=PATIENCE) as http:
        (upload,) = http.post("/gradio_api/upload", files={"files": ("me.png", photo)}).json()
    inline = f"data:image/png;base64,{base64.b64encode(photo).decode()}"
    result = call_tool(address, "check_photos", {"photos": [f"{address}/gradio_api/file={upload}", inline]})
    assert not result.isError
    assert "'usable': True" in result.content[0].text
    assert "'name': 'me.png'" in result.content[0].text
    assert stored(app_folder) <= before
