"""Where a scheduler's tasks go: `QueueOutlet` for a task queue with states, `PlainOutlet` for one without."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from musicq_async.engine.tasks import Tasks
from musicq_async.errors import DuplicateTask, TaskNotFound
from musicq_async.model.task import NewTask, Task
from musicq_async.ports import TaskQueue


class Outlet(Protocol):
    """What a scheduler asks of a queue."""

    async def push(self, tasks: Sequence[NewTask]) -> None:
        """Queue tasks; one that is known already is left as it is."""

    async def unfinished(self, schedule_id: str) -> list[Task]:
        """Return the tasks of a schedule that are not finished."""

    async def cancel(self, task_id: str, reason: str) -> None:
        """Cancel a task, if it is there and not finished."""


class QueueOutlet:
    """The outlet into a `TaskQueue`."""

    def __init__(self, queue: TaskQueue, tasks: Tasks) -> None:
        self._queue = queue
        self._tasks = tasks

    async def push(self, tasks: Sequence[NewTask]) -> None:
        """Queue tasks; one that is known already is left as it is."""
        await self._queue.push(tasks, ignore_known=True)

    async def unfinished(self, schedule_id: str) -> list[Task]:
        """Return the tasks of a schedule that are not finished."""
        return await self._queue.unfinished(schedule_id)

    async def cancel(self, task_id: str, reason: str) -> None:
        """Cancel a task, if it is there and not finished."""
        try:
            await self._tasks.cancel_task(task_id, reason)
        except TaskNotFound:
            return


class PlainOutlet:
    """The outlet into a queue of dicts, such as `AsyncQueue`. It knows no states: every schedule may overlap."""

    def __init__(self, push_task: Callable[[dict[str, Any]], Awaitable[Any]]) -> None:
        self._push_task = push_task

    async def push(self, tasks: Sequence[NewTask]) -> None:
        """Push each task as a dict that holds what the schedule says."""
        for task in tasks:
            try:
                await self._push_task(_as_dict(task))
            except DuplicateTask:
                continue

    async def unfinished(self, schedule_id: str) -> list[Task]:  # noqa: ARG002 - the name is the protocol's
        """Return none: nobody tells what became of a popped task."""
        return []

    async def cancel(self, task_id: str, reason: str) -> None:
        """Do nothing."""


def _as_dict(task: NewTask) -> dict[str, Any]:
    values = {
        "task_id": task.task_id,
        "type": task.task_type,
        "params": task.params,
        "scheduler_task_id": task.scheduler_task_id,
        "fire_at": task.fire_at,
        "priority": task.priority or None,
        "max_retries": task.max_retries,
        "timeout": task.timeout_seconds,
    }
    return {key: value for key, value in values.items() if value is not None}
