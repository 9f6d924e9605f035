"""A forecast that is wrong for this machine is soon put right: for who trains, who waits, and who comes next."""

from types import SimpleNamespace

import pytest
import stand_in

from magicapture.config import TrainConfig
from magicapture.photos.references import CheckedSet, Verdict
from magicapture.server import pace, queue
from magicapture.server.pace import Pace, corrected
from magicapture.server.queue import Queue
from magicapture.ui import readiness

FORETOLD, STEPS, TAKEN = 100.0, 100, 5.0
"""A training that was foretold to take a second per step, and takes five."""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Give a clock that stands still until it is set; nothing was measured before."""
    clock = SimpleNamespace(now=1000.0)
    for module in (pace, queue):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(pace, "_corrections", {})
    return clock


def train(clock: SimpleNamespace, steps: int) -> Pace:
    """Take so many steps; the first one is far slower than the others."""
    measured = Pace("mini", FORETOLD, STEPS)
    clock.now += 60
    measured.note(1)
    for step in range(2, steps + 1):
        clock.now += TAKEN
        measured.note(step)
    return measured


def test_the_time_left_is_that_of_the_measured_steps_after_a_few_of_them(clock: SimpleNamespace) -> None:
    assert train(clock, 1).seconds_left() == pytest.approx(99)
    assert train(clock, 3).seconds_left() > 1.5 * 97
    assert train(clock, 41).seconds_left() == pytest.approx(59 * TAKEN, rel=0.1)
    assert train(clock, STEPS).seconds_left() == 0


def test_the_next_forecast_on_this_base_counts_on_what_was_measured(
    clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(clock, 40)
    assert corrected("mini", 100) == pytest.approx(500)
    assert corrected("sd15", 100) == 100
    assert Pace("mini", FORETOLD, STEPS).seconds_left() == pytest.approx(500)
    checked = CheckedSet("person", tuple(Verdict("me.jpg", reference) for reference in stand_in.references(32)))
    monkeypatch.setattr(readiness, "training_seconds", lambda *_: 120.0)
    assert "about 10 min" in readiness.readiness(checked, checked, "mini", TrainConfig())


def test_who_waits_behind_a_slow_training_is_told_so(clock: SimpleNamespace) -> None:
    line = Queue()
    with line.join(100) as first, line.join(10) as second:
        first.wait(0)
        assert second.expected_wait == pytest.approx(100)
        clock.now += 300
        assert second.expected_wait == 0
        first.foretell(450)
        assert second.expected_wait == pytest.approx(450)
