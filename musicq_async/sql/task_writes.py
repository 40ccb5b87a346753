"""Writing many rows of ``task_queue`` with few statements, in each database's own way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BindParameter, Connection, bindparam, insert, select, update

from musicq_async.sql.tables import task_queue

_t = task_queue.c
_IDS: Final[BindParameter[Any]] = bindparam("ids", expanding=True)
LONGEST_LIST: Final = 10_000
"""Values in one IN list; SQLite takes 32,766 parameters."""


@dataclass(frozen=True, slots=True)
class HeldLease:
    """Where a task stands, as far as fences ask. Its row stays locked until the transaction ends."""

    token: str | None
    status: str
    cancel_requested: bool
    cancel_reason: str | None


def known_positions(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    """Return which of the ids exist, with their positions: the same position tells that a row is the very one."""
    known: dict[str, int] = {}
    for start in range(0, len(ids), LONGEST_LIST):
        rows = connection.execute(_KNOWN, {"ids": ids[start : start + LONGEST_LIST]})
        known |= {row.task_id: row.position for row in rows}
    return known


def insert_rows(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Insert new tasks."""
    connection.execute(_INSERT, rows)


def leases_of(connection: Connection, ids: Iterable[str]) -> dict[str, HeldLease]:
    """Read and lock what the fences compare."""
    rows = connection.execute(_LEASES, {"ids": sorted(ids)})
    return {
        task_id: HeldLease(token, status, requested is not None, reason)
        for task_id, token, status, requested, reason in rows
    }


def write_changes(connection: Connection, changes: Mapping[str, dict[str, Any]]) -> None:
    """Write transitions of tasks that `leases_of` has locked, in the order of their ids, as all transactions do."""
    if changes:
        connection.execute(_CHANGE, [{"id": task_id, **changes[task_id]} for task_id in sorted(changes)])


_INSERT: Final = insert(task_queue)
_KNOWN: Final = select(_t.task_id, _t.position).where(_t.task_id.in_(_IDS))
_LEASES: Final = (
    select(_t.task_id, _t.lease_token, _t.status, _t.cancel_requested_ms, _t.cancel_reason)
    .where(_t.task_id.in_(_IDS))
    .order_by(_t.task_id)
    .with_for_update()
)
_CHANGED: Final = (
    "status",
    "run_at_ms",
    "completed_at",
    "retry_count",
    "crash_count",
    "snooze_count",
    "interrupt_count",
    "error_message",
    "errors",
    "result",
    "cancel_requested_ms",
    "cancel_reason",
)
_CHANGE: Final = (
    update(task_queue)
    .where(_t.task_id == bindparam("id"))
    .values(lease_owner=None, lease_until_ms=None, **{name: bindparam(name) for name in _CHANGED})
)
