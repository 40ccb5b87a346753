"""The schedules on SQL, with the ledger of their slots: `SqlScheduleStore`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, bindparam, delete, func, insert, null, select, true, update

from musicq_async.errors import InvalidSchedule, NotRunning, UsageError
from musicq_async.model.lifecycle import cancel
from musicq_async.model.schedule import Firing, Schedule
from musicq_async.model.task import NewTask
from musicq_async.ports import Wakeup
from musicq_async.sql.database import Database, commit_was_lost
from musicq_async.sql.dialects import ById
from musicq_async.sql.pushes import Push, push
from musicq_async.sql.rows import (
    SCHEDULE_COLUMNS,
    TASK_COLUMNS,
    change_row,
    new_task_row,
    schedule_of,
    schedule_row,
    task_from_text,
    task_of,
    task_text,
)
from musicq_async.sql.tables import schedule_fire, scheduler_task, task_queue
from musicq_async.sql.task_writes import write_changes
from musicq_async.sql.transactions import sqlite_of

_s = scheduler_task.c
_f = schedule_fire.c
_ENABLED: Final = _s.enabled == true()
AT_ONCE: Final = 500
"""Schedules whose ledger is looked at by one statement."""


class SqlScheduleStore:
    """The `musicq_async.ports.ScheduleStore` in ``scheduler_task`` and ``schedule_fire``.

    ``enqueues`` says that ``task_queue`` of the same database is the queue: `record` then stores the tasks itself.
    ``node`` is written into the ledger.
    """

    def __init__(
        self, database: Database, *, enqueues: bool, node: str | None = None, wakeup: Wakeup | None = None
    ) -> None:
        self.enqueues = enqueues
        self._database = database
        self._node = node
        self._wakeup = wakeup

    async def add(self, schedule: Schedule) -> None:
        """Store a new schedule. Raises `InvalidSchedule` where the id is taken or a value does not fit."""
        row = _row(schedule)

        def unit(connection: Connection) -> bool:
            stored = connection.execute(select(_s.task_id).where(_s.task_id == schedule.task_id)).scalar()
            if stored is not None:
                return commit_was_lost(connection)
            connection.execute(insert(scheduler_task), row)
            return True

        if not await self._write(unit):
            raise InvalidSchedule(f"a schedule with the id {schedule.task_id!r} exists already; leave task_id out")

    async def _write(self, unit: Any) -> Any:
        try:
            return await self._database.write(unit)
        except NotRunning:
            raise
        except UsageError as error:
            raise InvalidSchedule(f"a field of the schedule does not fit the database: {error}") from error

    async def get(self, task_id: str) -> Schedule | None:
        """Return one schedule."""
        if not _is_id(task_id):
            return None
        found = await self._select(select(*SCHEDULE_COLUMNS).where(_s.task_id == task_id))
        return found[0] if found and found[0].task_id == task_id else None

    async def all(self, *, enabled_only: bool = False) -> list[Schedule]:
        """Return all, oldest first."""
        statement = select(*SCHEDULE_COLUMNS).order_by(_s.created_at, _s.task_id)
        return await self._select(statement.where(_ENABLED) if enabled_only else statement)

    async def replace(self, schedule: Schedule) -> bool:
        """Write an edited schedule whose ``version`` is one above the stored; return False if it is not."""
        row = _row(schedule)

        def unit(connection: Connection) -> bool:
            replaced = connection.execute(
                update(scheduler_task).where(_s.task_id == schedule.task_id, _s.version == schedule.version - 1),
                row,
            ).rowcount
            return bool(replaced) or (commit_was_lost(connection) and _stored(connection, schedule))

        replaced: bool = await self._write(unit)
        return replaced

    async def delete(self, task_id: str) -> bool:
        """Delete a schedule and its ledger, other than tasks not sent yet; return whether it was there."""

        def unit(connection: Connection) -> bool:
            deleted = connection.execute(delete(scheduler_task).where(_s.task_id == task_id)).rowcount
            connection.execute(delete(schedule_fire).where(_f.schedule_id == task_id, _f.task.is_(null())))
            return bool(deleted) or commit_was_lost(connection)

        return _is_id(task_id) and await self._database.write(unit)

    async def due(self, before_ms: int, *, limit: int = 1000) -> list[Schedule]:
        """Return enabled schedules with ``due_at_ms <= before_ms``, the earliest first; reads those alone."""
        if self._database.kind == "sqlite":
            return await self._database.read(
                lambda connection: list(
                    map(schedule_of, sqlite_of(connection).execute(_DUE_SQLITE, (before_ms, limit)))
                )
            )
        return await self._select(_DUE, {"before": before_ms, "limit": limit})

    async def unplanned(self) -> list[Schedule]:
        """Return enabled schedules without ``due_at_ms``: rows that another program wrote."""
        return await self._select(_UNPLANNED)

    async def next_due_ms(self) -> int | None:
        """Return the earliest ``due_at_ms`` of the enabled schedules."""
        next_ms: int | None = await self._database.read(lambda connection: connection.execute(_NEXT_DUE).scalar())
        return next_ms

    async def _select(self, statement: Select[Any], values: dict[str, Any] | None = None) -> list[Schedule]:
        return await self._database.read(
            lambda connection: [schedule_of(row) for row in connection.execute(statement, values or {})]
        )

    async def record(self, firings: Sequence[Firing]) -> list[Firing]:
        """Write the firings whose version is still current; see `musicq_async.ports.ScheduleStore.record`."""
        if not firings:
            return []
        written = await self._database.write(lambda connection: self._record(connection, firings))
        self._tell(written)
        return written

    def _record(self, connection: Connection, firings: Sequence[Firing]) -> list[Firing]:
        """Advance the schedules, then write ledger and tasks: with the schedules' rows locked, nobody else can."""
        if connection.dialect.name == "sqlite" and not commit_was_lost(connection):
            written = self._recorded_in_sqlite(sqlite_of(connection), firings)
            self._hand_over(connection, written)
            return written
        versions = _versions(connection, firings)
        current = [each for each in firings if versions.get(each.schedule.task_id) == each.schedule.version]
        known = _known_slots(connection, current)
        fresh = [_without(firing, known.get(firing.schedule.task_id, set())) for firing in current]
        ledger = [dict(zip(_LEDGER_COLUMNS, row, strict=True)) for firing in fresh for row in self._ledger_rows(firing)]
        _advance(connection, fresh)
        if ledger:
            connection.execute(insert(schedule_fire), ledger)
        self._hand_over(connection, fresh)
        if commit_was_lost(connection):
            fresh += [each for each in firings if versions.get(each.schedule.task_id) == each.advanced.version]
        return fresh

    def _recorded_in_sqlite(self, driver: sqlite3.Connection, firings: Sequence[Firing]) -> list[Firing]:
        """Advance and write the ledger row by row.

        With no other writer about, each statement says whether it met what was read: nothing is asked before, and there
        is nothing to undo. (A savepoint would copy every page that is written.)
        """
        cursor = driver.cursor()
        write = cursor.execute
        written = []
        for firing in firings:
            if not write(_ADVANCE_SQLITE, _advancing(firing)).rowcount:
                continue
            rows = zip(firing.slots, self._ledger_rows(firing), strict=True)
            known = {slot.nominal for slot, row in rows if not write(_LEDGER_SQLITE, row).rowcount}
            written.append(_without(firing, known) if known else firing)
        cursor.close()
        return written

    def _hand_over(self, connection: Connection, firings: Sequence[Firing]) -> None:
        """Put the tasks into the queue of the same database, and cancel those that they replace."""
        if self.enqueues:
            self._enqueue(connection, [task for firing in firings for task in firing.tasks])
            _cancel(connection, [task_id for firing in firings for task_id in firing.cancel], self._now_ms())

    def _now_ms(self) -> int:
        return self._database.clock.time_ms()

    def _ledger_rows(self, firing: Firing) -> list[tuple[Any, ...]]:
        """Return rows of `_LEDGER_COLUMNS`."""
        schedule_id = firing.schedule.task_id
        tasks = {} if self.enqueues else {task.task_id: task for task in firing.tasks}
        rows = []
        for slot in firing.slots:
            task = tasks.get(slot.task_id or "")
            text = None if task is None else task_text(task)
            rows.append(
                (schedule_id, slot.nominal, slot.outcome.value, slot.task_id, self._node, task is not None, text)
            )
        return rows

    def _enqueue(self, connection: Connection, tasks: Sequence[NewTask]) -> None:
        """Push tasks that are not there yet; their ids follow from schedule and slot."""
        now_ms = self._now_ms()
        first, token = now_ms * 1000, self._database.token()
        rows = [
            new_task_row(task, position=first + place, now_ms=now_ms, token=token) for place, task in enumerate(tasks)
        ]
        if rows:
            push(connection, [Push(rows, ignore_known=True)])

    def _tell(self, firings: Sequence[Firing]) -> None:
        if self._wakeup is not None and self.enqueues:
            count = sum(len(firing.tasks) for firing in firings)
            if count:
                self._wakeup.notify(count)

    async def unsent(self) -> list[NewTask]:
        """Return tasks that `record` kept and `sent` has not confirmed."""
        return await self._database.read(
            lambda connection: [task_from_text(text) for text in connection.execute(_UNSENT).scalars()]
        )

    async def sent(self, task_ids: Sequence[str]) -> None:
        """Confirm that the tasks are in the queue."""

        def unit(connection: Connection) -> None:
            for start in range(0, len(task_ids), AT_ONCE):
                connection.execute(_SENT.on(connection), {"ids": list(task_ids[start : start + AT_ONCE])})

        if task_ids:
            await self._database.write(unit)

    async def prune(self, before: int) -> int:
        """Delete ledger rows older than this epoch second, other than those not sent; return how many."""
        return await self._database.write(lambda connection: connection.execute(_PRUNE, {"before": before}).rowcount)


