"""Schedules that are lost when the process ends: `MemorySchedules`."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from musicq_async.errors import InvalidSchedule
from musicq_async.model.schedule import Firing, Schedule
from musicq_async.model.task import NewTask


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
        self._ledger: dict[str, set[int]] = {}
        """Nominal times that are decided, by schedule."""
        self._unsent: dict[str, NewTask] = {}

    async def add(self, schedule: Schedule) -> None:
        """Store a new schedule."""
        if schedule.task_id in self._schedules:
            raise InvalidSchedule(f"a schedule with the id {schedule.task_id!r} exists already; leave task_id out")
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
        """Delete a schedule and its ledger; return whether it was there."""
        self._ledger.pop(task_id, None)
        return self._schedules.pop(task_id, None) is not None

    async def due(self, before_ms: int, *, limit: int = 1000) -> list[Schedule]:
        """Return enabled schedules that are due by then, the earliest first."""
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
        while self._due and self._current(self._due[0]) is None:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    async def record(self, firings: Sequence[Firing]) -> list[Firing]:
        """Write the firings whose version is still current; slots that are known are dropped with their tasks."""
        written = []
        for firing in firings:
            stored = self._schedules.get(firing.schedule.task_id)
            if stored is None or stored.version != firing.schedule.version:
                continue
            self._put(firing.advanced)
            known = self._ledger.setdefault(stored.task_id, set())
            slots = tuple(slot for slot in firing.slots if slot.nominal not in known)
            known.update(slot.nominal for slot in slots)
            tasks = firing.tasks
            if len(slots) != len(firing.slots):
                kept = {slot.task_id for slot in slots}
                tasks = tuple(task for task in tasks if task.task_id in kept)
                firing = Firing(  # noqa: PLW2901 - what was written, in place of what was asked for
                    schedule=firing.schedule, advanced=firing.advanced, slots=slots, tasks=tasks, cancel=firing.cancel
                )
            self._unsent.update((task.task_id, task) for task in tasks)
            written.append(firing)
        return written

    async def unsent(self) -> list[NewTask]:
        """Return tasks that `sent` has not confirmed."""
        return list(self._unsent.values())

    async def sent(self, task_ids: Sequence[str]) -> None:
        """Confirm that the tasks are in the queue."""
        for task_id in task_ids:
            self._unsent.pop(task_id, None)

    async def prune(self, before: int) -> int:
        """Delete ledger rows older than this epoch second; return how many."""
        pruned = 0
        for known in self._ledger.values():
            old = {nominal for nominal in known if nominal < before}
            known.difference_update(old)
            pruned += len(old)
        return pruned

    def _put(self, schedule: Schedule) -> None:
        self._schedules[schedule.task_id] = schedule
        if schedule.enabled and schedule.due_at_ms is not None:
            heapq.heappush(self._due, (schedule.due_at_ms, schedule.task_id, schedule.version))
            if len(self._due) > 2 * len(self._schedules) + 1000:
                self._due = [entry for entry in self._due if self._current(entry) is not None]
                heapq.heapify(self._due)

    def _current(self, entry: tuple[int, str, int]) -> Schedule | None:
        """Return the schedule of a heap entry if the entry still speaks of it as it is."""
        due_at_ms, task_id, version = entry
        schedule = self._schedules.get(task_id)
        is_current = schedule is not None and schedule.version == version and schedule.due_at_ms == due_at_ms
        return schedule if is_current and schedule is not None and schedule.enabled else None
