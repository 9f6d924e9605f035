"""Gradio's queue of events: long work waits in it within bounds, and what must always be possible is never refused.

Entering the page, stopping, deleting and looking how things stand wait for nobody else's work: only events whose
``concurrency_id`` begins with ``BOUNDED`` are counted, and together they leave threads free for the others.
"""

import gradio as gr
from gradio.data_classes import PredictBodyInternal
from starlette.requests import Request

from magicapture.server.gate.answer import address_of

BOUNDED = "bounded-"
"""How the ``concurrency_id`` of events begins that mean work, such as checking photos or drawing."""
WAITING_PER_ADDRESS, WAITING_IN_ALL = 30, 90
"""How many of those may wait in the queue."""
THREADS = 100
"""For all events: those that mean work take at most 72 of them, by their concurrency limits."""
BUSY = "Too many people wait here at this moment: try again in a few minutes. Nothing of yours is lost."


def bound_queue(page: gr.Blocks) -> None:
    """Let the queue of ``page`` refuse work when too much of it waits, in all or from one address."""
    queue = page._queue
    push = queue.push

    async def push_within_bounds(body: PredictBodyInternal, request: Request, username: str | None) -> tuple:
        fn = page.fns.get(body.fn_index)
        if fn is not None and _is_bounded(fn.concurrency_id):
            waiting = [event for line in queue.event_queue_per_concurrency_id.values() for event in line.queue]
            askers = [address_of(event.request.scope) for event in waiting if _is_bounded(event.concurrency_id)]
            if len(askers) >= WAITING_IN_ALL or askers.count(address_of(request.scope)) >= WAITING_PER_ADDRESS:
                return False, BUSY, "queue_full"
        return await push(body=body, request=request, username=username)

    queue.push = push_within_bounds


def _is_bounded(concurrency_id: object) -> bool:
    return str(concurrency_id).startswith(BOUNDED)
