"""How much of the disk an installation may still take, whoever asks for it."""

import os
import shutil
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

FULL = "The server's disk is full. Nothing of yours is lost: delete what you do not need, or try again later."
LOOK_SECONDS = 10
"""Between two looks at how much is stored; what comes in between is added up."""
SPARE_BYTES = 512 * 2**20
"""How much of the disk is left free."""


class Space:
    """What is stored below the roots of installations, in bytes, as it was when somebody last looked."""

    def __init__(self) -> None:
        self._stored: Counter[Path] = Counter()
        self._looked: dict[Path, float] = {}
        self._lock = threading.Lock()

    def take(self, size: int, root: Path, most: float) -> bool:
        """Count ``size`` bytes that are about to be stored below ``root``, which may hold ``most``.

        Gives False, and counts nothing, if they are too many.
        """
        with self._lock:
            now = time.monotonic()
            if now - self._looked.get(root, float("-inf")) > LOOK_SECONDS:
                self._looked[root], self._stored[root] = now, held_bytes(root)
            free = shutil.disk_usage(_there(root)).free - SPARE_BYTES
            if size > min(free, most - self._stored[root]):
                return False
            self._stored[root] += size
            return True


SPACE = Space()


def held_bytes(root: Path) -> int:
    """Add up what lies below ``root``, in bytes."""
    total = 0
    for folder, folders, files in os.walk(root):  # which passes over folders that vanish
        for name in (*folders, *files):
            with suppress(FileNotFoundError):  # deleted while this looks
                total += Path(folder, name).lstat().st_size
    return total


def _there(root: Path) -> Path:
    return next(folder for folder in (root, *root.parents) if folder.is_dir())
