"""Whose turn it is on the accelerator: fair between addresses and visitors, with a forecast for those who wait."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from magicapture.messages import Message


@dataclass(frozen=True)
class Asker:
    """Who asks for work: the name of the visitor's folder, and the address that the request came from."""

    visitor: str = ""
    address: str = ""  # empty: unknown, as after a restart


class BusyError(Exception):
    """Work that is not taken on because too much of it waits already; the text says for whom, and what to do."""


@dataclass(frozen=True)
class Limits:
    """How much work of one kind may wait or run at a time."""

    per_visitor: int
    per_address: int
    in_all: int

    def check(self, asker: Asker, present: Iterable[Asker]) -> None:
        """Raise ``BusyError`` if one more of ``asker`` beside those ``present`` would be too much.

        Keys are free, so what a stranger may have waiting counts by their address, too.
        """
        present = list(present)
        if sum(other.visitor == asker.visitor for other in present) >= self.per_visitor:
            raise BusyError("Your last one still waits or runs: stop it, or wait until it is done.")
        if asker.address and sum(other.address == asker.address for other in present) >= self.per_address:
            raise BusyError(Message("{n} from your network wait or run already: try again later.", n=self.per_address))
        if len(present) >= self.in_all:
            raise BusyError("Too many people wait here at this moment: try again later. What you have is safe.")


@dataclass(eq=False)
class Turn:
    """A place in the line. ``seconds`` is how long its owner means to stay, by a forecast made when it was taken."""

    seconds: float
    asker: Asker
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

    @property
    def started(self) -> bool:
        """Whether the turn came."""
        return self._started is not None

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
    """A line before ``places`` accelerators.

    Everyone's first turn comes before anyone's second: among addresses, and at one address among visitors. Whoever asks
    for much waits for themselves.
    """

    def __init__(self, places: int = 1) -> None:
        self.places = places
        self._turns: list[Turn] = []  # as they came
        self._moved = threading.Condition()

    @contextmanager
    def join(self, seconds: float, asker: Asker | None = None) -> Iterator[Turn]:
        """Stand in the line for a use of about ``seconds``; leaving the block leaves the line.

        >>> line = Line()
        >>> with line.join(seconds=20) as turn:
        ...     while not turn.wait(timeout=1):
        ...         print(turn.ahead, turn.expected_wait)
        ...     print("it is our turn")
        it is our turn
        """
        turn = Turn(seconds, asker or Asker(), self)
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
            come = self._moved.wait_for(lambda: len(self._first(turn)) < self.places, timeout)
            if come:
                turn.start()  # within the lock: from now on nobody comes before it
        return come

    def _first(self, turn: Turn) -> list[Turn]:
        """List those before ``turn``; none once it has left, which whoever asks may not know yet."""
        order = self._order()
        return order[: order.index(turn)] if turn in order else []

    def _order(self) -> list[Turn]:
        """List all turns, the running ones first, then by which of its address's it is, and that by its visitor's."""
        of_visitor, of_address = Counter(), Counter()
        ranks = {}
        for turn in self._turns:
            ranks[turn] = of_visitor[turn.asker.visitor or turn]
            of_visitor[turn.asker.visitor or turn] += 1
        for turn in sorted(self._turns, key=ranks.__getitem__):
            ranks[turn] = of_address[turn.asker.address or turn]
            of_address[turn.asker.address or turn] += 1
        return sorted(self._turns, key=lambda turn: (not turn.started, ranks[turn]))
