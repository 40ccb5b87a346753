"""The tables: columns and indexes. The fields of `Task` and `Schedule` are the columns of the first two.

Columns of the earlier system keep their names and meaning, and the others have defaults, so that its tools still read
and write these tables.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    literal_column,
    text,
    true,
)
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.types import TypeEngine, UserDefinedType

LONGEST_KEY: Final = 255
"""Characters of a public store key."""

metadata: Final = MetaData()
LongText: Final = Text().with_variant(MEDIUMTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql")
_ON_MYSQL: Final[dict[str, Any]] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


class _Bytes(UserDefinedType[Any]):
    """MySQL's VARBINARY, written as text: aiomysql 0.3 cannot write bytes with PyMySQL 1.2."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name in SQL."""
        return f"VARBINARY({4 * LONGEST_KEY})"


class ExactText(TypeDecorator[str]):
    """Text that differs when it differs in trailing blanks, which MySQL's text columns overlook."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose bytes on MySQL."""
        return dialect.type_descriptor(_Bytes() if dialect.name == "mysql" else String(LONGEST_KEY))

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002 - the base's signature
        """Read."""
        return value.decode() if isinstance(value, bytes) else value


def _partial(name: str, *columns: Any, where: str) -> Index:
    """Index the rows of one condition only; MySQL cannot and has its own (`_for_mysql`)."""
    condition = text(where)
    return Index(name, *columns, sqlite_where=condition, postgresql_where=condition).ddl_if(callable_=_not_mysql)


def _not_mysql(*_: Any, dialect: Dialect, **__: Any) -> bool:
    return dialect.name != "mysql"


def _for_mysql(name: str, *columns: Any) -> Index:
    return Index(name, *columns).ddl_if(dialect="mysql")


task_queue: Final = Table(
    "task_queue",
    metadata,
    Column("task_id", String(36), primary_key=True),
    Column("task_type", String(100), nullable=False),
    Column("params", LongText),
    Column("status", String(20), server_default="pending"),
    Column("priority", Integer, server_default="0"),
    Column("retry_count", Integer, server_default="0"),
    Column("max_retries", Integer, server_default="3"),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("completed_at", BigInteger),
    Column("error_message", LongText),
    Column("scheduler_task_id", String(36)),
    Column("timeout_seconds", Double),
    Column("run_at_ms", BigInteger),
    Column("unique_key", String(255)),
    Column("unique_mode", String(32)),
    Column("group_key", String(255)),
    Column("then_id", String(36)),
    Column("waits", String(20)),
    Column("fire_at", BigInteger),
    Column("extra", LongText),
    Column("position", BigInteger, nullable=False, server_default="0"),
    Column("crash_count", Integer, nullable=False, server_default="0"),
    Column("snooze_count", Integer, nullable=False, server_default="0"),
    Column("interrupt_count", Integer, nullable=False, server_default="0"),
    Column("errors", LongText),
    Column("result", LongText),
    Column("progress", LongText),
    Column("cancel_requested_ms", BigInteger),
    Column("cancel_reason", LongText),
    Column("lease_owner", String(255)),
    Column("lease_token", String(36)),
    Column("lease_until_ms", BigInteger),
    # In the order of the claim, so that it locks no row that it does not take. One list a state and type.
    _partial("task_queue_line", "task_type", "priority", "position", where="status = 'pending'"),
    _partial("task_queue_later", "run_at_ms", where="status = 'scheduled'"),
    _partial("task_queue_leases", "lease_until_ms", where="status = 'running'"),
    _partial("task_queue_ended", "status", "completed_at", where="completed_at IS NOT NULL"),
    _partial(
        "task_queue_of_schedule",
        "scheduler_task_id",
        where="scheduler_task_id IS NOT NULL AND status IN ('pending', 'running', 'scheduled')",
    ),
    _partial(
        "task_queue_groups",
        "task_type",
        "group_key",
        "priority",
        "position",
        where="status = 'pending' AND group_key IS NOT NULL",
    ),
    _partial("task_queue_members", "then_id", "status", where="then_id IS NOT NULL"),
    _for_mysql("task_queue_line", "status", "task_type", "priority", "position"),
    _for_mysql("task_queue_groups", "group_key", "status", "task_type", "priority", "position"),
    _for_mysql("task_queue_members", "then_id", "status"),
    _for_mysql("task_queue_times", "status", "completed_at", "run_at_ms"),
    _for_mysql("task_queue_of_schedule", "scheduler_task_id", "status"),
    Index("task_queue_position", "position"),
    **_ON_MYSQL,
)

PENDING: Final = task_queue.c.status == literal_column("'pending'")
"""Spelt out rather than bound, so that a partial index is seen to fit."""
RUNNING: Final = task_queue.c.status == literal_column("'running'")

