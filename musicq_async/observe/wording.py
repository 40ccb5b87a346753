"""What a log says about each event."""

from __future__ import annotations

from typing import Any, Final, assert_never

from musicq_async.model.event import (
    Cancelled,
    Completed,
    Event,
    Failed,
    Fired,
    Progressed,
    Queued,
    Retried,
    Returned,
    Snoozed,
    Started,
    Warned,
)

ENDINGS: Final = (Completed, Failed, Retried, Snoozed, Cancelled, Returned)
"""The events that end an attempt."""


def worded(event: Event) -> tuple[str, str]:  # noqa: C901, PLR0911 - one line for each event
    """Return the level and the message."""
    match event:
        case Queued():
            return "DEBUG", "queued"
        case Started():
            return "DEBUG", "started"
        case Progressed():
            return "TRACE", _progress(event)
        case Completed():
            return "INFO", f"completed in {duration(event.seconds)}"
        case Failed():
            return "ERROR", f"failed: {event.error}"
        case Retried():
            return "WARNING", f"retried in {duration(event.wait)}: {event.error}"
        case Snoozed():
            return "INFO", f"snoozed for {duration(event.wait)}"
        case Cancelled():
            return "INFO", f"cancelled: {event.reason}" if event.reason else "cancelled"
        case Returned():
            return "WARNING", f"went back to the line: {event.reason}"
        case Fired():
            return "INFO", f"schedule {event.name!r} fired"
        case Warned():
            return "WARNING", event.message
        case _:
            assert_never(event)


def fields(event: Event, attempt: int | None) -> dict[str, Any]:
    """Return what is bound to the line."""
    if isinstance(event, Warned):
        return {}
    bound: dict[str, Any] = {"task_id": event.task_id, "task_type": event.task_type}
    if isinstance(event, Fired):
        return bound | {"scheduler_task_id": event.scheduler_task_id, "fire_at": event.fire_at}
    if isinstance(event, Queued) and event.scheduler_task_id:
        bound["scheduler_task_id"] = event.scheduler_task_id
    return bound if attempt is None else bound | {"attempt": attempt}


def duration(seconds: float) -> str:
    """Write seconds as a person would: ``12 ms``, ``2.5 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 1:
        return f"{round(max(seconds, 0) * 1000)} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def _progress(event: Progressed) -> str:
    of = "" if event.total is None else f" of {event.total:g}"
    return f"progressed to {event.done:g}{of}" + (f": {event.message}" if event.message else "")
