"""Transactional push: tasks that exist if, and only if, the caller's own transaction commits (`push_in_session`)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, event

from musicq_async.clock import SystemClock
from musicq_async.errors import DuplicateTask
from musicq_async.model.task import NewTask
from musicq_async.ports import Clock
from musicq_async.sql.pushes import Push, push
from musicq_async.sql.rows import new_task_row

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
    from sqlalchemy.orm import Session, SessionTransaction


async def push_in_session(
    session: AsyncSession | AsyncConnection,
    tasks: Sequence[NewTask],
    *,
    clock: Clock | None = None,
    on_commit: Callable[[], None] | None = None,
) -> list[str | None]:
    """Store tasks inside the caller's open transaction; nothing is committed here. Returns what `TaskQueue.push` does.

    ``session`` must be on the database that holds the queue. ``on_commit`` is called after the commit of a session; on
    a bare connection workers find the tasks at their next poll after it. Raises `DuplicateTask` for a known id, and
    whatever SQLAlchemy raises, as the transaction is the caller's.
    """
    chosen = clock or SystemClock()
    connection: AsyncConnection
    if hasattr(session, "sync_session"):
        connection = await session.connection()
        if on_commit is not None:
            _call_after_commit(session.sync_session, on_commit)
    else:
        connection = session
    return await connection.run_sync(insert_tasks, tasks, chosen)


_CALLS: Final = "musicq_after_commit"


def _call_after_commit(session: Session, call: Callable[[], None]) -> None:
    """Have ``call`` called once when the outermost transaction of a session commits; a rollback forgets it."""
    if _CALLS not in session.info:
        session.info[_CALLS] = []
        event.listen(session, "after_commit", _committed)
        event.listen(session, "after_transaction_end", _ended)
    if call not in session.info[_CALLS]:
        session.info[_CALLS].append(call)


def _committed(session: Session) -> None:
    if session.in_nested_transaction():  # a savepoint was released: nothing is visible yet
        return
    calls, session.info[_CALLS] = session.info[_CALLS], []
    for call in calls:
        call()


def _ended(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info[_CALLS] = []


def insert_tasks(connection: Connection, tasks: Sequence[NewTask], clock: Clock) -> list[str | None]:
    """Insert tasks on a synchronous connection."""
    now_ms = clock.time_ms()
    token = secrets.token_hex(8)
    first = int(clock.time() * 1e6)
    rows = [new_task_row(task, position=first + place, now_ms=now_ms, token=token) for place, task in enumerate(tasks)]
    if not rows:
        return []
    pushed = push(connection, [Push(rows, ignore_known=False, now_ms=now_ms)])[0]
    if isinstance(pushed, DuplicateTask):
        raise pushed
    return pushed
