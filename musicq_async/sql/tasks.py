"""The task queue on SQL: `SqlTaskQueue`."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    union_all,
    update,
)

from musicq_async.errors import InvalidTask, LeaseLost, NotRunning, UsageError
from musicq_async.model import lifecycle
from musicq_async.model.json_text import json_text
from musicq_async.model.lifecycle import Change
from musicq_async.model.task import FINISHED, Lease, NewTask, Task, TaskState
from musicq_async.ports import Heartbeat, TaskFilter, Terms, Wakeup
from musicq_async.sql.claims import Claim, Claimed, claim
from musicq_async.sql.database import Database, commit_was_lost
from musicq_async.sql.dialects import ById, insert_missing
from musicq_async.sql.gates import forget_rates
from musicq_async.sql.pushes import Push, Pushed, push
from musicq_async.sql.rows import (
    CHANGED,
    TASK_COLUMNS,
    change_row,
    new_task_row,
    plain_text,
    task_of,
    whole_task_row,
)
from musicq_async.sql.settling import Settle, lease_lost, settle, settle_of
from musicq_async.sql.tables import RUNNING, paused_type, task_queue
from musicq_async.sql.task_writes import Row, known_tasks, leases_of, write_changes
from musicq_async.sql.unique import forget_keys, restore_keys

_t = task_queue.c
_SCHEDULED: Final = _t.status == literal_column("'scheduled'")
_UNFINISHED: Final[ColumnElement[bool]] = literal_column("task_queue.status IN ('pending', 'running', 'scheduled')")
_STATUS: Final = CHANGED.index("status")
AT_ONCE: Final = 1000
"""Rows that one transaction of promoting or purging touches: it must not hold up the pushes."""
KEY_GRACE_MS: Final = 3_600_000
"""For how long a unique key is remembered at least: longer than any clock is wrong."""


_Exchanged = tuple[LeaseLost | None, Claimed]


@dataclass(frozen=True, slots=True)
class _Edit:
    task: Task
    row: Row


class SqlTaskQueue:
    """The `musicq_async.ports.TaskQueue` in ``task_queue``. Belongs to its `Database` and that one's event loop."""

    def __init__(self, database: Database, *, wakeup: Wakeup | None = None) -> None:
        self._database = database
        self._clock = database.clock
        self._wakeup = wakeup
        self._position = 0

    async def push(self, tasks: Sequence[NewTask], *, ignore_known: bool = False) -> list[str | None]:
        """Store all the tasks or none; see `musicq_async.ports.TaskQueue.push`."""
        now_ms = self._clock.time_ms()
        token = self._database.token()
        rows = [new_task_row(task, position=self._next_position(), now_ms=now_ms, token=token) for task in tasks]
        if not rows:
            return []
        try:
            pushed: Pushed = await self._database.submit(push, Push(rows, ignore_known, now_ms))
        except NotRunning:
            raise
        except UsageError as error:
            raise InvalidTask(f"a field of the task does not fit the database: {error}") from error
        self._tell(tasks, pushed, now_ms)
        return pushed

    def _next_position(self) -> int:
        self._position = position = max(self._position + 1, int(self._clock.time() * 1e6))
        return position

    def _tell(self, tasks: Sequence[NewTask], pushed: Pushed, now_ms: int) -> None:
        if self._wakeup is None:
            return
        pending = 0
        for task, known in zip(tasks, pushed, strict=True):
            if task.waits is not None:
                continue
            if task.run_at_ms is not None and task.run_at_ms > now_ms:
                self._wakeup.due(task.run_at_ms)
            else:
                pending += known is None
        if pending:
            self._wakeup.notify(pending)

    async def claim(self, terms: Terms, limit: int = 1) -> list[Lease]:
        """Lend up to ``limit`` pending tasks; see `musicq_async.ports.TaskQueue.claim`.

        What was lent to a caller that was cancelled meanwhile is put back.
        """
        _, claimed = await self._exchanged(None, Claim(terms, limit, self._database.token()))
        return self._given(claimed)

    def _given(self, claimed: Claimed) -> list[Lease]:
        if claimed.opens_at_ms is not None and self._wakeup is not None:
            self._wakeup.opens(claimed.opens_at_ms)
        return claimed.leases

    async def exchange(self, lease: Lease, change: Change, terms: Terms, limit: int = 1) -> tuple[bool, list[Lease]]:
        """Settle and claim in one transaction; see `musicq_async.ports.TaskQueue.exchange`."""
        claim = Claim(terms, limit, self._database.token())
        lost, claimed = await self._exchanged(settle_of(lease, change), claim)
        self._tell_change(change)
        return lost is None, self._given(claimed)

    async def _exchanged(self, answer: Settle | None, claim: Claim) -> _Exchanged:
        exchanged: _Exchanged = await self._database.submit(
            self._exchange, (answer, claim), on_abandoned=lambda result: self._put_back(result[1])
        )
        return exchanged

    def _exchange(self, connection: Connection, items: Sequence[tuple[Settle | None, Claim]]) -> list[_Exchanged]:
        """Write the answers first: what they free of a limit, the claims may take."""
        lost = iter(settle(connection, [answer for answer, _ in items if answer is not None]))
        claimed = claim(connection, [each for _, each in items], now_ms=self._clock.time_ms())
        return [
            (None if answer is None else next(lost), each) for (answer, _), each in zip(items, claimed, strict=True)
        ]

    def _put_back(self, claimed: Claimed) -> None:
        if claimed.leases:
            self._database.post(_put_back, claimed.leases)
            if self._wakeup is not None:
                self._wakeup.notify(len(claimed.leases))

    async def heartbeat(self, leases: Iterable[Lease], *, seconds: float) -> Heartbeat:
        """Renew leases; see `musicq_async.ports.TaskQueue.heartbeat`."""
        tokens = {lease.task.task_id: lease.token for lease in leases}
        if not tokens:
            return Heartbeat()

        def renew(connection: Connection) -> Heartbeat:
            until_ms = self._clock.time_ms() + round(seconds * 1000)
            return _renew(connection, tokens, until_ms)

        return await self._database.write(renew)

    async def settle(self, lease: Lease, change: Change) -> None:
        """Write how a run ended; see `musicq_async.ports.TaskQueue.settle`."""
        await self._database.submit(settle, settle_of(lease, change))
        self._tell_change(change)

    async def report(self, lease: Lease, progress: dict[str, Any]) -> None:
        """Store progress; see `musicq_async.ports.TaskQueue.report`."""
        await self._database.submit(_report, (lease.task.task_id, lease.token, json_text(progress, "progress")))

    async def change(self, task: Task, change: Change) -> bool:
        """Write a change if the task is still as it was; see `musicq_async.ports.TaskQueue.change`."""
        changed: bool = await self._database.submit(_edit, _Edit(task, change_row(change)))
        if changed:
            self._tell_change(change)
        return changed

    def _tell_change(self, change: Change) -> None:
        if self._wakeup is None:
            return
        if change.status is TaskState.PENDING:
            self._wakeup.notify()
        elif change.status is TaskState.SCHEDULED and change.run_at_ms is not None:
            self._wakeup.due(change.run_at_ms)

    async def request_cancel(self, task_id: str, reason: str | None) -> bool:
        """Mark a running task as to be cancelled; return whether it was running."""
        statement = (
            update(task_queue)
            .where(_t.task_id == task_id, _t.status == "running")
            .values(cancel_requested_ms=self._clock.time_ms(), cancel_reason=plain_text(reason))
        )
        return await self._database.write(lambda connection: bool(connection.execute(statement).rowcount))

    async def get(self, task_id: str) -> Task | None:
        """Return one task as it stands."""

        def unit(connection: Connection) -> Task | None:
            row = connection.execute(_GET, {"task_id": task_id}).one_or_none()
            return task_of(row) if row is not None and row.task_id == task_id else None

        return await self._database.read(unit)

    async def find(self, which: TaskFilter) -> list[Task]:
        """Return a page of tasks, newest first. An unknown ``after`` has no page after it."""
        return await self._database.read(lambda connection: _find(connection, which))

    async def unfinished(self, scheduler_task_id: str) -> list[Task]:
        """Return the tasks of one schedule that are not finished, oldest first."""
        statement = (
            select(*TASK_COLUMNS)
            .where(_t.scheduler_task_id == scheduler_task_id, _UNFINISHED)
            .order_by(_t.position, _t.task_id)
        )
        return await self._database.read(lambda connection: [task_of(row) for row in connection.execute(statement)])

    async def counts(self, *, finished: bool = True) -> dict[tuple[str, TaskState], int]:
        """Return how many tasks there are of each type in each state.

        With the finished ones it reads every row's place in an index.
        """
        statement = _COUNTS if finished else _COUNTS_UNFINISHED
        return await self._database.read(lambda connection: _counts(connection, statement))

    async def members(self, then_id: str) -> dict[TaskState, int]:
        """Return how many of the tasks that a task waits for are in each state."""
        return await self._database.read(lambda connection: _members(connection, then_id))

    async def release(self, task_id: str) -> TaskState | None:
        """Let a task that waits for others go on; see `musicq_async.ports.TaskQueue.release`."""
        now_ms = self._clock.time_ms()
        state = await self._database.write(lambda connection: _release(connection, task_id, now_ms))
        if state is TaskState.PENDING and self._wakeup is not None:
            self._wakeup.notify()
        return state

    async def releasable(self, limit: int = 100) -> list[str]:
        """Return the ids of tasks that wait for others which have all finished."""

        def unit(connection: Connection) -> list[str]:
            return list(connection.execute(_RELEASABLE, {"limit": limit}).scalars())

        return await self._database.read(unit)

    async def pause(self, task_type: str, *, paused: bool = True) -> None:
        """Pause or resume a type."""
        row = {"task_type": task_type, "paused_ms": self._clock.time_ms()}

        def unit(connection: Connection) -> None:
            if paused:
                insert_missing(connection, paused_type, [row])
            else:
                connection.execute(delete(paused_type).where(paused_type.c.task_type == task_type))

        await self._database.write(unit)
        if not paused and self._wakeup is not None:
            self._wakeup.notify()

    async def paused(self) -> frozenset[str]:
        """Return the types that are paused."""
        return await self._database.read(lambda connection: frozenset(connection.execute(_PAUSED).scalars()))

    async def restore(self, tasks: Sequence[Task]) -> int:
        """Store tasks as they stood elsewhere; see `musicq_async.ports.TaskQueue.restore`."""
        rows = [whole_task_row(task) for task in tasks]
        restored = await self._database.write(lambda connection: _restore(connection, rows))
        if restored and self._wakeup is not None:
            self._wakeup.notify(restored)
        return restored

    async def promote(self) -> int | None:
        """Make due tasks pending; see `musicq_async.ports.TaskQueue.promote`."""
        while True:
            next_ms = await self._database.read(_next_run_at)
            now_ms = self._clock.time_ms()
            if next_ms is None or next_ms > now_ms:
                return next_ms
            promoted = await self._database.write(functools.partial(_promote, now_ms=now_ms))
            if promoted and self._wakeup is not None:
                self._wakeup.notify(promoted)

    async def expired(self, limit: int = 100) -> list[Task]:
        """Return running tasks whose lease has run out."""
        statement = (
            select(*TASK_COLUMNS)
            .where(RUNNING, _t.lease_until_ms <= self._clock.time_ms())
            .order_by(_t.lease_until_ms)
            .limit(limit)
        )
        return await self._database.read(lambda connection: [task_of(row) for row in connection.execute(statement)])

    async def purge(self, *, states: Mapping[TaskState, int]) -> int:
        """Delete finished tasks that ended before the epoch second of their state; return how many."""
        purged = 0
        for state, before in states.items():
            deleted = AT_ONCE
            while deleted == AT_ONCE:
                deleted = await self._database.write(functools.partial(_purge, state=state, before=before))
                purged += deleted
        before_ms = self._clock.time_ms() - KEY_GRACE_MS
        await self._database.write(functools.partial(forget_keys, before_ms=before_ms))
        await self._database.write(functools.partial(forget_rates, before_us=before_ms * 1000))
        return purged


