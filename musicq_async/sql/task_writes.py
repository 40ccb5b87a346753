"""Writing many rows of ``task_queue`` in few steps.

An update of a worker's is fenced inside its own condition. Only its count of rows comes back, and whoever finds one
missing looks for it (`musicq_async.sql.settling`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, bindparam, delete, select, update
from sqlalchemy.exc import IntegrityError

from musicq_async.sql.dialects import (
    INSERT_MYSQL,
    INSERT_POSTGRES,
    INSERT_SQLITE,
    ById,
    Updated,
    update_mysql,
    update_postgres,
    update_sqlite,
)
from musicq_async.sql.rows import CHANGED, INSERTED
from musicq_async.sql.tables import task_queue
from musicq_async.sql.transactions import each_in_sqlite

_t = task_queue.c
LONGEST_LIST: Final = 10_000
"""Values in one IN list; SQLite takes 32,766 parameters."""
LARGEST_DOCUMENT: Final = 2 * 1024 * 1024
"""Characters of one JSON document for MySQL, whose packet holds 16 MiB; escaping may double it, twice."""

Row = tuple[Any, ...]


def insert_new(connection: Connection, rows: list[Row]) -> bool:
    """Insert new tasks, rows of `INSERTED`; return whether every one is new.

    Where one is not, those that are may have been inserted or not: `known_tasks` tells.
    """
    match connection.dialect.name:
        case "sqlite":
            return each_in_sqlite(connection, INSERT_SQLITE, rows) == len(rows)
        case "postgresql":
            columns = dict(zip(INSERTED, map(list, zip(*rows, strict=True)), strict=True))
            return connection.execute(INSERT_POSTGRES, columns).rowcount == len(rows)
        case _:
            try:
                connection.exec_driver_sql(INSERT_MYSQL, rows)
            except IntegrityError:  # undoes this statement, not the transaction
                return False
            return True


def known_tasks(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[int, str | None]]:
    """Return which of the ids exist, with their positions and tokens, which tell whose they are."""
    known: dict[str, tuple[int, str | None]] = {}
    for start in range(0, len(ids), LONGEST_LIST):
        rows = connection.execute(_KNOWN.on(connection), {"ids": ids[start : start + LONGEST_LIST]})
        known |= {row.task_id: (row.position, row.lease_token) for row in rows}
    return known


def delete_rows(connection: Connection, ids: Sequence[str]) -> None:
    """Delete tasks that this transaction inserted."""
    for start in range(0, len(ids), LONGEST_LIST):
        connection.execute(_DELETE.on(connection), {"ids": ids[start : start + LONGEST_LIST]})


def update_fenced(connection: Connection, names: Updated, rows: Sequence[Row]) -> int:
    """Write the rows whose task still runs under the row's token, and end its lease; return how many those were."""
    ordered = sorted(rows, key=_task_id)  # transactions that lock rows in one order do not wait in a circle
    match connection.dialect.name:
        case "sqlite":
            return each_in_sqlite(connection, update_sqlite(names), ordered)
        case "postgresql":
            columns = {f"v{number}": list(column) for number, column in enumerate(zip(*ordered, strict=True))}
            return connection.execute(update_postgres(names), columns).rowcount
        case _:
            statement = update_mysql(names)
            return sum(connection.execute(statement, {"rows": part}).rowcount for part in _documents(ordered))


def _task_id(row: Row) -> str:
    task_id: str = row[-2]
    return task_id


def _documents(rows: Sequence[Row]) -> Iterable[str]:
    """Write rows as JSON documents that fit MySQL's packet."""
    parts: list[str] = []
    length = 0
    for row in rows:
        part = msgspec.json.encode(row).decode()
        if parts and length + len(part) > LARGEST_DOCUMENT:
            yield f"[{','.join(parts)}]"
            parts, length = [], 0
        parts.append(part)
        length += len(part)
    yield f"[{','.join(parts)}]"


# Changes that are not a worker's, and so not many


@dataclass(frozen=True, slots=True)
class HeldLease:
    """Where a task stands, as far as fences ask. Its row stays locked until the transaction ends."""

    token: str | None
    status: str
    cancel_requested: bool
    cancel_reason: str | None


def leases_of(connection: Connection, ids: Iterable[str]) -> dict[str, HeldLease]:
    """Read and lock what the fences compare."""
    rows = connection.execute(_LEASES.on(connection), {"ids": sorted(ids)})
    return {
        task_id: HeldLease(token, status, requested is not None, reason)
        for task_id, token, status, requested, reason in rows
    }


def write_changes(connection: Connection, changes: Mapping[str, Row]) -> None:
    """Write transitions (values of `CHANGED`) of tasks that `leases_of` has locked."""
    if changes:
        rows = [{"id": task_id, **dict(zip(CHANGED, changes[task_id], strict=True))} for task_id in sorted(changes)]
        connection.execute(_CHANGE, rows)


_KNOWN: Final = ById(_t.task_id, select(_t.task_id, _t.position, _t.lease_token).where)
_DELETE: Final = ById(_t.task_id, delete(task_queue).where)
_LEASES: Final = ById(
    _t.task_id,
    lambda these: (
        select(_t.task_id, _t.lease_token, _t.status, _t.cancel_requested_ms, _t.cancel_reason)
        .where(these)
        .order_by(_t.task_id)
        .with_for_update()
    ),
)
_CHANGE: Final = (
    update(task_queue)
    .where(_t.task_id == bindparam("id"))
    .values(lease_owner=None, lease_until_ms=None, **{name: bindparam(name) for name in CHANGED})
)
