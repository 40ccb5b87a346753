"""The task queue on Redis: `RedisTaskQueue`."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from musicq_async.errors import DuplicateTask, LeaseLost
from musicq_async.model import lifecycle
from musicq_async.model.json_text import json_text
from musicq_async.model.lifecycle import Change
from musicq_async.model.task import FINISHED, Lease, NewTask, Task, TaskState
from musicq_async.ports import Heartbeat, TaskFilter, Terms, Wakeup
from musicq_async.redis import operations as op
from musicq_async.redis.operations import Claimed
from musicq_async.redis.rows import change_item, new_task_item, task_of, whole_task_item
from musicq_async.redis.server import RedisServer

AT_ONCE: Final = 500
"""Tasks that one call of promoting, purging or restoring touches: Redis does nothing else meanwhile."""
RELEASE_TRIES: Final = 5


class RedisTaskQueue:
    """The `musicq_async.ports.TaskQueue` on a Redis. Belongs to its `RedisServer` and that one's event loop."""

    def __init__(self, server: RedisServer, *, wakeup: Wakeup | None = None) -> None:
        self._server = server
        self._clock = server.clock
        self._wakeup = wakeup

    async def push(self, tasks: Sequence[NewTask], *, ignore_known: bool = False) -> list[str | None]:
        """Store all the tasks or none; see `musicq_async.ports.TaskQueue.push`."""
        if not tasks:
            return []
        now_ms = self._clock.time_ms()
        rows = [new_task_item(task) for task in tasks]
        size = sum(len(row[2]) for row in rows)
        there = await self._server.submit(op.PUSH, (ignore_known, rows), size=size)
        if isinstance(there, str):
            raise DuplicateTask(f"a task with the id {there!r} exists already; leave task_id out to get a fresh one")
        pushed: list[str | None] = [known or None for known in there]
        self._tell(tasks, pushed, now_ms)
        return pushed

    def _tell(self, tasks: Sequence[NewTask], pushed: Sequence[str | None], now_ms: int) -> None:
        if self._wakeup is None:
            return
        pending = 0
        for task, known in zip(tasks, pushed, strict=True):
            if task.waits is not None:
                continue
            if task.run_at_ms is not None and task.run_at_ms > now_ms:
                self._wakeup.due(task.run_at_ms)
            else:
                pending += known is None or task.unique_mode == "debounce"
        if pending:
            self._wakeup.notify(pending)

    async def claim(self, terms: Terms, limit: int = 1) -> list[Lease]:
        """Lend up to ``limit`` pending tasks; see `musicq_async.ports.TaskQueue.claim`.

        What was lent to a caller that was cancelled meanwhile is put back.
        """
        if limit < 1:
            return []
        head = _claim_head(terms)
        claimed: Claimed = await self._server.submit(op.CLAIM, limit, head=head, on_abandoned=self._put_back)
        return self._given(claimed)

    def _given(self, claimed: Claimed) -> list[Lease]:
        if claimed.opens_at_ms is not None and self._wakeup is not None:
            self._wakeup.opens(claimed.opens_at_ms)
        return claimed.leases

    def _put_back(self, claimed: Claimed) -> None:
        for lease in claimed.leases:
            self._server.post(op.PUT_BACK, (lease.task.task_id, lease.token))
        if claimed.leases and self._wakeup is not None:
            self._wakeup.notify(len(claimed.leases))

    async def exchange(self, lease: Lease, change: Change, terms: Terms, limit: int = 1) -> tuple[bool, list[Lease]]:
        """Settle and claim in one call; see `musicq_async.ports.TaskQueue.exchange`."""
        head = _claim_head(terms)
        item = (lease.task.task_id, lease.token, change_item(change)), max(0, limit)
        settled, claimed = await self._server.submit(
            op.EXCHANGE, item, head=head, on_abandoned=lambda result: self._put_back(result[1])
        )
        self._tell_change(change)
        return settled, self._given(claimed)

    async def heartbeat(self, leases: Iterable[Lease], *, seconds: float) -> Heartbeat:
        """Renew leases; see `musicq_async.ports.TaskQueue.heartbeat`."""
        lost = set()
        cancelled = {}
        milliseconds = round(seconds * 1000)
        tokens = {lease.task.task_id: lease.token for lease in leases}
        if not tokens:
            return Heartbeat()
        items = [(task_id, token, milliseconds) for task_id, token in tokens.items()]
        for (task_id, *_), answer in zip(items, await self._server.submit(op.HEARTBEAT, items), strict=True):
            if answer is False:
                lost.add(task_id)
            elif answer is not True:
                cancelled[task_id] = msgspec.json.decode(answer[0]) if answer[0] else None
        return Heartbeat(lost=frozenset(lost), cancelled=cancelled)

    async def settle(self, lease: Lease, change: Change) -> None:
        """Write how a run ended; see `musicq_async.ports.TaskQueue.settle`."""
        item = lease.task.task_id, lease.token, change_item(change)
        if not await self._server.submit(op.SETTLE, item):
            raise _lost(lease)
        self._tell_change(change)

    async def report(self, lease: Lease, progress: dict[str, Any]) -> None:
        """Store progress; see `musicq_async.ports.TaskQueue.report`."""
        item = lease.task.task_id, lease.token, json_text(progress, "progress")
        if not await self._server.submit(op.REPORT, item):
            raise _lost(lease)

    async def change(self, task: Task, change: Change) -> bool:
        """Write a change if the task is still as it was; see `musicq_async.ports.TaskQueue.change`."""
        return await self._change(task, change, guarded=False)

    async def _change(self, task: Task, change: Change, *, guarded: bool) -> bool:
        """Write a change; ``guarded`` refuses it where the task waits for others that have not finished."""
        item = task.task_id, task.status.value, task.lease_token or False, change_item(change), guarded
        changed: bool = await self._server.submit(op.CHANGE, item)
        if changed:
            self._tell_change(change)
        return changed

    def _tell_change(self, change: Change) -> None:
        if self._wakeup is None:
            return
        if change.status is TaskState.PENDING:
            self._wakeup.notify()
        elif change.status is TaskState.SCHEDULED and change.run_at_ms is not None:
            self._wakeup.due(change.run_at_ms)

    async def request_cancel(self, task_id: str, reason: str | None) -> bool:
        """Mark a running task as to be cancelled; return whether it was running."""
        text = False if reason is None else json_text(reason, "reason")
        asked: bool = await self._server.submit(op.REQUEST_CANCEL, (task_id, text))
        return asked

    async def get(self, task_id: str) -> Task | None:
        """Return one task as it stands."""
        row = await self._server.submit(op.GET, task_id)
        return task_of(row) if row else None

    async def find(self, which: TaskFilter) -> list[Task]:
        """Return a page of tasks, newest first. An unknown ``after`` has no page after it."""
        item = which.state.value if which.state else False, which.type or False, which.limit, which.after or False
        return [task_of(row) for row in await self._server.submit(op.FIND, item)]

    async def unfinished(self, scheduler_task_id: str) -> list[Task]:
        """Return the tasks of one schedule that are not finished, oldest first."""
        return [task_of(row) for row in await self._server.submit(op.UNFINISHED, scheduler_task_id)]

    async def counts(self, *, finished: bool = True) -> dict[tuple[str, TaskState], int]:
        """Return how many tasks there are of each type in each state; the cost grows with the types alone."""
        states = tuple(state.value for state in TaskState if finished or state not in FINISHED)
        found = await self._server.submit(op.COUNTS, states)
        return {(name, TaskState(state)): count for name, state, count in found}

    async def members(self, then_id: str) -> dict[TaskState, int]:
        """Return how many of the tasks that a task waits for are in each state."""
        return dict(Counter(TaskState(state) for state in await self._server.submit(op.MEMBERS, then_id)))

    async def release(self, task_id: str) -> TaskState | None:
        """Let a task that waits for others go on; see `musicq_async.ports.TaskQueue.release`."""
        for _ in range(RELEASE_TRIES):
            task = await self.get(task_id)
            if task is None:
                return None
            change = lifecycle.release(task, await self.members(task_id), now_ms=self._clock.time_ms())
            if change is None:
                return None
            if await self._change(task, change, guarded=True):
                return change.status
        return None

    async def releasable(self, limit: int = 100) -> list[str]:
        """Return the ids of tasks that wait for others which have all finished."""
        ids: list[str] = await self._server.submit(op.RELEASABLE, limit)
        return ids

    async def pause(self, task_type: str, *, paused: bool = True) -> None:
        """Pause or resume a type."""
        await self._server.submit(op.PAUSE, (task_type, paused))
        if not paused and self._wakeup is not None:
            self._wakeup.notify()

    async def paused(self) -> frozenset[str]:
        """Return the types that are paused."""
        return frozenset(await self._server.submit(op.PAUSED, None))

    async def restore(self, tasks: Sequence[Task]) -> int:
        """Store tasks as they stood elsewhere; see `musicq_async.ports.TaskQueue.restore`."""
        restored = 0
        items = [whole_task_item(task) for task in tasks]
        for start in range(0, len(items), AT_ONCE):
            restored += sum(await self._server.submit(op.RESTORE, items[start : start + AT_ONCE]))
        if restored and self._wakeup is not None:
            self._wakeup.notify(restored)
        return restored

    async def promote(self) -> int | None:
        """Make due tasks pending; see `musicq_async.ports.TaskQueue.promote`."""
        promoted = AT_ONCE
        next_ms = None
        while promoted == AT_ONCE:
            promoted, next_ms = await self._server.submit(op.PROMOTE, AT_ONCE)
            if promoted and self._wakeup is not None:
                self._wakeup.notify(promoted)
        return int(float(next_ms)) if next_ms else None

    async def expired(self, limit: int = 100) -> list[Task]:
        """Return running tasks whose lease has run out."""
        return [task_of(row) for row in await self._server.submit(op.EXPIRED, limit)]

    async def purge(self, *, states: Mapping[TaskState, int]) -> int:
        """Delete finished tasks that ended before the epoch second of their state; return how many."""
        purged = 0
        for state, before in states.items():
            deleted = AT_ONCE
            while deleted == AT_ONCE:
                deleted = await self._server.submit(op.PURGE, (state.value, before))
                purged += deleted
        while await self._server.submit(op.FORGET_KEYS, None) == AT_ONCE:
            pass
        return purged


@functools.lru_cache(maxsize=64)
def _claim_head(terms: Terms) -> bytes:
    """Return what claims share that may be served by one search."""
    limits = [[False if value is None else value for value in msgspec.structs.astuple(each)] for each in terms.limits]
    types = False if terms.types is None else sorted(terms.types)
    return msgspec.msgpack.encode((types, sorted(terms.but), limits, terms.owner, round(terms.seconds * 1000)))


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"task {lease.task.task_id} is no longer this worker's; its answer is refused")
