"""The claim: the first pending tasks of some types become running, in one transaction that no other claim waits for."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, Select, bindparam, func, select, union_all, update

from musicq_async.model.limit import Limit
from musicq_async.model.task import Lease, Task, TaskState
from musicq_async.ports import Terms
from musicq_async.sql.database import commit_was_lost
from musicq_async.sql.dialects import ById, any_pending_sqlite, claim_sqlite
from musicq_async.sql.gates import Gates
from musicq_async.sql.rows import TASK_COLUMNS, task_of
from musicq_async.sql.tables import PENDING, RUNNING, task_queue
from musicq_async.sql.transactions import sqlite_of

_t = task_queue.c
_INDEX: Final = "task_queue_line"
MOST_TYPES: Final = 400
"""Types in one statement; SQLite takes 500 terms of a UNION."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One caller's claim of so many tasks."""

    terms: Terms
    limit: int
    token: str
    """Becomes the token of every lease: a task that is claimed again gets another."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a caller gets."""

    leases: list[Lease]
    opens_at_ms: int | None = None
    """When to look again, where a rate barred a type."""


def claim(connection: Connection, claims: Sequence[Claim], *, now_ms: int) -> list[Claimed]:
    """Serve the claims in their order. Those on the same terms are served by one search."""
    alike: dict[Terms, list[Claim]] = {}
    for each in claims:
        alike.setdefault(each.terms, []).append(each)
    served: dict[str, Claimed] = {}
    for terms, group in alike.items():
        token = group[0].token
        leases = _already_lent(connection, token) if commit_was_lost(connection) else []
        opens_at_ms = None
        if not leases:
            leases, opens_at_ms = _lent(connection, terms, sum(each.limit for each in group), token, now_ms)
        for each in group:
            served[each.token] = Claimed(leases[: each.limit], opens_at_ms)
            leases = leases[each.limit :]
    return [served[each.token] for each in claims]


def _already_lent(connection: Connection, token: str) -> list[Lease]:
    """Return what this very claim lent before the answer to its commit was lost."""
    tasks = [task_of(row) for row in connection.execute(_OURS, {"token": token})]
    return [Lease(task=task, token=token) for task in sorted(tasks, key=_place)]


_OURS: Final = select(*TASK_COLUMNS).where(RUNNING, _t.lease_token == bindparam("token"))


def _lent(connection: Connection, terms: Terms, limit: int, token: str, now_ms: int) -> tuple[list[Lease], int | None]:
    """Find and lend; also return when to look again, where a rate barred a type."""
    loan: dict[str, Any] = {
        "started_at": now_ms // 1000,
        "lease_owner": terms.owner,
        "lease_token": token,
        "lease_until_ms": now_ms + round(terms.seconds * 1000),
    }
    types = frozenset(_pending_types(connection)) if terms.types is None else terms.types
    names = tuple(sorted(types - terms.but)) if terms.but else tuple(types)
    if not names or limit < 1:
        return [], None
    if connection.dialect.name == "sqlite" and len(names) <= MOST_TYPES:
        limited = tuple(each.task_type for each in terms.limits if each.task_type in names)
        if not limited or not _have_pending(connection, limited):
            return _lend_at_once(connection, names, limit, loan), None
    tasks, opens_at_ms = first_pending(connection, names, limit, limits=terms.limits, now_ms=now_ms)
    return _lend(connection, tasks, loan), opens_at_ms


def _have_pending(connection: Connection, names: tuple[str, ...]) -> bool:
    return sqlite_of(connection).execute(any_pending_sqlite(len(names)), names).fetchone() is not None


def _lend_at_once(connection: Connection, names: tuple[str, ...], limit: int, loan: dict[str, Any]) -> list[Lease]:
    lines = [value for name in names for value in (name, limit)]
    rows = sqlite_of(connection).execute(claim_sqlite(len(names)), (*loan.values(), *lines, limit)).fetchall()
    tasks = [task_of(row) for row in rows]
    if len(tasks) > 1:
        tasks.sort(key=_place)
    return [Lease(task=task, token=loan["lease_token"]) for task in tasks]


def _lend(connection: Connection, tasks: list[Task], loan: dict[str, Any]) -> list[Lease]:
    if not tasks:
        return []
    connection.execute(_LEND.on(connection), loan | {"ids": [task.task_id for task in tasks]})
    lent = loan | {"status": TaskState.RUNNING}
    return [Lease(task=msgspec.structs.replace(task, **lent), token=loan["lease_token"]) for task in tasks]


_LEND: Final = ById(
    _t.task_id,
    lambda these: (
        update(task_queue)
        .where(these)
        .values(
            status="running",
            started_at=bindparam("started_at"),
            lease_owner=bindparam("lease_owner"),
            lease_token=bindparam("lease_token"),
            lease_until_ms=bindparam("lease_until_ms"),
        )
    ),
)


