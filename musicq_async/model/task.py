"""A task: as it is accepted at push, as it is stored, and as it is lent to a worker."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec


class TaskState(StrEnum):
    """Where a task stands; `musicq_async.model.lifecycle` holds every way from one to another."""

    SCHEDULED = "scheduled"
    """Waits for ``run_at_ms``: delayed, to be retried, or snoozed."""
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    """The dead letters: kept, and run again by hand."""
    CANCELLED = "cancelled"


FINISHED: Final = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED})
DEFAULT_MAX_RETRIES: Final = 3


class NewTask(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A task that was checked and may be stored. ``params`` and ``extra`` are JSON objects, copied from the caller."""

    task_id: str
    task_type: str
    params: dict[str, Any]
    priority: int = 0
    """Lower is sooner."""
    max_retries: int = DEFAULT_MAX_RETRIES
    timeout_seconds: float | None = None
    """Seconds that one attempt may take; ``None`` leaves it to the handler's own."""
    run_at_ms: int | None = None
    """Epoch milliseconds before which the task does not run; ``None`` is at once."""
    unique_key: str | None = None
    """While another task holds the same key, this one is not stored; ``unique_mode`` says how long that is."""
    unique_mode: str = "queued"
    """One of `musicq_async.model.unique.MODES`, or a number of seconds as text."""
    group_key: str | None = None
    """What `Limit.group_concurrency` and `Limit.group_rate` count by."""
    then_id: str | None = None
    """Id of the task that waits until this one, and all others with the same ``then_id``, have finished."""
    waits: str | None = None
    """``finished`` or ``completed``: this task waits for those whose ``then_id`` it is; the latter cancels it if one of
    them failed or was cancelled."""
    scheduler_task_id: str | None = None
    fire_at: int | None = None
    """Nominal time, in epoch seconds, of the schedule's slot that pushed this task."""
    extra: dict[str, Any] = {}
    """The caller's own keys."""


class ErrorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong in one attempt."""

    time: int
    """Epoch milliseconds."""
    attempt: int
    """1 for the first; crashes, snoozes and interruptions are no attempts."""
    type: str
    """Name of the error's class."""
    message: str
    traceback: str = ""


class Task(NewTask, frozen=True, kw_only=True, gc=False):
    """A stored task. `row` gives it as the dict that users see."""

    status: TaskState
    position: int
    """Place in the line of its priority: microseconds of the push, strictly rising within a process."""
    created_at: int
    """Epoch seconds, as are ``started_at`` and ``completed_at``."""
    started_at: int | None = None
    completed_at: int | None = None
    retry_count: int = 0
    crash_count: int = 0
    snooze_count: int = 0
    interrupt_count: int = 0
    error_message: str | None = None
    errors: tuple[ErrorRecord, ...] = ()
    result: Any = None
    progress: dict[str, Any] | None = None
    """``{"done": …, "total": …, "message": …}`` as last reported."""
    cancel_requested_ms: int | None = None
    cancel_reason: str | None = None
    lease_owner: str | None = None
    lease_token: str | None = None
    lease_until_ms: int | None = None

    @property
    def attempt(self) -> int:
        """Number of the attempt that runs or comes next; 1 is the first."""
        return self.retry_count + 1

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.status in FINISHED

    def row(self) -> dict[str, Any]:
        """Return a fresh dict whose keys are the columns of ``task_queue``; states are plain strings."""
        row: dict[str, Any] = msgspec.to_builtins(self)
        row["errors"] = list(row["errors"])
        del row["lease_token"]
        return row


class Lease(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The right of one worker to run one task until ``task.lease_until_ms``, renewed by heartbeats.

    Every write about the run carries the token; a write whose token is no longer the task's is refused (`LeaseLost`).
    """

    task: Task
    token: str
