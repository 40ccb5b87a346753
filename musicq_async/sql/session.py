"""Transactional push: tasks that exist if, and only if, the caller's own transaction commits (`push_in_session`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from musicq_async.clock import SystemClock
from musicq_async.errors import DuplicateTask
from musicq_async.model.task import NewTask
from musicq_async.ports import Clock
from musicq_async.sql.rows import new_task_row
from musicq_async.sql.task_writes import insert_rows, known_positions

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession


async def push_in_session(
    session: AsyncSession | AsyncConnection, tasks: Sequence[NewTask], *, clock: Clock | None = None
) -> None:
    """Store tasks inside the caller's open transaction; nothing is committed here.

    ``session`` must be on the database that holds the queue. Workers find the tasks at their next poll after the
    caller's commit. Raises `DuplicateTask` for a known id, and whatever SQLAlchemy raises, as the transaction is the
    caller's.
    """
    chosen = clock or SystemClock()
    connection = await session.connection() if hasattr(session, "get_bind") else session
    await connection.run_sync(insert_tasks, tasks, chosen)


def insert_tasks(connection: Connection, tasks: Sequence[NewTask], clock: Clock) -> None:
    """Insert tasks on a synchronous connection."""
    now_ms = clock.time_ms()
    first = int(clock.time() * 1e6)
    rows = [new_task_row(task, position=first + place, now_ms=now_ms) for place, task in enumerate(tasks)]
    known = known_positions(connection, [row["task_id"] for row in rows])
    if known:
        raise DuplicateTask(
            f"a task with the id {next(iter(known))!r} exists already; leave task_id out to get a fresh one"
        )
    if rows:
        insert_rows(connection, rows)