def _is_id(task_id: object) -> bool:
    """Whether it is text that a database can compare; nothing else is the id of a schedule."""
    return (
        isinstance(task_id, str) and "\x00" not in task_id and not any("\ud800" <= each <= "\udfff" for each in task_id)
    )


def _row(schedule: Schedule) -> dict[str, Any]:
    try:
        return schedule_row(schedule)
    except UsageError as error:
        raise InvalidSchedule(str(error)) from error


def _stored(connection: Connection, schedule: Schedule) -> bool:
    row = connection.execute(select(*SCHEDULE_COLUMNS).where(_s.task_id == schedule.task_id)).one_or_none()
    return row is not None and schedule_of(row) == schedule


def _versions(connection: Connection, firings: Sequence[Firing]) -> dict[str, int]:
    """Lock the schedules and return the versions that are stored now."""
    versions: dict[str, int] = {}
    ids = sorted(firing.schedule.task_id for firing in firings)
    for start in range(0, len(ids), AT_ONCE):
        rows = connection.execute(_VERSIONS.on(connection), {"ids": ids[start : start + AT_ONCE]})
        versions |= {row.task_id: row.version for row in rows}
    return versions


def _known_slots(connection: Connection, firings: Sequence[Firing]) -> dict[str, set[int]]:
    """Return the nominal times that the ledger holds already; none of them is enqueued again."""
    known: dict[str, set[int]] = {}
    fired = [firing for firing in firings if firing.slots]
    for start in range(0, len(fired), AT_ONCE):
        part = fired[start : start + AT_ONCE]
        first = min(slot.nominal for firing in part for slot in firing.slots)
        last = max(slot.nominal for firing in part for slot in firing.slots)
        ids = [firing.schedule.task_id for firing in part]
        for schedule_id, nominal in connection.execute(
            _KNOWN.on(connection), {"ids": ids, "first": first, "last": last}
        ):
            known.setdefault(schedule_id, set()).add(nominal)
    return known


