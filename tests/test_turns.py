"""Whose turn it is: fair among visitors and addresses, and one training for each GPU."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pytest
import torch
from trainings import PLAN, Trainer, ended, newcomer, wait_until

from magicapture.bases import BaseSpec, resident
from magicapture.server import gpu
from magicapture.server import jobs as jobs_module
from magicapture.server.jobs import Jobs
from magicapture.server.queue import Asker, BusyError, Limits, Queue
from magicapture.server.workspace import Workspace

pytest_plugins = ["job_fixtures"]


def test_one_visitor_cannot_fill_the_line(jobs: Jobs, visitor: Workspace, trainer: Trainer) -> None:
    trainer.hold = True
    job = jobs.start(visitor, PLAN)
    with pytest.raises(BusyError, match="still waits or runs"):
        jobs.start(visitor, PLAN)
    jobs.stop(job)
    ended(job)


def test_the_second_in_line_sees_the_place_and_the_wait_and_may_leave(
    jobs: Jobs, visitor: Workspace, tmp_path: Path, trainer: Trainer
) -> None:
    trainer.hold = True
    first = jobs.start(visitor, PLAN)
    wait_until(lambda: first.event is not None)
    second = jobs.start(newcomer(tmp_path, jobs), PLAN)
    wait_until(lambda: second.ticket is not None)
    assert second.ticket.ahead == 1
    assert 0 < second.ticket.expected_wait <= first.ticket.seconds
    jobs.stop(second)
    assert ended(second).state == "stopped"
    assert second.adapter is None
    jobs.stop(first)
    ended(first)


def test_every_gpu_of_a_machine_trains_for_somebody(
    jobs: Jobs, tmp_path: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "QUEUE", Queue(places=2))
    trainer.hold = True
    started = [jobs.start(newcomer(tmp_path, jobs), PLAN) for _ in range(3)]
    wait_until(lambda: len(trainer.places) == 2)
    assert set(trainer.places) == {0, 1}
    (waiting,) = (job for job in started if job.state == "waiting")
    assert waiting.ticket.ahead == 1
    freed = next(job for job in started if job.state == "running")
    place = freed.ticket.place
    jobs.stop(freed)
    wait_until(lambda: len(trainer.places) == 3)
    assert trainer.places[2] == place
    for job in started:
        jobs.stop(job)
        ended(job)


def test_each_gpu_has_bases_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    current = threading.local()

    @contextmanager
    def device(place: int) -> Iterator[None]:
        current.place = place
        yield

    def load(spec: BaseSpec) -> object:
        loaded.append((spec.name, current.place))
        return type("Loaded", (), {"spec": spec})()

    monkeypatch.setattr(gpu, "QUEUE", Queue(places=2))
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current.place)
    monkeypatch.setattr(resident, "_load", load)
    monkeypatch.setattr(resident, "_loader", cache(resident._loader.__wrapped__))
    bases = []
    for place in (0, 1, 0, 1):
        with gpu._device(place):
            bases.append(resident.load_base("mini"))
    assert loaded == [("mini", 0), ("mini", 1)]
    assert bases[0] is bases[2] is not bases[1] is bases[3]


def test_asking_for_a_place_in_line_just_after_it_was_left_is_no_error() -> None:
    with Queue().join(seconds=5) as ticket:
        pass
    assert (ticket.ahead, ticket.expected_wait) == (0, 0.0)


def test_who_asks_for_much_waits_for_themselves() -> None:
    queue = Queue()
    askers = [Asker(visitor, visitor[0]) for visitor in ("a1", "a1", "a2", "b1", "b1", "c1")]
    with ExitStack() as stack:
        tickets = [stack.enter_context(queue.join(1, asker)) for asker in askers]
        assert tickets[0].wait(0)
        order = sorted(tickets, key=lambda ticket: ticket.ahead)
        assert [ticket.asker.visitor for ticket in order] == ["a1", "b1", "c1", "a2", "b1", "a1"]
        late = stack.enter_context(queue.join(1, Asker("d1", "d")))
        assert late.ahead == 3
        assert tickets[0].ahead == 0, "whoever runs is not displaced"


def test_a_strangers_keys_do_not_give_them_the_whole_line(jobs: Jobs, tmp_path: Path, trainer: Trainer) -> None:
    jobs.limits = Limits(per_visitor=1, per_address=2, in_all=3)
    trainer.hold = True
    started = [jobs.start(newcomer(tmp_path, jobs), PLAN, "192.0.2.1") for _ in range(2)]
    with pytest.raises(BusyError, match="2 from your network"):
        jobs.start(newcomer(tmp_path, jobs), PLAN, "192.0.2.1")
    started.append(jobs.start(newcomer(tmp_path, jobs), PLAN, "192.0.2.2"))
    with pytest.raises(BusyError, match="Too many people"):
        jobs.start(newcomer(tmp_path, jobs), PLAN, "192.0.2.3")
    for job in started:
        jobs.stop(job)
        ended(job)
