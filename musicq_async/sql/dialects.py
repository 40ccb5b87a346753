"""The few statements that each database needs in its own words: inserting and settling many tasks at once.

SQLite repeats a prepared statement, which costs it least. A server pays for every round trip, so it gets all rows at
once: PostgreSQL as arrays, MySQL as one JSON document. The names in these texts are our own columns; none needs quotes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Executable,
    String,
    Table,
    TextClause,
    any_,
    bindparam,
    text,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

from musicq_async.model.task import Task
from musicq_async.sql.rows import CHANGED, INSERTED
from musicq_async.sql.tables import task_queue

Updated = tuple[str, ...]
"""Names of the columns that an update writes. Its rows are their values, then those of `FENCE`."""

COMPLETED: Final[Updated] = ("status", "completed_at", "result")
"""What a success writes when nothing went wrong before, which is what happens to nearly every task."""
FENCE: Final = ("task_id", "lease_token")
_CLEARED: Final[dict[Updated, tuple[str, ...]]] = {
    COMPLETED: ("run_at_ms", "error_message", "cancel_requested_ms", "cancel_reason"),
    CHANGED: (),
}
_LEASE: Final = ("lease_owner", "lease_until_ms")
_POSTGRES: Final[Dialect] = postgresql.dialect()  # type: ignore[no-untyped-call]
_MYSQL: Final[Dialect] = mysql.dialect()


def insert_missing(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert the rows whose key is not there. Waits for another transaction that inserts the same key."""
    if not rows:
        return
    match connection.dialect.name:
        case "sqlite":
            connection.execute(sqlite.insert(table).on_conflict_do_nothing(), rows)
        case "postgresql":
            connection.execute(postgresql.insert(table).on_conflict_do_nothing(), rows)
        case _:
            connection.execute(mysql.insert(table).prefix_with("IGNORE"), rows)


class ById:
    """A statement about the rows whose id is one of ``:ids``.

    PostgreSQL gets the list as one array: with a parameter for each it comes to read the whole table.
    """

    def __init__(self, column: ColumnElement[str], make: Callable[[ColumnElement[bool]], Executable]) -> None:
        self._listed = make(column.in_(bindparam("ids", expanding=True)))
        self._in_postgres = make(column == any_(bindparam("ids", type_=postgresql.ARRAY(String(36)))))

    def on(self, connection: Connection) -> Executable:
        """Return the statement in the words of the connection's database."""
        return self._in_postgres if connection.dialect.name == "postgresql" else self._listed


def _type(name: str, dialect: Dialect) -> str:
    return str(task_queue.c[name].type.dialect_impl(dialect).compile(dialect))


_NAMES: Final = ", ".join(INSERTED)
_ARRAYS: Final = ", ".join(f"CAST(:{name} AS {_type(name, _POSTGRES)}[])" for name in INSERTED)
INSERT_SQLITE: Final = (
    f"INSERT INTO task_queue ({_NAMES}) VALUES ({', '.join('?' * len(INSERTED))})"  # noqa: S608
    " ON CONFLICT (task_id) DO NOTHING"
)
INSERT_MYSQL: Final = f"INSERT INTO task_queue ({_NAMES}) VALUES ({', '.join(['%s'] * len(INSERTED))})"  # noqa: S608
INSERT_POSTGRES: Final = text(
    f"INSERT INTO task_queue ({_NAMES}) SELECT * FROM unnest({_ARRAYS}) ON CONFLICT (task_id) DO NOTHING"  # noqa: S608
)


@functools.cache
def claim_sqlite(types: int) -> str:
    """Return the claim of the first tasks of so many types, in one statement.

    Its parameters are started_at, lease_owner, lease_token and lease_until_ms, then each type with the limit, then the
    limit. It returns the columns of a task, in no order.
    """
    line = (
        "SELECT * FROM (SELECT task_id, priority, position FROM task_queue WHERE status = 'pending' AND task_type = ?"
        " ORDER BY priority, position LIMIT ?)"
    )
    lines = " UNION ALL ".join([line] * types)
    first = f"SELECT task_id FROM ({lines}) ORDER BY priority, position LIMIT ?"  # noqa: S608
    lease = "started_at = ?, lease_owner = ?, lease_token = ?, lease_until_ms = ?"
    columns = ", ".join(Task.__struct_fields__)
    return f"UPDATE task_queue SET status = 'running', {lease} WHERE task_id IN ({first}) RETURNING {columns}"  # noqa: S608


@functools.cache
def any_pending_sqlite(types: int) -> str:
    """Return a query for any pending task of so many types, which has a row if there is one."""
    one = "SELECT 1 FROM task_queue WHERE status = 'pending' AND task_type = ?"
    return f"SELECT 1 WHERE EXISTS ({' UNION ALL '.join([one] * types)})"


@functools.cache
def update_sqlite(names: Updated) -> str:
    """Return the fenced update of one task."""
    fence = "task_id = ? AND lease_token = ? AND status = 'running'"
    return f"UPDATE task_queue SET {_settings(names, '?')} WHERE {fence}"  # noqa: S608


@functools.cache
def update_postgres(names: Updated) -> TextClause:
    """Return the fenced update of the tasks whose columns are the arrays ``:v0``, ``:v1``, ...

    The state is spelt so that no index fits it: that of the running tasks holds, until a vacuum, every task that ran.
    """
    columns = names + FENCE
    arrays = ", ".join(f"CAST(:v{number} AS {_type(name, _POSTGRES)}[])" for number, name in enumerate(columns))
    source = f"unnest({arrays}) AS v ({', '.join(columns)})"
    fence = "t.task_id = v.task_id AND t.lease_token = v.lease_token AND t.status || '' = 'running'"
    return text(f"UPDATE task_queue AS t SET {_settings(names, 'v.{}')} FROM {source} WHERE {fence}")  # noqa: S608


@functools.cache
def update_mysql(names: Updated) -> TextClause:
    """Return the fenced update of the tasks in the JSON document ``:rows``, a list of lists."""
    columns = [f"{name} {_json_type(name)} PATH '$[{number}]'" for number, name in enumerate(names + FENCE)]
    source = f"JSON_TABLE(:rows, '$[*]' COLUMNS ({', '.join(columns)})) AS v"
    join = "STRAIGHT_JOIN task_queue AS t ON t.task_id = v.task_id AND t.lease_token = v.lease_token"
    return text(f"UPDATE {source} {join} SET {_settings(names, 'v.{}', target='t.')} WHERE t.status = 'running'")  # noqa: S608


def _json_type(name: str) -> str:
    kind = _type(name, _MYSQL)
    return f"{kind} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" if kind.startswith("VARCHAR") else kind


def _settings(names: Updated, value: str, *, target: str = "") -> str:
    """Write the SET clause; ``value`` is how the new value of a column is spelt."""
    written = [f"{target}{name} = {value.format(name)}" for name in names]
    return ", ".join(written + [f"{target}{name} = NULL" for name in _CLEARED[names] + _LEASE])
