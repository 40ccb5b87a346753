"""What nobody else does: scheduled tasks become pending in time, dead workers' tasks run again, old rows go."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from musicq_async.engine.batches import release_after
from musicq_async.engine.outage import Outage
from musicq_async.engine.signal import WorkSignal
from musicq_async.engine.telling import settled
from musicq_async.model.lifecycle import settle
from musicq_async.model.outcome import Crash
from musicq_async.model.task import FINISHED, Task, TaskState
from musicq_async.ports import Clock, EventSink, PublicStore, ScheduleStore, TaskQueue

LEDGER_AGE: Final = 7 * 86_400
"""Seconds that a schedule's slots are remembered: longer than any clock is wrong."""


RELEASE_INTERVAL: Final = 2.0


class Janitor:
    """Timers: `promote` sleeps until the next scheduled task is due; `rescue`, `release` and `sweep` come round.

    ``rescue_interval`` ``None`` never looks for dead workers: right for a queue in memory, which dies with them.
    ``poll_interval`` is how late another process's delayed task is seen; infinite where ``signal`` hears of all.
    ``retention`` says for how many seconds finished tasks of each state are kept.
    """

    def __init__(
        self,
        queue: TaskQueue,
        store: PublicStore,
        schedules: ScheduleStore | None,
        *,
        clock: Clock,
        sink: EventSink,
        signal: WorkSignal,
        retention: Mapping[TaskState, float],
        max_crashes: int = 3,
        poll_interval: float = 1.0,
        rescue_interval: float | None = 2.0,
        sweep_interval: float = 60.0,
        redact: Callable[[str], str] = str,
    ) -> None:
        self._queue = queue
        self._store = store
        self._schedules = schedules
        self._clock = clock
        self._sink = sink
        self._signal = signal
        self._retention = {state: retention.get(state, math.inf) for state in FINISHED}
        self._max_crashes = max_crashes
        self._poll_interval = poll_interval
        self._rescue_interval = rescue_interval
        self._sweep_interval = sweep_interval
        self._outage = Outage(sink=sink, what="keeping the queue in order", redact=redact)
        self._earlier = asyncio.Event()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Work until cancelled."""
        self._signal.on_due(self._earlier.set)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._promote)
                group.start_soon(self._every, self._sweep_interval, self.sweep)
                if self._rescue_interval is not None:
                    group.start_soon(self._every, self._rescue_interval, self.rescue)
                group.start_soon(self._every, RELEASE_INTERVAL, self.release)
                task_status.started()
        finally:
            self._signal.on_due(None)

    async def rescue(self) -> None:
        """Return the tasks of dead workers to the line, or fail those that took their worker along too often."""
        while tasks := await self._queue.expired():
            for task in tasks:
                await self._rescue(task)
            if len(tasks) < 100:
                return

    async def release(self) -> None:
        """Let tasks go on that wait for others which have finished, where the one who finished the last could not."""
        for task_id in await self._queue.releasable():
            await release_after(self._queue, task_id, sink=self._sink)

    async def sweep(self) -> None:
        """Delete finished tasks, expired values and ledger rows whose time is over."""
        now = int(self._clock.time())
        before = {state: now - int(age) for state, age in self._retention.items() if math.isfinite(age)}
        await self._queue.purge(states=before)
        await self._store.cleanup()
        if self._schedules is not None:
            await self._schedules.prune(now - LEDGER_AGE)

    async def _promote(self) -> None:
        while True:
            next_ms = await self._tried(self._queue.promote)
            told_ms = self._signal.take_due()
            times = [each / 1000 for each in (next_ms, told_ms) if each is not None]
            if self._outage.is_on:
                times.append(self._clock.time() + self._outage.wait)
            at = min([*times, self._clock.time() + self._poll_interval])
            await self._clock.wait_until(at, self._earlier)
            self._earlier.clear()

    async def _every(self, interval: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._tried(work)
            await self._clock.sleep(max(interval, self._outage.wait))

    async def _rescue(self, task: Task) -> None:
        now_ms = self._clock.time_ms()
        change = settle(task, Crash(), now_ms=now_ms, draw=0.0, max_crashes=self._max_crashes)
        if await self._queue.change(task, change):
            if change.status in FINISHED:
                await release_after(self._queue, task.then_id, sink=self._sink)
            self._sink.emit(settled(task, Crash(), change, attempt=task.attempt, seconds=0.0, now_ms=now_ms))

    async def _tried(self, work: Callable[[], Awaitable[int | None]] | Callable[[], Awaitable[None]]) -> int | None:
        try:
            result = await work()
        except Exception as error:  # noqa: BLE001 - the next round tries again, whatever it was
            self._outage.failed(error, doing=work)
            return None
        self._outage.over(doing=work)
        return result
