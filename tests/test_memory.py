"""What takes memory from a server, all of it at full size, against a running app; ``-s`` shows the figures."""

import io
import json
import socket
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from page_session import PageSession, file_data, gallery
from PIL import Image
from running import PATIENCE, running_process

MB = 2**20
MOST_GROWTH = 1500
"""In MB, above what the app takes with its models loaded."""


@pytest.fixture(scope="module")
def app(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """Give the address and the process id of an app with the embedded base."""
    with running_process(tmp_path_factory.mktemp("memory"), examples, MAGICAPTURE_BASE="mini") as (address, process):
        yield address, process.pid


def peak(pid: int) -> int:
    """Give the most memory that a process has held so far, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def picture(mode: str, side: int) -> bytes:
    content = io.BytesIO()
    Image.new(mode, (side, side)).save(content, "PNG")
    return content.getvalue()


def adapter(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("magicapture_emb", "pytorch_lora_weights"):
            archive.writestr(f"{name}.safetensors", files.get(name, b""))
        archive.writestr("magicapture.json", b"{}")
    return content.getvalue()


def many_tensors() -> bytes:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"{i}": entry for i in range(100_000)}).encode()
    return len(header).to_bytes(8, "little") + header


def pour(address: str, path: str, kind: str, first: bytes, megabytes: int) -> None:
    """Send a body that does not say how long it is, as far as the server takes it."""
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port), timeout=PATIENCE) as connection, suppress(OSError):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + b"%x\r\n" % len(first) + first + b"\r\n")
        for _ in range(megabytes):
            connection.sendall(b"%x\r\n" % MB + b"0" * MB + b"\r\n")
        connection.recv(1000)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read where Linux tells it")
def test_no_attack_takes_much_memory(app: tuple[str, int], capsys: pytest.CaptureFixture) -> None:
    address, pid = app
    page = PageSession(address)
    page.enter()
    page.send("input", "consent", consent=True)
    before = peak(pid)
    form = "multipart/form-data; boundary=b"
    field = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n'
    with ThreadPoolExecutor(8) as attackers:
        for _ in range(4):
            attackers.submit(pour, address, "/gradio_api/upload", form, field, 400)
            attackers.submit(pour, address, "/gradio_api/queue/join", "application/json", b'{"data": [', 200)
            attackers.submit(pour, address, "/gradio_api/mcp/", "application/json", b"[", 200)
            attackers.submit(pour, address, "/login", "application/x-www-form-urlencoded", b"username=", 200)
    poured = peak(pid)
    for package in (
        adapter(pytorch_lora_weights=bytes(900 * MB)),
        adapter(pytorch_lora_weights=many_tensors()),
        adapter(magicapture_emb=many_tensors()),
    ):
        upload = page.upload("a.zip", package)
        assert page.send("upload", "upload_adapter", upload_adapter=file_data(upload)).status_code == 500
    unpacked = peak(pid)

    def check(content: bytes) -> httpx.Response:
        visitor = PageSession(address)
        return visitor.call("check_photos", [file_data(visitor.upload("me.png", content))], "person")

    bombs = [picture("1", 9900), picture("L", 7000), picture("RGBA", 7000), picture("I;16", 7000)] * 2
    assert max(map(len, bombs)) < MB
    with ThreadPoolExecutor(8) as attackers:
        answers = list(attackers.map(check, bombs))
    assert all(answer.is_success for answer in answers)
    assert "megapixels" in answers[0].text
    uploads = [page.upload("me.png", bombs[1]) for _ in range(3)]
    assert "magi-tile" in page.send("change", "person_photos", person_photos=gallery(*uploads)).text
    assert httpx.get(address, timeout=PATIENCE).is_success
    decoded = peak(pid)
    with capsys.disabled():
        print(f"\nPeak of the server in MB: {before} before, {poured} bodies, {unpacked} adapters, {decoded} pictures.")
    assert decoded - before < MOST_GROWTH
