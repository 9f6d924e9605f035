"""Portraits that leave are signed as drawn by a model where the installation has a certificate, and only there."""

import json
import signal
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import c2pa
import gradio as gr
import pytest
from certificate import KINDS, Certificate, make_certificate
from hub_server import WRITER, Hub, serving
from PIL import Image
from running import ROOT
from starlette.responses import FileResponse
from starlette.testclient import TestClient
from visitor import make_old, portrait

from magicapture.drawing.credentials import (
    SETTINGS,
    TRAINED,
    Credentials,
    CredentialsError,
    credentials,
    outgoing,
    state,
)
from magicapture.drawing.portrait import XMP, read_facts
from magicapture.server.gate.files import Files
from magicapture.server.hub import HubError, push
from magicapture.server.workspace import Workspace, WorkspaceError
from magicapture.settings import Settings, settings
from magicapture.ui import gallery as gallery_module

pytest_plugins = ["hub_fixtures"]
PNG = "image/png"

NO_SOCKETS = """
import ctypes, platform, sys
call = {"x86_64": 41, "aarch64": 198}[platform.machine()]  # socket(2)

class Step(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("k", ctypes.c_uint)]

class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.POINTER(Step))]

# load the number of the call; is it socket? then kill the process, else allow it
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, call), (0x06, 0, 0, 0x80000000), (0x06, 0, 0, 0x7FFF0000)]
steps = (Step * 4)(*(Step(*step) for step in steps))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(Filter(4, steps)), 0, 0) == 0
"""
"""Kills the process that opens a socket, also from native code (seccomp(2), https://docs.kernel.org/userspace-api)."""


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    (tmp_path / "certificate").mkdir()
    return make_certificate(tmp_path / "certificate")


@pytest.fixture
def signing(certificate: Certificate, monkeypatch: pytest.MonkeyPatch):
    """Let this installation sign."""
    monkeypatch.setenv("MAGICAPTURE_C2PA_CERT", str(certificate.chain))
    monkeypatch.setenv("MAGICAPTURE_C2PA_KEY", str(certificate.key))
    for cached in (settings, credentials):
        cached.cache_clear()
    yield certificate
    monkeypatch.undo()
    for cached in (settings, credentials):
        cached.cache_clear()


def tampered(path: Path) -> Path:
    """Write another likeness into the file, and leave it a PNG without a fault."""
    content = bytearray(path.read_bytes().replace(b'"likeness": 0.5', b'"likeness": 0.9'))
    start = content.index(b"tEXtmagicapture")
    end = start + 4 + int.from_bytes(content[start - 4 : start])
    content[end : end + 4] = zlib.crc32(content[start:end]).to_bytes(4)
    path.write_bytes(content)
    assert read_facts(path)["likeness"] == 0.9
    return path


def test_a_saved_portrait_is_signed_as_drawn_by_a_model_and_keeps_its_facts(signing, tmp_path: Path) -> None:
    path = portrait().save(tmp_path / "mine.png")
    assert state(path.read_bytes(), PNG) == "Valid"
    assert read_facts(path)["prompt"] == "with a hat"
    with Image.open(path) as image:
        assert image.text["XML:com.adobe.xmp"] == XMP
        assert image.getpixel((0, 0)) == (0, 128, 128)
    manifest = c2pa.Reader(PNG, BytesIO(path.read_bytes())).get_active_manifest()
    actions = [a for found in manifest["assertions"] for a in found["data"].get("actions", [])]
    assert [(a["action"], a["digitalSourceType"]) for a in actions] == [("c2pa.created", TRAINED)]
    assert "thumbnail" not in json.dumps(manifest), "a small copy of the face"


def test_who_knows_the_authority_trusts_the_signature(signing: Certificate, tmp_path: Path) -> None:
    path = portrait().save(tmp_path / "mine.png")
    anchors = {**SETTINGS, "trust": {"user_anchors": signing.authority.read_text()}}
    with c2pa.Context.from_dict(anchors) as knowing, c2pa.Reader(str(path), context=knowing) as reader:
        assert reader.get_validation_state() == "Trusted"


def test_a_portrait_changed_after_signing_is_found_out_and_does_not_leave(signing, mine: Workspace) -> None:
    kept = mine.keep(mine.add_portrait(portrait(), label=False), None)
    assert mine.zip_kept().is_file()
    tampered(kept)
    assert state(kept.read_bytes(), PNG) == "Invalid"
    with pytest.raises(CredentialsError, match="changed since it was signed"):
        outgoing(kept)
    with pytest.raises(WorkspaceError, match="changed since it was signed"):
        mine.zip_kept()


