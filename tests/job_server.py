"""A server that trains one job on the base in a folder and ends; started again, it takes up what was interrupted."""

import sys
from pathlib import Path

import stand_in

from magicapture.config import TrainConfig
from magicapture.server import engine, gpu
from magicapture.server.consent import give_consent
from magicapture.server.jobs import Jobs, TrainingPlan
from magicapture.server.records import Records
from magicapture.server.workspace import Workspace, new_key
from magicapture.subject import PERSON_NOUN

CONFIG = TrainConfig(token_steps=3, lora_steps=6, previews=0, rank=2)


def serve(root: Path, base: str) -> str:
    """Train to the end with the stand-in engine, which has to be set; says whether that was begun or taken up."""
    jobs = Jobs(Records(f"sqlite:///{root / 'records.sqlite'}"))
    jobs.recover()
    running = list(jobs._threads.values())
    said = "taken up" if running else "begun"
    if not running:
        visitor = Workspace.of(new_key(), root)
        give_consent(jobs.records, visitor, PERSON_NOUN)
        references = stand_in.references(128)
        jobs.start(visitor, TrainingPlan(base, references, references, CONFIG))
        running = list(jobs._threads.values())
    for thread in running:
        thread.join()
    return said


if __name__ == "__main__":
    gpu.load_subject = engine.load_subject = lambda _noun: stand_in.StandInEngine()
    engine.CHECKPOINT_SECONDS = 0
    print(serve(Path(sys.argv[1]), sys.argv[2]))
