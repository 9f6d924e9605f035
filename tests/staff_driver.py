"""A driver to kill: ``python staff_driver.py FOLDER PEOPLE SECONDS ENGINE`` draws stand-in cells into FOLDER/run."""

import sys
from contextlib import closing
from pathlib import Path

from staff_stand_in import Drawer, people

from magicapture.staff.batch import Meter, compute_cells
from magicapture.staff.rehearsal import open_engine
from magicapture.staff.run_folder import RunFolder

if __name__ == "__main__":
    folder, run = Path(sys.argv[1]), RunFolder(Path(sys.argv[1]) / "run")
    missing = run.missing(people(folder, int(sys.argv[2])))
    with closing(open_engine(sys.argv[4], Drawer(folder / "diary", float(sys.argv[3])), 2)) as engine:
        for result in compute_cells(missing, engine, run, Meter()):
            print(result.person, flush=True)
