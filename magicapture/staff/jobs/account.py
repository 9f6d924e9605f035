"""The Hugging Face account that jobs run on: their prices, their start and end, and the data sets that they share.

Follows https://huggingface.co/docs/huggingface_hub/guides/jobs. Jobs are paid by the minute while they run.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

import huggingface_hub
from httpx2 import HTTPError
from huggingface_hub import HfApi, JobInfo
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from magicapture.settings import settings
from magicapture.staff.engines import EngineError
from magicapture.staff.jobs.shards import Shard

IMAGE = "ghcr.io/astral-sh/uv:python3.12-bookworm"
CLIENT = f"huggingface_hub=={huggingface_hub.__version__}"
COMMAND = f"""\
set -e
uvx --from {CLIENT} hf download "$SHARD" --repo-type dataset --local-dir shard
python3 -m zipfile -e shard/code.zip code
PYTHONPATH=code uv run --no-project --with-requirements code/requirements.txt \
python -m magicapture.staff.jobs.worker shard "$SHARD"
"""
LIBGL = "apt-get update -qq && apt-get install -y -qq libgl1 libglib2.0-0 >/dev/null\n"
"""What insightface's OpenCV wants of the image."""
LABEL = "magicapture"
UNITS = {"second": 1, "minute": 60, "hour": 3600}
FAILURES = (HTTPError, OSError, RuntimeError, ValueError)
"""What huggingface_hub raises: refusals, broken connections, answers it cannot read."""
ACTIVE = ("SCHEDULING", "RUNNING")


@dataclass(frozen=True)
class Flavour:
    """Hardware to be had: its name, the US dollars of a ``unit_seconds`` that has begun, and its GPUs, at least 1."""

    name: str
    title: str
    unit_cost: float
    unit_seconds: int
    gpus: int

    @property
    def per_hour(self) -> float:
        """What an hour costs."""
        return self.unit_cost * 3600 / self.unit_seconds

    def cost(self, seconds: float) -> float:
        """Give the price of ``seconds`` of running."""
        return math.ceil(seconds / self.unit_seconds) * self.unit_cost

    def seconds_for(self, money: float) -> float:
        """Give how long may be run for it."""
        return math.inf if money == math.inf else math.floor(money / self.unit_cost) * self.unit_seconds


@dataclass(frozen=True)
class Look:
    """What the Hub says of a job. ``cost``: of its running so far; None where the Hub knows of no job any more."""

    active: bool
    cost: float | None
    seconds: float = 0.0
    message: str = ""


