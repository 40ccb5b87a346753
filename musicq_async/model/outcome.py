"""How one run of a task ended: the closed union `Outcome`."""

from __future__ import annotations

from typing import Any

import msgspec

from musicq_async.model.task import ErrorRecord


class Success(msgspec.Struct, frozen=True):
    """The handler returned; ``result`` is JSON."""

    result: Any = None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The handler raised, or its time was up."""

    error: ErrorRecord
    retryable: bool
    retry_after: float | None = None
    """Seconds, where the error knows better than the back-off."""


class Snooze(msgspec.Struct, frozen=True):
    """The handler asks to be called again later. No attempt is spent."""

    seconds: float


class Cancellation(msgspec.Struct, frozen=True):
    """Somebody cancelled the task while it ran."""

    reason: str | None = None


class Interruption(msgspec.Struct, frozen=True):
    """The process shut down. The task goes back to the line and no attempt is spent."""


class Crash(msgspec.Struct, frozen=True):
    """The worker vanished: its lease ran out without a word. No attempt is spent."""

    message: str = "the worker process ended while it ran this task"


Outcome = Success | Failure | Snooze | Cancellation | Interruption | Crash
