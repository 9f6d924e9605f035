"""Drives the GPU boundary through the real worker machinery of the package ``spaces``, on the CPU.

A script, since the machinery is chosen by the environment when ``spaces`` is imported: it plays the device's side on a
local port, goes through every case, and prints what happened as one JSON object.
"""

import json
import os
import resource
import sys
import tempfile
import threading
import time
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
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
os.environ |= {
    "MAGICAPTURE_BASE": str(FOLDER / "base"),
    "MAGICAPTURE_FACE_ENGINE": "builtin",
    "MAGICAPTURE_ROOT": str(FOLDER),
    "MAGICAPTURE_THING_NETWORK": str(FOLDER / "dino"),
    "MAGICAPTURE_UPSCALER": str(FOLDER / "tiny-x4.pth"),
    "SPACES_ZERO_GPU": "true",
    "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{server.server_port}",
    "ZEROGPU_PROC_SELF_CGROUP_PATH": str(FOLDER / "cgroup"),
}

import spaces.zero.wrappers  # noqa: E402  the environment decides what it is
from spaces.zero.torch.patching import cuda_aliases  # noqa: E402

spaces.zero.wrappers.torch.init = lambda *_: None
spaces.zero.wrappers.torch.size = lambda: 0

import skimage.data  # noqa: E402
import stand_in  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from things import teapots  # noqa: E402

from magicapture.adapters.adapter import Adapter  # noqa: E402
from magicapture.bases import BaseError, resident, unet  # noqa: E402
from magicapture.config import GenerateConfig, TrainConfig  # noqa: E402
from magicapture.drawing.generation import chosen  # noqa: E402
from magicapture.evaluation.bench import noise_reference  # noqa: E402
from magicapture.faces import load_engine, recogniser  # noqa: E402
from magicapture.method.progress import TrainEvent  # noqa: E402
from magicapture.method.training import Checkpoint  # noqa: E402
from magicapture.photos.references import check_photos  # noqa: E402
from magicapture.server import engine, gpu  # noqa: E402
from magicapture.server.consent import give_consent  # noqa: E402
from magicapture.server.jobs import Jobs  # noqa: E402
from magicapture.server.plans import TrainingPlan  # noqa: E402
from magicapture.server.records import Records  # noqa: E402
from magicapture.server.wire import pack  # noqa: E402
from magicapture.server.workspace import Workspace, new_key  # noqa: E402
from magicapture.subject import PERSON_NOUN  # noqa: E402
from magicapture.things import networks  # noqa: E402

NAME = os.environ["MAGICAPTURE_BASE"]
SHORT = TrainConfig(token_steps=2, lora_steps=3, previews=1, preview_images=1, preview_steps=2, rank=2)
DRAWING = GenerateConfig(count=2, steps=2)
STOP = FOLDER / "stop"
REAL_TRAIN, REAL_DRAW = engine.train, engine.draw


def move(**_: object) -> None:
    """Put what the parent "placed on CUDA" where a worker finds it, as the platform does: here, on the CPU."""
    for fake, original in list(cuda_aliases.items()):
        fake.data = original
    loader = resident._loader(0)
    resident._loader = lambda _: loader  # the worker has no CUDA, the platform's has


spaces.zero.wrappers.torch.move = move
unet.fast_dtype = lambda: torch.float32  # what a GPU multiplies fast, this CPU would be minutes at
gpu.training_seconds = lambda *_: 1000.0  # a GPU's, of which this machine has none


def note(file: str, text: object = None) -> None:
    """Let this process, which may be a worker, leave a line."""
    with (FOLDER / file).open("a") as lines:
        lines.write(f"{os.getpid() if text is None else text}\n")


def notes(file: str) -> set[str]:
    return set((FOLDER / file).read_text().split())


class Engine(stand_in.StandInEngine):
    """Notes who scores."""

    def detect(self, image: Image.Image) -> list:
        note("scored by")
        return super().detect(image)


def plan(config: TrainConfig, slice_seconds: float = 1000) -> TrainingPlan:
    return TrainingPlan(NAME, REFERENCES, REFERENCES, config, slice_seconds=slice_seconds)


def train(asked: TrainingPlan) -> tuple[Adapter, int, int]:
    """Train in as many slices as it takes; gives the adapter, how many they were, and how many events came."""
    checkpoint, slices, events = None, 0, 0
    while True:
        slices += 1
        for item in gpu.train_slice(asked, checkpoint, STOP):
            if isinstance(item, Adapter):
                return item, slices, events
            if isinstance(item, Checkpoint):
                checkpoint = item
            events += isinstance(item, TrainEvent)


def pixels(adapter: Adapter) -> list[bytes]:
    return [image.tobytes() for image in gpu.draw(adapter, DRAWING)]


def refused(adapter: Adapter, kind: str, answer: dict) -> str:
    Device.refusal = (kind, answer)
    try:
        return failing(lambda: gpu.draw(adapter, DRAWING))
    finally:
        Device.refusal = None


def failing(call: Callable[[], object]) -> str:
    """Give the sentence that a visitor would read."""
    try:
        call()
    except (gpu.GpuError, BaseError) as error:
        return str(error)
    return ""


def same(a: Adapter, b: Adapter) -> bool:
    ours, theirs = a.lora | a.rows, b.lora | b.rows
    return all(torch.equal(ours[key], theirs[key]) for key in ours)


