"""How tasks become what the script keeps, and back.

A stored task is JSON in pieces: what was pushed, and what each later write said, each a part of one object. The pieces
are joined and read as a `Task` in one go; where a name stands twice, the later one counts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from musicq_async.errors import InvalidTask, UsageError
from musicq_async.model.json_text import json_text
from musicq_async.model.lifecycle import Change
from musicq_async.model.task import FINISHED, Lease, NewTask, Task, TaskState
from musicq_async.model.unique import MODES, REPLACING, window_ms

_tasks: Final = msgspec.json.Decoder(Task)


def _text_of_task(value: Any, field: str) -> str:
    try:
        return json_text(value, field)
    except UsageError as error:
        raise InvalidTask(str(error)) from error


def _plain(text: str | None) -> str | None:
    """Return a name as Redis and MessagePack take it."""
    return text if text is None or text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def meta_of(task: NewTask) -> tuple[Any, ...]:
    """Return what the script itself must know of a task."""
    return (
        _plain(task.task_type),
        task.priority,
        _plain(task.group_key) or False,
        _plain(task.then_id) or False,
        _plain(task.scheduler_task_id) or False,
        task.waits or False,
    )


def new_task_item(task: NewTask) -> tuple[Any, ...]:
    """Return a task to push. Raises `InvalidTask` naming the field."""
    if len(task.task_id) > 36 or len(task.task_type) > 100:
        raise InvalidTask("task_id takes at most 36 characters and type at most 100; shorten them")
    data = _text_of_task(task, "params")[1:-1]
    run_at_ms = False if task.waits is not None or task.run_at_ms is None else task.run_at_ms
    if task.unique_key is None:
        return (task.task_id, meta_of(task), data, run_at_ms, False, False, 0, False)
    mode = task.unique_mode
    new = f'"params":{json_text(task.params, "params")},"extra":{json_text(task.extra, "the own keys")}'
    return (
        task.task_id,
        meta_of(task),
        data,
        run_at_ms,
        _plain(task.unique_key),
        mode if mode in MODES else "seconds",
        window_ms(mode),
        new if mode in REPLACING else False,
    )


def change_item(change: Change) -> tuple[Any, ...]:
    """Return a change: status, then the values that the script's CHANGED names, false where there is none."""
    return (
        change.status.value,
        False if change.run_at_ms is None else change.run_at_ms,
        False if change.completed_at is None else change.completed_at,
        _outcome(change) or False,
        False if change.cancel_requested_ms is None else change.cancel_requested_ms,
        False if change.cancel_reason is None else json_text(change.cancel_reason, "cancel_reason"),
    )


def _outcome(change: Change) -> str:
    """Write the rest of a change, less what is as in a fresh task."""
    counters = ("retry_count", "crash_count", "snooze_count", "interrupt_count")
    parts = [f'"{name}":{count}' for name in counters if (count := getattr(change, name))]
    if change.error_message is not None:
        parts.append(f'"error_message":{json_text(change.error_message, "error_message")}')
    if change.errors:
        parts.append(f'"errors":{json_text(change.errors, "errors")}')
    if change.result is not None:
        parts.append(f'"result":{json_text(change.result, "result")}')
    return ",".join(parts)


def whole_task_item(task: Task) -> tuple[Any, ...]:
    """Return a task as it stands, to restore; a running one is pending, as its lease stays where it was."""
    values = {name: getattr(task, name) for name in NewTask.__struct_fields__}
    status = TaskState.PENDING if task.status is TaskState.RUNNING else task.status
    names = [name for name in Change.__struct_fields__ if name != "status"]
    change = Change(status=status, **{name: getattr(task, name) for name in names})
    return (
        task.task_id,
        meta_of(task),
        _text_of_task(values, "params")[1:-1],
        task.position,
        task.created_at,
        False if task.started_at is None else task.started_at,
        False if task.progress is None else json_text(task.progress, "progress"),
        change_item(change),
        _plain(task.unique_key) if task.unique_key is not None and task.status not in FINISHED else False,
        task.unique_mode if task.unique_mode in MODES else "seconds",
        window_ms(task.unique_mode),
    )


def task_of(row: Sequence[Any]) -> Task:
    """Read a task as the script's ``row`` gives it."""
    (
        data, status, position, created, new, outcome, run_at, started, ended, progress, cancel_ms, cancel_reason,
        owner, token, until,
    ) = row  # fmt: skip
    parts = [data]
    if new:
        parts.append(new)
    parts.append(
        f'"status":"{status}","position":{int(position)},"created_at":{created},"run_at_ms":{run_at or "null"}'
    )
    if started:
        parts.append(f'"started_at":{started}')
    if ended:
        parts.append(f'"completed_at":{ended}')
    if outcome:
        parts.append(outcome)
    if progress:
        parts.append(f'"progress":{progress}')
    if cancel_ms:
        parts.append(f'"cancel_requested_ms":{cancel_ms},"cancel_reason":{cancel_reason or "null"}')
    elif cancel_reason:
        parts.append(f'"cancel_reason":{cancel_reason}')
    if status == "running":
        lease = f'"lease_owner":{json.dumps(owner)},"lease_token":"{token}","lease_until_ms":{int(float(until or 0))}'
        parts.append(lease)
    text = f"{{{','.join(parts)}}}"
    try:
        return _tasks.decode(text)
    except msgspec.DecodeError:
        return msgspec.convert(json.loads(text), Task)


def lease_of(row: Sequence[Any]) -> Lease:
    """Read a task that was lent."""
    return Lease(task=task_of(row), token=row[13])