def _edit(connection: Connection, edits: Sequence[_Edit]) -> list[bool]:
    held = leases_of(connection, [edit.task.task_id for edit in edits])
    lost_answer = commit_was_lost(connection)
    changes: dict[str, Row] = {}
    results = []
    for edit in edits:
        task_id = edit.task.task_id
        lease = held.get(task_id)
        if lease is None or task_id in changes:
            results.append(False)
        elif lease.status == edit.task.status and (lease.status != "running" or lease.token == edit.task.lease_token):
            changes[task_id] = edit.row
            results.append(True)
        else:
            results.append(lost_answer and lease.status == edit.row[_STATUS])
    write_changes(connection, changes)
    return results


def _report(connection: Connection, reports: Sequence[tuple[str, str, str]]) -> list[LeaseLost | None]:
    """Store the newest report of each task."""
    held = leases_of(connection, [task_id for task_id, _, _ in reports])
    newest: dict[str, str] = {}
    results: list[LeaseLost | None] = []
    for task_id, token, progress in reports:
        lease = held.get(task_id)
        mine = lease is not None and lease.status == "running" and lease.token == token
        if mine:
            newest[task_id] = progress
        results.append(None if mine else lease_lost(task_id))
    if newest:
        connection.execute(_PROGRESS, [{"id": task_id, "text": text} for task_id, text in sorted(newest.items())])
    return results


