"""How values become rows, and rows become values: JSON, texts that a database refuses, the earlier system's rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Row

from musicq_async.errors import InvalidTask, UsageError
from musicq_async.model.json_text import LARGEST_TEXT, json_text, json_value
from musicq_async.model.lifecycle import Change
from musicq_async.model.schedule import Schedule
from musicq_async.model.task import ErrorRecord, NewTask, Task, TaskState
from musicq_async.sql.tables import scheduler_task, task_queue

TASK_COLUMNS: Final = tuple(task_queue.c[name] for name in Task.__struct_fields__)
INSERTED: Final = (
    "task_id",
    "task_type",
    "params",
    "status",
    "priority",
    "max_retries",
    "created_at",
    "scheduler_task_id",
    "timeout_seconds",
    "run_at_ms",
    "unique_key",
    "unique_mode",
    "group_key",
    "then_id",
    "waits",
    "fire_at",
    "extra",
    "position",
    "lease_token",
)
"""Columns that a push writes; the others have defaults. Before the first lease the token is the push's own."""
CHANGED: Final = (
    "status",
    "run_at_ms",
    "completed_at",
    "retry_count",
    "crash_count",
    "snooze_count",
    "interrupt_count",
    "error_message",
    "errors",
    "result",
    "cancel_requested_ms",
    "cancel_reason",
)
"""Columns that a transition writes: the fields of `Change`."""
SCHEDULE_COLUMNS: Final = tuple(scheduler_task.c[name] for name in Schedule.__struct_fields__)

_errors_decoder: Final = msgspec.json.Decoder(tuple[ErrorRecord, ...])
_states: Final = {state.value: state for state in TaskState}


def json_object(text: str | None) -> dict[str, Any]:
    """Read a JSON object of a column; nothing is an empty one. What cannot be read is kept, not hidden."""
    if not text or text == "{}":
        return {}
    try:
        value = json_value(text)
    except ValueError:
        return {"unreadable_params": text}
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"unreadable_params": text}


def plain_text(text: str | None) -> str | None:
    """Return a message as every database takes it: no NUL, no half characters, of bounded length."""
    if text is None or (text.isascii() and "\x00" not in text and len(text) <= LARGEST_TEXT):
        return text
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace")[:LARGEST_TEXT].decode("utf-8", "ignore")


def new_task_row(task: NewTask, *, position: int, now_ms: int, token: str) -> tuple[Any, ...]:
    """Return the row, values of `INSERTED`, of a task that is pushed now. Raises `InvalidTask` naming the field."""
    later = task.waits is not None or (task.run_at_ms is not None and task.run_at_ms > now_ms)
    if len(task.task_id) > 36 or len(task.task_type) > 100:
        raise InvalidTask("task_id takes at most 36 characters and type at most 100; shorten them")
    try:
        params = json_text(task.params, "params") if task.params else "{}"
        extra = json_text(task.extra, "the task's own keys") if task.extra else None
    except UsageError as error:
        raise InvalidTask(str(error)) from error
    return (
        task.task_id,
        task.task_type,
        params,
        "scheduled" if later else "pending",
        task.priority,
        task.max_retries,
        now_ms // 1000,
        task.scheduler_task_id,
        task.timeout_seconds,
        task.run_at_ms if task.waits is None else None,
        task.unique_key,
        None if task.unique_key is None else task.unique_mode,
        task.group_key,
        task.then_id,
        task.waits,
        task.fire_at,
        extra,
        position,
        token,
    )


def whole_task_row(task: Task) -> dict[str, Any]:
    """Return every column of a task as it stands; a running one is pending, as its lease stays where it was."""
    row = msgspec.structs.asdict(task)
    running = task.status is TaskState.RUNNING
    return row | {
        "params": json_text(task.params, "params"),
        "extra": json_text(task.extra, "the task's own keys") if task.extra else None,
        "status": TaskState.PENDING.value if running else task.status.value,
        "errors": json_text(task.errors, "errors") if task.errors else None,
        "result": result_text(task.result),
        "progress": None if task.progress is None else json_text(task.progress, "progress"),
        "error_message": plain_text(task.error_message),
        "cancel_reason": plain_text(task.cancel_reason),
        "lease_owner": None,
        "lease_token": None,
        "lease_until_ms": None,
    }


def task_of(row: Row[Any] | Sequence[Any]) -> Task:
    """Read a row of `TASK_COLUMNS`, also one that the earlier system wrote."""
    values: dict[str, Any] = dict(zip(Task.__struct_fields__, row, strict=True))
    values["params"] = json_object(values["params"])
    values["extra"] = json_object(values["extra"]) if values["extra"] else {}
    state = values["status"] = _states.get(values["status"], TaskState.FAILED)
    if state is not TaskState.RUNNING:
        values["lease_token"] = None  # what is in the row tells whose write it was, where an answer was lost
    values["errors"] = _errors(values["errors"]) if values["errors"] else ()
    if values["result"] is not None:
        values["result"] = json_value(values["result"])
    if values["progress"] is not None:
        values["progress"] = json_value(values["progress"])
    for name, default in (("priority", 0), ("retry_count", 0), ("max_retries", 3), ("unique_mode", "queued")):
        if values[name] is None:
            values[name] = default
    return Task(**values)


def _errors(text: str) -> tuple[ErrorRecord, ...]:
    try:
        return _errors_decoder.decode(text)
    except msgspec.DecodeError:
        return msgspec.convert(json.loads(text), tuple[ErrorRecord, ...])


def change_row(change: Change) -> tuple[Any, ...]:
    """Return the values of `CHANGED`. The token is not among them: a settle whose answer was lost is known by it."""
    return (
        change.status.value,
        change.run_at_ms,
        change.completed_at,
        change.retry_count,
        change.crash_count,
        change.snooze_count,
        change.interrupt_count,
        plain_text(change.error_message),
        json_text(change.errors, "errors") if change.errors else None,
        result_text(change.result),
        change.cancel_requested_ms,
        plain_text(change.cancel_reason),
    )


def result_text(result: Any) -> str | None:
    """Write a handler's result."""
    return None if result is None else json_text(result, "result")


def schedule_row(schedule: Schedule) -> dict[str, Any]:
    """Return the row of a schedule."""
    row = msgspec.structs.asdict(schedule)
    row["params"] = json_text(schedule.params, "params")
    row["description"] = plain_text(schedule.description)
    return row


def schedule_of(row: Sequence[Any] | Row[Any]) -> Schedule:
    """Read a row of `SCHEDULE_COLUMNS`, also one that the earlier system wrote."""
    values: dict[str, Any] = dict(zip(Schedule.__struct_fields__, row, strict=True))
    values["params"] = json_object(values["params"])
    values["enabled"] = bool(values["enabled"])
    for name in ("run_count", "max_runs"):
        values[name] = values[name] or 0
    return Schedule(**values)


def task_text(task: NewTask) -> str:
    """Write a whole task, for the ledger of a store whose queue is elsewhere."""
    return json_text(task, "task")


def task_from_text(text: str) -> NewTask:
    """Read what `task_text` wrote."""
    return msgspec.json.decode(text, type=NewTask)
