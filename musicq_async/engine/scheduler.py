"""`Scheduler`: adds and edits schedules, and pushes their tasks in time."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, Self

import msgspec
from anyio import TASK_STATUS_IGNORED, lowlevel
from anyio.abc import TaskStatus

from musicq_async.engine.host import Host
from musicq_async.engine.outage import Outage
from musicq_async.engine.outlets import Outlet
from musicq_async.errors import BackendError, ScheduleNotFound, UsageError
from musicq_async.model import calendar
from musicq_async.model.event import Fired, Queued, Warned
from musicq_async.model.schedule import Firing, Schedule
from musicq_async.model.schedule_input import edited, new_schedule
from musicq_async.model.task import DEFAULT_MAX_RETRIES, NewTask, Task
from musicq_async.ports import Clock, EventSink, ScheduleStore

AHEAD_MS: Final = 1_000
"""How long before their time due schedules are read and decided, so that in time they are only written."""
LATE_MS: Final = 1_000
"""Lateness from which a decision that was made ahead is made anew."""
PAGE: Final = 1_000
"""Schedules read at once."""
CHUNK: Final = 200
"""Firings written at once: tasks of the first chunk run while the next is written."""
JUMP: Final = 1.0
"""Seconds by which the wall clock must fall behind to count as set back."""
TRIES: Final = 20
"""How often an edit is made anew because another one came between."""


class Scheduler:
    """The schedules of a store. ``async with``, `start` and `stop`, or `run` in a task group of your own.

    Any number of schedulers may share a store: each slot is enqueued once. Rows are edited whether or not one runs.
    ``check_interval`` is how many seconds another process's edit may go unseen; its own are seen at once.
    """

    def __init__(
        self,
        check_interval: float = 10,
        *,
        store: ScheduleStore,
        outlet: Outlet,
        clock: Clock,
        sink: EventSink,
        default_max_retries: Callable[[str], int] = lambda _type: DEFAULT_MAX_RETRIES,
        redact: Callable[[str], str] = str,
    ) -> None:
        if isinstance(check_interval, bool) or not isinstance(check_interval, int | float) or not check_interval > 0:
            raise UsageError(f"check_interval must be seconds above 0, not {check_interval!r}")
        self._check_interval = float(check_interval)
        self._store = store
        self._outlet = outlet
        self._clock = clock
        self._sink = sink
        self._default_max_retries = default_max_retries
        self._outage = Outage(sink=sink, what="the schedules", redact=redact)
        self._changed = asyncio.Event()
        self._offset: float | None = None
        self._next_check = -math.inf
        self._unreadable: set[str] = set()
        self._unsent: set[str] = set()
        """What was recorded and not sent at the last look: if it still is at the next, its scheduler has died."""
        self._host: Host | None = None

    # Its life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def is_running(self) -> bool:
        """Whether `start` was called, and `stop` was not."""
        return self._host is not None and self._host.is_open

    async def start(self) -> None:
        """Fire from now on, in the background. Does nothing if it runs already."""
        if self.is_running:
            return
        host = self._host = Host("musicq scheduler")
        await host.open()
        await host.start(self.run)

    async def stop(self) -> None:
        """Fire no more; a slot that is being written is finished first. Does nothing if it does not run."""
        host, self._host = self._host, None
        if host is not None:
            await host.close()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Fire until cancelled. A store that is away is waited for."""
        self._changed = asyncio.Event()  # of this event loop
        task_status.started()
        is_first = True
        while True:
            try:
                if is_first:
                    await self._push_unsent()
                    is_first = False
                await self._turn()
                self._outage.over()
            except Exception as error:  # noqa: BLE001 - schedules go on, whatever one turn brings
                is_first = True
                await self._clock.sleep(self._outage.failed(error))

    # Its schedules

    async def add_scheduler_task(  # noqa: PLR0917 - the contract's signature
        self,
        name: str,
        task_type: str,
        schedule_type: str,
        interval_seconds: int | None = None,
        cron_expression: str | None = None,
        execute_at: float | None = None,
        params: dict[str, Any] | None = None,
        max_runs: int = 0,
        enabled: bool = True,
        description: str | None = None,
        *,
        timezone: str | None = None,
        priority: int = 0,
        max_retries: int | None = None,
        timeout: float | None = None,
        misfire_window: int | None = None,
        coalesce: str = "latest",
        overlap: str = "allow",
        jitter: int = 0,
        start_at: float | None = None,
        end_at: float | None = None,
    ) -> str:
        """Store a schedule and return its id.

        ``schedule_type`` is ``interval`` with ``interval_seconds`` (1 second to 10 years), ``cron`` with
        ``cron_expression`` (5 fields, or 6 beginning with seconds), or ``once`` with ``execute_at``. Times are epoch
        seconds. ``max_runs`` 0 is no limit. ``timezone`` is an IANA name for cron, ``None`` the machine's zone.
        Times that were missed are fired by ``coalesce``: ``latest`` or ``earliest`` one, or ``all``; those older than
        ``misfire_window`` seconds are not. While an earlier task is unfinished, ``overlap`` says what a time does:
        ``allow``, ``skip``, ``buffer_one`` (wait) or ``cancel_running``. ``jitter`` delays each time by up to so many
        seconds. Raises `InvalidSchedule` that names the field; then nothing was stored.
        """
        given = {key: value for key, value in locals().items() if key != "self"}
        schedule = new_schedule(str(uuid.uuid4()), given, now_ms=self._clock.time_ms())
        await self._store.add(schedule)
        self._changed.set()
        return schedule.task_id

    async def update_task(self, task_id: str, **changes: Any) -> dict[str, Any]:
        """Change fields of a schedule, by the names of `add_scheduler_task`; return the row.

        Raises `ScheduleNotFound` or `InvalidSchedule`; then nothing was changed.
        """
        edit = await self._edit(task_id, changes)
        if edit is None:
            raise _unknown(task_id)
        return edit.row()

    async def pause_task(self, task_id: str) -> bool:
        """Fire a schedule no more until `resume_task`; return whether there is such a schedule."""
        return await self._edit(task_id, {"enabled": False}) is not None

    async def resume_task(self, task_id: str) -> bool:
        """Fire a schedule again, from its next time on; return whether it will.

        Times that passed during the pause are not made up for. It stays paused if it has no time left, or has run as
        often as it may.
        """
        edit = await self._edit(task_id, {"enabled": True})
        return edit is not None and edit.enabled

    async def delete_task(self, task_id: str) -> bool:
        """Delete a schedule; return whether it was there. Tasks that it pushed stay."""
        deleted = await self._store.delete(task_id)
        self._changed.set()
        return deleted

    async def run_now(self, task_id: str) -> str:
        """Push a task of a schedule at once, whatever its times; return the task's id. Counts and times stay.

        Raises `ScheduleNotFound`.
        """
        schedule = await self._existing(task_id)
        now = self._clock.time_ms() // 1000
        task = calendar.task_of(schedule, now, default_max_retries=self._default_max_retries(schedule.task_type))
        task = _with_id(task, str(uuid.uuid4()))
        await self._outlet.push([task])
        self._tell(schedule, [task])
        return task.task_id

    async def get_task(self, task_id: str) -> dict[str, Any] | None:
        """Return a schedule as a dict whose keys are the columns of ``scheduler_task``, or ``None``."""
        schedule = await self._store.get(task_id)
        return None if schedule is None else schedule.row()

    async def list_tasks(self, enabled_only: bool = False) -> list[dict[str, Any]]:
        """Return all schedules as dicts, oldest first."""
        return [schedule.row() for schedule in await self._store.all(enabled_only=enabled_only)]

    async def next_runs(self, task_id: str, count: int = 5) -> list[int]:
        """Return the next times of a schedule in epoch seconds, fewer if it ends before; none while it is paused.

        Raises `ScheduleNotFound`.
        """
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= PAGE:
            raise UsageError(f"count must be a whole number from 0 to {PAGE}, not {count!r}")
        schedule = await self._existing(task_id)
        if not schedule.enabled or schedule.next_run_at is None:
            return []
        return calendar.next_slots(schedule, after=schedule.next_run_at - 1, count=count)

    # Firing

    async def _turn(self) -> None:
        """Fire what is due within `AHEAD_MS`, or sleep until something is or a schedule was changed."""
        self._changed.clear()
        await self._follow_clock()
        await self._adopt()
        now_ms = self._clock.time_ms()
        ahead = await self._store.due(now_ms + AHEAD_MS, limit=PAGE)
        if ahead:
            await self._fire(ahead)
            return
        next_ms = await self._store.next_due_ms()
        look_at = math.inf if next_ms is None else (next_ms - AHEAD_MS) / 1000
        left = max(self._next_check - self._clock.monotonic(), 0.001)
        await self._clock.wait_until(min(look_at, self._clock.time() + left), self._changed)

    async def _fire(self, ahead: Sequence[Schedule]) -> None:
        """Decide early, then write each group of schedules at its time."""
        decided: dict[str, Firing] = {}
        now_ms = self._clock.time_ms()
        for index, schedule in enumerate(ahead):
            due_ms = schedule.due_at_ms or 0
            if schedule.overlap == "allow" and due_ms > now_ms:
                firing = await self._decide(schedule, now_ms=due_ms)
                if firing is not None:
                    decided[schedule.task_id] = firing
            if index % CHUNK == CHUNK - 1:
                await lowlevel.checkpoint()
        for due_ms, group in groupby(ahead, key=lambda schedule: schedule.due_at_ms or 0):
            while self._clock.time_ms() < due_ms:
                await self._clock.wait_until(due_ms / 1000, self._changed)
                if self._changed.is_set() or self._was_set_back():
                    return
            for chunk in _chunks(list(group)):
                await self._write(await self._firings(chunk, decided))
                await lowlevel.checkpoint()

    async def _firings(self, chunk: Sequence[Schedule], decided: dict[str, Firing]) -> list[Firing]:
        """Return the decisions made ahead, and new ones of what needs to know of other tasks or has grown old.

        The schedules of a chunk are due at one time.
        """
        now_ms = self._clock.time_ms()
        is_old = now_ms - (chunk[0].due_at_ms or 0) >= LATE_MS
        firings: list[Firing] = []
        for schedule in chunk:
            firing = None if is_old else decided.get(schedule.task_id)
            if firing is None:
                unfinished = [] if schedule.overlap == "allow" else await self._outlet.unfinished(schedule.task_id)
                firing = await self._decide(schedule, now_ms=now_ms, unfinished=unfinished)
            if firing is not None:
                firings.append(firing)
        return firings

    async def _decide(self, schedule: Schedule, *, now_ms: int, unfinished: Sequence[Task] = ()) -> Firing | None:
        """Decide, or take a schedule that cannot be read out of the way of the others."""
        retries = self._default_max_retries(schedule.task_type)
        try:
            return calendar.fire(schedule, now_ms=now_ms, unfinished=unfinished, default_max_retries=retries)
        except Exception as error:  # noqa: BLE001 - one odd row must not stop the rest
            self._set_aside(schedule, error)
            await self._store.replace(_next_version(msgspec.structs.replace(schedule, due_at_ms=None)))
            return None

    def _set_aside(self, schedule: Schedule, error: Exception) -> None:
        """Tell once of a schedule that cannot be read; editing it gives it another chance."""
        if schedule.task_id not in self._unreadable:
            self._unreadable.add(schedule.task_id)
            self._sink.emit(Warned(message=f"schedule {schedule.name!r} ({schedule.task_id}) cannot fire: {error}"))

    async def _write(self, firings: list[Firing]) -> None:
        """Write firings and hand over their tasks. What is lost between the two is found by `_push_unsent`."""
        recorded = await self._store.record(firings)
        tasks = [task for firing in recorded for task in firing.tasks]
        if tasks and not self._store.enqueues:
            await self._outlet.push(tasks)
            await self._store.sent([task.task_id for task in tasks])
        for firing in recorded:
            for task_id in firing.cancel:
                await self._outlet.cancel(task_id, f"the next run of schedule {firing.schedule.name!r} has come")
            self._tell(firing.schedule, firing.tasks)

    def _tell(self, schedule: Schedule, tasks: Sequence[NewTask]) -> None:
        if not self._sink.listening:
            return
        for task in tasks:
            self._sink.emit(
                Fired(
                    scheduler_task_id=schedule.task_id,
                    name=schedule.name,
                    task_id=task.task_id,
                    task_type=task.task_type,
                    fire_at=task.fire_at or 0,
                )
            )
            self._sink.emit(Queued(task_id=task.task_id, task_type=task.task_type, scheduler_task_id=schedule.task_id))

    async def _push_unsent(self, *, only_old: bool = False) -> None:
        unsent = [] if self._store.enqueues else await self._store.unsent()
        tasks = [task for task in unsent if not only_old or task.task_id in self._unsent]
        self._unsent = {task.task_id for task in unsent}
        if tasks:
            await self._outlet.push(tasks)
            await self._store.sent([task.task_id for task in tasks])

    # What others do

    async def _adopt(self) -> None:
        """Plan rows that another program wrote, and send what another scheduler recorded and left."""
        now = self._clock.monotonic()
        if now < self._next_check - 0.002:  # the two clocks round differently
            return
        self._next_check = now + self._check_interval
        await self._push_unsent(only_old=True)
        for schedule in await self._store.unplanned():
            if schedule.task_id in self._unreadable:
                continue
            try:
                plan = calendar.adopted(schedule, now_ms=self._clock.time_ms())
            except Exception as error:  # noqa: BLE001 - as in `_decide`
                self._set_aside(schedule, error)
            else:
                await self._store.replace(_next_version(plan))

    def _was_set_back(self) -> bool:
        """Whether the wall clock has fallen behind since `_follow_clock`."""
        return self._offset is not None and self._clock.time() - self._clock.monotonic() < self._offset - JUMP

    async def _follow_clock(self) -> None:
        """Plan the intervals anew if the clock was set back: otherwise they would stand still for that long."""
        was_set_back = self._was_set_back()
        self._offset = self._clock.time() - self._clock.monotonic()
        if not was_set_back:
            return
        now_ms = self._clock.time_ms()
        for schedule in await self._store.all(enabled_only=True):
            if schedule.schedule_type == "interval" and schedule.next_run_at is not None:
                plan = calendar.planned(schedule, now_ms=now_ms, after=schedule.next_run_at - 1)
                if plan.due_at_ms != schedule.due_at_ms:
                    await self._store.replace(_next_version(plan))

    # Inside

    async def _edit(self, task_id: str, changes: dict[str, Any]) -> Schedule | None:
        for _ in range(TRIES):
            schedule = await self._store.get(task_id)
            if schedule is None:
                return None
            edit = edited(schedule, changes, now_ms=self._clock.time_ms())
            if await self._store.replace(edit):
                self._unreadable.discard(task_id)
                self._changed.set()
                return edit
        raise BackendError(f"schedule {task_id} is being changed all the time; the edit could not be made")

    async def _existing(self, task_id: str) -> Schedule:
        schedule = await self._store.get(task_id)
        if schedule is None:
            raise _unknown(task_id)
        return schedule


def _chunks(schedules: list[Schedule]) -> Iterator[list[Schedule]]:
    for start in range(0, len(schedules), CHUNK):
        yield schedules[start : start + CHUNK]


def _unknown(task_id: str) -> ScheduleNotFound:
    return ScheduleNotFound(f"there is no schedule with the id {task_id!r}")


def _next_version(schedule: Schedule) -> Schedule:
    return msgspec.structs.replace(schedule, version=schedule.version + 1)


def _with_id(task: NewTask, task_id: str) -> NewTask:
    return msgspec.structs.replace(task, task_id=task_id)
