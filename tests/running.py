"""The app in a process of its own, on a base small enough to train in seconds, and a browser to open it with.

The upscaler is as small: ``test_enhance`` has the one that visitors get.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium")
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE = 180
"""Seconds that one step may take on a busy machine."""

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed; tests/run.sh installs it")


@contextmanager
def running_app(folder: Path, examples: Path, **environment: str) -> Iterator[str]:
    """Start the app on a free port, with its files in ``folder/root`` and its output in ``folder/log.txt``.

    Gives its address; ``environment`` adds to the variables that it starts with.
    """
    with running_process(folder, examples, **environment) as (address, _):
        yield address


@contextmanager
def running_process(folder: Path, examples: Path, **environment: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """Start the app as ``running_app`` does; gives its process, too, for what it may not survive."""
    inherited = {name: value for name, value in os.environ.items() if name != "GRADIO_SERVER_PORT"}
    variables = {
        "MAGICAPTURE_BASE": tiny.saved(folder / "base"),
        "MAGICAPTURE_EXAMPLES": str(examples),
        "MAGICAPTURE_FACE_ENGINE": "builtin",
        "MAGICAPTURE_ROOT": str(folder / "root"),
        "MAGICAPTURE_UPSCALER": str(tiny.upscaler(folder)),
        "PYTHONUNBUFFERED": "1",
        **environment,
    }
    with (folder / "log.txt").open("w") as log:
        command = [sys.executable, "app.py"]
        app = subprocess.Popen(command, cwd=ROOT, env={**inherited, **variables}, stdout=log, stderr=log)
        try:
            yield wait_for_address(app, folder / "log.txt"), app
        finally:
            app.terminate()
            app.wait(timeout=30)


def wait_for_address(app: subprocess.Popen, log: Path) -> str:
    """Read in the log where the app serves."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and app.poll() is None:
        for word in log.read_text().split():
            if word.startswith("http://127.0.0.1"):
                return word.rstrip("/")
        time.sleep(0.5)
    raise AssertionError(f"The app did not start:\n{log.read_text()}")
