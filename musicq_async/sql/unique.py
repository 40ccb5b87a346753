"""Pushes with unique keys: who holds a key is looked up, decided by `musicq_async.model.unique`, and written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BindParameter, Connection, bindparam, delete, func, select, update

from musicq_async.model.task import FINISHED, TaskState
from musicq_async.model.unique import REPLACING, is_held, window_ms
from musicq_async.sql.dialects import insert_missing
from musicq_async.sql.rows import INSERTED
from musicq_async.sql.tables import task_queue, unique_task
from musicq_async.sql.task_writes import Row, leases_of

_u, _t = unique_task.c, task_queue.c
_KEYS: Final[BindParameter[Any]] = bindparam("keys", expanding=True)
_PLACE: Final = {name: place for place, name in enumerate(INSERTED)}
AT_ONCE: Final = 1_000
"""Keys in one statement."""


@dataclass(slots=True)
class _Holder:
    task_id: str | None
    pushed_ms: int
    state: TaskState | None


def of(row: Row, name: str) -> Any:
    """Return one value of a row of `INSERTED`."""
    return row[_PLACE[name]]


class Holders:
    """The holders of a push's keys, locked until the transaction ends."""

    def __init__(self, connection: Connection, rows: Sequence[Row], *, now_ms: int) -> None:
        self._connection = connection
        self._now_ms = now_ms
        self._holders = self._locked(sorted({of(row, "unique_key") for row in rows}))
        self._won: dict[str, Row] = {}

    def _locked(self, keys: list[str]) -> dict[str, _Holder]:
        holders: dict[str, _Holder] = {}
        for start in range(0, len(keys), AT_ONCE):
            part = keys[start : start + AT_ONCE]
            insert_missing(self._connection, unique_task, [{"unique_key": key} for key in part])
            for row in self._connection.execute(_LOCK, {"keys": part}):
                holders[row.unique_key] = _Holder(row.task_id, row.pushed_ms, None)
        ids = sorted({each.task_id for each in holders.values() if each.task_id})
        for start in range(0, len(ids), AT_ONCE):
            states = leases_of(self._connection, ids[start : start + AT_ONCE])
            for holder in holders.values():
                if holder.task_id in states:
                    holder.state = TaskState(states[holder.task_id].status)
        return holders

    def holder_of(self, row: Row) -> str | None:
        """Return the id of the task that holds the row's key, if another one does."""
        holder = self._holders[of(row, "unique_key")]
        if holder.task_id is None or holder.task_id == of(row, "task_id"):
            return None
        held = is_held(of(row, "unique_mode"), state=holder.state, pushed_ms=holder.pushed_ms, now_ms=self._now_ms)
        return holder.task_id if held else None

    def met(self, row: Row, task_id: str) -> str:
        """Give the task that holds the key what the push brought, where its mode says so; return that task's id."""
        mode = of(row, "unique_mode")
        if mode in REPLACING:
            values = {"params": of(row, "params"), "extra": of(row, "extra")}
            if mode == "debounce":
                values |= {"run_at_ms": of(row, "run_at_ms"), "status": of(row, "status")}
            self._connection.execute(update(task_queue).where(_t.task_id == task_id).values(values))
        return task_id

    def won(self, row: Row) -> None:
        """Give a key to a task that is stored."""
        key = of(row, "unique_key")
        self._holders[key] = _Holder(of(row, "task_id"), self._now_ms, TaskState(of(row, "status")))
        self._won[key] = row

    def close(self) -> None:
        """Write down the new holders."""
        rows = [
            {
                "key": key,
                "id": of(row, "task_id"),
                "now": self._now_ms,
                "until": self._now_ms + window_ms(of(row, "unique_mode")),
            }
            for key, row in sorted(self._won.items())
        ]
        if rows:
            self._connection.execute(_TAKE, rows)


def restore_keys(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Let restored tasks that wait hold their keys again: of each key the newest, where nobody has it."""
    keys: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda each: each["position"]):
        if row["unique_key"] is not None and row["status"] not in FINISHED:
            pushed_ms = row["created_at"] * 1000
            keys[row["unique_key"]] = {
                "unique_key": row["unique_key"],
                "task_id": row["task_id"],
                "pushed_ms": pushed_ms,
                "keep_until_ms": pushed_ms + window_ms(row["unique_mode"]),
            }
    insert_missing(connection, unique_task, list(keys.values()))


def forget_keys(connection: Connection, *, before_ms: int) -> int:
    """Delete keys that nobody can hold any more: pushed before this, window over, task finished or gone."""
    keys = connection.execute(_FREE_KEYS, {"before": before_ms}).scalars().all()
    if not keys:
        return 0
    deleted: int = connection.execute(_FORGET, {"keys": keys, "before": before_ms}).rowcount
    return deleted


_LOCK: Final = (
    select(_u.unique_key, _u.task_id, _u.pushed_ms)
    .where(_u.unique_key.in_(_KEYS))
    .order_by(_u.unique_key)
    .with_for_update()
)
_TAKE: Final = (
    update(unique_task)
    .where(_u.unique_key == bindparam("key"))
    .values(task_id=bindparam("id"), pushed_ms=bindparam("now"), keep_until_ms=bindparam("until"))
)
_UNFINISHED: Final = (
    select(func.count())
    .where(_t.task_id == _u.task_id, _t.status.in_(("pending", "running", "scheduled")))
    .correlate(unique_task)
    .scalar_subquery()
)
_FREE_KEYS: Final = (
    select(_u.unique_key)
    .where(_u.pushed_ms < bindparam("before"), _u.keep_until_ms < bindparam("before"), _UNFINISHED == 0)
    .limit(AT_ONCE)
)
_FORGET: Final = delete(unique_task).where(_u.unique_key.in_(_KEYS), _u.pushed_ms < bindparam("before"))
