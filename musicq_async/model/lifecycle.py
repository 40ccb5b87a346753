"""The state machine of a task: every transition, as pure functions that backends apply and never decide.

::

                     push(delay)                  push
                          │                         │
                          ▼        time has come    ▼
      ┌─────────────► scheduled ──────────────► pending ◄──────────────┐
      │                   │                         │                  │
      │ retry, snooze     │ cancel           claim  │  cancel          │ interrupted, crashed
      │                   ▼                         ▼                  │
      │               cancelled ◄──────────────  running ──────────────┤
      └───────────────────┼─────────────────────────┤                  │
                          │                         ├─► completed      │
                          │ retry by hand           └─► failed ────────┤ retry by hand
                          └────────────────────────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, assert_never

import msgspec

from musicq_async.model.outcome import Cancellation, Crash, Failure, Interruption, Outcome, Snooze, Success
from musicq_async.model.retry import backoff
from musicq_async.model.task import FINISHED, ErrorRecord, Task, TaskState

TRANSITIONS: Final = frozenset(
    {
        (TaskState.SCHEDULED, TaskState.PENDING),
        (TaskState.SCHEDULED, TaskState.CANCELLED),
        (TaskState.PENDING, TaskState.RUNNING),
        (TaskState.PENDING, TaskState.CANCELLED),
        (TaskState.RUNNING, TaskState.COMPLETED),
        (TaskState.RUNNING, TaskState.FAILED),
        (TaskState.RUNNING, TaskState.CANCELLED),
        (TaskState.RUNNING, TaskState.SCHEDULED),
        (TaskState.RUNNING, TaskState.PENDING),
        (TaskState.FAILED, TaskState.PENDING),
        (TaskState.FAILED, TaskState.SCHEDULED),
        (TaskState.CANCELLED, TaskState.PENDING),
        (TaskState.CANCELLED, TaskState.SCHEDULED),
    }
)
"""The drawing above as pairs."""

LONGEST_SNOOZE: Final = 366 * 86_400.0
KEPT_ERRORS: Final = 20
"""Records of the newest failures that a task keeps."""


class Change(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a transition writes: the complete new values of these columns. The lease is always cleared with it."""

    status: TaskState
    run_at_ms: int | None = None
    completed_at: int | None = None
    retry_count: int
    crash_count: int
    snooze_count: int
    interrupt_count: int
    error_message: str | None
    errors: tuple[ErrorRecord, ...]
    result: Any = None
    cancel_requested_ms: int | None = None
    cancel_reason: str | None = None


def settle(task: Task, outcome: Outcome, *, now_ms: int, draw: float, max_crashes: int) -> Change:
    """Decide what becomes of a running task. ``draw`` in [0, 1) spreads the retry."""
    if isinstance(outcome, Snooze | Interruption) and task.cancel_requested_ms is not None:
        outcome = Cancellation(task.cancel_reason)
    match outcome:
        case Success(result=result):
            return completed(task, result, now_ms=now_ms)
        case Failure():
            return _failed(task, outcome, now_ms=now_ms, draw=draw)
        case Snooze(seconds=seconds):
            wait = min(max(seconds, 0.0), LONGEST_SNOOZE)
            return _change(
                task,
                TaskState.SCHEDULED,
                now_ms,
                run_at_ms=now_ms + round(wait * 1000),
                snooze_count=task.snooze_count + 1,
            )
        case Cancellation(reason=reason):
            return _change(
                task,
                TaskState.CANCELLED,
                now_ms,
                error_message=reason,
                cancel_requested_ms=task.cancel_requested_ms or now_ms,
                cancel_reason=reason or task.cancel_reason,
            )
        case Interruption():
            return _change(task, TaskState.PENDING, now_ms, interrupt_count=task.interrupt_count + 1)
        case Crash(message=message):
            return _crashed(task, message, now_ms=now_ms, max_crashes=max_crashes)
        case _:
            assert_never(outcome)


def cancel(task: Task, *, now_ms: int, reason: str | None) -> Change | None:
    """Decide what cancelling does now: the change, or ``None`` where the task runs and its worker must be asked.

    A finished task gives the change that it already shows, so that cancelling twice is harmless.
    """
    if task.status is TaskState.RUNNING:
        return None
    if task.is_finished:
        return _change(task, task.status, now_ms, completed_at=task.completed_at, result=task.result)
    return _change(
        task, TaskState.CANCELLED, now_ms, error_message=reason, cancel_requested_ms=now_ms, cancel_reason=reason
    )