def _renew(connection: Connection, tokens: Mapping[str, str], until_ms: int) -> Heartbeat:
    held = leases_of(connection, tokens)
    mine = [task_id for task_id, lease in held.items() if lease.status == "running" and lease.token == tokens[task_id]]
    if mine:
        connection.execute(_RENEW.on(connection), {"ids": mine, "until": until_ms})
    return Heartbeat(
        lost=frozenset(tokens) - frozenset(mine),
        cancelled={task_id: held[task_id].cancel_reason for task_id in mine if held[task_id].cancel_requested},
    )


def _put_back(connection: Connection, claims: Sequence[list[Lease]]) -> list[None]:
    """Undo claims whose callers have gone."""
    for leases in claims:
        connection.execute(
            update(task_queue)
            .where(
                _t.task_id.in_([lease.task.task_id for lease in leases]),
                _t.lease_token == leases[0].token,
                _t.status == "running",
            )
            .values(status="pending", lease_owner=None, lease_token=None, lease_until_ms=None)
        )
    return [None] * len(claims)


def _find(connection: Connection, which: TaskFilter) -> list[Task]:
    statement = select(*TASK_COLUMNS).order_by(_t.position.desc(), _t.task_id.desc()).limit(which.limit)
    if which.state is not None:
        statement = statement.where(_t.status == which.state.value)
    if which.type is not None:
        statement = statement.where(_t.task_type == which.type)
    if which.after is not None:
        last = connection.execute(select(_t.position, _t.task_id).where(_t.task_id == which.after)).one_or_none()
        if last is None:
            return []
        below = and_(_t.position == last.position, _t.task_id < last.task_id)
        statement = statement.where(_t.position <= last.position, or_(_t.position < last.position, below))
    return [task_of(row) for row in connection.execute(statement)]


