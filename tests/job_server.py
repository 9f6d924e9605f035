"""A server that trains one job on the base in a folder and ends; started again, it takes up what was interrupted."""

import sys
from pathlib import Path

import stand_in

from magicapture.config import TrainConfig
from magicapture.server import engine, gpu
from magicapture.server.jobs import Jobs, TrainingPlan
from magicapture.server.records import Records
from magicapture.server.workspace import Workspace, new_key

root, base = Path(sys.argv[1]), sys.argv[2]
CONFIG = TrainConfig(token_steps=4, lora_steps=12, previews=0, rank=2)
gpu.load_subject = engine.load_subject = lambda _noun: stand_in.StandInEngine()
engine.CHECKPOINT_SECONDS = 0

jobs = Jobs(Records(f"sqlite:///{root / 'records.sqlite'}"))
jobs.recover()
running = list(jobs._threads.values())
print("taken up" if running else "begun")
if not running:
    visitor = Workspace.of(new_key(), root)
    jobs.records.give_consent(visitor.name, "1", "training")
    references = stand_in.references(128)
    jobs.start(visitor, TrainingPlan(base, references, references, CONFIG))
    running = list(jobs._threads.values())
for thread in running:
    thread.join()
