"""Drives the GPU boundary through the real worker machinery of the package ``spaces``, on the CPU.

A script, since the machinery is chosen by the environment when ``spaces`` is imported: it plays the device's side on a
local port, goes through every case, and prints what happened as one JSON object.
"""

import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit


class Device(BaseHTTPRequestHandler):
    """Grants the GPU to whoever asks, unless ``refusal`` says otherwise; notes the workers and the seconds."""

    idle = False
    refusal: tuple[str, dict] | None = None
    workers: ClassVar[list[str]] = []
    seconds: ClassVar[list[int]] = []
    releases = 0

    def do_POST(self) -> None:
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if address.path == "/schedule":
            Device.seconds.append(int(query["durationSeconds"]))
            if Device.refusal:
                self.reply(Device.refusal[1], 429, {"X-Approve-Result": Device.refusal[0]})
                return
            self.reply({"idle": Device.idle, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "token"})
            return
        if address.path == "/allow":
            Device.workers.append(query["pid"])
        if address.path == "/release":
            Device.releases += 1
        self.reply({})

    def reply(self, body: dict, status: int = 200, headers: dict | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(data), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Device)
threading.Thread(target=server.serve_forever, daemon=True).start()
FOLDER = Path(tempfile.mkdtemp())
(FOLDER / "cgroup").write_text("0::/x\n")
os.environ |= {
    "SPACES_ZERO_GPU": "true",
    "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{server.server_port}",
    "ZEROGPU_PROC_SELF_CGROUP_PATH": str(FOLDER / "cgroup"),
}

import spaces.zero.wrappers  # noqa: E402  the environment decides what it is

spaces.zero.wrappers.torch.init = lambda *_: None
spaces.zero.wrappers.torch.move = lambda **_: None
spaces.zero.wrappers.torch.size = lambda: 0

import gradio as gr  # noqa: E402
import skimage.data  # noqa: E402
import stand_in  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from magicapture.adapters.adapter import Adapter  # noqa: E402
from magicapture.config import GenerateConfig, TrainConfig  # noqa: E402
from magicapture.faces import load_engine  # noqa: E402
from magicapture.method.training import Checkpoint, TrainEvent  # noqa: E402
from magicapture.server import gpu  # noqa: E402

BASE = tiny.base(sample_size=16)
REFERENCES = stand_in.references(BASE.resolution)
SHORT = TrainConfig(token_steps=2, lora_steps=3, previews=1, preview_images=1, preview_steps=2, rank=2)
DRAWING = GenerateConfig(count=2, steps=2)
STOP = FOLDER / "stop"
gpu.load_base = lambda _="auto": BASE
gpu.load_engine = stand_in.StandInEngine


def train(config: TrainConfig, slice_seconds: float) -> tuple[Adapter, int, int]:
    """Train in as many slices as it takes; gives the adapter, how many they were, and how many events came."""
    checkpoint, slices, events = None, 0, 0
    while True:
        slices += 1
        for item in gpu.train_slice("sd15", REFERENCES, REFERENCES, config, checkpoint, STOP, slice_seconds):
            if isinstance(item, Adapter):
                return item, slices, events
            if isinstance(item, Checkpoint):
                checkpoint = item
            events += isinstance(item, TrainEvent)


def pixels(adapter: Adapter) -> list[bytes]:
    return [portrait.image.tobytes() for portrait in gpu.generate_portraits(adapter, DRAWING)]


def refused(adapter: Adapter, kind: str, answer: dict) -> str:
    Device.refusal = (kind, answer)
    try:
        return failing(lambda: gpu.generate_portraits(adapter, DRAWING))
    finally:
        Device.refusal = None


def failing(call: Callable[[], object]) -> str:
    """Give the sentence that a visitor would read."""
    try:
        call()
    except gr.Error as error:
        return gpu.refusal(error)
    return ""


def same(a: Adapter, b: Adapter) -> bool:
    ours, theirs = a.lora | a.rows, b.lora | b.rows
    return all(torch.equal(ours[key], theirs[key]) for key in ours)


def main() -> None:
    found: dict[str, object] = {}

    whole, slices, events = train(SHORT, 1000)
    found["whole"] = {"slices": slices, "events": events}
    sliced, slices, events = train(SHORT, 0)
    found["sliced"] = {"slices": slices, "events": events, "same": same(whole, sliced)}
    other, *_ = train(replace(SHORT, seed=5), 1000)

    fresh = [pixels(whole), pixels(other)]
    found["seconds"] = Device.seconds[-1]
    Device.workers.clear()
    Device.idle = True
    warm = [pixels(whole), pixels(other), pixels(whole)]
    found["warm as fresh"] = warm == [*fresh, fresh[0]] and warm[0] != warm[1]
    found["new workers"] = len(Device.workers)
    Device.idle = False

    STOP.touch()
    stopped, _, events = train(SHORT, 1000)
    STOP.unlink()
    found["stopped"] = {"events": events, "steps": stopped.info.steps}

    Device.releases = 0
    found["exception"] = failing(
        lambda: gpu.generate_portraits(replace(whole, rows={"clip_l": whole.rows["clip_l"][:1]}), DRAWING)
    )
    gpu.generate = lambda *_: 1 / 0
    found["crash"] = failing(lambda: gpu.generate_portraits(whole, DRAWING))
    gpu.generate = lambda *_: [lambda: None]
    found["unpicklable"] = failing(lambda: gpu.generate_portraits(whole, DRAWING))
    found["releases"] = Device.releases
    found["quota"] = refused(whole, "quota-exceeded", {"left": 12, "wait": 600})
    found["illegal"] = refused(whole, "illegal-duration", {"left": 0, "wait": -1})

    engine = load_engine("builtin")
    photo = Image.fromarray(skimage.data.astronaut())
    mine = engine.detect(photo)[0].embedding.tolist()
    gpu.generate = lambda *_: engine.detect(photo)[0].embedding.tolist()
    found["face"] = gpu.generate_portraits(whole, DRAWING) == mine
    print(json.dumps(found))


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # the workers wait for ever
