"""What a job runs: ``python -m magicapture.staff.jobs.worker FOLDER REPOSITORY`` computes the parcel in FOLDER.

What is finished is pushed to REPOSITORY, at most once in ``PUSH_S`` seconds, for the Hub counts commits. What is
printed becomes the job's log, which tells people by their numbers.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import CommitOperationAdd, HfApi

from magicapture.staff.batch import Meter, compute_cells
from magicapture.staff.cell import CellResult
from magicapture.staff.compute import compute
from magicapture.staff.engines.local import LocalEngine
from magicapture.staff.jobs.parcel import FATAL, RESULTS, pack_fatal, pack_outcome, read_parcel
from magicapture.staff.run_folder import RESULT, RunFolder
from magicapture.staff.work import FatalError, Outcome, Setup

PUSH_S = 60


def main(parcel: Path, repo_id: str) -> int:
    """Compute all cells; gives the exit status, 1 where nothing can be computed for anyone."""
    waiting: dict[str, bytes] = {}
    pushed = time.monotonic()
    try:
        for outcome in _outcomes(parcel):
            result = outcome.result
            print(f"person {result.person}: {result.state}", flush=True)
            waiting[f"{RESULTS}/{result.key}"] = pack_outcome(outcome)
            if time.monotonic() - pushed > PUSH_S:
                _push(repo_id, waiting)
                waiting, pushed = {}, time.monotonic()
    except FatalError as error:
        _push(repo_id, {**waiting, FATAL: pack_fatal(str(error))})
        return 1
    _push(repo_id, waiting)
    return 0


def _outcomes(parcel: Path) -> Iterator[Outcome]:
    """Compute on every GPU of this machine, or its CPU; what is given is no longer kept here."""
    with TemporaryDirectory(prefix="magicapture-") as name, closing(LocalEngine(compute, Setup())) as engine:
        folder = RunFolder(Path(name) / "run")
        for result in compute_cells(read_parcel(parcel), engine, folder, Meter()):
            yield Outcome(result, _files(folder, result))
            folder.discard(result.key)


def _files(folder: RunFolder, result: CellResult) -> dict[str, bytes]:
    cell = folder.cell(result.key)
    paths = [path for path in cell.rglob("*") if path.is_file() and path != cell / RESULT]
    return {path.relative_to(cell).as_posix(): path.read_bytes() for path in paths}


def _push(repo_id: str, files: dict[str, bytes]) -> None:
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    if operations:
        HfApi().create_commit(repo_id, operations, commit_message="Results", repo_type="dataset")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
