"""What is written down of visitors and of what the page did: consents, jobs, and a log without names."""

from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from sqlite3 import Connection
from typing import Literal, TypeVar, get_args

from sqlalchemy import (
    DDL,
    ColumnElement,
    DateTime,
    Delete,
    Enum,
    ForeignKey,
    String,
    Text,
    TypeDecorator,
    create_engine,
    delete,
    event,
    func,
    select,
    update,
)
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

What = Literal[
    "consent_given",
    "job_started",
    "job_finished",
    "job_stopped",
    "job_failed",
    "job_interrupted",
    "portraits_drawn",
    "portrait_kept",
    "portrait_rejected",
    "adapter_pushed",
    "adapter_deleted",
    "everything_deleted",
    "swept",
]
Reason = Literal["not_like_me", "not_the_style", "artefacts", "other"]
State = Literal["waiting", "running", "finished", "stopped", "failed", "interrupted"]
ACTIVE: tuple[State, ...] = ("waiting", "running")
WITHDRAWN = "withdrawn "
"""How the purpose of a consent begins that was taken back."""


class UTCDateTime(TypeDecorator):
    """A moment with its time zone; SQLite keeps none, so it is stored and given in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: object) -> datetime | None:
        """Store in UTC. Raises ``ValueError`` for a moment without a time zone."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} lacks a time zone.")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: object) -> datetime | None:
        """Give UTC."""
        return value and (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))


def new_job_id() -> str:
    """Draw the id of a job: 128 random bits in hexadecimal."""
    return token_hex(16)


def _now() -> datetime:
    return datetime.now(UTC)


def _one_of(literal: object) -> Enum:
    return Enum(*get_args(literal), native_enum=False, create_constraint=True)


class _Table(DeclarativeBase):
    """All tables. What methods give is no longer bound to the database: to change it changes nothing there."""

    type_annotation_map = {datetime: UTCDateTime, str: String(255)}  # noqa: RUF012  SQLAlchemy's way


Row = TypeVar("Row", bound=_Table)


class Consent(_Table):
    """That a visitor agreed: when, to which version of the text, for which purpose."""

    __tablename__ = "consents"

    id: Mapped[int] = mapped_column(primary_key=True)
    visitor: Mapped[str] = mapped_column(index=True)  # the name of their folder
    given_at: Mapped[datetime] = mapped_column(default=_now)
    text_version: Mapped[str]
    purpose: Mapped[str]


