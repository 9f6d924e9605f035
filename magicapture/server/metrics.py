"""Numbers for whoever runs this, as Prometheus reads them: on a port of their own, to this machine alone.

What happened is counted from the log, so it outlives a restart; how long things took and how like the portraits were is
measured by this process. No label says of whom.
"""

import math
from collections.abc import Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from magicapture.server.records import ACTIVE, Reason, Records, State

REGISTRY = CollectorRegistry()
"""Of this program alone: nothing of the interpreter's or of other libraries'."""
SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)
WAITED = Histogram(
    "magicapture_queue_wait_seconds", "From asking to one's turn.", registry=REGISTRY, buckets=(0.01, *SECONDS)
)
STAGE = Histogram(
    "magicapture_stage_seconds",
    "Checking photos, training, drawing and enlarging.",
    ["stage"],
    registry=REGISTRY,
    buckets=SECONDS,
)
LIKENESS = Histogram(
    "magicapture_likeness",
    "Of portraits of people, where it could be measured.",
    registry=REGISTRY,
    buckets=tuple(tenth / 10 for tenth in range(11)),
)


def measure_likeness(likeness: float | None) -> None:
    """Count the likeness of a portrait of a person, if it is a number: one that is none would be the sum for good."""
    if likeness is not None and math.isfinite(likeness):
        LIKENESS.observe(likeness)


class RecordsCollector(Collector):
    """Counts, whenever it is asked, what the records hold."""

    def __init__(self, records: Records) -> None:
        self.records = records

    def describe(self) -> list[Metric]:
        """Say nothing beforehand: registering then asks nothing of the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give the numbers."""
        counts, now = self.records.totals(), self.records.jobs_in(ACTIVE)
        jobs = GaugeMetricFamily("magicapture_jobs", "Trainings at this moment.", labels=["state"])
        for state in ACTIVE:
            jobs.add_metric([state], sum(job.state == state for job in now))
        yield jobs
        ended = CounterMetricFamily("magicapture_jobs_ended", "Trainings that ended, and how.", labels=["state"])
        for state in get_args(State):
            if state not in ACTIVE:
                ended.add_metric([state], counts[f"job_{state}", None])
        yield ended
        portraits = CounterMetricFamily(
            "magicapture_portraits", "Portraits drawn, kept and rejected.", labels=["decision", "reason"]
        )
        portraits.add_metric(["drawn", ""], counts["portraits_drawn", None])
        portraits.add_metric(["kept", ""], counts["portrait_kept", None])
        for reason in get_args(Reason):
            portraits.add_metric(["rejected", reason], counts["portrait_rejected", reason])
        yield portraits
        for what, name, explanation in (
            ("job_started", "jobs_started", "Trainings asked for."),
            ("consent_given", "consents", "Consents given."),
            ("adapter_pushed", "adapters_pushed", "Adapters pushed to the Hub."),
            ("adapter_deleted", "adapters_deleted", "Adapters deleted by their owners."),
            ("everything_deleted", "visitors_deleted", "Visitors who deleted everything."),
            ("swept", "swept", "Things deleted because their time was up."),
        ):
            yield CounterMetricFamily(f"magicapture_{name}", explanation, value=counts[what, None])


def serve_metrics(port: int, records: Records) -> int:
    """Answer ``/metrics`` on loopback at ``port`` in a thread; gives the port. Raises ``ValueError`` if it cannot."""
    REGISTRY.register(RecordsCollector(records))
    try:
        server, _ = start_http_server(port, addr="127.0.0.1", registry=REGISTRY)
    except OSError as error:
        raise ValueError(f"MAGICAPTURE_METRICS_PORT={port} cannot be used: {error.strerror}.") from error
    return server.server_port
