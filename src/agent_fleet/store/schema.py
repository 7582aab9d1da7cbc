"""The tables, the same on both engines. Times are integer microseconds since 1970, UTC.

A task is kept as one document, with the columns beside it that statements select by; `Work` writes
both from one value. An attempt is kept in columns, since its lease is renewed and judged in SQL.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    String,
    Table,
    Text,
    TypeDecorator,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970; exact, unlike `timestamp()`."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


class Moment(TypeDecorator[datetime]):
    """A UTC-aware datetime, stored as integer microseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else from_micros(value)


class Document(TypeDecorator[Any]):
    """Any value that msgspec encodes, stored as JSON text; read back as builtins.

    Free text is one too: PostgreSQL's text has no NUL, and what a CLI printed may.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> object:
        return None if value is None else msgspec.json.decode(value)


# SQLite numbers rows by itself only in a column declared INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

# PostgreSQL numbers tasks without a lock; SQLite, with its one writer, counts in `meta`.
task_numbers = Sequence("task_numbers", metadata=metadata)

meta = Table(
    "meta",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", Text, nullable=False),
)

RESTORED, UNSETTLED, SETTLED = "restored", "unsettled", "settled"
"""The fact in `meta` that the database comes from a backup, and whether the forges were asked."""

tasks = Table(
    "tasks",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=False),
    Column("status", String, nullable=False),
    Column("repo", String, nullable=False),
    Column("execution_mode", String, nullable=False),
    Column("requester", String, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("not_before", Moment),
    Column("held", Boolean, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Column("document", Document, nullable=False),
    Index(None, "status", "priority", "id"),
    Index(None, "requester", "id"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("task", RowId, ForeignKey("tasks.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("status", String, nullable=False),
    Column("transport", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("incarnation", String, nullable=False),
    Column("host", String),
    Column("adapter", String, nullable=False),
    Column("request_key", String),
    Column("branch", String, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("base_sha", String),
    Column("start_head", String),
    Column("granted_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("ended_at", Moment),
    Column("lease_expires_at", Moment, nullable=False),
    Column("phase", String, nullable=False),
    Column("progress", Document, nullable=False),
    Column("outcome", String),
    Column("reason", String),
    Column("message", Document, nullable=False),
    Column("head_sha", String),
    Column("receipt_id", String),
    Index(None, "status", "lease_expires_at"),
    Index(None, "owner", "status"),
    Index(None, "host", "status"),
)

events = Table(
    "events",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("task", RowId, ForeignKey("tasks.id"), nullable=False),
    Column("verb", String, nullable=False),
    Column("at", Moment, nullable=False),
    Column("actor", String, nullable=False),
    Column("attempt", Integer),
    Column("before", String),
    Column("after", String, nullable=False),
    Column("task_changes", Document, nullable=False),
    Column("attempt_changes", Document, nullable=False),
    Index(None, "task", "id"),
    sqlite_autoincrement=True,
)

outbox = Table(
    "outbox",
    metadata,
    Column("key", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("task", RowId, ForeignKey("tasks.id"), nullable=False),
    Column("payload", Document, nullable=False),
    Column("status", String, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("due_at", Moment, nullable=False),
    Column("error", Document, nullable=False),
    Index(None, "status", "due_at"),
)

receipts = Table(
    "receipts",
    metadata,
    Column("receipt_id", String, primary_key=True),
    Column("task", RowId, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("body", Document, nullable=False),
    Column("sha256", String, nullable=False),
    Column("verdict", String, nullable=False),
    Column("received_at", Moment, nullable=False),
    ForeignKeyConstraint(["task", "attempt"], ["attempts.task", "attempts.number"]),
    Index(None, "task", "attempt"),
)

log_chunks = Table(
    "log_chunks",
    metadata,
    Column("task", RowId, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    ForeignKeyConstraint(["task", "attempt"], ["attempts.task", "attempts.number"]),
)

agents = Table(
    "agents",
    metadata,
    Column("name", String, primary_key=True),
    Column("slots", Integer, nullable=False),
    Column("capabilities", Document, nullable=False),
    Column("repos", Document, nullable=False),
    Column("adapters", Document, nullable=False),
    Column("incarnation", String, nullable=False),
    Column("seen_at", Moment),
    Column("created_at", Moment, nullable=False),
)

hosts = Table(
    "hosts",
    metadata,
    Column("name", String, primary_key=True),
    Column("orchestrator", String, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("capabilities", Document, nullable=False),
    Column("adapters", Document, nullable=False),
    Column("up", Boolean, nullable=False),
    Column("draining", Boolean, nullable=False),
    Column("cores", Integer, nullable=False),
    Column("load_per_core", Float, nullable=False),
    Column("disk_free_bytes", BigInteger, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("backoff_until", Moment),
    Column("message", Document, nullable=False),
    Column("probed_at", Moment),
)

accounts = Table(
    "accounts",
    metadata,
    Column("place", String, primary_key=True),
    Column("adapter", String, primary_key=True),
    Column("stopped", Boolean, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("cooldown_until", Moment),
    Column("message", Document, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("prefix", String, primary_key=True),
    Column("sha256", String, nullable=False, unique=True),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("actor", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("sha256", String, nullable=False),
    Column("task", RowId, ForeignKey("tasks.id"), nullable=False),
    Column("at", Moment, nullable=False),
)
