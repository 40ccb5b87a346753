"""How much of a type may run: `Limit`, and the arithmetic of rates (GCRA: one number, the time at which it is free).

A rate lets a tenth of a second's worth begin at once (`BURST`), one task at least; after that, one an interval. Source:
the generic cell rate algorithm of ITU-T I.371, with "theoretical arrival time" called ``free_at_us`` here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

BURST: Final = 0.1
"""Seconds of its rate that may begin at once after a pause."""


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for one type of task on all nodes together; ``None`` is no limit."""

    task_type: str
    concurrency: int | None = None
    """Tasks of the type that run at once."""
    rate: float | None = None
    """Tasks of the type that begin in a second."""
    group_concurrency: int | None = None
    """Tasks of the type with one and the same ``group_key`` that run at once."""
    group_rate: float | None = None
    """Tasks of the type with one and the same ``group_key`` that begin in a second."""

    @property
    def by_group(self) -> bool:
        """Whether groups are limited."""
        return self.group_concurrency is not None or self.group_rate is not None


def may_begin(free_at_us: int, *, rate: float, now_us: int) -> int:
    """Return how many tasks may begin now. ``free_at_us`` is 0 where none began so far."""
    burst_us = max(BURST * 1e6, 1e6 / rate)
    return max(0, math.floor((now_us + burst_us - max(free_at_us, now_us)) * rate / 1e6 + 1e-9))


def after_beginning(free_at_us: int, *, count: int, rate: float, now_us: int) -> int:
    """Return the next ``free_at_us`` when so many tasks begin now."""
    return max(free_at_us, now_us) + math.ceil(count * 1e6 / rate)


def opens_at_us(free_at_us: int, *, rate: float) -> int:
    """Return when the next task may begin."""
    interval_us = 1e6 / rate
    return math.ceil(free_at_us + interval_us - max(BURST * 1e6, interval_us))


def left_of(limit: int | None, running: int) -> int | None:
    """Return how many more may run; ``None`` is any number."""
    return None if limit is None else max(0, limit - running)


def fewest(*counts: int | None) -> int | None:
    """Return the smallest of some allowances."""
    given = [count for count in counts if count is not None]
    return min(given) if given else None


def by_type(limits: tuple[Limit, ...]) -> Mapping[str, Limit]:
    """Return limits by the type they are for."""
    return {limit.task_type: limit for limit in limits}
