"""What does the work of jobs in place of their containers."""

from pathlib import Path

from hub_jobs import Job, JobHub
from staff_stand_in import Drawer

from magicapture.staff.cell import Cell
from magicapture.staff.jobs.parcel import pack_outcome, read_parcel
from magicapture.staff.work import Setup, guarded


class Container:
    """Does the work of jobs in place of their containers: at every look one more cell, and a minute."""

    def __init__(self, drawer: Drawer) -> None:
        self.drawer = drawer
        self.minutes_a_cell = 1
        self.breaks: dict[int, str] = {}  # what becomes of the n-th job, from 0, after its first cell

    def __call__(self, hub: JobHub, job: Job) -> None:
        files = hub.repositories[job.repo_id].files
        left = [cell for cell in cells_in(files, self.drawer.diary) if f"results/{cell.key}" not in files]
        number = hub.started.index(job)
        if number in self.breaks and any(name.startswith("results/") for name in files):
            if self.breaks[number] == "vanished":
                del hub.jobs[job.id]
            job.stage, job.message, job.log = "ERROR", self.breaks[number], ["person 7: CUDA said no"]
            return
        job.seconds += 60 * self.minutes_a_cell
        if left:
            cell = left[0]
            photos, looks = ([path.read_bytes() for path in paths] for paths in (cell.photos, cell.looks))
            outcome = guarded(self.drawer, Setup(), cell, tuple(photos), tuple(looks))
            files[f"results/{cell.key}"] = pack_outcome(outcome)
        else:
            job.stage = "COMPLETED"


def cells_in(files: dict[str, bytes], beside: Path) -> list[Cell]:
    """Read a parcel as it lies in a data set."""
    folder = beside.with_name("parcel")
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return read_parcel(folder)


def nothing_is_left(server: JobHub) -> bool:
    return not server.repositories and not any(job.active for job in server.jobs.values())