def test_a_tampered_portrait_is_named_in_the_tab_and_the_rest_can_be_downloaded(signing, mine: Workspace) -> None:
    sound, changed = (mine.keep(mine.add_portrait(portrait(seed), label=False), None) for seed in (1, 2))
    with gr.Blocks():
        gallery = gallery_module.build(SimpleNamespace(settings=settings()))
    tampered(changed)
    shown = gallery.show(mine)
    assert f"{changed.name} was changed since it was signed" in shown[gallery.grid]
    assert shown[gallery.grid].count("<li") == 2
    assert ZipFile(shown[gallery.download].value["path"]).namelist() == [sound.name]
    mine.reject(sound)
    shown = gallery.show(mine)
    assert shown[gallery.grid].count("was changed since it was signed") == 1
    assert not shown[gallery.download].interactive
    mine.reject(changed)
    assert "was changed" not in gallery.show(mine)[gallery.grid]


def test_credentials_moved_to_another_picture_do_not_hold(signing, tmp_path: Path) -> None:
    first = portrait().save(tmp_path / "first.png").read_bytes()
    start, end = first.index(b"caBX") - 4, first.index(b"IDAT") - 4
    other = BytesIO()
    Image.new("RGB", (32, 32), "red").save(other, "PNG")
    head, tail = other.getvalue()[:33], other.getvalue()[33:]
    assert state(head + first[start:end] + tail, PNG) == "Invalid"


def test_signed_as_a_photo_is_not_let_through_as_a_portrait(signing: Certificate, tmp_path: Path) -> None:
    drawn, photo = BytesIO(), BytesIO()
    Image.new("RGB", (32, 32)).save(drawn, "PNG")
    with c2pa.Builder({"claim_generator_info": [{"name": "A camera"}]}, context=credentials().context) as builder:
        builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.DIGITAL_CAPTURE)
        builder.sign(PNG, drawn, photo)
    assert state(photo.getvalue(), PNG) == "Invalid"


def test_the_zip_and_the_push_hold_signed_portraits_also_of_those_drawn_before_there_was_a_certificate(
    mine: Workspace, request: pytest.FixtureRequest
) -> None:
    kept = mine.keep(mine.add_portrait(portrait(), label=False), None)
    assert state(kept.read_bytes(), PNG) is None
    make_old(kept, hours=3)
    request.getfixturevalue("signing")
    package = ZipFile(mine.zip_kept())
    assert state(package.read(kept.name), PNG) == "Valid"
    assert time.time() - kept.stat().st_mtime > 2 * 3600, "it would be kept for longer than was promised"


def test_pushed_portraits_are_signed_and_changed_ones_are_not_pushed(
    signing,
    server: Hub,
    folder: Path,
    portraits: list[Path],
) -> None:
    push(folder, "signed", portraits, WRITER)
    pushed = server.repositories["mona/signed"].files
    assert [state(pushed[f"images/{n}.png"], PNG) for n in (1, 2)] == ["Valid", "Valid"]
    tampered(portraits[1])
    with pytest.raises(HubError, match=r"k1\.png was changed since it was signed"):
        push(folder, "other", portraits, WRITER)
    assert "mona/other" not in server.repositories


def test_downloads_are_checked_at_the_gate(mine: Workspace, root: Path, request: pytest.FixtureRequest) -> None:
    before = mine.add_portrait(portrait(1), label=False)
    request.getfixturevalue("signing")
    after = mine.add_portrait(portrait(2), label=False)

    async def show(scope, receive, send) -> None:
        await FileResponse(scope["path"].partition("=")[2])(scope, receive, send)

    client = TestClient(Files(show, settings=replace(settings(), root=root)))
    for path in (before, after):
        got = client.get(f"/gradio_api/file={path}")
        assert state(got.content, PNG) == "Valid"
    answer = client.get(f"/gradio_api/file={tampered(after)}")
    assert answer.status_code == 409
    assert "changed since it was signed" in answer.text
    missing = after.with_name("gone.png")
    with pytest.raises(RuntimeError, match="does not exist"):  # the server's own answer
        client.get(f"/gradio_api/file={missing}")


