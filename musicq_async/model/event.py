"""What happened, as frozen values that are handed to every subscriber."""

from __future__ import annotations

from typing import Any

import msgspec


class TaskEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something happened to a task."""

    task_id: str
    task_type: str


class Queued(TaskEvent, frozen=True, kw_only=True):
    """A task was accepted."""

    scheduler_task_id: str | None = None


class Started(TaskEvent, frozen=True, kw_only=True):
    """A worker began an attempt."""

    attempt: int


class Progressed(TaskEvent, frozen=True, kw_only=True):
    """A handler reported how far it is."""

    done: float
    total: float | None = None
    message: str | None = None


class Completed(TaskEvent, frozen=True, kw_only=True):
    """A task ended well."""

    result: Any = None
    seconds: float
    """How long the attempt took."""


class Failed(TaskEvent, frozen=True, kw_only=True):
    """A task ended badly and is not tried again."""

    error: str
    """``Class: message``."""
    attempt: int


class Retried(TaskEvent, frozen=True, kw_only=True):
    """An attempt failed; another follows."""

    error: str
    attempt: int
    wait: float
    """Seconds until the next attempt."""


class Snoozed(TaskEvent, frozen=True, kw_only=True):
    """A handler asked to be called again later."""

    wait: float


class Cancelled(TaskEvent, frozen=True, kw_only=True):
    """A task was cancelled."""

    reason: str | None = None


class Returned(TaskEvent, frozen=True, kw_only=True):
    """A task went back to the line unfinished: its process shut down or died."""

    reason: str


class Fired(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule pushed a task."""

    scheduler_task_id: str
    name: str
    task_id: str
    task_type: str
    fire_at: int


class Warned(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the operator should know: tasks nobody handles, a blocked loop, a database away."""

    message: str


Event = Queued | Started | Progressed | Completed | Failed | Retried | Snoozed | Cancelled | Returned | Fired | Warned
