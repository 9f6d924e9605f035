"""Portraits being drawn: each drawing has a thread, waits its turn, ends without a trace when its visitor leaves.

They can be seen as soon as they are drawn. Enlarging them, which takes a CPU longer, is a turn of its own.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path

from magicapture.adapters.adapter import Adapter, AdapterError
from magicapture.bases import resolve_base
from magicapture.config import GenerateConfig
from magicapture.drawing.credentials import CredentialsError
from magicapture.drawing.generation import chosen
from magicapture.drawing.portrait import Portrait
from magicapture.messages import Message
from magicapture.photos.subjects import load_subject
from magicapture.server.forecast import drawing_seconds, enlarging_seconds
from magicapture.server.gpu import QUEUE, GpuError, draw, enlarge
from magicapture.server.metrics import STAGE, measure_likeness
from magicapture.server.queue import Asker, Limits, Ticket
from magicapture.server.records import Records
from magicapture.server.workspace import Workspace, WorkspaceError
from magicapture.subject import PERSON_NOUN

STOPPED = "The drawing was stopped."
PATIENCE_S = 120
"""How long deleting waits for a drawing to end, in seconds; what ends later finds no folder for its pictures."""
PORTRAIT_BYTES = 2**21
"""What a portrait takes on the disk, about, as drawn and enlarged."""

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Drawing:
    """One request for portraits as it stands; only its own thread changes it, but for ``stopped``.

    ``drawn``: all portraits are there; ``ended``: and they are enlarged, or will not be.
    """

    workspace: Workspace
    asker: Asker
    ticket: Ticket | None = None
    portraits: list[Portrait] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    error: str = ""
    stopped: threading.Event = field(default_factory=threading.Event)
    drawn: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)


class Drawings:
    """All drawings of this process that wait or run."""

    def __init__(self, records: Records, limits: Limits) -> None:
        """Keep no more of them than ``limits`` allows."""
        self.records, self.limits = records, limits
        self._present: list[Drawing] = []
        self._lock = threading.Lock()

    def start(
        self, workspace: Workspace, adapter_id: str, config: GenerateConfig, *, label: bool, address: str = ""
    ) -> Drawing:
        """Start to draw with one of the visitor's adapters.

        Raises ``AdapterError`` if there is none with this id, ``BusyError`` when too much waits already,
        ``WorkspaceError`` when the disk is full.
        """
        drawing = Drawing(workspace, Asker(workspace.name, address))
        with self._lock:
            self.limits.check(drawing.asker, [other.asker for other in self._present])
            adapter = workspace.shelf.load(adapter_id)
            workspace.place.require_space(config.count * PORTRAIT_BYTES)
            self._present.append(drawing)
        # The context holds the visitor's request: ZeroGPU charges the time to whoever asked for it.
        run = threading.Thread(
            target=copy_context().run, args=(self._run, drawing, adapter, config, label), name="drawing", daemon=True
        )
        run.start()
        return drawing

    def of(self, visitor: str) -> list[Drawing]:
        """List a visitor's drawings that wait or run, the latest at the end."""
        with self._lock:
            return [drawing for drawing in self._present if drawing.asker.visitor == visitor]

    def stop(self, visitor: str) -> list[Drawing]:
        """Let a visitor's drawings end: those that wait at once, others when they are drawn, without a result.

        Of portraits that are being enlarged, those that are left stay as drawn.
        """
        theirs = self.of(visitor)
        for drawing in theirs:
            drawing.stopped.set()
        return theirs

    def abandon(self, visitor: str) -> None:
        """Stop a visitor's drawings, and wait until they have ended."""
        for drawing in self.stop(visitor):
            drawing.ended.wait(PATIENCE_S)

    def _run(self, drawing: Drawing, adapter: Adapter, config: GenerateConfig, label: bool) -> None:
        try:
            self._draw(drawing, adapter, config.settled(resolve_base(adapter.info.base).sampling_steps), label)
            if drawing.drawn.is_set() and config.upscale > 1:
                self._enlarge(drawing, config.upscale, label)
        except (AdapterError, CredentialsError, GpuError, WorkspaceError) as error:
            drawing.error = str(error)
        except Exception as error:
            logger.exception("Drawing failed.")
            fault = "{reason}: nothing was drawn. Try again, or ask whoever runs this page."
            if drawing.drawn.is_set():
                fault = "{reason}: the rest stays as drawn. Draw again, or ask whoever runs this page."
            drawing.error = Message(fault, reason=type(error).__name__)
        finally:
            drawing.ticket = None
            with self._lock:
                self._present.remove(drawing)
            drawing.ended.set()

    def _draw(self, drawing: Drawing, adapter: Adapter, config: GenerateConfig, label: bool) -> None:
        """Draw and store; the accelerator is held no longer than it is needed."""
        with self._turn(drawing, drawing_seconds(adapter.info.base, config)) as place:
            if place is None:
                return
            with STAGE.labels("draw").time():
                candidates = draw(adapter, config, place)
        subject = load_subject(adapter.info.subject)
        for portrait in chosen(candidates, adapter.targets, subject, config):
            if drawing.stopped.is_set():
                return
            drawing.paths.append(drawing.workspace.add_portrait(portrait, label))
            drawing.portraits.append(portrait)
            if subject.noun == PERSON_NOUN:
                measure_likeness(portrait.likeness)
        self.records.log("portraits_drawn", len(drawing.portraits))
        drawing.drawn.set()

    def _enlarge(self, drawing: Drawing, factor: int, label: bool) -> None:
        """Put the larger picture in the place of each portrait that is still there."""
        with self._turn(drawing, enlarging_seconds([portrait.image for portrait in drawing.portraits])) as place:
            if place is None:
                return
            with STAGE.labels("enlarge").time():
                for number, larger in enumerate(enlarge(list(drawing.portraits), factor, place)):
                    if drawing.stopped.is_set():
                        return
                    if path := drawing.workspace.enlarge_portrait(drawing.paths[number], larger, label):
                        drawing.paths[number], drawing.portraits[number] = path, larger

    @contextmanager
    def _turn(self, drawing: Drawing, seconds: float) -> Iterator[int | None]:
        """Wait for the turn of a ``drawing``; gives the number of its accelerator, or None if it was stopped."""
        with QUEUE.join(seconds, drawing.asker) as drawing.ticket:
            while not drawing.ticket.wait(timeout=0.5) and not drawing.stopped.is_set():
                pass
            yield None if drawing.stopped.is_set() else drawing.ticket.place
