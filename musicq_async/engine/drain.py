"""When a queue counts as idle: `until_idle`, what ``app.run_until_idle()`` and ``run --drain`` wait for."""

from __future__ import annotations

from typing import Final

from musicq_async.engine.worker import Workers
from musicq_async.model.task import Task, TaskState
from musicq_async.ports import Clock, TaskFilter, TaskQueue

HORIZON: Final = 60.0
"""Seconds: a task that is due sooner than this is waited for, one that is due later is not."""
LONGEST_LOOK: Final = 0.5
"""Seconds between two looks at what other processes do."""
PAGE: Final = 500


async def until_idle(
    queue: TaskQueue, workers: Workers, *, clock: Clock, types: frozenset[str] | None, horizon: float = HORIZON
) -> None:
    """Wait until no task of these types (``None``: any) is pending or running, here or elsewhere.

    A retry is work that was begun and is waited for however late it is due. Delayed and snoozed tasks are waited for if
    they are due within ``horizon`` seconds; later ones, and tasks that nobody handles, are not.
    """
    look = 0.001
    with workers.watched():
        while workers.running or not await _is_idle(queue, clock, types, horizon):
            await workers.changed(look)
            look = min(look * 2, LONGEST_LOOK)


async def _is_idle(queue: TaskQueue, clock: Clock, types: frozenset[str] | None, horizon: float) -> bool:
    waiting = await _unfinished(queue, types)
    if any(state is not TaskState.SCHEDULED for _, state in waiting):
        return False
    latest_ms = clock.time_ms() + round(horizon * 1000)
    for name, _ in waiting:
        after: str | None = None
        while page := await queue.find(TaskFilter(state=TaskState.SCHEDULED, type=name, limit=PAGE, after=after)):
            if any(_is_awaited(task, latest_ms) for task in page):
                return False
            after = page[-1].task_id
    return await _unfinished(queue, types) == waiting  # none became pending while we looked


async def _unfinished(queue: TaskQueue, types: frozenset[str] | None) -> dict[tuple[str, TaskState], int]:
    """Count what may still run: pending tasks of a paused type do not."""
    counts = await queue.counts(finished=False)
    paused = await queue.paused() if counts else frozenset()
    return {
        (name, state): count
        for (name, state), count in counts.items()
        if (types is None or name in types) and not (state is TaskState.PENDING and name in paused)
    }


def _is_awaited(task: Task, latest_ms: int) -> bool:
    is_retry = task.retry_count > 0 and task.errors != ()
    return is_retry or (task.run_at_ms or 0) <= latest_ms
