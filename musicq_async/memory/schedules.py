"""Schedules that are lost when the process ends: `MemorySchedules`."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from typing import Final

import msgspec

from musicq_async.errors import InvalidSchedule
from musicq_async.model.schedule import Firing, Schedule
from musicq_async.model.task import NewTask

MOST_PLANNED: Final = 10_000
"""Entries that wait to be put into the heap while nobody asks."""


class MemorySchedules:
    """The `musicq_async.ports.ScheduleStore` in this process's memory.

    Every method acts at once and never gives way to other tasks, so each is atomic. The tasks are kept until `sent`.
    """

    enqueues = False

    def __init__(self) -> None:
        self._schedules: dict[str, Schedule] = {}
        """In the order of their making."""
        self._due: list[tuple[int, str, int]] = []
        """Heap of due time, id and version; entries of older versions are skipped."""
        self._planned: list[tuple[int, str, int]] = []
        """Entries that are not in the heap yet."""
        self._serials: dict[str, int] = {}
        """A number for each schedule that is stored; one that is deleted and added again has another."""
        self._numbers = itertools.count()
        self._ledger: dict[int, set[int]] = {}
        """Serials of the schedules that a nominal time is decided for."""
        self._unsent: dict[str, NewTask] = {}

    async def add(self, schedule: Schedule) -> None:
        """Store a new schedule."""
        if schedule.task_id in self._schedules:
            raise InvalidSchedule(f"a schedule with the id {schedule.task_id!r} exists already; leave task_id out")
        self._serials[schedule.task_id] = next(self._numbers)
        self._put(schedule)

    async def get(self, task_id: str) -> Schedule | None:
        """Return one schedule."""
        return self._schedules.get(task_id)

    async def all(self, *, enabled_only: bool = False) -> list[Schedule]:
        """Return all, oldest first."""
        return [each for each in self._schedules.values() if each.enabled or not enabled_only]

    async def replace(self, schedule: Schedule) -> bool:
        """Write an edited schedule whose ``version`` is one above the stored; return False if it is not."""
        stored = self._schedules.get(schedule.task_id)
        if stored is None or stored.version != schedule.version - 1:
            return False
        self._put(schedule)
        return True

    async def delete(self, task_id: str) -> bool:
        """Delete a schedule; return whether it was there. Its ledger means nothing from now on."""
        self._serials.pop(task_id, None)
        return self._schedules.pop(task_id, None) is not None

    async def due(self, before_ms: int, *, limit: int = 1000) -> list[Schedule]:
        """Return enabled schedules that are due by then, the earliest first."""
        self._sort_in()
        found: list[Schedule] = []
        taken: list[tuple[int, str, int]] = []
        while self._due and self._due[0][0] <= before_ms and len(found) < limit:
            entry = heapq.heappop(self._due)
            schedule = self._current(entry)
            if schedule is not None:
                found.append(schedule)
                taken.append(entry)
        for entry in taken:
            heapq.heappush(self._due, entry)
        return found

    async def unplanned(self) -> list[Schedule]:
        """Return nothing: no other program writes here."""
        return []

    async def next_due_ms(self) -> int | None:
        """Return the earliest due time."""
        self._sort_in()
        while self._due and self._current(self._due[0]) is None:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    async def record(self, firings: Sequence[Firing]) -> list[Firing]:
        """Write the firings whose version is still current; slots that are known are dropped with their tasks."""
        schedules, unsent = self._schedules, self._unsent
        written = []
        for firing in firings:
            task_id = firing.schedule.task_id
            stored = schedules.get(task_id)
            if stored is None or stored.version != firing.schedule.version:
                continue
            self._put(firing.advanced)
            known = self._note(self._serials[task_id], firing)
            if known:
                firing = _without(firing, known)  # noqa: PLW2901 - what was written, in place of what was asked for
            for task in firing.tasks:
                unsent[task.task_id] = task
            written.append(firing)
        return written

    def _note(self, serial: int, firing: Firing) -> list[int]:
        """Write slots into the ledger; return the nominal times that it had."""
        known = []
        for slot in firing.slots:
            fired = self._ledger.get(slot.nominal)
            if fired is None:
                fired = self._ledger[slot.nominal] = set()
            if serial in fired:
                known.append(slot.nominal)
            fired.add(serial)
        return known

    async def unsent(self) -> list[NewTask]:
        """Return tasks that `sent` has not confirmed."""
        return list(self._unsent.values())

    async def sent(self, task_ids: Sequence[str]) -> None:
        """Confirm that the tasks are in the queue."""
        for task_id in task_ids:
            self._unsent.pop(task_id, None)

    async def prune(self, before: int) -> int:
        """Delete ledger rows older than this epoch second; return how many."""
        old = [nominal for nominal in self._ledger if nominal < before]
        return sum([len(self._ledger.pop(nominal)) for nominal in old])

    def _put(self, schedule: Schedule) -> None:
        self._schedules[schedule.task_id] = schedule
        if schedule.enabled and schedule.due_at_ms is not None:
            self._planned.append((schedule.due_at_ms, schedule.task_id, schedule.version))
            if len(self._planned) > MOST_PLANNED:
                self._sort_in()

    def _sort_in(self) -> None:
        """Put what was planned into the heap: when somebody asks, not while schedules are being fired."""
        for entry in self._planned:
            heapq.heappush(self._due, entry)
        self._planned.clear()
        if len(self._due) > 2 * len(self._schedules) + 1000:
            self._due = [entry for entry in self._due if self._current(entry) is not None]
            heapq.heapify(self._due)

    def _current(self, entry: tuple[int, str, int]) -> Schedule | None:
        """Return the schedule of a heap entry if the entry still speaks of it as it is."""
        due_at_ms, task_id, version = entry
        schedule = self._schedules.get(task_id)
        is_current = schedule is not None and schedule.version == version and schedule.due_at_ms == due_at_ms
        return schedule if is_current and schedule is not None and schedule.enabled else None


def _without(firing: Firing, known: Sequence[int]) -> Firing:
    """Drop the slots that the ledger knows, with their tasks."""
    slots = tuple(slot for slot in firing.slots if slot.nominal not in known)
    kept = {slot.task_id for slot in slots}
    tasks = tuple(task for task in firing.tasks if task.task_id in kept)
    return msgspec.structs.replace(firing, slots=slots, tasks=tasks)