def _members(connection: Connection, then_id: str) -> dict[TaskState, int]:
    rows = connection.execute(_MEMBERS, {"then": then_id})
    return {TaskState(status): count for status, count in rows}


def _release(connection: Connection, task_id: str, now_ms: int) -> TaskState | None:
    if task_id not in leases_of(connection, [task_id]):  # also locks it
        return None
    task = task_of(connection.execute(_GET, {"task_id": task_id}).one())
    change = lifecycle.release(task, _members(connection, task_id), now_ms=now_ms)
    if change is None:
        return None
    write_changes(connection, {task_id: change_row(change)})
    return change.status


def _restore(connection: Connection, rows: Sequence[dict[str, Any]]) -> int:
    known = known_tasks(connection, [row["task_id"] for row in rows])
    missing = {row["task_id"]: row for row in rows if row["task_id"] not in known}
    if missing:
        connection.execute(insert(task_queue), list(missing.values()))
        restore_keys(connection, list(missing.values()))
    return len(missing)


def _counts(connection: Connection, statement: Any) -> dict[tuple[str, TaskState], int]:
    counts: dict[tuple[str, TaskState], int] = {}
    for task_type, status, count in connection.execute(statement):
        try:
            counts[task_type, TaskState(status)] = count
        except ValueError:  # a word of another program; `task_of` shows such a row as failed
            counts[task_type, TaskState.FAILED] = counts.get((task_type, TaskState.FAILED), 0) + count
    return counts


