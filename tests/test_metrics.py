"""Whoever runs an installation sees how it is doing, on this machine alone, and nothing about anyone."""

import hashlib
import math
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
from gradio_client import Client, handle_file
from prometheus_client.parser import text_string_to_metric_families
from running import running_app

from magicapture.server.metrics import REGISTRY, RecordsCollector, measure_likeness, serve_metrics
from magicapture.server.records import Records

VISITOR = "5eaf" * 16


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = Records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    yield records
    records.close()


def read(text: str) -> dict[tuple[str, ...], float]:
    """Give the value of each sample by its name and the values of its labels."""
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


def fetch(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        return answer.read().decode()


@pytest.fixture
def port(records: Records, monkeypatch: pytest.MonkeyPatch) -> int:
    collectors = dict(REGISTRY._collector_to_names)
    yield serve_metrics(0, records)
    for collector in REGISTRY._collector_to_names.keys() - collectors.keys():
        REGISTRY.unregister(collector)


def test_what_the_log_says_is_counted_by_decision_and_reason(records: Records, port: int) -> None:
    records.log("portraits_drawn", 8)
    records.log("portraits_drawn", 4)
    for _ in range(3):
        records.log("portrait_kept")
    records.log("portrait_rejected", detail="artefacts")
    records.log("portrait_rejected", detail="artefacts")
    records.log("portrait_rejected", detail="not_like_me")
    records.log("swept", 17)
    consent = records.give_consent(VISITOR, "1", "portraits").id
    jobs = [records.add_job(VISITOR, consent, base="mini", preset="quick", steps=3).id for _ in range(3)]
    records.update_job(jobs[0], state="running")
    records.log("job_failed")
    found = read(fetch(port))
    expected = {
        ("magicapture_portraits_total", "drawn", ""): 12,
        ("magicapture_portraits_total", "kept", ""): 3,
        ("magicapture_portraits_total", "rejected", "artefacts"): 2,
        ("magicapture_portraits_total", "rejected", "not_like_me"): 1,
        ("magicapture_portraits_total", "rejected", "other"): 0,
        ("magicapture_swept_total",): 17,
        ("magicapture_jobs", "waiting"): 2,
        ("magicapture_jobs", "running"): 1,
        ("magicapture_jobs_ended_total", "failed"): 1,
        ("magicapture_jobs_ended_total", "finished"): 0,
    }
    assert {key: found[key] for key in expected} == expected
    assert VISITOR not in fetch(port)
    assert jobs[0] not in fetch(port)


def test_counts_go_on_after_a_restart(records: Records) -> None:
    records.log("portrait_kept")
    again = Records(str(records._engine.url))
    portraits = next(m for m in RecordsCollector(again).collect() if m.name == "magicapture_portraits")
    assert [s.value for s in portraits.samples if s.labels["decision"] == "kept"] == [1]
    again.close()


def test_a_likeness_that_is_no_number_does_not_spoil_the_others() -> None:
    names = ("magicapture_likeness_sum", "magicapture_likeness_count")
    before = [REGISTRY.get_sample_value(name) for name in names]
    for likeness in (0.5, math.nan, math.inf, None, 0.25):
        measure_likeness(likeness)
    assert [REGISTRY.get_sample_value(name) for name in names] == [before[0] + 0.75, before[1] + 2]


def test_only_this_machine_reaches_it_and_a_port_that_is_taken_is_told(records: Records) -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        place.listen()
        taken = place.getsockname()[1]
        with pytest.raises(ValueError, match=f"MAGICAPTURE_METRICS_PORT={taken} cannot be used"):
            serve_metrics(taken, records)
    for collector in [c for c in REGISTRY._collector_to_names if isinstance(c, RecordsCollector)]:
        REGISTRY.unregister(collector)


def test_the_app_measures_waiting_stages_and_likeness_and_names_nobody(examples: Path, tmp_path: Path) -> None:
    port = free_port()
    with running_app(tmp_path, examples, MAGICAPTURE_METRICS_PORT=str(port)) as address:
        app = Client(address, verbose=False)
        person, style = (
            [handle_file(path) for path in sorted((examples / name).iterdir())]
            for name in ("person-someone", "style-grey")
        )
        mine = app.predict(person, style, preset="quick", steps=2, consent=True, api_name="/train")
        while not (status := app.predict(mine["job"], api_name="/job_status"))["adapter"]:
            assert status["state"] in ("waiting", "running"), status
            time.sleep(0.2)
        app.predict(mine["key"], status["adapter"], count=2, api_name="/generate")
        text = fetch(port)
        listening = [one.laddr for one in psutil.net_connections("inet") if one.status == psutil.CONN_LISTEN]
        assert {address.ip for address in listening if address.port == port} == {"127.0.0.1"}
    found = read(text)
    assert found["magicapture_queue_wait_seconds_count",] == 2, "a training and a drawing"
    assert found["magicapture_stage_seconds_count", "train"] == 1
    assert found["magicapture_stage_seconds_count", "draw"] == 1
    assert found["magicapture_stage_seconds_count", "check"] >= 2
    assert found["magicapture_stage_seconds_sum", "train"] > 0.1
    assert found["magicapture_portraits_total", "drawn", ""] == 2
    assert found["magicapture_jobs_ended_total", "finished"] == 1
    visitor = hashlib.sha256(mine["key"].encode()).hexdigest()
    assert not [secret for secret in (mine["key"], visitor, mine["job"], status["adapter"]) if secret in text]
    labels = {label for family in text_string_to_metric_families(text) for s in family.samples for label in s.labels}
    assert labels == {"state", "decision", "reason", "stage", "le"}