def first_pending(
    connection: Connection, names: tuple[str, ...], limit: int, *, limits: tuple[Limit, ...] = (), now_ms: int = 0
) -> tuple[list[Task], int | None]:
    """Return the first pending tasks of these types by (priority, position), locked where the database locks rows.

    Also return when to look again, where a limit passed over some that a rate will let begin.
    """
    heads = {row.task_type for row in connection.execute(*_heads(names, 1))}
    limited = tuple(each for each in limits if each.task_type in heads)
    if limited:
        return _first_within(connection, heads, limit, limited, now_ms)
    if not heads:
        return [], None
    if len(heads) == 1:
        wanted = dict.fromkeys(heads, limit)
    else:
        wanted = _shares(connection.execute(*_heads(tuple(sorted(heads)), limit)).all(), limit)
    tasks = [task for name, share in wanted.items() for task in _first_of(connection, name, share)]
    if len(tasks) < limit and len(heads) > 1 and connection.dialect.name != "sqlite":
        tasks += _what_others_left(connection, sorted(heads), limit - len(tasks), tasks)
    tasks.sort(key=_place)
    return tasks, None


def _place(task: Task) -> tuple[int, int]:
    return task.priority, task.position


def _first_within(
    connection: Connection, heads: set[str], limit: int, limits: tuple[Limit, ...], now_ms: int
) -> tuple[list[Task], int | None]:
    """Do what `first_pending` does where some of the types with tasks are limited."""
    gates = Gates(connection, limits, now_us=now_ms * 1000)
    free = tuple(sorted(name for name in heads if name not in gates and name not in gates.busy))
    wanted = [row for name in heads if name in gates for row in gates.candidates(name, limit)]
    line: list[tuple[int, int, str, str | None]] = [
        (row.priority, row.position, row.task_type, row.task_id) for row in wanted
    ]
    if free:
        heads_of_free = connection.execute(*_heads(free, limit))
        line += [(row.priority, row.position, row.task_type, None) for row in heads_of_free]
    line = sorted(line, key=lambda place: place[:2])[:limit]
    shares: dict[str, int] = {}
    for _, _, name, task_id in line:
        if task_id is None:
            shares[name] = shares.get(name, 0) + 1
    tasks = [task for name, share in shares.items() for task in _first_of(connection, name, share)]
    ids = [task_id for *_, task_id in line if task_id is not None]
    tasks += [
        task for task in sorted(_these(connection, ids), key=_place) if gates.take(task.task_type, task.group_key)
    ]
    gates.close()
    opens = gates.opens_at_us
    return sorted(tasks, key=_place), None if opens is None else -(-opens // 1000)


def _these(connection: Connection, ids: list[str]) -> list[Task]:
    """Read and lock candidates; those that another claimer took meanwhile are left out."""
    return [task_of(row) for row in connection.execute(_THESE.on(connection), {"ids": ids})] if ids else []


_THESE: Final = ById(
    _t.task_id,
    lambda these: select(*TASK_COLUMNS).where(PENDING, these).order_by(_t.task_id).with_for_update(skip_locked=True),
)


def _shares(candidates: Iterable[Row[Any]], limit: int) -> dict[str, int]:
    """Count how many of the first candidates are of each type."""
    shares: dict[str, int] = {}
    for row in sorted(candidates, key=lambda row: (row.priority, row.position))[:limit]:
        shares[row.task_type] = shares.get(row.task_type, 0) + 1
    return shares


def _what_others_left(connection: Connection, names: list[str], limit: int, have: list[Task]) -> list[Task]:
    """Take further tasks where some of the first were locked by another claimer: never wait for those."""
    held = {task.task_id for task in have}
    more: list[Task] = []
    for name in names:
        if len(more) < limit:
            found = _first_of(connection, name, limit - len(more) + len(held))
            more += [task for task in found if task.task_id not in held][: limit - len(more)]
    return more


def _first_of(connection: Connection, name: str, limit: int) -> list[Task]:
    """Read one type's line. The order comes from the index: a sort would lock rows that are not taken."""
    return [task_of(row) for row in connection.execute(_LINE, {"type": name, "limit": limit})]


_LINE: Final = (
    select(*TASK_COLUMNS)
    .where(PENDING, _t.task_type == bindparam("type"))
    .order_by(_t.priority, _t.position)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
    .with_hint(task_queue, f"FORCE INDEX ({_INDEX})", "mysql")
)


def _heads(names: tuple[str, ...], limit: int) -> tuple[Select[Any], dict[str, Any]]:
    """Return a query, with its parameters, for the first places of each type's line; it reads the index only."""
    return _heads_of(len(names)), {"limit": limit} | {f"type{number}": name for number, name in enumerate(names)}


@functools.cache
def _heads_of(count: int) -> Select[Any]:
    lines = [
        select(_t.task_type, _t.priority, _t.position)
        .where(PENDING, _t.task_type == bindparam(f"type{number}"))
        .order_by(_t.priority, _t.position)
        .limit(bindparam("limit"))
        .with_hint(task_queue, f"FORCE INDEX ({_INDEX})", "mysql")
        .subquery()
        for number in range(count)
    ]
    if count == 1:
        return select(lines[0])
    return select(union_all(*(select(line) for line in lines)).subquery())


def _pending_types(connection: Connection) -> tuple[str, ...]:
    """Step from type to type through the index: as many look-ups as there are types with pending tasks."""
    names: list[str] = []
    after = ""
    while (name := connection.execute(_NEXT_TYPE, {"after": after}).scalar()) is not None:
        names.append(name)
        after = name
    return tuple(names)


_NEXT_TYPE: Final = select(func.min(_t.task_type)).where(PENDING, _t.task_type > bindparam("after"))
