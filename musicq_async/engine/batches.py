"""Going on after the last of a batch: `release_after`."""

from __future__ import annotations

from musicq_async.model.event import Cancelled
from musicq_async.model.task import TaskState
from musicq_async.ports import EventSink, TaskQueue


async def release_after(queue: TaskQueue, then_id: str | None, *, sink: EventSink) -> None:
    """Let the task that waited for a finished one go on, if it was the last; a cancelled one passes that on."""
    while then_id is not None:
        state = await queue.release(then_id)
        if state is not TaskState.CANCELLED:
            return
        task = await queue.get(then_id)
        if task is None:
            return
        sink.emit(Cancelled(task_id=task.task_id, task_type=task.task_type, reason=task.cancel_reason))
        then_id = task.then_id