scheduler_task: Final = Table(
    "scheduler_task",
    metadata,
    Column("task_id", String(36), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("task_type", String(100), nullable=False),
    Column("params", LongText),
    Column("schedule_type", String(20), nullable=False),
    Column("interval_seconds", Integer),
    Column("cron_expression", String(255)),
    Column("execute_at", BigInteger),
    Column("last_run_at", BigInteger),
    Column("next_run_at", BigInteger),
    Column("run_count", Integer, server_default="0"),
    Column("max_runs", Integer, server_default="0"),
    Column("enabled", Boolean, server_default=true()),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("description", LongText),
    Column("due_at_ms", BigInteger),
    Column("timezone", String(64)),
    Column("misfire_window", Integer),
    Column("coalesce", String(20), nullable=False, server_default="latest"),
    Column("overlap", String(20), nullable=False, server_default="allow"),
    Column("jitter", Integer, nullable=False, server_default="0"),
    Column("start_at", BigInteger),
    Column("end_at", BigInteger),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("max_retries", Integer),
    Column("timeout_seconds", Double),
    Column("missed_count", Integer, nullable=False, server_default="0"),
    Column("skipped_count", Integer, nullable=False, server_default="0"),
    Column("version", Integer, nullable=False, server_default="1"),
    Index("scheduler_task_due", "enabled", "due_at_ms"),
    **_ON_MYSQL,
)

schedule_fire: Final = Table(
    "schedule_fire",
    metadata,
    Column("schedule_id", String(36), primary_key=True),
    Column("nominal", BigInteger, primary_key=True, autoincrement=False),
    Column("outcome", String(20), nullable=False),
    Column("task_id", String(36)),
    Column("node", String(255)),
    Column("unsent", Boolean, nullable=False, server_default=false()),
    Column("task", LongText),
    _partial("schedule_fire_unsent", "nominal", where="task IS NOT NULL"),
    _for_mysql("schedule_fire_unsent", "unsent"),
    Index("schedule_fire_nominal", "nominal"),
    **_ON_MYSQL,
)

public_store: Final = Table(
    "public_store",
    metadata,
    Column("key", ExactText(), primary_key=True),
    Column("value", LongText, nullable=False),
    Column("expires_at_ms", BigInteger),
    Index("public_store_expires", "expires_at_ms"),
    **_ON_MYSQL,
)

download_archive: Final = Table(
    "download_archive",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("bvid", String(20)),
    Column("cid", BigInteger),
    Column("url", LongText),
    Column("url_key", String(64)),
    Column("path", LongText, nullable=False),
    Column("size", BigInteger),
    Column("codec", String(20)),
    Column("song_id", String(64)),
    Column("created_ms", BigInteger, nullable=False),
    UniqueConstraint("bvid", "cid", name="download_archive_page"),
    UniqueConstraint("url_key", name="download_archive_url"),
    **_ON_MYSQL,
)

node: Final = Table(
    "node",
    metadata,
    Column("id", String(255), primary_key=True),
    Column("started_ms", BigInteger, nullable=False),
    Column("heartbeat_ms", BigInteger, nullable=False),
    Column("host", String(255), nullable=False, server_default=""),
    Column("pid", BigInteger, nullable=False, server_default="0"),
    Column("version", String(50), nullable=False, server_default=""),
    Column("concurrency", Integer, nullable=False, server_default="0"),
    Column("running", Integer, nullable=False, server_default="0"),
    Column("scheduler", Boolean, nullable=False, server_default=false()),
    Column("types", LongText),
    **_ON_MYSQL,
)

unique_task: Final = Table(
    "unique_task",
    metadata,
    Column("unique_key", ExactText(), primary_key=True),
    Column("task_id", String(36)),
    Column("pushed_ms", BigInteger, nullable=False, server_default="0"),
    Column("keep_until_ms", BigInteger, nullable=False, server_default="0"),
    Index("unique_task_pushed", "pushed_ms"),
    **_ON_MYSQL,
)
"""Which task holds each unique key. The primary key is what makes two pushes of one key see each other."""

task_limit: Final = Table(
    "task_limit",
    metadata,
    Column("name", String(400), primary_key=True),
    Column("free_at_us", BigInteger, nullable=False, server_default="0"),
    Index("task_limit_free", "free_at_us"),
    **_ON_MYSQL,
)
"""One row a limited type, locked while it is claimed from, and one a group with a rate. When each is free again."""

paused_type: Final = Table(
    "paused_type",
    metadata,
    Column("task_type", String(100), primary_key=True),
    Column("paused_ms", BigInteger, nullable=False),
    **_ON_MYSQL,
)
