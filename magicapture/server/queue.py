"""Whose turn it is on the accelerator: fair between addresses and visitors, with a forecast for those who wait."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from magicapture.messages import Message
from magicapture.server.metrics import WAITED

STILL_THERE = "Your last one still waits or runs: stop it, or wait until it is done."


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
            raise BusyError(STILL_THERE)
        if asker.address and sum(other.address == asker.address for other in present) >= self.per_address:
            raise BusyError(Message("{n} from your network wait or run already: try again later.", n=self.per_address))
        if len(present) >= self.in_all:
            raise BusyError("Too many people wait here at this moment: try again later. What you have is safe.")


@dataclass(eq=False)
class Ticket:
    """A place in the queue. ``seconds`` is how long its owner means to stay, by a forecast.

    ``place``: the number of the accelerator that is its own once its turn has come, from 0.
    """

    seconds: float
    asker: Asker
    _queue: "Queue" = field(repr=False)
    _joined: float = field(default_factory=time.monotonic)
    _started: float | None = None
    place: int = 0

    @property
    def ahead(self) -> int:
        """How many come first; 0 when it is this one's turn, or nearly."""
        return self._queue.before(self)

    @property
    def expected_wait(self) -> float:
        """Foretell how many seconds are left until this one's turn."""
        return self._queue.seconds_before(self)

    @property
    def started(self) -> bool:
        """Whether the turn came."""
        return self._started is not None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the turn, at most ``timeout`` seconds; tells whether it has come."""
        return self._queue.wait(self, timeout)

    def seconds_left(self) -> float:
        """Foretell how long this one will keep the accelerator from now on."""
        spent = 0.0 if self._started is None else time.monotonic() - self._started
        return max(self.seconds - spent, 0.0)

    def foretell(self, seconds: float) -> None:
        """Correct the forecast: it will be about so many ``seconds`` from now on."""
        self.seconds = seconds + (0.0 if self._started is None else time.monotonic() - self._started)

    def start(self, place: int) -> None:
        """Note when the turn came, and on which accelerator."""
        self._started, self.place = time.monotonic(), place
        WAITED.observe(self._started - self._joined)


class Queue:
    """A queue before ``places`` accelerators.

    Everyone's first ticket comes before anyone's second: among addresses, and at one address among visitors.
    Whoever asks for much waits for themselves.
    """

    def __init__(self, places: int = 1) -> None:
        self.places = places
        self._tickets: list[Ticket] = []  # as they came
        self._moved = threading.Condition()

    @contextmanager
    def join(self, seconds: float, asker: Asker | None = None) -> Iterator[Ticket]:
        """Join the queue for a use of about ``seconds``; leaving the block leaves the queue.

        >>> queue = Queue()
        >>> with queue.join(seconds=20) as ticket:
        ...     while not ticket.wait(timeout=1):
        ...         print(ticket.ahead, ticket.expected_wait)
        ...     print("it is our turn")
        it is our turn
        """
        ticket = Ticket(seconds, asker or Asker(), self)
        with self._moved:
            self._tickets.append(ticket)
        try:
            yield ticket
        finally:
            with self._moved:
                self._tickets.remove(ticket)
                self._moved.notify_all()

    def resize(self, places: int) -> None:
        """Say how many accelerators there are from now on; who has one keeps it."""
        with self._moved:
            self.places = places
            self._moved.notify_all()

    def before(self, ticket: Ticket) -> int:
        """Count those that have to leave before ``ticket`` comes."""
        with self._moved:
            return max(len(self._first(ticket)) - self.places + 1, 0)

    def seconds_before(self, ticket: Ticket) -> float:
        """Add up what those before ``ticket`` still need, shared among the places."""
        with self._moved:
            first = self._first(ticket)
            return sum(other.seconds_left() for other in first) / self.places if len(first) >= self.places else 0.0

    def wait(self, ticket: Ticket, timeout: float | None) -> bool:
        """Block until ``ticket`` is among the first, at most ``timeout`` seconds."""
        with self._moved:
            come = self._moved.wait_for(lambda: len(self._first(ticket)) < self.places, timeout)
            if come and not ticket.started:  # within the lock: from now on nobody comes before it
                taken = {other.place for other in self._tickets if other.started}
                ticket.start(next(place for place in count() if place not in taken))
        return come

    def _first(self, ticket: Ticket) -> list[Ticket]:
        """List those before ``ticket``; none once it has left, which whoever asks may not know yet."""
        order = self._order()
        return order[: order.index(ticket)] if ticket in order else []

    def _order(self) -> list[Ticket]:
        """List all turns, the running ones first, then by which of its address's it is, and that by its visitor's."""
        of_visitor: Counter[str | Ticket] = Counter()
        of_address: Counter[str | Ticket] = Counter()
        ranks: dict[Ticket, int] = {}
        for ticket in self._tickets:
            ranks[ticket] = of_visitor[ticket.asker.visitor or ticket]
            of_visitor[ticket.asker.visitor or ticket] += 1
        for ticket in sorted(self._tickets, key=ranks.__getitem__):
            ranks[ticket] = of_address[ticket.asker.address or ticket]
            of_address[ticket.asker.address or ticket] += 1
        return sorted(self._tickets, key=lambda ticket: (not ticket.started, ranks[ticket]))
