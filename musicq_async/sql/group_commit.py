"""Group commit: items that arrive while a transaction runs share the next one (`GroupCommit`)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup
from sqlalchemy import Connection

from musicq_async.errors import BackendUnavailable
from musicq_async.sql.transactions import Unit

LARGEST_BATCH: Final = 256

BatchUnit = Callable[[Connection, Sequence[Any]], Sequence[Any]]
"""Does the work of many items in one transaction; returns a result for each. An exception in the place of a result is
raised to that item's caller alone; one that is raised undoes the batch, and its items are done again one by one."""
Commit = Callable[[Unit[list[Any]]], Awaitable[list[Any]]]


class Entry:
    """One item on its way."""

    __slots__ = ("finished", "item", "on_abandoned", "resolved", "started", "unit", "waiter")

    def __init__(
        self, unit: BatchUnit, item: Any, waiter: asyncio.Future[Any], on_abandoned: Callable[[Any], None] | None
    ) -> None:
        self.unit = unit
        self.item = item
        self.waiter = waiter
        self.on_abandoned = on_abandoned
        """Told the result when the caller has gone."""
        self.started = False
        self.resolved = False
        self.finished: asyncio.Future[None] | None = None

    def resolve(self, result: Any) -> None:
        """Hand the result to whoever waits for it."""
        self.resolved = True
        if self.waiter.done():
            self._tell_abandoned(result)
        elif isinstance(result, BaseException):
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
        if self.on_abandoned is not None and not isinstance(result, BaseException):
            self.on_abandoned(result)


class _Lane:
    """Items that share transactions, one transaction at a time."""

    __slots__ = ("busy", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Entry] = deque()
        self.busy = False


class GroupCommit:
    """Collects items and commits them together. Belongs to one event loop.

    ``parallel`` gives every kind of work its own lane, for servers; SQLite has one writer and one lane.
    """

    def __init__(self, commit: Commit, *, group: TaskGroup, parallel: bool) -> None:
        self._commit = commit
        self._group = group
        self._parallel = parallel
        self._lanes: dict[Hashable, _Lane] = {}

    def put(self, entry: Entry) -> None:
        """Accept an item; its transaction begins at the loop's next turn, or after the one that runs."""
        key = entry.unit if self._parallel else None
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
        lane.waiting.append(entry)
        if not lane.busy:
            lane.busy = True
            self._group.start_soon(self._drain, key, lane)

    def withdraw(self, entry: Entry) -> None:
        """Take back an item whose transaction has not begun."""
        lane = self._lanes.get(entry.unit if self._parallel else None)
        if lane is not None and entry in lane.waiting:
            lane.waiting.remove(entry)

    async def _drain(self, key: Hashable, lane: _Lane) -> None:
        with anyio.CancelScope(shield=True):
            try:
                while lane.waiting:
                    await asyncio.sleep(0)  # whoever this turn wakes may have an item too
                    size = min(len(lane.waiting), LARGEST_BATCH)
                    await self._run([lane.waiting.popleft() for _ in range(size)])
            finally:
                lane.busy = False
                del self._lanes[key]

    async def _run(self, batch: list[Entry]) -> None:
        for entry in batch:
            entry.started = True
        groups: dict[BatchUnit, list[Entry]] = {}
        for entry in batch:
            groups.setdefault(entry.unit, []).append(entry)

        def unit(connection: Connection) -> list[Any]:
            return [unit(connection, [entry.item for entry in entries]) for unit, entries in groups.items()]

        try:
            results = await self._commit(unit)
        except Exception as error:  # noqa: BLE001 - it is handed to whoever waits
            await self._apart(batch, error)
        else:
            for entries, each in zip(groups.values(), results, strict=True):
                for entry, result in zip(entries, each, strict=True):
                    entry.resolve(result)

    async def _apart(self, batch: list[Entry], error: Exception) -> None:
        """Do the items of a batch that failed one by one, so that a bad one hurts nobody else."""
        if len(batch) == 1 or isinstance(error, BackendUnavailable):
            for entry in batch:
                entry.resolve(error)
        else:
            for entry in batch:
                await self._run([entry])