def _without(firing: Firing, known: set[int]) -> Firing:
    dropped = {slot.task_id for slot in firing.slots if slot.nominal in known}
    if not dropped:
        return firing
    return msgspec.structs.replace(
        firing,
        slots=tuple(slot for slot in firing.slots if slot.nominal not in known),
        tasks=tuple(task for task in firing.tasks if task.task_id not in dropped),
    )


def _advancing(firing: Firing) -> tuple[Any, ...]:
    """Return the values of `_ADVANCE_SQLITE`."""
    return (*_advanced_values(firing.advanced), firing.schedule.task_id, firing.schedule.version)


def _advance(connection: Connection, firings: Sequence[Firing]) -> None:
    """Write what firing changes about a schedule. An edit has its own way, `SqlScheduleStore.replace`."""
    rows = [
        {"id": firing.schedule.task_id, **dict(zip(_ADVANCING, _advanced_values(firing.advanced), strict=True))}
        for firing in sorted(firings, key=lambda firing: firing.schedule.task_id)
    ]
    if rows:
        connection.execute(_ADVANCE, rows)


def _cancel(connection: Connection, task_ids: Sequence[str], now_ms: int) -> None:
    """Cancel earlier tasks of schedules that replace their last run; a running one is asked to stop."""
    reason = "replaced by the schedule's next run"
    for start in range(0, len(task_ids), AT_ONCE):
        rows = connection.execute(_TASKS.on(connection), {"ids": sorted(task_ids[start : start + AT_ONCE])}).all()
        changes = {}
        for task in map(task_of, rows):
            change = cancel(task, now_ms=now_ms, reason=reason)
            if change is None:
                connection.execute(_ASK, {"id": task.task_id, "now": now_ms, "reason": reason})
            elif not task.is_finished:
                changes[task.task_id] = change_row(change)
        write_changes(connection, changes)


