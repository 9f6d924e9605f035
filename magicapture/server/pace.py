"""How long trainings take here: what was foretold for a base, corrected by the steps that were measured."""

import time

FORETOLD_STEPS = 4
"""The forecast weighs as much as so many measured steps."""

_corrections: dict[str, float] = {}
"""By base, how many times as long as foretold the steps of the latest training took in this process."""


def corrected(base: str, seconds: float) -> float:
    """Correct a forecast for ``base`` by what its latest training here was measured to take."""
    return seconds * _corrections.get(base, 1.0)


class Pace:
    """Of one training on ``base`` that was foretold to take ``seconds`` for ``steps`` steps, previews included."""

    def __init__(self, base: str, seconds: float, steps: int) -> None:
        self.base, self.steps = base, steps
        self._foretold = seconds / steps
        self._step_seconds = self._expected = corrected(base, self._foretold)
        self._step = 0
        self._first: tuple[int, float] | None = None  # the first step that was seen, and when it ended

    def note(self, step: int) -> None:
        """Note that ``step`` has just ended. The first one only starts the clock: it is slow, and began unseen."""
        now, self._step = time.monotonic(), step
        if self._first is None:
            self._first = step, now
            return
        measured, elapsed = step - self._first[0], now - self._first[1]
        self._step_seconds = (FORETOLD_STEPS * self._expected + elapsed) / (FORETOLD_STEPS + measured)
        if measured >= FORETOLD_STEPS:
            _corrections[self.base] = elapsed / measured / self._foretold

    def seconds_left(self) -> float:
        """Foretell how long the rest will take from now on."""
        return self._step_seconds * (self.steps - self._step)
