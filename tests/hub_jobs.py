"""Hugging Face Jobs on this machine: as much of their protocol as huggingface_hub's client needs.

Follows what ``HfApi.run_job``, ``inspect_job``, ``list_jobs``, ``cancel_job``, ``fetch_job_logs`` and
``list_jobs_hardware`` send and read.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from hub_server import Handler, Hub, RefusalError

ACTIVE = ("SCHEDULING", "RUNNING")


def hardware(name: str, cents_an_hour: int, gpus: int) -> dict:
    gpu = {"type": "gpu", "model": "L4", "quantity": str(gpus), "vram": "24 GB", "manufacturer": "Nvidia"}
    micro = round(cents_an_hour * 10_000 / 60)
    return {
        "name": name,
        "prettyName": f"Nvidia {name}",
        "cpu": "8 vCPU",
        "ram": "30 GB",
        "accelerator": gpu if gpus else None,
        "unitCostMicroUSD": micro,
        "unitCostUSD": micro / 1e6,
        "unitLabel": "minute",
    }


HARDWARE = [hardware("cpu-basic", 1, 0), hardware("l4x1", 60, 1), hardware("l4x4", 240, 4)]


@dataclass
class Job:
    """One job as the Hub knows it."""

    id: str
    owner: str
    spec: dict
    stage: str = "RUNNING"
    seconds: int = 0
    message: str | None = None
    log: list[str] = field(default_factory=list)
    process: subprocess.Popen | None = None
    folder: Path | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def active(self) -> bool:
        return self.stage in ACTIVE

    @property
    def repo_id(self) -> str:
        return self.spec["environment"]["SHARD"]

    def as_dict(self) -> dict:
        return {
            "id": self.id,
            "createdAt": "2026-11-27T10:00:00.000Z",
            "dockerImage": self.spec.get("dockerImage"),
            "command": self.spec["command"],
            "environment": self.spec["environment"],
            "flavor": self.spec["flavor"],
            "labels": self.spec.get("labels"),
            "status": {"stage": self.stage, "message": self.message},
            "durations": {"schedulingSecs": 1, "runningSecs": self.seconds, "totalSecs": self.seconds + 1},
            "owner": {"id": "1", "name": self.owner, "type": "user"},
        }


class JobHub(Hub):
    """A Hub that runs jobs: whenever one is looked at, ``advance`` takes it a step further."""

    def __init__(self, advance: Callable[["JobHub", Job], None]) -> None:
        super().__init__(JobHandler)
        self.jobs: dict[str, Job] = {}  # those that were deleted are no longer here
        self.started: list[Job] = []
        self.advance = advance
        self.refuse_jobs = ""  # with this sentence
        self.folder: Path | None = None  # where containers have their disks


class JobHandler(Handler):
    server: JobHub

    def _route(self, path: str) -> None:
        parts = path.strip("/").split("/")
        if parts[:2] != ["api", "jobs"]:
            return super()._route(path)
        if parts[2:] == ["hardware"]:
            return self._send_json(HARDWARE)
        self._require_writer()
        match self.command, parts[2:]:
            case "POST", [owner]:
                return self._start(owner, json.loads(self.body))
            case "GET", [owner]:
                wanted = parse_qs(urlsplit(self.path).query).get("label", [])
                found = [job for job in self.server.jobs.values() if set(wanted) <= set(_labels(job))]
                return self._send_json([job.as_dict() for job in found])
            case "POST", [_, number, "cancel"]:
                job = self._job(number)
                if job.process:
                    os.killpg(job.process.pid, signal.SIGKILL)
                job.stage = "CANCELED"
                return self._send_json({})
            case "GET", [_, number, "logs"]:
                events = [f"data: {json.dumps({'timestamp': '', 'data': line})}\n\n" for line in self._job(number).log]
                return self._send("".join(events).encode(), {"Content-Type": "text/event-stream"})
        job = self._job(parts[3])
        if job.active:
            self.server.advance(self.server, job)
            if job.seconds >= job.spec["timeoutSeconds"]:
                job.seconds, job.stage, job.message = job.spec["timeoutSeconds"], "ERROR", "Job timeout"
        return self._send_json(self._job(job.id).as_dict())

    def _start(self, owner: str, spec: dict) -> None:
        if self.server.refuse_jobs:
            raise RefusalError(402, self.server.refuse_jobs)
        job = Job(f"{len(self.server.started):024x}", owner, spec)
        self.server.jobs[job.id] = job
        self.server.started.append(job)
        self._send_json(job.as_dict())

    def _job(self, number: str) -> Job:
        if number not in self.server.jobs:
            raise RefusalError(404, "Job not found")
        return self.server.jobs[number]


def _labels(job: Job) -> list[str]:
    return [f"{name}={value}" for name, value in job.spec.get("labels", {}).items()]


def run_for_real(hub: JobHub, job: Job) -> None:
    """Run the job's command as its container would, with the tools of this machine for those of the image."""
    if job.process is None:
        folder = Path(tempfile.mkdtemp(prefix="job-", dir=hub.folder))
        tools = folder / "bin"
        tools.mkdir()
        here = Path(sys.executable).parent
        # `uvx --from CLIENT hf …` and `uv run --no-project --with-requirements FILE python …`
        _tool(tools / "uvx", f'shift 2; tool=$1; shift; exec "{here}/$tool" "$@"')
        _tool(tools / "uv", f'[ -f "$4" ] || exit 3; shift 5; exec "{sys.executable}" "$@"')
        job.process = subprocess.Popen(
            job.spec["command"],
            cwd=folder,
            env={
                "PATH": f"{tools}:{os.environ['PATH']}",
                "HOME": str(folder),
                "HF_ENDPOINT": hub.url,
                "HF_HUB_DISABLE_XET": "1",
                "OMP_NUM_THREADS": "1",
                **job.spec["environment"],
                **job.spec["secrets"],
            },
            stdout=(folder / "log").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        job.folder = folder
    elif (status := job.process.poll()) is not None:
        job.stage = "ERROR" if status else "COMPLETED"
        job.log = (job.folder / "log").read_text().splitlines()
    job.seconds = round(time.monotonic() - job.started)


def _tool(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
