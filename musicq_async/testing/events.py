"""An event sink that remembers: `RecordedEvents`."""

from __future__ import annotations

from typing import TypeVar

from musicq_async.model.event import Event

Kind = TypeVar("Kind")


class RecordedEvents:
    """The `musicq_async.ports.EventSink` of a test. ``all`` holds every event in order."""

    listening = True

    def __init__(self) -> None:
        self.all: list[Event] = []

    def emit(self, event: Event) -> None:
        """Remember one event."""
        self.all.append(event)

    def of(self, kind: type[Kind]) -> list[Kind]:
        """Return the events of one class, oldest first."""
        return [event for event in self.all if isinstance(event, kind)]

    def names(self, task_id: str | None = None) -> list[str]:
        """Return the class names of all events, or of those about one task."""
        return [
            type(event).__name__ for event in self.all if task_id is None or getattr(event, "task_id", None) == task_id
        ]
