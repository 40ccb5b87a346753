"""Group commit: items that arrive while a transaction runs share the next one (`GroupCommit`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from anyio.abc import TaskGroup
from sqlalchemy import Connection

from musicq_async.errors import BackendUnavailable
from musicq_async.lane import Call, Lane
from musicq_async.ports import Clock
from musicq_async.sql.transactions import Unit

BatchUnit = Callable[[Connection, Sequence[Any]], Sequence[Any]]
"""Does the work of many items in one transaction; returns a result for each. An exception in the place of a result is
raised to that item's caller alone; one that is raised undoes the batch, and its items are done again one by one."""
Commit = Callable[[Unit[list[Any]]], Awaitable[list[Any]]]
_ONLY: Final = "the one writer"


class GroupCommit:
    """Collects calls, whose kind is their `BatchUnit`, and commits them together. Belongs to one event loop.

    ``parallel`` gives every kind its own lane, for servers; SQLite has one writer and one lane.
    """

    def __init__(self, commit: Commit, *, group: TaskGroup, clock: Clock, parallel: bool) -> None:
        self._commit = commit
        self._group = group
        self._clock = clock
        self._parallel = parallel
        self._lanes: dict[Any, Lane] = {}

    def lane_of(self, call: Call) -> Lane:
        """Return the lane that the call goes by."""
        key = call.kind if self._parallel else _ONLY
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(self._run, group=self._group, clock=self._clock)
        return lane

    async def _run(self, batch: list[Call]) -> None:
        kinds: dict[BatchUnit, list[Call]] = {}
        for call in batch:
            kinds.setdefault(call.kind, []).append(call)

        def unit(connection: Connection) -> list[Any]:
            return [unit(connection, [call.item for call in calls]) for unit, calls in kinds.items()]

        try:
            results = await self._commit(unit)
        except Exception as error:  # noqa: BLE001 - it is handed to whoever waits
            await self._apart(batch, error)
        else:
            for calls, each in zip(kinds.values(), results, strict=True):
                for call, result in zip(calls, each, strict=True):
                    call.resolve(result)

    async def _apart(self, batch: list[Call], error: Exception) -> None:
        """Do the items of a batch that failed one by one, so that a bad one hurts nobody else."""
        if len(batch) == 1 or isinstance(error, BackendUnavailable):
            for call in batch:
                call.resolve(error)
        else:
            for call in batch:
                await self._run([call])