def _next_run_at(connection: Connection) -> int | None:
    run_at_ms: int | None = connection.execute(_NEXT_RUN_AT).scalar()
    return run_at_ms


def _promote(connection: Connection, *, now_ms: int) -> int:
    ids = connection.execute(_DUE, {"now": now_ms}).scalars().all()
    if ids:
        connection.execute(_PROMOTE.on(connection), {"ids": ids})
    return len(ids)


def _purge(connection: Connection, *, state: TaskState, before: int) -> int:
    ids = connection.execute(_ENDED, {"state": state.value, "before": before}).scalars().all()
    if not ids:
        return 0
    deleted: int = connection.execute(
        _DELETE.on(connection), {"ids": ids, "state": state.value, "before": before}
    ).rowcount
    return deleted


_GET: Final = select(*TASK_COLUMNS).where(_t.task_id == bindparam("task_id"))
_PROGRESS: Final = update(task_queue).where(_t.task_id == bindparam("id")).values(progress=bindparam("text"))
_RENEW: Final = ById(
    _t.task_id, lambda these: update(task_queue).where(these).values(lease_until_ms=bindparam("until"))
)
_COUNTS: Final = select(_t.task_type, _t.status, func.count()).group_by(_t.task_type, _t.status)
_COUNTS_UNFINISHED: Final = union_all(
    *(
        select(_t.task_type, literal_column(f"'{state}'").label("status"), func.count().label("count"))
        .where(_t.status == literal_column(f"'{state}'"))
        .group_by(_t.task_type)
        for state in sorted(set(TaskState) - FINISHED)
    )
)
_MEMBERS: Final = select(_t.status, func.count()).where(_t.then_id == bindparam("then")).group_by(_t.status)
_other: Final = task_queue.alias("other")
_RELEASABLE: Final = (
    select(_t.task_id)
    .where(
        _SCHEDULED,
        _t.completed_at.is_(None),
        _t.run_at_ms.is_(None),
        _t.waits.is_not(None),
        ~select(_other.c.task_id)
        .where(_other.c.then_id == _t.task_id, _other.c.status.in_(sorted(set(TaskState) - FINISHED)))
        .exists(),
    )
    .limit(bindparam("limit"))
)
_PAUSED: Final = select(paused_type.c.task_type)
_NEXT_RUN_AT: Final = select(func.min(_t.run_at_ms)).where(_SCHEDULED, _t.completed_at.is_(None))
_DUE: Final = (
    select(_t.task_id)
    .where(_SCHEDULED, _t.completed_at.is_(None), _t.run_at_ms <= bindparam("now"))
    .order_by(_t.run_at_ms)
    .limit(AT_ONCE)
    .with_for_update(skip_locked=True)
)
_PROMOTE: Final = ById(_t.task_id, lambda these: update(task_queue).where(these, _SCHEDULED).values(status="pending"))
_ENDED: Final = (
    select(_t.task_id)
    .where(_t.status == bindparam("state"), _t.completed_at < bindparam("before"))
    .order_by(_t.completed_at)
    .limit(AT_ONCE)
)
_DELETE: Final = ById(
    _t.task_id,
    lambda these: delete(task_queue).where(
        these, _t.status == bindparam("state"), _t.completed_at < bindparam("before")
    ),
)
