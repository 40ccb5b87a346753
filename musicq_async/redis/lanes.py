"""Calls that arrive about now go to Redis together: `Lane`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

LARGEST_BATCH: Final = 256
"""Calls in one batch."""
MOST_BYTES: Final = 8 * 1024 * 1024
"""Bytes after which a batch takes no more calls."""

Spread = Callable[[Any, Sequence[Any]], Sequence[Any]]


def each(answer: Any, _items: Sequence[Any]) -> Sequence[Any]:
    """Spread an answer that has a result for each item."""
    results: Sequence[Any] = answer
    return results


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation of a script, done for many items in one call."""

    name: str
    script: bytes
    """Hash of the script."""
    lane: str
    spread: Spread = each
    """Gives every item its part of the answer."""


class Entry:
    """One item on its way."""

    __slots__ = ("finished", "head", "item", "on_abandoned", "operation", "resolved", "size", "started", "waiter")

    def __init__(
        self,
        operation: Operation,
        head: bytes,
        item: Any,
        *,
        size: int,
        on_abandoned: Callable[[Any], None] | None,
    ) -> None:
        self.operation = operation
        self.head = head
        """What items of one call share."""
        self.item = item
        self.size = size
        """Bytes, about."""
        self.on_abandoned = on_abandoned
        """Told the result when the caller has gone."""
        self.waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.started = False
        self.resolved = False
        self.finished: asyncio.Future[None] | None = None

    def resolve(self, result: Any) -> None:
        """Hand the result, or an error, to whoever waits for it."""
        self.resolved = True
        if self.waiter.done():
            self._tell_abandoned(result)
        elif isinstance(result, Exception):
            self.waiter.set_exception(result)
        else:
            self.waiter.set_result(result)
        if self.finished is not None and not self.finished.done():
            self.finished.set_result(None)

    def abandon(self) -> bool:
        """Learn that the caller was cancelled; return whether nothing is under way."""
        if self.waiter.done() and not self.waiter.cancelled():  # the result came in the moment of the cancellation
            error = self.waiter.exception()
            self._tell_abandoned(error if error is not None else self.waiter.result())
            return True
        self.waiter.cancel()
        return self.resolved or not self.started

    def _tell_abandoned(self, result: Any) -> None:
        if self.on_abandoned is not None and not isinstance(result, Exception):
            self.on_abandoned(result)


class Lane:
    """Entries that share a connection, a batch at a time; the next batch gathers while one is under way."""

    def __init__(self, run: Callable[[list[Entry]], Awaitable[None]], *, group: TaskGroup) -> None:
        self._run = run
        """Resolves every entry of a batch; raises nothing."""
        self._group = group
        self._waiting: deque[Entry] = deque()
        self._busy = False

    def put(self, entry: Entry) -> None:
        """Accept an entry; its batch goes at the loop's next turn, or after the one under way."""
        self._waiting.append(entry)
        if not self._busy:
            self._busy = True
            self._group.start_soon(self._drain)

    def withdraw(self, entry: Entry) -> None:
        """Take back an entry whose batch has not gone."""
        if not entry.started and entry in self._waiting:
            self._waiting.remove(entry)

    async def _drain(self) -> None:
        with anyio.CancelScope(shield=True):
            try:
                while self._waiting:
                    await self._run(self._batch())
            finally:
                self._busy = False

    def _batch(self) -> list[Entry]:
        batch: list[Entry] = []
        size = 0
        while self._waiting and len(batch) < LARGEST_BATCH and size < MOST_BYTES:
            entry = self._waiting.popleft()
            entry.started = True
            size += entry.size
            batch.append(entry)
        return batch
