"""Whose turn it is on the accelerator: first come, first served, with a forecast for those who wait."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(eq=False)
class Turn:
    """A place in the line. ``seconds`` is how long its owner means to stay, by a forecast made when it was taken."""

    seconds: float
    _line: "Line" = field(repr=False)
    _started: float | None = None

    @property
    def ahead(self) -> int:
        """How many come first; 0 when it is this one's turn, or nearly."""
        return self._line.before(self)

    @property
    def expected_wait(self) -> float:
        """Foretell how many seconds are left until this one's turn."""
        return self._line.seconds_before(self)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the turn, at most ``timeout`` seconds; tells whether it has come."""
        return self._line.wait(self, timeout)

    def seconds_left(self) -> float:
        """Foretell how long this one will keep the accelerator from now on."""
        spent = 0.0 if self._started is None else time.monotonic() - self._started
        return max(self.seconds - spent, 0.0)

    def start(self) -> None:
        """Note when the turn came."""
        self._started = self._started or time.monotonic()


class Line:
    """A line before ``places`` accelerators."""

    def __init__(self, places: int = 1) -> None:
        self.places = places
        self._turns: list[Turn] = []
        self._moved = threading.Condition()

    @contextmanager
    def join(self, seconds: float) -> Iterator[Turn]:
        """Stand at the end of the line for a use of about ``seconds``; leaving the block leaves the line.

        >>> line = Line()
        >>> with line.join(seconds=20) as turn:
        ...     while not turn.wait(timeout=1):
        ...         print(turn.ahead, turn.expected_wait)
        ...     print("it is our turn")
        it is our turn
        """
        turn = Turn(seconds, self)
        with self._moved:
            self._turns.append(turn)
        try:
            yield turn
        finally:
            with self._moved:
                self._turns.remove(turn)
                self._moved.notify_all()

    def before(self, turn: Turn) -> int:
        """Count those that have to leave before ``turn`` comes."""
        with self._moved:
            return max(len(self._first(turn)) - self.places + 1, 0)

    def seconds_before(self, turn: Turn) -> float:
        """Add up what those before ``turn`` still need, shared among the places."""
        with self._moved:
            first = self._first(turn)
            return sum(other.seconds_left() for other in first) / self.places if len(first) >= self.places else 0.0

    def wait(self, turn: Turn, timeout: float | None) -> bool:
        """Block until ``turn`` is among the first, at most ``timeout`` seconds."""
        with self._moved:
            come = self._moved.wait_for(lambda: self._turns.index(turn) < self.places, timeout)
        if come:
            turn.start()
        return come

    def _first(self, turn: Turn) -> list[Turn]:
        """List those before ``turn``; none once it has left, which whoever asks may not know yet."""
        return self._turns[: self._turns.index(turn)] if turn in self._turns else []
