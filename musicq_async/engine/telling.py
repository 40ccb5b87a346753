"""Which event tells of a settled run."""

from __future__ import annotations

from musicq_async.model.event import Cancelled, Completed, Event, Failed, Retried, Returned, Snoozed
from musicq_async.model.lifecycle import Change
from musicq_async.model.outcome import Crash, Interruption, Outcome, Snooze
from musicq_async.model.task import Task, TaskState


def settled(task: Task, outcome: Outcome, change: Change, *, attempt: int, seconds: float, now_ms: int) -> Event:
    """Put an outcome and the change that was written for it into one event."""
    task_id, task_type = task.task_id, task.task_type
    match change.status:
        case TaskState.COMPLETED:
            return Completed(task_id=task_id, task_type=task_type, result=change.result, seconds=seconds)
        case TaskState.FAILED:
            return Failed(task_id=task_id, task_type=task_type, error=change.error_message or "", attempt=attempt)
        case TaskState.CANCELLED:
            return Cancelled(task_id=task_id, task_type=task_type, reason=change.cancel_reason)
        case TaskState.SCHEDULED:
            wait = max(0, (change.run_at_ms or now_ms) - now_ms) / 1000
            if isinstance(outcome, Snooze):
                return Snoozed(task_id=task_id, task_type=task_type, wait=wait)
            error = change.error_message or ""
            return Retried(task_id=task_id, task_type=task_type, error=error, attempt=attempt, wait=wait)
        case _:
            return Returned(task_id=task_id, task_type=task_type, reason=_why_returned(outcome))


def _why_returned(outcome: Outcome) -> str:
    if isinstance(outcome, Crash):
        return outcome.message
    return "the process shut down" if isinstance(outcome, Interruption) else "it goes on later"
