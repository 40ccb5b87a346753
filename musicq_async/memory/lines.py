"""Where pending tasks stand: a line for each type (`Lines`)."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from typing import Final

from musicq_async.memory.records import Record
from musicq_async.model.task import TaskState

PENDING: Final = TaskState.PENDING

Place = tuple[int, int, Record]
"""Priority, position, task."""


class Line:
    """The tasks of one type. What leaves pending is not taken out at once but skipped later."""

    __slots__ = ("behind", "counts", "orderly")

    def __init__(self) -> None:
        self.orderly: deque[Place] = deque()
        """Those that came in order: nearly all, and many times faster than a heap."""
        self.behind: list[Place] = []
        """Heap of the others: more urgent than the last of the orderly ones, or put back."""
        self.counts: dict[TaskState, int] = dict.fromkeys(TaskState, 0)

    @property
    def pending(self) -> int:
        """How many are pending."""
        return self.counts[PENDING]

    def put(self, record: Record) -> None:
        """Let a pending task stand in line."""
        place = place_of(record)
        orderly = self.orderly
        if not orderly or place > orderly[-1]:
            orderly.append(place)
        else:
            heapq.heappush(self.behind, place)

    def first(self) -> Place | None:
        """Return the place of the next task without taking it."""
        orderly, behind = self.orderly, self.behind
        while orderly and orderly[0][2].status is not PENDING:
            orderly.popleft()
        while behind and behind[0][2].status is not PENDING:
            heapq.heappop(behind)
        if behind and (not orderly or behind[0] < orderly[0]):
            return behind[0]
        return orderly[0] if orderly else None

    def in_order(self) -> Iterator[Place]:
        """Go through the pending tasks in their order."""
        self.first()
        for place in heapq.merge(self.orderly, sorted(self.behind)):
            if place[2].status is PENDING:
                yield place


class Lines:
    """The lines of all types."""

    def __init__(self) -> None:
        self.by_type: dict[str, Line] = {}

    def of(self, task_type: str) -> Line:
        """Return the line of a type; a new one is empty."""
        line = self.by_type.get(task_type)
        if line is None:
            line = self.by_type[task_type] = Line()
        return line

    def first(self, types: frozenset[str] | None) -> Record | None:
        """Return the first pending task of these types. It leaves its line by being no longer pending."""
        best: Place | None = None
        for name, line in self.by_type.items():
            if (line.orderly or line.behind) and (types is None or name in types):
                place = line.first()
                if place is not None and (best is None or place < best):
                    best = place
        return None if best is None else best[2]


def place_of(record: Record) -> Place:
    """Return where a task stands in its line."""
    return record.priority, record.position, record
