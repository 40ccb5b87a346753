"""Tasks as the queue in memory holds them: values that change in place."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from musicq_async.model.task import NewTask, Task, TaskState


class TaskRecord(Task, frozen=False, kw_only=True):  # type: ignore[misc]  # msgspec lets a subclass thaw
    """A task that changes in place; what leaves the queue for good is a copy (`shown`)."""

    def __lt__(self, other: Record) -> bool:
        """Order tasks that have the same place, which two processes whose tasks were restored here may have given."""
        return bool(self.task_id < other.task_id)

    def __gt__(self, other: Record) -> bool:
        return bool(self.task_id > other.task_id)


Record = Any
"""A `TaskRecord`. Type checkers hold every subclass of a frozen struct to be frozen."""


def recorded(task: NewTask, *, status: TaskState, position: int, now_ms: int) -> Record:
    """Return the record of a new task."""
    record: Record = TaskRecord(
        task_id=task.task_id,
        task_type=task.task_type,
        params=task.params,
        max_retries=task.max_retries,
        status=status,
        position=position,
        created_at=now_ms // 1000,
    )
    if _is_special(task):  # setting only what is not a default halves the price
        for name in _SPECIAL:
            setattr(record, name, getattr(task, name))
    if task.waits is not None:
        record.run_at_ms = None
    return record


_SPECIAL: Final = tuple(set(NewTask.__struct_fields__) - {"task_id", "task_type", "params", "max_retries"})


def _is_special(task: NewTask) -> bool:
    """Whether a task has more than a type, params and a number of retries."""
    return bool(
        task.priority
        or task.extra
        or task.run_at_ms is not None
        or task.timeout_seconds is not None
        or task.unique_key is not None
        or task.group_key is not None
        or task.then_id is not None
        or task.waits is not None
        or task.scheduler_task_id is not None
        or task.fire_at is not None
    )


def shown(record: Record) -> Task:
    """Copy a record into a value that stays as it is."""
    values = msgspec.structs.asdict(record)
    values["params"] = msgspec.to_builtins(record.params)
    values["extra"] = msgspec.to_builtins(record.extra)
    return Task(**values)