class UnreachableError(Exception):
    """The Hub gave no answer, or one that tells nothing; the next may."""


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Raise ``EngineError`` in place of what huggingface_hub raises."""
    try:
        yield
    except EngineError:
        raise
    except FAILURES as error:
        raise EngineError(f"{what}: {_first_line(error)}") from error


@contextmanager
def _reached() -> Iterator[None]:
    """Raise ``UnreachableError`` in place of what huggingface_hub raises."""
    try:
        yield
    except EngineError:
        raise
    except FAILURES as error:
        raise UnreachableError(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


class JobsAccount:
    """Jobs of one account, and the private data sets that go with them."""

    def __init__(self, owner: str = "") -> None:
        """Ask for the prices. ``owner``: an organisation, or whoever is signed in. Raises ``EngineError``."""
        if settings().private:
            raise EngineError(
                "MAGICAPTURE_PRIVATE=1: photos would leave this machine for Hugging Face Jobs. Use the engine local."
            )
        self._api = HfApi()
        with _told("Hugging Face Jobs cannot be had"):
            if not self._api.token and not huggingface_hub.get_token():
                raise EngineError("Hugging Face Jobs need an account: set HF_TOKEN, or sign in with `hf auth login`.")
            self.owner = owner or self._api.whoami()["name"]
            self._flavours = {hardware.name: _flavour(hardware) for hardware in self._api.list_jobs_hardware()}

    def flavour(self, name: str) -> Flavour:
        """Find hardware. Raises ``EngineError`` when there is none of that name."""
        if name not in self._flavours:
            raise EngineError(f"Hugging Face Jobs have no {name}: choose from {', '.join(self._flavours)}.")
        return self._flavours[name]

    def new_name(self) -> str:
        """Give the name of a data set that nobody guesses."""
        return f"{self.owner}/{LABEL}-{token_hex(12)}"

    def send(self, shard: Shard, parcel: Path) -> None:
        """Put ``parcel`` into a new private data set. Raises ``EngineError``."""
        with _told("The photos could not be sent"):
            self._api.create_repo(shard.repo_id, repo_type="dataset", private=True)
            self._api.upload_folder(repo_id=shard.repo_id, folder_path=parcel, repo_type="dataset")

    def start(self, shard: Shard, flavour: Flavour, seconds: int, face_engine: str) -> str:
        """Start the job of ``shard``, which is ended after so many seconds; gives its id. Raises ``EngineError``."""
        faces = {"MAGICAPTURE_FACE_PACK": settings().face_pack, "MAGICAPTURE_FACE_ENGINE": face_engine}
        with _told("The job could not be started"):
            job = self._api.run_job(
                image=IMAGE,
                command=["bash", "-c", COMMAND if face_engine == "builtin" else LIBGL + COMMAND],
                env={"SHARD": shard.repo_id, **faces},
                secrets={"HF_TOKEN": self._api.token or huggingface_hub.get_token()},
                flavor=flavour.name,
                timeout=seconds,
                labels={LABEL: shard.label},
                namespace=shard.owner,
            )
        return job.id

    @_reached()
    def look(self, shard: Shard) -> Look:
        """Ask what the job of ``shard`` does; by its label, where a driver died before it learnt the id.

        Raises ``UnreachableError``.
        """
        try:
            job = self._job(shard)
        except HfHubHTTPError as error:
            if error.response.status_code != 404:
                raise
            job = None
        if job is None:
            return Look(active=False, cost=None, message="the job is not there any more")
        shard.job = job.id
        seconds = (job.durations and job.durations.running_secs) or 0
        cost = self.flavour(str(job.flavor)).cost(seconds)
        return Look(job.status.stage in ACTIVE, cost, seconds, job.status.message or "")

    def _job(self, shard: Shard) -> JobInfo | None:
        if shard.job:
            return self._api.inspect_job(job_id=shard.job, namespace=shard.owner)
        return next(iter(self._api.list_jobs(labels={LABEL: shard.label}, namespace=shard.owner)), None)

    @_reached()
    def files(self, shard: Shard) -> set[str]:
        """List what lies in the data set of ``shard``; nothing when there is none. Raises ``UnreachableError``."""
        try:
            return {file.rfilename for file in self._api.dataset_info(shard.repo_id).siblings or ()}
        except RepositoryNotFoundError:
            return set()

    @_reached()
    def fetch(self, shard: Shard, name: str) -> bytes:
        """Read one of those files. Raises ``UnreachableError``."""
        with TemporaryDirectory(prefix="magicapture-") as folder:  # no cache keeps it
            path = self._api.hf_hub_download(shard.repo_id, name, repo_type="dataset", local_dir=folder)
            return Path(path).read_bytes()

    def log(self, shard: Shard, lines: int) -> list[str]:
        """Give the last lines that the job wrote; none where they cannot be had."""
        try:
            return list(self._api.fetch_job_logs(job_id=shard.job, namespace=shard.owner, tail=lines))
        except FAILURES:
            return []

    @_reached()
    def cancel(self, shard: Shard) -> None:
        """End the job of ``shard``, if it runs. Raises ``UnreachableError``."""
        if self.look(shard).active:
            self._api.cancel_job(job_id=shard.job, namespace=shard.owner)

    @_reached()
    def delete(self, shard: Shard) -> None:
        """Delete the data set with all that it held. Raises ``UnreachableError``."""
        self._api.delete_repo(shard.repo_id, repo_type="dataset", missing_ok=True)


def _flavour(hardware: huggingface_hub.JobHardwareInfo) -> Flavour:
    return Flavour(
        hardware.name,
        hardware.pretty_name,
        hardware.unit_cost_micro_usd / 1e6,
        UNITS[hardware.unit_label],
        int(hardware.accelerator.quantity) if hardware.accelerator else 1,
    )