class JobRow(_Table):
    """One training, and the consent that it rests on."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_job_id)
    visitor: Mapped[str] = mapped_column(index=True)
    consent_id: Mapped[int] = mapped_column(ForeignKey(Consent.id))
    state: Mapped[State] = mapped_column(_one_of(State), default="waiting", index=True)
    base: Mapped[str]
    preset: Mapped[str]
    step: Mapped[int] = mapped_column(default=0)
    steps: Mapped[int]
    adapter: Mapped[str | None]  # its id, once there is one
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=_now)
    ended_at: Mapped[datetime | None]


class LogEntry(_Table):
    """That something happened, ``count`` times; neither to whom nor with what."""

    __tablename__ = "log"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=_now)
    what: Mapped[str] = mapped_column(_one_of(What))
    detail: Mapped[str | None] = mapped_column(_one_of(Reason))
    count: Mapped[int]


for _change in ("UPDATE", "DELETE"):
    _trigger = f"CREATE TRIGGER log_refuses_{_change} BEFORE {_change} ON log"
    _refusal = DDL(f"{_trigger} BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END")
    event.listen(LogEntry.__table__, "after_create", _refusal.execute_if(dialect="sqlite"))


class Records:
    """The records of one installation; its methods may be called from any thread."""

    def __init__(self, url: str) -> None:
        """Open the database at ``url``, an address as SQLAlchemy takes it, and create what tables it lacks.

        Raises ``ValueError`` that names the variable which it comes from, and never the password in it.
        """
        try:
            self._engine = create_engine(url, pool_pre_ping=True)
        except (ArgumentError, ImportError, ValueError) as error:  # no address, no driver, no number for a port
            raise ValueError(
                "DATABASE_URL must be an address as SQLAlchemy takes it, such as postgresql+psycopg://USER:PASSWORD@"
                "HOST/DATABASE, whose driver is installed."
            ) from error
        if self._engine.name == "sqlite":
            path = Path(self._engine.url.database or "")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.chmod(0o600)  # SQLite gives its journal the same
            event.listen(self._engine, "connect", _set_up_sqlite)
        _Table.metadata.create_all(self._engine)
        self._session = sessionmaker(self._engine, expire_on_commit=False)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def give_consent(self, visitor: str, text_version: str, purpose: str) -> Consent:
        """Write down that ``visitor`` agreed to this version of the text for ``purpose``, now."""
        return self._add(Consent(visitor=visitor, text_version=text_version, purpose=purpose))

    def latest_consent(self, visitor: str, **to: str) -> Consent | None:
        """Find the consent that ``visitor`` gave last, of those with the columns ``to``; None where it is withdrawn."""
        asked = select(Consent).where(*_standing(visitor)).filter_by(**to)
        with self._session() as session:
            return session.scalar(asked.order_by(Consent.id.desc()))

    def withdraw_consent(self, visitor: str) -> None:
        """Write down, before their purposes, that ``visitor`` agrees to nothing any more, and since when."""
        withdrawn = f"{WITHDRAWN}{_now():%Y-%m-%d %H:%M}: "
        with self._session.begin() as session:
            session.execute(update(Consent).where(*_standing(visitor)).values(purpose=withdrawn + Consent.purpose))

    def add_job(
        self, visitor: str, consent_id: int, *, base: str, preset: str, steps: int, job_id: str | None = None
    ) -> JobRow:
        """Write down a new job that waits; its id cannot be guessed: one of ``new_job_id``, drawn here unless given."""
        row = JobRow(id=job_id, visitor=visitor, consent_id=consent_id, base=base, preset=preset, steps=steps)
        return self._add(row)

    def update_job(self, job_id: str, **values: object) -> None:
        """Set columns of a job; of one that was forgotten meanwhile, nothing."""
        with self._session.begin() as session:
            session.execute(update(JobRow).where(JobRow.id == job_id).values(**values))

    def job(self, job_id: str) -> JobRow | None:
        """Find a job."""
        with self._session() as session:
            return session.get(JobRow, job_id)

    def jobs_of(self, visitor: str) -> list[JobRow]:
        """List a visitor's jobs, oldest first."""
        return self._jobs(JobRow.visitor == visitor)

    def jobs_in(self, states: Collection[State]) -> list[JobRow]:
        """List all visitors' jobs that are in one of ``states``, oldest first."""
        return self._jobs(JobRow.state.in_(states))

    def log(self, what: What, count: int = 1, detail: Reason | None = None) -> None:
        """Append to the log that ``what`` happened ``count`` times; a rejected portrait's ``detail`` says why.

        Raises ``ValueError`` for words that are not in the lists: the log has no room for anything else.
        """
        reasons = get_args(Reason) if what == "portrait_rejected" else (None,)
        if what not in get_args(What) or detail not in reasons:
            raise ValueError(f"The log takes {', '.join(get_args(What))}; this is {what!r} with {detail!r}.")
        self._add(LogEntry(what=what, count=count, detail=detail))

    def entries(self) -> list[LogEntry]:
        """List the log, oldest first."""
        with self._session() as session:
            return list(session.scalars(select(LogEntry).order_by(LogEntry.id)))

    def totals(self) -> Counter[tuple[str, str | None]]:
        """Add up the log: how often each thing happened, by what it was and its detail."""
        counted = select(LogEntry.what, LogEntry.detail, func.sum(LogEntry.count))
        with self._session() as session:
            rows = session.execute(counted.group_by(LogEntry.what, LogEntry.detail))
            return Counter({(what, detail): count for what, detail, count in rows})

    def forget(self, visitor: str) -> None:
        """Delete a visitor's jobs and consents; the log stays."""
        self._delete(delete(JobRow).where(JobRow.visitor == visitor), delete(Consent).where(Consent.visitor == visitor))

    def purge(self, before: datetime) -> None:
        """Delete the jobs that ended before a time, and the consents given before it that no job rests on any more."""
        unused = Consent.id.not_in(select(JobRow.consent_id))
        self._delete(
            delete(JobRow).where(JobRow.ended_at < before), delete(Consent).where(Consent.given_at < before, unused)
        )

    def _add(self, row: Row) -> Row:
        with self._session.begin() as session:
            session.add(row)
        return row

    def _jobs(self, condition: ColumnElement[bool]) -> list[JobRow]:
        with self._session() as session:
            return list(session.scalars(select(JobRow).where(condition).order_by(JobRow.created_at)))

    def _delete(self, *statements: Delete) -> None:
        with self._session.begin() as session:
            for statement in statements:
                session.execute(statement)
        if self._engine.name == "sqlite":
            with self._engine.connect() as connection:  # the journal still holds what the tables have lost
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def _standing(visitor: str) -> tuple[ColumnElement[bool], ...]:
    """Select the consents of ``visitor`` that they have not taken back."""
    return Consent.visitor == visitor, Consent.purpose.not_like(f"{WITHDRAWN}%")


def _set_up_sqlite(connection: Connection, _record: object) -> None:
    """Let readers and a writer work side by side, check references, and overwrite what is deleted."""
    journal = ("journal_mode = WAL", "synchronous = NORMAL", "busy_timeout = 30000")
    for setting in (*journal, "foreign_keys = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {setting}")
