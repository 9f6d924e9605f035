"""What has been on disk for too long is deleted, by a clock per kind of thing, whoever it belongs to."""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from magicapture.server.records import Records
from magicapture.server.workspace.folder import TEMPORARY, is_visitors, remove, served_folder
from magicapture.settings import TEMPORARY_FILES, Settings

SHORT = {"unfinished": f"**/{TEMPORARY}*", "photos": "photos/*/*", "plans": "jobs/*/*.p*t"}
LONG = {
    "portraits": "portraits/*/*",
    "downloads": "portraits/*.zip",
    "adapters": "adapters/*",
    "jobs": "jobs/*",
    "invitations": "review/*",
}
"""Where the things of each kind lie in a visitor's folder, by the clock that they follow."""
SWEEP_SECONDS = 300
UPLOAD_SECONDS = 900
"""How long an upload may wait to be taken in: the page does it at once."""

logger = logging.getLogger(__name__)


def sweep(root: Path, photo_hours: float, result_hours: float, now: float | None = None) -> Counter[str]:
    """Delete what is older than its clock allows; gives how many things of each kind went.

    ``photo_hours`` is for photos, also those in the plan of a job that was broken off, for what a crash left half done
    and for visitors' folders without a file, but at most a quarter of an hour for uploads that nobody took in;
    ``result_hours`` for portraits, adapters and the folders of jobs. A thing's age is the time since it was last
    modified, until ``now`` in seconds since 1970. What cannot be deleted is logged, and stays until the next time.
    """
    now = time.time() if now is None else now
    photos_before, results_before = now - photo_hours * 3600, now - result_hours * 3600
    swept: Counter[str] = Counter()
    uploads_before = max(photos_before, now - UPLOAD_SECONDS)
    served, temporary = served_folder(root), root / TEMPORARY_FILES
    with _whatever_happens():
        swept["unfinished"] += _remove_old(sorted(temporary.iterdir()) if temporary.is_dir() else [], photos_before)
    for folder in sorted(served.iterdir()) if served.is_dir() else []:
        with _whatever_happens():
            if folder.is_dir() and is_visitors(folder):
                swept += _sweep_visitor(folder, photos_before, results_before)
            else:
                swept["uploads"] += _remove_old([folder], uploads_before)
    return +swept


def _sweep_visitor(folder: Path, photos_before: float, results_before: float) -> Counter[str]:
    swept: Counter[str] = Counter()
    for patterns, before in ((SHORT, photos_before), (LONG, results_before)):
        for kind, pattern in patterns.items():
            with _whatever_happens():
                swept[kind] += _remove_old(sorted(folder.glob(pattern)), before)
    if not any(files for _, _, files in os.walk(folder)):
        swept["visitors"] += _remove_old([folder], photos_before)
    return swept


def _remove_old(things: list[Path], before: float) -> int:
    removed = 0
    for thing in things:
        with _whatever_happens():
            if thing.stat().st_mtime < before:
                remove(thing)
                removed += 1
    return removed


@contextmanager
def _whatever_happens() -> Iterator[None]:
    """Let a thing that cannot be deleted keep nothing else; one that is gone already is what was wanted."""
    try:
        yield
    except FileNotFoundError:
        pass
    except OSError:
        logger.exception("Something whose time is up could not be deleted; the next sweep tries it again.")


def keep_sweeping(settings: Settings, records: Records) -> None:
    """Sweep now, and every few minutes for as long as the process lives; the log says how much went."""

    def sweep_again() -> None:
        while True:
            try:
                swept = sweep(settings.root, settings.photo_hours, settings.result_hours)
                if swept:
                    records.log("swept", swept.total())
                records.purge(datetime.now(UTC) - timedelta(hours=settings.result_hours))
            except Exception:  # such as of a database that is busy or full: nothing else deletes what is too old
                logger.exception("A sweep was broken off; the next one comes as usual.")
            time.sleep(SWEEP_SECONDS)

    threading.Thread(target=sweep_again, name="sweeper", daemon=True).start()
