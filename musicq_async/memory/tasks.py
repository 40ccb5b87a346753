"""The task queue of ``memory://``: `MemoryTasks`, lost when the process ends.

It keeps its own heaps rather than a `MemoryQueue`: tasks are remembered with their states, claimed by type and put
back, which a `queue.Queue` cannot do, and a lock for threads that never come would cost a third of its speed.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from musicq_async.errors import DuplicateTask, LeaseLost
from musicq_async.memory.gates import Gates
from musicq_async.memory.lines import Lines, Place
from musicq_async.memory.records import Record, TaskRecord, recorded, shown
from musicq_async.model import lifecycle
from musicq_async.model.lifecycle import Change
from musicq_async.model.task import FINISHED, Lease, NewTask, Task, TaskState
from musicq_async.model.unique import REPLACING, is_held, window_ms
from musicq_async.ports import Clock, Heartbeat, TaskFilter, Terms, Wakeup

KEPT: Final = 100_000
"""Finished tasks of each state that are remembered, whatever their age: memory must not grow without end."""

SCHEDULED, PENDING, RUNNING, COMPLETED = TaskState.SCHEDULED, TaskState.PENDING, TaskState.RUNNING, TaskState.COMPLETED


class MemoryTasks:
    """The `musicq_async.ports.TaskQueue` in this process's memory, for one event loop.

    Every method acts at once and never gives way to other tasks, so each is atomic.
    """

    def __init__(self, *, clock: Clock, wakeup: Wakeup | None = None, kept: int = KEPT) -> None:
        self._clock = clock
        self._wakeup = wakeup
        self._kept = kept
        self._tasks: dict[str, Record] = {}
        """Every task, in the order of their pushes."""
        self._lines = Lines()
        self._running: dict[str, Record] = {}
        self._gates = Gates(self._lines, self._running, clock=clock, wakeup=wakeup)
        self._later: list[Place] = []
        """Scheduled tasks by ``run_at_ms``; those that no longer are scheduled for then, are skipped."""
        self._of_schedule: dict[str, dict[str, Record]] = {}
        """Unfinished tasks of each schedule."""
        self._ended: dict[TaskState, deque[tuple[int, Any]]] = {state: deque() for state in FINISHED}
        """Finished tasks with the time of their end, oldest first; those that ran again since, are skipped."""
        self._keys: dict[str, tuple[str, int, int]] = {}
        """Unique keys: the task that holds each, when it was pushed, until when its window lasts (milliseconds)."""
        self._members: dict[str, dict[str, None]] = {}
        """Tasks by the task that waits for them."""
        self._waiting: dict[str, Record] = {}
        """Tasks that wait for others."""
        self._paused: set[str] = set()
        self._position = 0
        self._tokens = itertools.count(1)

    async def push(self, tasks: Sequence[NewTask], *, ignore_known: bool = False) -> list[str | None]:
        """Store all the tasks or none; see `musicq_async.ports.TaskQueue.push`."""
        if len(tasks) == 1 and tasks[0].unique_key is None and tasks[0].task_id not in self._tasks:
            if self._store(tasks[0], self._clock.time_ms()) and self._wakeup is not None:
                self._wakeup.notify()
            return [None]
        now_ms = self._clock.time_ms()
        pushed = self._who_is_there(tasks, now_ms)
        for task, known in zip(tasks, pushed, strict=True):
            if known == task.task_id and not ignore_known:
                raise DuplicateTask(
                    f"a task with the id {known!r} exists already; leave task_id out to get a fresh one"
                )
        pending = 0
        for task, known in zip(tasks, pushed, strict=True):
            if known is None:
                pending += self._store(task, now_ms)
            elif known != task.task_id and task.unique_mode in REPLACING:
                pending += self._replace(self._tasks[known], task, now_ms)
        if pending and self._wakeup is not None:
            self._wakeup.notify(pending)
        return pushed

    def _who_is_there(self, tasks: Sequence[NewTask], now_ms: int) -> list[str | None]:
        """Find for each task the one that is there in its place."""
        seen: set[str] = set()
        keys: dict[str, str] = {}
        there: list[str | None] = []
        for task in tasks:
            key, known = task.unique_key, None
            if key is not None:
                known = keys.get(key) or self._holder(key, task.unique_mode, now_ms)
            if known is None and (task.task_id in self._tasks or task.task_id in seen):
                known = task.task_id
            elif known is None:
                seen.add(task.task_id)
                if key is not None:
                    keys[key] = task.task_id
            there.append(known)
        return there

    def _holder(self, key: str, mode: str, now_ms: int) -> str | None:
        """Return the task that holds a unique key."""
        task_id, pushed_ms, _ = self._keys.get(key, (None, 0, 0))
        if task_id is None:
            return None
        record = self._tasks.get(task_id)
        state = None if record is None else record.status
        return task_id if is_held(mode, state=state, pushed_ms=pushed_ms, now_ms=now_ms) else None

    def _replace(self, record: Record, task: NewTask, now_ms: int) -> bool:
        """Give a waiting task what a push of its key brought; return whether it became pending by that."""
        record.params, record.extra = task.params, task.extra
        if task.unique_mode != "debounce":
            return False
        was, record.run_at_ms = record.status, task.run_at_ms
        later = task.run_at_ms is not None and task.run_at_ms > now_ms
        if later and was is SCHEDULED:
            self._wait_until(record)
        else:
            self._move(record, SCHEDULED if later else PENDING)
        return record.status is PENDING and was is not PENDING

    def _store(self, task: NewTask, now_ms: int) -> bool:
        position = now_ms * 1000
        if position <= self._position:
            position = self._position + 1
        self._position = position
        line = self._lines.of(task.task_type)
        waits = task.waits is not None
        later = waits or (task.run_at_ms is not None and task.run_at_ms > now_ms)
        status = SCHEDULED if later else PENDING
        record = recorded(task, status=status, position=position, now_ms=now_ms)
        self._tasks[task.task_id] = record
        if task.scheduler_task_id is not None:
            self._of_schedule.setdefault(task.scheduler_task_id, {})[task.task_id] = record
        if task.unique_key is not None:
            self._keys[task.unique_key] = (task.task_id, now_ms, now_ms + window_ms(task.unique_mode))
        if task.then_id is not None:
            self._members.setdefault(task.then_id, {})[task.task_id] = None
        if later:
            line.counts[SCHEDULED] += 1
            if waits:
                self._waiting[task.task_id] = record
            else:
                self._wait_until(record)
            return False
        line.counts[PENDING] += 1
        line.put(record)
        return True

    async def claim(self, terms: Terms, limit: int = 1) -> list[Lease]:
        """Lend up to ``limit`` pending tasks; see `musicq_async.ports.TaskQueue.claim`."""
        leases: list[Lease] = []
        types = terms.types
        if terms.but:
            types = (frozenset(self._lines.by_type) if types is None else types) - terms.but
        limits = tuple(each for each in terms.limits if self._lines.of(each.task_type).pending) if terms.limits else ()
        while len(leases) < limit:
            record = self._gates.first(types, limits) if limits else self._lines.first(types)
            if record is None:
                break
            now_ms = self._clock.time_ms()
            token = str(next(self._tokens))
            counts = self._lines.of(record.task_type).counts
            counts[PENDING] -= 1
            counts[RUNNING] += 1
            record.status = RUNNING
            record.started_at = now_ms // 1000
            record.lease_owner = terms.owner
            record.lease_token = token
            record.lease_until_ms = now_ms + int(terms.seconds * 1000)
            self._running[record.task_id] = record
            leases.append(Lease(task=record, token=token))
        return leases

    async def exchange(self, lease: Lease, change: Change, terms: Terms, limit: int = 1) -> tuple[bool, list[Lease]]:
        """Settle, then claim; see `musicq_async.ports.TaskQueue.exchange`."""
        record = self._held(lease)
        if record is not None:
            self._apply(record, change)
        return record is not None, await self.claim(terms, limit)

    async def heartbeat(self, leases: Iterable[Lease], *, seconds: float) -> Heartbeat:
        """Renew leases; see `musicq_async.ports.TaskQueue.heartbeat`."""
        until_ms = self._clock.time_ms() + round(seconds * 1000)
        lost = set()
        cancelled = {}
        for lease in leases:
            record = self._held(lease)
            if record is None:
                lost.add(lease.task.task_id)
                continue
            record.lease_until_ms = until_ms
            if record.cancel_requested_ms is not None:
                cancelled[record.task_id] = record.cancel_reason
        return Heartbeat(lost=frozenset(lost), cancelled=cancelled)

    async def settle(self, lease: Lease, change: Change) -> None:
        """Write how a run ended; see `musicq_async.ports.TaskQueue.settle`."""
        record = self._held(lease)
        if record is None:
            raise LeaseLost(f"task {lease.task.task_id} was given to another worker; this answer is refused")
        self._apply(record, change)

    async def report(self, lease: Lease, progress: dict[str, Any]) -> None:
        """Store progress; see `musicq_async.ports.TaskQueue.report`."""
        record = self._held(lease)
        if record is None:
            raise LeaseLost(f"task {lease.task.task_id} was given to another worker; this report is refused")
        record.progress = progress

    async def change(self, task: Task, change: Change) -> bool:
        """Write a change if the task is still as it was; see `musicq_async.ports.TaskQueue.change`."""
        record = self._tasks.get(task.task_id)
        if record is None or record.status is not task.status or record.lease_token != task.lease_token:
            return False
        self._apply(record, change)
        return True

    async def request_cancel(self, task_id: str, reason: str | None) -> bool:
        """Mark a running task as to be cancelled; return whether it was running."""
        record = self._running.get(task_id)
        if record is None:
            return False
        record.cancel_requested_ms = self._clock.time_ms()
        record.cancel_reason = reason
        return True

    async def get(self, task_id: str) -> Task | None:
        """Return one task as it stands."""
        record = self._tasks.get(task_id)
        return None if record is None else shown(record)

    async def find(self, which: TaskFilter) -> list[Task]:
        """Return a page of tasks, newest first. An unknown ``after`` has no page after it."""
        below: float = float("inf")
        if which.after is not None:
            last = self._tasks.get(which.after)
            if last is None:
                return []
            below = last.position
        matching = (
            record
            for record in reversed(self._tasks.values())
            if record.position < below
            and (which.state is None or record.status is which.state)
            and (which.type is None or record.task_type == which.type)
        )
        return [shown(record) for record in itertools.islice(matching, which.limit)]

    async def unfinished(self, scheduler_task_id: str) -> list[Task]:
        """Return the tasks of one schedule that are not finished, oldest first."""
        records = self._of_schedule.get(scheduler_task_id, {}).values()
        return [shown(record) for record in sorted(records, key=lambda each: each.position)]

    async def counts(self, *, finished: bool = True) -> dict[tuple[str, TaskState], int]:
        """Return how many tasks there are of each type in each state."""
        return {
            (name, state): count
            for name, line in self._lines.by_type.items()
            for state, count in line.counts.items()
            if count and (finished or state not in FINISHED)
        }

    async def members(self, then_id: str) -> dict[TaskState, int]:
        """Return how many of the tasks that a task waits for are in each state."""
        return dict(Counter(self._tasks[each].status for each in self._members.get(then_id, ())))

    async def release(self, task_id: str) -> TaskState | None:
        """Let a task that waits for others go on; see `musicq_async.ports.TaskQueue.release`."""
        record = self._waiting.get(task_id)
        if record is None:
            return None
        change = lifecycle.release(record, await self.members(task_id), now_ms=self._clock.time_ms())
        if change is None:
            return None
        self._apply(record, change)
        return change.status

    async def releasable(self, limit: int = 100) -> list[str]:
        """Return the ids of tasks that wait for others which have all finished."""
        ready = (task_id for task_id in self._waiting if self._states(task_id) <= FINISHED)
        return list(itertools.islice(ready, limit))

    def _states(self, then_id: str) -> set[TaskState]:
        return {self._tasks[each].status for each in self._members.get(then_id, ())}

    async def pause(self, task_type: str, *, paused: bool = True) -> None:
        """Pause or resume a type."""
        if paused:
            self._paused.add(task_type)
        else:
            self._paused.discard(task_type)
            if self._wakeup is not None:
                self._wakeup.notify()

    async def paused(self) -> frozenset[str]:
        """Return the types that are paused."""
        return frozenset(self._paused)

    async def restore(self, tasks: Sequence[Task]) -> int:
        """Store tasks as they stood elsewhere; see `musicq_async.ports.TaskQueue.restore`."""
        restored = 0
        for task in sorted(tasks, key=lambda each: each.position):
            if task.task_id not in self._tasks:
                self._restore(task)
                restored += 1
        for task in sorted(tasks, key=lambda each: each.position, reverse=True):
            self._restore_key(task)
        if restored and self._wakeup is not None:
            self._wakeup.notify(restored)
        return restored

    def _restore(self, task: Task) -> None:
        values = msgspec.structs.asdict(task)
        state = PENDING if task.status is RUNNING else task.status
        record = TaskRecord(
            **values | {"status": PENDING, "lease_owner": None, "lease_token": None, "lease_until_ms": None}
        )
        self._tasks[task.task_id] = record
        self._position = max(self._position, task.position)
        line = self._lines.of(task.task_type)
        line.counts[PENDING] += 1
        if task.then_id is not None:
            self._members.setdefault(task.then_id, {})[task.task_id] = None
        if task.scheduler_task_id is not None:
            self._of_schedule.setdefault(task.scheduler_task_id, {})[task.task_id] = record
        if state is PENDING:
            line.put(record)
        else:
            self._move(record, state)

    def _restore_key(self, task: Task) -> None:
        """Give a waiting task its unique key again, unless a later one has it."""
        key, mode, pushed_ms = task.unique_key, task.unique_mode, task.created_at * 1000
        if key is None or task.status in FINISHED or self._holder(key, mode, self._clock.time_ms()) is not None:
            return
        self._keys[key] = (task.task_id, pushed_ms, pushed_ms + window_ms(mode))

    async def promote(self) -> int | None:
        """Make due tasks pending; see `musicq_async.ports.TaskQueue.promote`."""
        now_ms = self._clock.time_ms()
        promoted = 0
        while self._later:
            run_at_ms, _, record = self._later[0]
            if record.status is SCHEDULED and record.run_at_ms == run_at_ms:
                if run_at_ms > now_ms:
                    break
                self._move(record, PENDING)
                promoted += 1
            heapq.heappop(self._later)
        if promoted and self._wakeup is not None:
            self._wakeup.notify(promoted)
        return self._later[0][0] if self._later else None

    async def expired(self, limit: int = 100) -> list[Task]:
        """Return running tasks whose lease has run out."""
        now_ms = self._clock.time_ms()
        gone = (each for each in self._running.values() if (each.lease_until_ms or 0) <= now_ms)
        return [shown(record) for record in itertools.islice(gone, limit)]

    async def purge(self, *, states: Mapping[TaskState, int]) -> int:
        """Delete finished tasks that ended before the epoch second of their state; return how many."""
        purged = 0
        for state, before in states.items():
            ended = self._ended.get(state, ())
            while ended and ended[0][0] < before:
                purged += self._forget(state)
        self._forget_names()
        return purged

    def _forget_names(self) -> None:
        """Drop unique keys and rates that mean nothing any more."""
        now_ms = self._clock.time_ms()
        for key, (task_id, _, until_ms) in list(self._keys.items()):
            record = self._tasks.get(task_id)
            if until_ms < now_ms and (record is None or record.status in FINISHED):
                del self._keys[key]
        self._gates.forget(now_ms)

    def _held(self, lease: Lease) -> Record | None:
        record = self._tasks.get(lease.task.task_id)
        return record if record is not None and record.lease_token == lease.token else None

    def _apply(self, record: Record, change: Change) -> None:
        """Write what a transition decided."""
        record.run_at_ms = change.run_at_ms
        record.completed_at = change.completed_at
        record.retry_count = change.retry_count
        record.crash_count = change.crash_count
        record.snooze_count = change.snooze_count
        record.interrupt_count = change.interrupt_count
        record.error_message = change.error_message
        record.errors = change.errors
        record.result = change.result
        record.cancel_requested_ms = change.cancel_requested_ms
        record.cancel_reason = change.cancel_reason
        record.lease_owner = record.lease_token = record.lease_until_ms = None
        self._move(record, change.status)
        if self._wakeup is not None and change.status is PENDING:
            self._wakeup.notify()

    def _move(self, record: Record, state: TaskState) -> None:
        """Put a task into another state, and where tasks of that state are kept."""
        was = record.status
        if was is state:
            return
        line = self._lines.of(record.task_type)
        line.counts[was] -= 1
        line.counts[state] += 1
        record.status = state
        if was is RUNNING:
            del self._running[record.task_id]
        elif was is SCHEDULED:
            self._waiting.pop(record.task_id, None)
        if state is PENDING:
            line.put(record)
            self._again(record, was)
        elif state is SCHEDULED:
            if record.run_at_ms is None and record.waits is not None:
                self._waiting[record.task_id] = record
            else:
                self._wait_until(record)
        else:
            self._end(record, state)

    def _again(self, record: Record, was: TaskState) -> None:
        if was in FINISHED and record.scheduler_task_id is not None:
            self._of_schedule.setdefault(record.scheduler_task_id, {})[record.task_id] = record

    def _end(self, record: Record, state: TaskState) -> None:
        ended = self._ended[state]
        ended.append((record.completed_at or 0, record))
        if len(ended) > self._kept:
            self._forget(state)
        if record.scheduler_task_id is not None:
            siblings = self._of_schedule.get(record.scheduler_task_id, {})
            siblings.pop(record.task_id, None)
            if not siblings:
                self._of_schedule.pop(record.scheduler_task_id, None)

    def _forget(self, state: TaskState) -> bool:
        """Drop the task that ended first in this state; return whether it still was in it."""
        completed_at, record = self._ended[state].popleft()
        is_known = self._tasks.get(record.task_id) is record
        if not is_known or record.status is not state or record.completed_at != completed_at:
            return False
        del self._tasks[record.task_id]
        self._lines.of(record.task_type).counts[state] -= 1
        if record.then_id is not None and (members := self._members.get(record.then_id)) is not None:
            members.pop(record.task_id, None)
            if not members:
                del self._members[record.then_id]
        return True

    def _wait_until(self, record: Record) -> None:
        run_at_ms = record.run_at_ms or 0
        heapq.heappush(self._later, (run_at_ms, record.position, record))
        if self._wakeup is not None:
            self._wakeup.due(run_at_ms)
