"""Which types this process may begin now: the concurrency and the rate of each handler, looked at before a claim."""

from __future__ import annotations

import math
from typing import Final

from musicq_async.engine.registry import Handler, Handlers

BURST: Final = 0.1
"""Seconds of its rate that a type saves up while nothing of it comes; one task at least."""


class _Allowance:
    """What one limited type has left.

    A claim that may bring a task of the type counts as one until it has returned: claims that run side by side can
    never take more than is left.
    """

    __slots__ = ("at", "claiming", "running", "tokens")

    def __init__(self, now: float, handler: Handler) -> None:
        self.running = 0
        self.claiming = 0
        self.tokens = max(1.0, (handler.rate or 0.0) * BURST)
        self.at = now

    def refill(self, now: float, rate: float) -> None:
        self.tokens = min(max(1.0, rate * BURST), self.tokens + (now - self.at) * rate)
        self.at = now

    def is_open(self, now: float, handler: Handler) -> bool:
        if handler.concurrency is not None and self.running + self.claiming >= handler.concurrency:
            return False
        if handler.rate is None:
            return True
        self.refill(now, handler.rate)
        return self.tokens - self.claiming >= 1.0

    def seconds_until_open(self, now: float, handler: Handler) -> float:
        """Return how long the rate bars the type; a full concurrency ends with an event, not with a time."""
        if handler.rate is None:
            return math.inf
        self.refill(now, handler.rate)
        lacking = 1.0 + self.claiming - self.tokens
        return lacking / handler.rate if lacking > 0 else math.inf


class Limits:
    """The limited types of one process. Types without limits cost nothing."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._allowances: dict[str, _Allowance] = {}
        self._version = -1
        self._limited: list[Handler] = []

    @property
    def exist(self) -> bool:
        """Whether any type is limited. Looked for again whenever a handler is registered."""
        if self._version != self._handlers.version:
            self._version = self._handlers.version
            every = self._handlers.by_type.values()
            self._limited = [each for each in every if each.concurrency is not None or each.rate is not None]
        return bool(self._limited)

    def open_types(self, now: float) -> tuple[frozenset[str], tuple[str, ...]]:
        """Return the types that are barred now, and the limited ones that are open and reserved until `claimed`."""
        barred = []
        reserved = []
        for handler in self._limited:
            allowance = self._allowance(handler, now)
            if allowance.is_open(now, handler):
                allowance.claiming += 1
                reserved.append(handler.task_type)
            else:
                barred.append(handler.task_type)
        return frozenset(barred), tuple(reserved)

    def claimed(self, reserved: tuple[str, ...], task_type: str | None) -> None:
        """End the reservation of a claim that brought a task of this type, or none."""
        for name in reserved:
            self._allowances[name].claiming -= 1
        if task_type is not None and (allowance := self._allowances.get(task_type)) is not None:
            allowance.running += 1
            allowance.tokens -= 1.0

    def ended(self, task_type: str) -> bool:
        """Note that a task ended; return whether its type is limited, so that another may begin now."""
        allowance = self._allowances.get(task_type)
        if allowance is None:
            return False
        allowance.running = max(allowance.running - 1, 0)  # it may have begun before there was a limit
        return True

    def seconds_until_open(self, now: float) -> float:
        """Return how soon a rate lets a barred type begin again; infinite if none is barred."""
        waits = [self._allowance(each, now).seconds_until_open(now, each) for each in self._limited]
        return min(waits, default=math.inf)

    def _allowance(self, handler: Handler, now: float) -> _Allowance:
        found = self._allowances.get(handler.task_type)
        if found is None:
            found = self._allowances[handler.task_type] = _Allowance(now, handler)
        return found