def trains_on_the_embedded_base() -> dict[str, object]:
    """Choose it as a visitor does, in a thread of the server, and train and draw with the real recogniser."""
    said, done = [], []

    def visit() -> None:
        said.append(failing(lambda: gpu.require_base("mini")))
        said.append(failing(lambda: gpu.require_base("someone/base")))
        references = [noise_reference(resident.load_base("mini").resolution, seed) for seed in range(2)]
        adapter, *_ = train(TrainingPlan("mini", references, references, SHORT))
        done.append(adapter.info.base)
        done.append(len(gpu.draw(adapter, DRAWING)))

    visitor = threading.Thread(target=visit)
    visitor.start()
    visitor.join()
    return {"said": said, "done": done, "converted by": [int(pid) == os.getpid() for pid in notes("converted by")]}


def trains_on_a_thing() -> dict[str, object]:
    """Train in a worker on what DINOv2 compares; it was loaded here, before there were any."""
    thing = gpu.load_subject("teapot")
    photos = teapots(Path(tempfile.mkdtemp(dir=FOLDER)))
    found = check_photos(sorted(photos.iterdir()), "person", thing, 128).references
    every = replace(SHORT, identity_limit=1.0, identity_tasks=("composed",))
    adapter, *_ = train(TrainingPlan(NAME, found, found, every, subject="teapot"))
    loaded = [int(pid) == os.getpid() for pid in notes("loaded by")]
    return {"by": adapter.info.engine.split()[0], "scored": adapter.targets is not None, "loaded by": loaded}


def trainings_side_by_side() -> list[str]:
    """Let two visitors train; neither begins before the other is there, too."""

    def together(*arguments: object) -> object:
        note("there")
        deadline = time.monotonic() + 60
        while len(notes("there")) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        note("met", len(notes("there")))
        yield from REAL_TRAIN(*arguments)

    engine.train = together
    jobs = Jobs(Records(f"sqlite:///{FOLDER / 'records.sqlite'}"))
    started = []
    for _ in range(2):
        visitor = Workspace.of(new_key(), FOLDER)
        give_consent(jobs.records, visitor, PERSON_NOUN)
        started.append(jobs.start(visitor, plan(SHORT)))
    while any(job.active for job in started):
        time.sleep(0.05)
    engine.train = REAL_TRAIN
    return [job.state for job in started] + sorted(notes("met"))


def main() -> None:
    found: dict[str, object] = {}
    convert = recogniser.convert
    recogniser.convert = lambda *arguments: (note("converted by"), convert(*arguments))[1]
    load = networks.Dino.load
    networks.Dino.load = lambda *arguments, **named: (note("loaded by"), load(*arguments, **named))[1]
    gpu.prepare()
    found["offered"] = [name == NAME or name for name in gpu.offered()]
    found["embedded"] = trains_on_the_embedded_base()
    found["thing"] = trains_on_a_thing()
    gpu.load_subject = engine.load_subject = lambda _noun: Engine()
    Device.workers.clear()

    whole, slices, events = train(plan(SHORT))
    found["whole"] = {"slices": slices, "events": events}
    sliced, slices, events = train(plan(SHORT, 0))
    found["sliced"] = {"slices": slices, "events": events, "same": same(whole, sliced)}
    found["scores"] = [len(adapter.info.scores) for adapter in (whole, sliced)]
    found["targets"] = all(adapter.targets is not None for adapter in (whole, sliced))
    other, *_ = train(plan(replace(SHORT, seed=5)))

    fresh = [pixels(whole), pixels(other)]
    found["seconds"] = Device.seconds[-1]
    Device.workers.clear()
    Device.idle = True
    warm = [pixels(whole), pixels(other), pixels(whole)]
    found["warm as fresh"] = warm == [*fresh, fresh[0]] and warm[0] != warm[1]
    found["new workers"] = len(Device.workers)
    Device.idle = False
    drawn = chosen(gpu.draw(whole, DRAWING), whole.targets, Engine(), DRAWING)
    found["enlarged"] = [portrait.image.width / portrait.drawn.width for portrait in gpu.enlarge(drawn, 2)]
    found["scored here"] = notes("scored by") == {str(os.getpid())}

    STOP.touch()
    stopped, _, events = train(plan(SHORT))
    STOP.unlink()
    found["stopped"] = {"events": events, "steps": stopped.info.steps}
    found["side by side"] = trainings_side_by_side()

    Device.releases = 0
    found["exception"] = failing(lambda: gpu.draw(replace(whole, rows={"clip_l": whole.rows["clip_l"][:1]}), DRAWING))
    engine.draw = lambda *_: 1 / 0
    found["crash"] = failing(lambda: gpu.draw(whole, DRAWING))
    engine.draw = lambda *_: lambda: None
    found["unpicklable"] = failing(lambda: gpu.draw(whole, DRAWING))
    found["releases"] = Device.releases
    engine.draw = REAL_DRAW
    engine.train = lambda *_: iter([pack(TrainEvent("tokens", 1, 5, {}))])
    found["fruitless"] = failing(lambda: train(plan(SHORT)))
    found["quota"] = refused(whole, "quota-exceeded", {"left": 12, "wait": 600})
    found["illegal"] = refused(whole, "illegal-duration", {"left": 0, "wait": -1})

    faces = load_engine("builtin")
    photo = Image.fromarray(skimage.data.astronaut())
    mine = faces.detect(photo)[0].embedding.tolist()
    engine.draw = lambda *_: pack(faces.detect(photo)[0].embedding.tolist())
    found["face"] = gpu.draw(whole, DRAWING) == mine
    print(json.dumps(found))


if __name__ == "__main__":
    tiny.saved(FOLDER / "base")
    tiny.upscaler(FOLDER)
    tiny.dino(FOLDER / "dino")
    REFERENCES = stand_in.references(128)
    main()
    sys.stdout.flush()
    os._exit(0)  # the workers wait for ever
