"""Which task may begin, where types and groups have limits: `Gates`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from musicq_async.memory.lines import Lines, place_of
from musicq_async.memory.records import Record
from musicq_async.model.limit import Limit, after_beginning, left_of, may_begin, opens_at_us
from musicq_async.ports import Clock, Wakeup

MEANINGLESS_US: Final = 1_000_000
"""A rate that has been free for so long is forgotten."""


class Gates:
    """What the limits of types and groups let begin now."""

    def __init__(self, lines: Lines, running: Mapping[str, Record], *, clock: Clock, wakeup: Wakeup | None) -> None:
        self._lines = lines
        self._running = running
        self._clock = clock
        self._wakeup = wakeup
        self._free_at_us: dict[str, int] = {}
        """Rates of types and groups."""

    def first(self, types: frozenset[str] | None, limits: tuple[Limit, ...]) -> Record | None:
        """Do what `Lines.first` does where some of the types are limited, and count its choice against the rates."""
        now_us = self._clock.time_ms() * 1000
        limited = {each.task_type: each for each in limits if types is None or each.task_type in types}
        free = frozenset(self._lines.by_type if types is None else types) - limited.keys()
        best = self._lines.first(free)
        for limit in limited.values():
            record = self._first_of(limit, now_us)
            if record is not None and (best is None or place_of(record) < place_of(best)):
                best = record
        if best is not None and (chosen := limited.get(best.task_type)) is not None:
            for name, rate in _rates(chosen, best.group_key):
                free_at_us = self._free_at_us.get(name, 0)
                self._free_at_us[name] = after_beginning(free_at_us, count=1, rate=rate, now_us=now_us)
        return best

    def _first_of(self, limit: Limit, now_us: int) -> Record | None:
        """Return the first pending task of a limited type that may begin now."""
        line = self._lines.by_type.get(limit.task_type)
        if line is None or not line.pending:
            return None
        running = [each.group_key for each in self._running.values() if each.task_type == limit.task_type]
        if left_of(limit.concurrency, len(running)) == 0 or not self._is_open(limit.task_type, limit.rate, now_us):
            return None
        if not limit.by_group:
            place = line.first()
            return None if place is None else place[2]
        for _, _, record in line.in_order():
            group = record.group_key
            if group is None or (
                left_of(limit.group_concurrency, running.count(group)) != 0
                and self._is_open(_group_name(limit.task_type, group), limit.group_rate, now_us)
            ):
                return record
        return None

    def _is_open(self, name: str, rate: float | None, now_us: int) -> bool:
        """Whether a rate lets a task begin; if not, the wakeup is told when it will."""
        if rate is None:
            return True
        free_at_us = self._free_at_us.get(name, 0)
        if may_begin(free_at_us, rate=rate, now_us=now_us):
            return True
        if self._wakeup is not None:
            self._wakeup.opens(-(-opens_at_us(free_at_us, rate=rate) // 1000))
        return False

    def forget(self, now_ms: int) -> None:
        """Drop the rates that mean nothing any more."""
        for name, free_at_us in list(self._free_at_us.items()):
            if free_at_us < now_ms * 1000 - MEANINGLESS_US:
                del self._free_at_us[name]


def _group_name(task_type: str, group: str) -> str:
    return f"{task_type}\n{group}"


def _rates(limit: Limit, group: str | None) -> Iterator[tuple[str, float]]:
    """Give the names and rates that a task of this type and group counts against."""
    if limit.rate is not None:
        yield limit.task_type, limit.rate
    if limit.group_rate is not None and group is not None:
        yield _group_name(limit.task_type, group), limit.group_rate
