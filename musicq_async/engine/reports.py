"""Progress of running tasks on its way to the queue: the newest report of each run, now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from musicq_async.engine.attempt import Run
from musicq_async.engine.outage import Outage
from musicq_async.errors import LeaseLost
from musicq_async.model.event import Progressed
from musicq_async.ports import Clock, EventSink, TaskQueue

REPORT_EVERY: Final = 0.2
"""Seconds between two reports of one run that are stored; events tell of all of them."""


class Reports:
    """Stores the reports of the runs in a dict. A run is worth more than its reports: no failure reaches it."""

    def __init__(
        self, queue: TaskQueue, runs: Mapping[str, Run], *, clock: Clock, sink: EventSink, outage: Outage
    ) -> None:
        self._queue = queue
        self._runs = runs
        self._clock = clock
        self._sink = sink
        self._outage = outage
        self._unstored = asyncio.Event()

    async def take(self, run: Run, progress: dict[str, Any]) -> None:
        """Take a report: tell of it, and store it now or soon."""
        task = run.lease.task
        if self._sink.listening:
            self._sink.emit(Progressed(task_id=task.task_id, task_type=task.task_type, **progress))
        run.progress = progress
        if self._clock.monotonic() - run.reported_at >= REPORT_EVERY:
            await self.store(run)
        else:
            self._unstored.set()

    async def run(self) -> None:
        """Store the reports that came too soon after the one before, until cancelled."""
        while True:
            await self._unstored.wait()
            self._unstored.clear()
            await self._clock.sleep(REPORT_EVERY)
            for run in list(self._runs.values()):
                await self.store(run)

    async def store(self, run: Run) -> None:
        """Store the newest report of a run, if there is one that is not stored."""
        progress, run.progress = run.progress, None
        if progress is None:
            return
        run.reported_at = self._clock.monotonic()
        try:
            await self._queue.report(run.lease, progress)
        except LeaseLost:
            run.lost()
        except Exception as error:  # noqa: BLE001 - the next report tries again, whatever it was
            self._outage.failed(error)
