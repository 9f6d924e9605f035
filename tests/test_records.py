"""What is written down of visitors must be right, outlive the server, and not say more than was promised."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import Integer, create_engine, inspect, text
from sqlalchemy.exc import IntegrityError, StatementError

from magicapture.server.records import Consent, JobRow, Reason, Records, What
from magicapture.server.workspace import Workspace, new_key

VISITOR = "5eaf" * 16
PLAN = {"base": "mini", "preset": "quick", "steps": 30}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'new' / 'records.sqlite'}"


@pytest.fixture
def records(url: str) -> Records:
    records = Records(url)
    yield records
    records.close()


def consented(records: Records, visitor: str = VISITOR) -> int:
    return records.give_consent(visitor, "2026-11", "portraits").id


def test_a_consent_says_when_and_to_what(records: Records) -> None:
    assert records.latest_consent(VISITOR) is None
    before = datetime.now(UTC)
    consented(records)
    records.give_consent(VISITOR, "2026-12", "portraits for the intranet")
    consented(records, "other")
    found = records.latest_consent(VISITOR)
    assert (found.visitor, found.text_version, found.purpose) == (VISITOR, "2026-12", "portraits for the intranet")
    assert before <= found.given_at <= datetime.now(UTC)
    assert found.given_at.utcoffset() == timedelta(0)


def test_a_consent_is_found_by_what_it_was_given_to_though_another_was_given_since(records: Records) -> None:
    first = consented(records)
    records.give_consent(VISITOR, "2026-12", "portraits for the intranet")
    assert records.latest_consent(VISITOR, text_version="2026-11", purpose="portraits").id == first
    assert records.latest_consent(VISITOR, text_version="2026-12", purpose="portraits") is None


def test_a_consent_that_is_withdrawn_stands_no_longer_and_is_still_written_down(records: Records) -> None:
    job = records.add_job(VISITOR, consented(records), **PLAN)
    theirs = consented(records, "other")
    for _ in range(2):
        records.withdraw_consent(VISITOR)
    assert records.latest_consent(VISITOR) is None
    assert records.latest_consent("other").id == theirs
    with records._session() as session:
        kept = session.get(Consent, job.consent_id)
    assert kept.text_version == "2026-11"
    assert re.fullmatch(r"withdrawn \d{4}-\d\d-\d\d \d\d:\d\d: portraits", kept.purpose)
    again = consented(records)
    assert records.latest_consent(VISITOR).id == again


def test_no_training_without_a_consent(records: Records) -> None:
    with pytest.raises(IntegrityError):
        records.add_job(VISITOR, 99, **PLAN)


def test_a_job_is_found_again_after_a_restart(records: Records, url: str) -> None:
    job = records.add_job(VISITOR, consented(records), **PLAN)
    assert (job.state, job.step, job.adapter, job.ended_at) == ("waiting", 0, None, None)
    ended = datetime(2026, 11, 22, 9, 30, tzinfo=timezone(timedelta(hours=9)))
    records.update_job(job.id, state="finished", step=30, adapter="abc", ended_at=ended)
    records.close()
    found = Records(url).job(job.id)
    assert (found.state, found.step, found.steps, found.adapter) == ("finished", 30, 30, "abc")
    assert found.ended_at == ended
    assert found.ended_at.utcoffset() == timedelta(0)
    assert found.created_at == job.created_at


def test_ids_of_jobs_cannot_be_guessed(records: Records) -> None:
    consent = consented(records)
    ids = {records.add_job(VISITOR, consent, **PLAN).id for _ in range(20)}
    assert len(ids) == 20
    assert all(len(bytes.fromhex(job_id)) == 16 for job_id in ids)
    assert records.job("nobody's") is None


def test_jobs_are_listed_in_the_order_in_which_they_wait(records: Records) -> None:
    mine, theirs = consented(records), consented(records, "other")
    jobs = [records.add_job(*owner, **PLAN) for owner in ((VISITOR, mine), ("other", theirs), (VISITOR, mine))]
    records.update_job(jobs[0].id, state="running")
    assert [job.id for job in records.jobs_of(VISITOR)] == [jobs[0].id, jobs[2].id]
    assert [job.id for job in records.jobs_in(["waiting"])] == [jobs[1].id, jobs[2].id]
    assert [job.id for job in records.jobs_in(["waiting", "running"])] == [job.id for job in jobs]
    assert records.jobs_in([]) == []


def test_a_misspelt_state_does_not_lose_a_job(records: Records) -> None:
    job = records.add_job(VISITOR, consented(records), **PLAN)
    with pytest.raises(StatementError):
        records.update_job(job.id, state="runing")
    assert records.job(job.id).state == "waiting"


def test_a_time_without_a_zone_is_refused(records: Records) -> None:
    job = records.add_job(VISITOR, consented(records), **PLAN)
    with pytest.raises(StatementError, match="lacks a time zone"):
        records.update_job(job.id, ended_at=datetime(2026, 1, 1))  # noqa: DTZ001


def test_changing_what_was_read_changes_no_record(records: Records) -> None:
    job = records.add_job(VISITOR, consented(records), **PLAN)
    records.job(job.id).state = "failed"
    records.add_job(VISITOR, consented(records), **PLAN)
    assert records.job(job.id).state == "waiting"


def test_forgetting_a_visitor_leaves_no_byte_and_keeps_the_log(records: Records, tmp_path: Path) -> None:
    consent = consented(records)
    job = records.add_job(VISITOR, consent, **PLAN)
    records.update_job(job.id, state="failed", error=f"photo of {VISITOR}")
    others = records.add_job("other", consented(records, "other"), **PLAN)
    records.log("everything_deleted")
    records.forget(VISITOR)
    assert records.jobs_of(VISITOR) == []
    assert records.latest_consent(VISITOR) is None
    records.update_job(job.id, state="finished")
    assert [left.id for left in records.jobs_of("other")] == [others.id]
    assert [entry.what for entry in records.entries()] == ["everything_deleted"]
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"other" in stored
    assert VISITOR.encode() not in stored
    assert job.id.encode() not in stored


def test_old_jobs_go_and_those_that_still_run_stay(records: Records) -> None:
    now = datetime.now(UTC)
    old, running = (records.add_job(visitor, consented(records, visitor), **PLAN) for visitor in ("old", "running"))
    records.update_job(old.id, state="finished", ended_at=now - timedelta(hours=2))
    records.purge(now - timedelta(hours=3))
    assert records.job(old.id) is not None
    records.purge(now + timedelta(hours=1))
    assert records.job(old.id) is None
    assert records.latest_consent("old") is None
    assert records.job(running.id).consent_id == records.latest_consent("running").id


def test_the_log_says_what_happened_and_how_often(records: Records) -> None:
    records.log("portraits_drawn", 4)
    records.log("portrait_rejected", detail="not_like_me")
    assert [(e.what, e.count, e.detail) for e in records.entries()] == [
        ("portraits_drawn", 4, None),
        ("portrait_rejected", 1, "not_like_me"),
    ]
    assert records.entries()[0].at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("what", "detail"), [("Anna Schmidt", None), ("portrait_rejected", "Anna"), ("swept", "other"), ("swept", "")]
)
def test_the_log_takes_no_free_words(records: Records, what: str, detail: str | None) -> None:
    with pytest.raises(ValueError, match="The log takes"):
        records.log(what, detail=detail)
    assert records.entries() == []


def test_the_log_has_no_room_for_a_name(records: Records, url: str) -> None:
    columns = {column["name"]: column["type"] for column in inspect(create_engine(url)).get_columns("log")}
    assert columns.keys() == {"id", "at", "what", "detail", "count"}
    assert isinstance(columns["count"], Integer)
    with create_engine(url).connect() as connection:
        for what, detail in (("Anna Schmidt", None), ("swept", "Anna Schmidt")):
            with pytest.raises(IntegrityError, match="CHECK"):
                connection.execute(
                    text("INSERT INTO log (at, what, detail, count) VALUES ('2026-01-01', :what, :detail, 1)"),
                    {"what": what, "detail": detail},
                )
    assert all(word.isidentifier() for word in (*get_args(What), *get_args(Reason)))


@pytest.mark.parametrize("change", ["UPDATE log SET count = 0", "DELETE FROM log"])
def test_nobody_can_rewrite_the_log(records: Records, url: str, change: str) -> None:
    records.log("consent_given")
    with create_engine(url).begin() as connection, pytest.raises(IntegrityError, match="append-only"):
        connection.execute(text(change))
    assert [entry.count for entry in records.entries()] == [1]


def test_many_threads_write_without_an_error(records: Records) -> None:
    job = records.add_job(VISITOR, consented(records), **PLAN)

    def work(number: int) -> JobRow:
        records.update_job(job.id, step=number)
        records.log("portraits_drawn", number)
        other = records.add_job(f"visitor {number}", consented(records, f"visitor {number}"), **PLAN)
        if number % 2:
            records.forget(f"visitor {number}")
        return other

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(40)))
    assert sorted(entry.count for entry in records.entries()) == list(range(40))
    assert len(records.jobs_in(["waiting"])) == 21


def test_records_name_a_visitor_by_their_folder_and_never_by_the_key(records: Records, tmp_path: Path) -> None:
    key = new_key()
    consented(records, Workspace.of(key, tmp_path).name)
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("records*"))
    assert Workspace.of(key, tmp_path).name.encode() in stored
    assert key.encode() not in stored


@pytest.mark.parametrize(
    "url", ["records.sqlite", "oracel://a:s3cret@host/b", "postgresql+psycopg://a:s3cret@host:port/b", "mysql://a@b/c"]
)
def test_an_address_of_no_database_is_refused_by_its_variables_name_and_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="DATABASE_URL must be an address as SQLAlchemy takes it") as refused:
        Records(url)
    assert "s3cret" not in str(refused.value)