def test_without_a_certificate_nothing_changes(mine: Workspace) -> None:
    kept = mine.keep(mine.add_portrait(portrait(), label=False), None)
    before = kept.read_bytes()
    assert b"caBX" not in before
    assert ZipFile(mine.zip_kept()).read(kept.name) == before == outgoing(kept) == kept.read_bytes()
    assert outgoing(tampered(kept)) == kept.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_keys_of_every_usual_kind_sign(kind: str, tmp_path: Path) -> None:
    made = make_certificate(tmp_path, kind)
    picture = BytesIO()
    Image.new("RGB", (16, 16)).save(picture, "JPEG")
    mine = Credentials.load(made.chain.read_text(), made.key.read_text())  # as a Space's secrets hold them
    assert state(mine.sign(picture.getvalue(), "image/jpeg"), "image/jpeg") == "Valid"


def test_many_sign_at_a_time(signing, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda seed: portrait(seed).save(tmp_path / f"{seed}.png"), range(40)))
    assert {state(path.read_bytes(), PNG) for path in paths} == {"Valid"}


@pytest.mark.parametrize("fault", ["expired", "for another purpose", "with the key of another"])
def test_a_certificate_that_will_not_do_is_refused_before_anything_is_drawn(fault: str, tmp_path: Path) -> None:
    made = make_certificate(tmp_path, days=-1 if fault == "expired" else 30, may_sign=fault != "for another purpose")
    (tmp_path / "other").mkdir()
    key = make_certificate(tmp_path / "other").key if fault == "with the key of another" else made.key
    with pytest.raises(CredentialsError, match="look at MAGICAPTURE_C2PA_CERT"):
        Credentials.load(str(made.chain), str(key))


def test_what_is_no_key_is_told_without_showing_it(certificate: Certificate, tmp_path: Path) -> None:
    secret = "-----BEGIN PRIVATE KEY-----\nmy-secret\n-----END PRIVATE KEY-----"
    with pytest.raises(ValueError, match="MAGICAPTURE_C2PA_KEY must be a private key") as caught:
        Credentials.load(str(certificate.chain), secret)
    assert "my-secret" not in str(caught.value)
    with pytest.raises(ValueError, match="MAGICAPTURE_C2PA_CERT must name a file"):
        Credentials.load(str(tmp_path / "nowhere.pem"), str(certificate.key))


def test_half_a_setting_and_a_time_stamp_server_in_private_mode_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGICAPTURE_C2PA_CERT", "chain.pem")
    with pytest.raises(ValueError, match="set together"):
        Settings.from_environment()
    monkeypatch.setenv("MAGICAPTURE_C2PA_KEY", "-----BEGIN PRIVATE KEY-----")
    assert "BEGIN" not in repr(Settings.from_environment())
    monkeypatch.setenv("MAGICAPTURE_C2PA_TIME_STAMPS", "http://stamps.example")
    monkeypatch.setenv("MAGICAPTURE_PRIVATE", "1")
    monkeypatch.setenv("MAGICAPTURE_USERS", "anna:secret")
    with pytest.raises(ValueError, match="no time-stamp server"):
        Settings.from_environment()


def test_signing_and_checking_open_no_connection(certificate: Certificate, tmp_path: Path) -> None:
    sign = f"""
from pathlib import Path
from types import SimpleNamespace
from PIL import Image
from magicapture.drawing.credentials import Credentials, state
Image.new("RGB", (64, 64)).save("plain.png")
mine = Credentials.load({str(certificate.chain)!r}, {str(certificate.key)!r})
print(state(mine.sign(Path("plain.png").read_bytes(), "image/png"), "image/png"))
"""
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}

    def run(script: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", NO_SOCKETS + script]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)

    assert run("import socket; socket.socket()").returncode == -signal.SIGSYS, "the guard does not guard"
    done = run(sign)
    assert (done.returncode, done.stdout) == (0, "Valid\n"), done.stderr


def test_a_time_stamp_server_is_asked_only_where_one_is_set(certificate: Certificate) -> None:
    asked = []

    class Stamps(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.headers["Content-Type"])
            self.send_error(503)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Stamps) as stamps, serving(stamps):
        address = f"http://127.0.0.1:{stamps.server_port}"
        with pytest.raises(CredentialsError, match="could not be signed"):
            Credentials.load(str(certificate.chain), str(certificate.key), address)
    assert asked == ["application/timestamp-query"]
