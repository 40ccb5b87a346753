"""What limits let through now: `Gate`, opened inside a claim's transaction for each limited type that has work.

A type's row in ``task_limit`` is locked meanwhile, so that claims of one limited type follow each other on all nodes. A
type that another claim holds just then is passed over: it never holds up the other types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import BindParameter, Connection, Row, bindparam, delete, func, select, update

from musicq_async.model.limit import Limit, after_beginning, fewest, left_of, may_begin, opens_at_us
from musicq_async.sql.dialects import insert_missing
from musicq_async.sql.tables import PENDING, RUNNING, task_limit, task_queue

_t = task_queue.c
_NAMES: Final[BindParameter[Any]] = bindparam("names", expanding=True)
WINDOW: Final = 256
"""Tasks of a type's line that are looked at before its groups are."""
MOST_GROUPS: Final = 1_000
"""Groups of one type that one claim looks into."""
BUSY_MS: Final = 20
"""When to look again after a type that another claim held."""

Candidate = Row[Any]
"""``task_id, task_type, priority, position, group_key`` of a pending task."""


def _group_name(task_type: str, group: str) -> str:
    return f"{task_type}\n{group}"


@dataclass(slots=True)
class Gate:
    """What one limited type has left, and what was taken of it."""

    limit: Limit
    now_us: int
    free_at_us: int
    running: int
    running_by_group: Mapping[str, int]
    group_free_at_us: dict[str, int] = field(default_factory=dict)
    barred: set[str] = field(default_factory=set)
    """Groups with more tasks than may begin."""
    taken: int = 0
    taken_by_group: dict[str, int] = field(default_factory=dict)

    @property
    def left(self) -> int | None:
        """How many more tasks of the type may begin; ``None`` is any number."""
        rate = self.limit.rate
        by_rate = None if rate is None else may_begin(self.free_at_us, rate=rate, now_us=self.now_us)
        allowed = fewest(left_of(self.limit.concurrency, self.running), by_rate)
        return None if allowed is None else max(0, allowed - self.taken)

    def left_of_group(self, group: str) -> int | None:
        """Return how many more tasks of one group may begin."""
        limit = self.limit
        by_rate = None
        if limit.group_rate is not None:
            by_rate = may_begin(self.group_free_at_us.get(group, 0), rate=limit.group_rate, now_us=self.now_us)
        allowed = fewest(left_of(limit.group_concurrency, self.running_by_group.get(group, 0)), by_rate)
        return None if allowed is None else max(0, allowed - self.taken_by_group.get(group, 0))

    def takes(self, group: str | None) -> bool:
        """Count a task in, if it may begin."""
        if self.left == 0 or (group is not None and self.limit.by_group and self.left_of_group(group) == 0):
            return False
        self.taken += 1
        if group is not None and self.limit.by_group:
            self.taken_by_group[group] = self.taken_by_group.get(group, 0) + 1
        return True

    def opens_at_us(self) -> int | None:
        """Return when a rate lets another task begin, where nothing but a rate bars."""
        times = []
        rate, group_rate = self.limit.rate, self.limit.group_rate
        if rate is not None and self.left == 0 and left_of(self.limit.concurrency, self.running + self.taken) != 0:
            times.append(opens_at_us(self.after(), rate=rate))
        if group_rate is not None:
            times += [
                opens_at_us(self.group_after(each), rate=group_rate) for each in self.barred if self._by_rate(each)
            ]
        return min(times, default=None)

    def _by_rate(self, group: str) -> bool:
        running = self.running_by_group.get(group, 0) + self.taken_by_group.get(group, 0)
        return left_of(self.limit.group_concurrency, running) != 0

    def after(self) -> int:
        """Return the type's ``free_at_us`` after what was taken."""
        rate = self.limit.rate
        if rate is None or not self.taken:
            return self.free_at_us
        return after_beginning(self.free_at_us, count=self.taken, rate=rate, now_us=self.now_us)

    def group_after(self, group: str) -> int:
        """Return a group's ``free_at_us`` after what was taken."""
        free, count, rate = (
            self.group_free_at_us.get(group, 0),
            self.taken_by_group.get(group, 0),
            self.limit.group_rate,
        )
        return free if rate is None or not count else after_beginning(free, count=count, rate=rate, now_us=self.now_us)