def retry(task: Task, *, now_ms: int, run_at_ms: int | None = None) -> Change | None:
    """Decide what a retry by hand does: a fresh run, now or at a later time, that keeps the history.

    ``None`` where the task is neither failed nor cancelled.
    """
    if task.status not in {TaskState.FAILED, TaskState.CANCELLED}:
        return None
    later = run_at_ms is not None and run_at_ms > now_ms
    state = TaskState.SCHEDULED if later else TaskState.PENDING
    return _change(
        task, state, now_ms, run_at_ms=run_at_ms if later else None, retry_count=0, crash_count=0, error_message=None
    )


def release(task: Task, members: Mapping[TaskState, int], *, now_ms: int) -> Change | None:
    """Decide whether a task that waits for others goes on: ``None`` while one of them is not finished.

    ``members`` counts the others by state. One that waits for success is cancelled if any failed or was cancelled.
    """
    waits = task.status is TaskState.SCHEDULED and task.waits is not None and task.run_at_ms is None
    if not waits or any(count for state, count in members.items() if state not in FINISHED):
        return None
    unlucky = members.get(TaskState.FAILED, 0) + members.get(TaskState.CANCELLED, 0)
    if task.waits == "completed" and unlucky:
        return cancel(task, now_ms=now_ms, reason="the task before it did not complete")
    return _change(task, TaskState.PENDING, now_ms)


def completed(task: Task, result: Any, *, now_ms: int) -> Change:
    """Decide what `settle` decides for a success, which is what happens to nearly every task."""
    return Change(
        status=TaskState.COMPLETED,
        completed_at=now_ms // 1000,
        retry_count=task.retry_count,
        crash_count=task.crash_count,
        snooze_count=task.snooze_count,
        interrupt_count=task.interrupt_count,
        error_message=None,
        errors=task.errors,
        result=result,
        cancel_requested_ms=task.cancel_requested_ms,
        cancel_reason=task.cancel_reason,
    )


def _failed(task: Task, failure: Failure, *, now_ms: int, draw: float) -> Change:
    errors = (*task.errors, failure.error)[-KEPT_ERRORS:]
    message = f"{failure.error.type}: {failure.error.message}"
    if task.cancel_requested_ms is not None:
        return _change(task, TaskState.CANCELLED, now_ms, errors=errors, error_message=task.cancel_reason)
    if failure.retryable and task.retry_count < task.max_retries:
        wait = backoff(task.retry_count + 1, draw=draw, retry_after=failure.retry_after)
        return _change(
            task,
            TaskState.SCHEDULED,
            now_ms,
            run_at_ms=now_ms + round(wait * 1000),
            retry_count=task.retry_count + 1,
            errors=errors,
            error_message=message,
        )
    return _change(task, TaskState.FAILED, now_ms, errors=errors, error_message=message)


def _crashed(task: Task, message: str, *, now_ms: int, max_crashes: int) -> Change:
    crashes = task.crash_count + 1
    error = ErrorRecord(time=now_ms, attempt=task.attempt, type="Crash", message=message)
    errors = (*task.errors, error)[-KEPT_ERRORS:]
    if task.cancel_requested_ms is not None:
        return _change(
            task, TaskState.CANCELLED, now_ms, crash_count=crashes, errors=errors, error_message=task.cancel_reason
        )
    if crashes < max_crashes:
        return _change(task, TaskState.PENDING, now_ms, crash_count=crashes, errors=errors, error_message=message)
    text = f"Crash: {message} ({crashes} times)"
    return _change(task, TaskState.FAILED, now_ms, crash_count=crashes, errors=errors, error_message=text)


def _change(task: Task, status: TaskState, now_ms: int, **values: Any) -> Change:
    """Fill a change with what the task has, the given values, and the end time where the state is final."""
    finished = status in {TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED}
    kept: dict[str, Any] = {
        "retry_count": task.retry_count,
        "crash_count": task.crash_count,
        "snooze_count": task.snooze_count,
        "interrupt_count": task.interrupt_count,
        "error_message": task.error_message,
        "errors": task.errors,
        "completed_at": now_ms // 1000 if finished else None,
    }
    if finished:
        kept |= {"cancel_requested_ms": task.cancel_requested_ms, "cancel_reason": task.cancel_reason}
    return Change(status=status, **(kept | values))
