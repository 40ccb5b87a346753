"""Settles that share a transaction: each is written if its lease is still held, all in one or two statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from musicq_async.errors import LeaseLost
from musicq_async.model.lifecycle import Change
from musicq_async.model.task import Lease, TaskState
from musicq_async.sql.database import commit_was_lost
from musicq_async.sql.dialects import COMPLETED, Updated
from musicq_async.sql.rows import CHANGED, change_row, result_text
from musicq_async.sql.task_writes import Row, leases_of, update_fenced


@dataclass(frozen=True, slots=True)
class Settle:
    """One caller's answer."""

    names: Updated
    row: Row
    """Values of ``names``, then task id and token."""


class _Apart(Exception):
    """One of the leases was lost: do the settles one by one, to see whose."""


def settle_of(lease: Lease, change: Change) -> Settle:
    """Return what a change writes: the short form where it leaves everything but the result as it was."""
    task = lease.task
    if (
        change.status is TaskState.COMPLETED
        and change.errors == task.errors
        and change.retry_count == task.retry_count
        and change.crash_count == task.crash_count
        and change.snooze_count == task.snooze_count
        and change.interrupt_count == task.interrupt_count
        and change.run_at_ms is None
        and change.error_message is None
        and change.cancel_requested_ms is None
        and change.cancel_reason is None
    ):
        row = ("completed", change.completed_at, result_text(change.result))
        return Settle(COMPLETED, (*row, task.task_id, lease.token))
    return Settle(CHANGED, (*change_row(change), task.task_id, lease.token))


def settle(connection: Connection, settles: Sequence[Settle]) -> list[LeaseLost | None]:
    """Write the answers whose leases are held; return an error in the place of each other."""
    if len(settles) == 1:
        return [_settle_one(connection, settles[0])]
    shapes: dict[Updated, list[Row]] = {}
    for each in settles:
        shapes.setdefault(each.names, []).append(each.row)
    for names, rows in shapes.items():
        if update_fenced(connection, names, rows) != len(rows):
            raise _Apart
    return [None] * len(settles)


def _settle_one(connection: Connection, settle: Settle) -> LeaseLost | None:
    *values, task_id, token = settle.row
    if update_fenced(connection, settle.names, [settle.row]) == 1:
        return None
    if commit_was_lost(connection):
        lease = leases_of(connection, [task_id]).get(task_id)
        if lease is not None and lease.token == token and lease.status == values[settle.names.index("status")]:
            return None
    return lease_lost(task_id)


def lease_lost(task_id: str) -> LeaseLost:
    """Return the error for a stale answer."""
    return LeaseLost(f"task {task_id} is no longer this worker's; its answer is refused")