class Gates:
    """The gates of one claim."""

    def __init__(self, connection: Connection, limits: Sequence[Limit], *, now_us: int) -> None:
        self._connection = connection
        self._now_us = now_us
        self.opens_at_us: int | None = None
        """When to look again, where a rate or another claim barred a type."""
        self._gates = self._opened(limits)
        self.busy = {limit.task_type for limit in limits} - self._gates.keys()
        """Types that another claim holds now."""
        if self.busy:
            self._look_again(now_us + BUSY_MS * 1000)

    def _look_again(self, at_us: int | None) -> None:
        if at_us is not None:
            self.opens_at_us = at_us if self.opens_at_us is None else min(self.opens_at_us, at_us)

    def _opened(self, limits: Sequence[Limit]) -> dict[str, Gate]:
        names = sorted(limit.task_type for limit in limits)
        free = self._locked(names)
        if len(free) < len(names) and self._known(names) < len(names):
            insert_missing(self._connection, task_limit, [{"name": name} for name in names])
            free = self._locked(names)
        return {
            limit.task_type: self._gate(limit, free[limit.task_type]) for limit in limits if limit.task_type in free
        }

    def _locked(self, names: Sequence[str]) -> dict[str, int]:
        rows = self._connection.execute(_LOCK, {"names": names})
        return {row.name: row.free_at_us for row in rows}

    def _known(self, names: Sequence[str]) -> int:
        return int(self._connection.execute(_COUNT, {"names": names}).scalar_one())

    def _gate(self, limit: Limit, free_at_us: int) -> Gate:
        rows = self._connection.execute(_RUNNING, {"type": limit.task_type}).all()
        return Gate(
            limit=limit,
            now_us=self._now_us,
            free_at_us=free_at_us,
            running=sum(row.running for row in rows),
            running_by_group={row.group_key: row.running for row in rows if row.group_key is not None},
        )

    def __contains__(self, task_type: str) -> bool:
        return task_type in self._gates

    def candidates(self, task_type: str, limit: int) -> list[Candidate]:
        """Return the first pending tasks of a type that may begin now, up to ``limit``."""
        gate = self._gates[task_type]
        left = gate.left
        most = limit if left is None else min(limit, left)
        if most == 0:
            return []
        window = self._read(_WINDOW, type=task_type, limit=WINDOW if gate.limit.by_group else most)
        if not gate.limit.by_group:
            return window
        found = self._admitted(gate, window, most)
        if len(found) < most and len(window) == WINDOW:
            found = self._admitted(gate, [*window, *self._beyond(gate, task_type, most)], most)
        return found

    def _read(self, statement: Any, **values: Any) -> list[Candidate]:
        return list(self._connection.execute(statement, values))

    def _admitted(self, gate: Gate, line: Sequence[Candidate], most: int) -> list[Candidate]:
        """Choose from a line without counting yet."""
        self._learn_rates(gate, {row.group_key for row in line if row.group_key is not None})
        chosen: dict[str, Candidate] = {}
        counts: dict[str, int] = {}
        for row in sorted(line, key=lambda row: (row.priority, row.position)):
            group = row.group_key
            if len(chosen) == most or row.task_id in chosen:
                continue
            if group is not None:
                left = gate.left_of_group(group)
                if left is not None and counts.get(group, 0) >= left:
                    gate.barred.add(group)
                    continue
                counts[group] = counts.get(group, 0) + 1
            chosen[row.task_id] = row
        return list(chosen.values())

    def _learn_rates(self, gate: Gate, groups: set[str]) -> None:
        missing = groups - gate.group_free_at_us.keys()
        if gate.limit.group_rate is None or not missing:
            return
        kind = gate.limit.task_type
        rows = self._connection.execute(_FREE, {"names": [_group_name(kind, group) for group in sorted(missing)]})
        free = {row.name.partition("\n")[2]: row.free_at_us for row in rows}
        gate.group_free_at_us |= {group: free.get(group, 0) for group in missing}

    def _beyond(self, gate: Gate, task_type: str, most: int) -> list[Candidate]:
        """Look behind a long line of barred groups: at the groups themselves."""
        groups = [row.group_key for row in self._read(_GROUPS, type=task_type, limit=MOST_GROUPS)]
        self._learn_rates(gate, set(groups))
        open_groups = [group for group in groups if group not in gate.barred and gate.left_of_group(group) != 0]
        found = self._read(_OF_GROUPS, type=task_type, groups=open_groups, limit=WINDOW) if open_groups else []
        return [*found, *self._read(_WITHOUT_GROUP, type=task_type, limit=most)]

    def take(self, task_type: str, group: str | None) -> bool:
        """Count a task in, if it may still begin. Types without a gate always may."""
        gate = self._gates.get(task_type)
        return gate is None or gate.takes(group)

    def close(self) -> None:
        """Write down what was taken."""
        for name, gate in self._gates.items():
            if gate.limit.rate is not None and gate.taken:
                self._connection.execute(_SET, [{"key": name, "free": gate.after()}])
            if gate.limit.group_rate is not None and gate.taken_by_group:
                rows = [
                    {"key": _group_name(name, group), "free": gate.group_after(group)} for group in gate.taken_by_group
                ]
                insert_missing(self._connection, task_limit, [{"name": row["key"], "free_at_us": 0} for row in rows])
                self._connection.execute(_SET, rows)
            self._look_again(gate.opens_at_us())