_LEDGER_COLUMNS: Final = ("schedule_id", "nominal", "outcome", "task_id", "node", "unsent", "task")
_ADVANCING: Final = (
    "last_run_at",
    "next_run_at",
    "due_at_ms",
    "run_count",
    "enabled",
    "updated_at",
    "missed_count",
    "skipped_count",
    "version",
)
_advanced_values: Final = attrgetter(*_ADVANCING)
_ADVANCE_SQLITE: Final = (
    f"UPDATE scheduler_task SET {', '.join(f'{name} = ?' for name in _ADVANCING)} WHERE task_id = ? AND version = ?"  # noqa: S608 - our own names
)
_LEDGER_SQLITE: Final = (
    f"INSERT INTO schedule_fire ({', '.join(_LEDGER_COLUMNS)}) VALUES ({', '.join('?' * len(_LEDGER_COLUMNS))})"  # noqa: S608 - our own names
    " ON CONFLICT DO NOTHING"
)
_DUE: Final = (
    select(*SCHEDULE_COLUMNS)
    .where(_ENABLED, _s.due_at_ms <= bindparam("before"))
    .order_by(_s.due_at_ms)
    .limit(bindparam("limit"))
)
_DUE_SQLITE: Final = (
    f"SELECT {', '.join(Schedule.__struct_fields__)} FROM scheduler_task"  # noqa: S608 - our own names
    " WHERE enabled = 1 AND due_at_ms <= ? ORDER BY due_at_ms LIMIT ?"
)
_UNPLANNED: Final = select(*SCHEDULE_COLUMNS).where(_ENABLED, _s.due_at_ms.is_(null()))
_NEXT_DUE: Final = select(func.min(_s.due_at_ms)).where(_ENABLED)
_VERSIONS: Final = ById(
    _s.task_id,
    lambda these: select(_s.task_id, _s.version).where(these).order_by(_s.task_id).with_for_update(),
)
_KNOWN: Final = ById(
    _f.schedule_id,
    lambda these: select(_f.schedule_id, _f.nominal).where(
        these, _f.nominal >= bindparam("first"), _f.nominal <= bindparam("last")
    ),
)
_ADVANCE: Final = (
    update(scheduler_task).where(_s.task_id == bindparam("id")).values({name: bindparam(name) for name in _ADVANCING})
)
_UNSENT: Final = select(_f.task).where(_f.unsent == true(), _f.task.is_not(null())).order_by(_f.nominal)
_SENT: Final = ById(
    _f.task_id,
    lambda these: update(schedule_fire).where(these, _f.unsent == true()).values(unsent=False, task=None),
)
_PRUNE: Final = delete(schedule_fire).where(_f.nominal < bindparam("before"), _f.task.is_(null()))
_TASKS: Final = ById(
    task_queue.c.task_id,
    lambda these: select(*TASK_COLUMNS).where(these).order_by(task_queue.c.task_id).with_for_update(),
)
_ASK: Final = (
    update(task_queue)
    .where(task_queue.c.task_id == bindparam("id"))
    .values(cancel_requested_ms=bindparam("now"), cancel_reason=bindparam("reason"))
)
