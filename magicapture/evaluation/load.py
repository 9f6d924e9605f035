"""Do twenty visitors at once get through? The app, on this machine, under simulated visitors.

``python -m magicapture.evaluation.load`` starts the app; then all at once every visitor has photos checked and
portraits drawn, one more trains, and the page is opened all the while. Prints a Markdown table, then one JSON object.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import psutil
from gradio_client import Client, handle_file
from gradio_client.utils import QueueError

from magicapture.bases import MINI
from magicapture.photos.reading import photos_in
from magicapture.server.workspace import Workspace, new_key

ROOT = Path(__file__).parents[2]
START_SECONDS = 600
"""How long the app may take to load its models."""
PROBE_SECONDS = 0.25
"""Between two requests for the page."""
ASK_SECONDS = 1.0
WARM_UP_STEPS = 2


@dataclass(frozen=True)
class Tally:
    """What became of the requests of one kind: the seconds of those that got through, the answers of the others."""

    seconds: list[float] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count and time the request that is made in a ``with`` block; to be refused is no error here."""
        started = time.monotonic()
        try:
            yield
            self.seconds.append(time.monotonic() - started)
        except QueueError as error:
            self.busy.append(str(error))
        except Exception as error:  # noqa: BLE001  whatever it is, it belongs into the table
            self.failed.append(f"{type(error).__name__}: {error}")

    def summary(self) -> dict[str, float | int | None]:
        """Give the counts, and median, 95th percentile and maximum in seconds."""
        counts = {"through": len(self.seconds), "busy": len(self.busy), "failed": len(self.failed)}
        times = np.percentile(self.seconds, (50, 95, 100)).tolist() if self.seconds else [None] * 3
        return counts | dict(zip(("p50", "p95", "max"), times, strict=True))


@contextmanager
def serving(base: str, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run the app on a free port of this machine with its files in ``folder``; gives its address and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    environment = {
        **os.environ,
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": port,
        "MAGICAPTURE_BASE": base,
        "MAGICAPTURE_ROOT": str(folder),
        "MAGICAPTURE_PRIVATE": "",
        "MAGICAPTURE_USERS": "",
    }
    app = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=sys.stderr)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, app)
        yield address, psutil.Process(app.pid)
    finally:
        app.terminate()
        app.wait()


def _wait_for(address: str, app: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and app.poll() is None:
        try:
            httpx.get(address).raise_for_status()
        except httpx.HTTPError:
            time.sleep(ASK_SECONDS)
        else:
            return
    raise RuntimeError("The app did not start; what it said stands above.")


def train(client: Client, person: list[Path], style: list[Path], steps: int) -> dict[str, str]:
    """Train until it is done; gives the ``key`` and ``adapter`` to draw with."""
    photos = {"person": [handle_file(path) for path in person], "style": [handle_file(path) for path in style]}
    started = client.predict(**photos, steps=steps, consent=True, api_name="/train")
    while (status := client.predict(job=started["job"], api_name="/job_status"))["state"] in ("waiting", "running"):
        time.sleep(ASK_SECONDS)
    if status["state"] != "finished":
        raise RuntimeError(f"The training {status['state']}: {status['error']}")
    return {"key": started["key"], "adapter": status["adapter"]}


def visit(client: Client, person: list[Path], adapter: dict[str, str], count: int, tallies: dict[str, Tally]) -> None:
    """Have photos checked, then portraits drawn."""
    with tallies["check"].one():
        client.predict([handle_file(path) for path in person], "person", api_name="/check_photos")
    with tallies["draw"].one():
        client.predict(**adapter, count=count, api_name="/generate")


def copies(adapter: dict[str, str], root: Path, count: int) -> list[dict[str, str]]:
    """Give ``count`` visitors ``adapter`` as one of their own: what one visitor may have waiting is limited."""
    trained = Workspace.of(adapter["key"], root).shelf.load(adapter["adapter"])
    keys = [new_key() for _ in range(count)]
    return [{"key": key, "adapter": Workspace.of(key, root).shelf.add(trained, "")} for key in keys]


def watch_page(address: str, tally: Tally, over: threading.Event) -> None:
    """Ask for the page again and again until it is ``over``."""
    with httpx.Client(timeout=START_SECONDS) as client:
        while not over.wait(PROBE_SECONDS):
            with tally.one():
                client.get(address).raise_for_status()


def rush(address: str, adapters: list[dict[str, str]], args: argparse.Namespace, tallies: dict[str, Tally]) -> None:
    """Let all visitors come at once, and draw with their ``adapters``; ``tallies`` note what became of it."""
    person, style = photos_in(args.person), photos_in(args.style)
    over = threading.Event()
    watcher = threading.Thread(target=watch_page, args=(address, tallies["page"], over))
    watcher.start()
    one_more, *clients = [Client(address, verbose=False, download_files=False) for _ in range(args.visitors + 1)]
    with ThreadPoolExecutor(args.visitors) as visitors, tallies["train"].one():
        for client, adapter in zip(clients, adapters, strict=True):
            visitors.submit(visit, client, person, adapter, args.count, tallies)
        train(one_more, person, style, args.steps)
    over.set()
    watcher.join()


def megabytes(process: psutil.Process) -> int:
    """Give the memory that ``process`` holds."""
    return round(process.memory_info().rss / 1e6)


def table(tallies: dict[str, Tally]) -> str:
    """Write the figures as a Markdown table."""
    lines = ["| request | through | busy | failed | p50 (s) | p95 (s) | max (s) |", "|---|---|---|---|---|---|---|"]
    for name, tally in tallies.items():
        cells = [f"{value:.2f}" if isinstance(value, float) else str(value) for value in tally.summary().values()]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines)


def main() -> None:
    """Start the app, warm it up, measure, print; the exit status is 1 if a request failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=MINI.name)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1, help="how often they all come")
    parser.add_argument("--count", type=int, default=1, help="portraits that each visitor asks for")
    parser.add_argument("--steps", type=int, default=0, help="of the training; 0 for as many as the quick preset has")
    parser.add_argument("--person", type=Path, default=ROOT / "examples/person-1")
    parser.add_argument("--style", type=Path, default=ROOT / "examples/style-engraving")
    args = parser.parse_args()
    with TemporaryDirectory() as folder, serving(args.base, Path(folder)) as (address, process):
        first, person = Client(address, verbose=False, download_files=False), photos_in(args.person)
        adapter = train(first, person, photos_in(args.style), WARM_UP_STEPS)
        visit(first, person, adapter, args.count, defaultdict(Tally))
        adapters = copies(adapter, Path(folder), args.visitors)
        tallies = {name: Tally() for name in ("page", "check", "draw", "train")}
        memory = [megabytes(process)]
        for _ in range(args.rounds):
            rush(address, adapters, args, tallies)
            memory.append(megabytes(process))
    print(table(tallies))
    print(f"\nMemory of the server in MB, before and after each round: {', '.join(map(str, memory))}.")
    for name, tally in tallies.items():
        for said in sorted(set(tally.busy + tally.failed)):
            print(f"{name}: {said}", file=sys.stderr)
    summaries = {name: tally.summary() for name, tally in tallies.items()}
    print(json.dumps({"visitors": args.visitors, "memory_mb": memory, **summaries}))
    sys.exit(any(tally.failed for tally in tallies.values()))


if __name__ == "__main__":
    main()