def forget_rates(connection: Connection, *, before_us: int) -> None:
    """Delete the rates of types and groups of which nothing began since."""
    connection.execute(delete(task_limit).where(task_limit.c.free_at_us.between(1, before_us)))


_LOCK: Final = (
    select(task_limit.c.name, task_limit.c.free_at_us)
    .where(task_limit.c.name.in_(_NAMES))
    .order_by(task_limit.c.name)
    .with_for_update(skip_locked=True)
)
_COUNT: Final = select(func.count()).where(task_limit.c.name.in_(_NAMES))
_FREE: Final = select(task_limit.c.name, task_limit.c.free_at_us).where(task_limit.c.name.in_(_NAMES))
_SET: Final = update(task_limit).where(task_limit.c.name == bindparam("key")).values(free_at_us=bindparam("free"))
_RUNNING: Final = (
    select(_t.group_key, func.count().label("running"))
    .where(RUNNING, _t.task_type == bindparam("type"))
    .group_by(_t.group_key)
)
_CANDIDATE: Final = (_t.task_id, _t.task_type, _t.priority, _t.position, _t.group_key)
_WINDOW: Final = (
    select(*_CANDIDATE)
    .where(PENDING, _t.task_type == bindparam("type"))
    .order_by(_t.priority, _t.position)
    .limit(bindparam("limit"))
    .with_hint(task_queue, "FORCE INDEX (task_queue_line)", "mysql")
)
_GROUPS: Final = (
    select(_t.group_key)
    .where(PENDING, _t.task_type == bindparam("type"), _t.group_key.is_not(None))
    .distinct()
    .limit(bindparam("limit"))
)
_OF_GROUPS: Final = (
    select(*_CANDIDATE)
    .where(PENDING, _t.task_type == bindparam("type"), _t.group_key.in_(bindparam("groups", expanding=True)))
    .order_by(_t.priority, _t.position)
    .limit(bindparam("limit"))
)
_WITHOUT_GROUP: Final = (
    select(*_CANDIDATE)
    .where(PENDING, _t.task_type == bindparam("type"), _t.group_key.is_(None))
    .order_by(_t.priority, _t.position)
    .limit(bindparam("limit"))
)
