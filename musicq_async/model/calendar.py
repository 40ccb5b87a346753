"""The rules of schedules: when a `Schedule` is due next, and what becomes of the times that have come.

All functions are pure: they get the time and return new values. Times are epoch seconds unless they end in ``_ms``.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from datetime import tzinfo
from itertools import islice
from typing import Final

import msgspec

from musicq_async.model.cron import cron_of
from musicq_async.model.schedule import Firing, Schedule, Slot, SlotOutcome
from musicq_async.model.task import DEFAULT_MAX_RETRIES, NewTask, Task
from musicq_async.model.zones import LAST, count_slots, latest_slot, machine_zone, next_slot, slots_within, zone_of

REPLAYED: Final = 1000
"""Missed times that ``coalesce="all"`` replays at most; of more, the newest."""
REMEMBERED: Final = 100
"""Times of one firing that the ledger names although they were not enqueued; the rest are only counted."""
LOOK_AGAIN_MS: Final = (250, 5_000)
"""How soon, at least and at most, a buffered slot looks again whether the running task has ended."""
_NAMESPACE: Final = hashlib.sha1(uuid.UUID("6f0c1b1e-5f0e-4a57-9a3b-0d6b2f6a7c11").bytes, usedforsecurity=False)
"""A hash that has read the namespace; each id goes on from a copy of it."""
_VARIANTS: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""What UUIDs have at their 17th digit: two of its bits say by whose rules they are made."""

_ENQUEUED: Final = SlotOutcome.ENQUEUED
_replaced: Final = msgspec.structs.replace


def first_slot(schedule: Schedule, *, after: int) -> int | None:
    """Return the first nominal time later than ``after``, or ``None`` if there is none."""
    after = max(after, -1 if schedule.start_at is None else schedule.start_at - 1)
    if schedule.last_run_at is not None:
        after = max(after, schedule.last_run_at)  # no slot comes twice, even if the clock was set back
    slot = _next(schedule, after)
    return None if slot is None or slot > _end(schedule) else slot


def next_slots(schedule: Schedule, *, after: int, count: int) -> list[int]:
    """Return up to ``count`` nominal times later than ``after``, as many as the schedule still may run."""
    if schedule.max_runs:
        count = min(count, schedule.max_runs - schedule.run_count)
    return list(islice(_slots(schedule, after), max(count, 0)))


def planned(schedule: Schedule, *, now_ms: int, after: int | None = None) -> Schedule:
    """Return the schedule with its next slot (later than ``after``, or than now) and the time to act on it.

    One that is paused, has run as often as it may, or has no slot left, is due at no time; the last two end it.
    """
    now = now_ms // 1000
    if not schedule.enabled:
        return _replaced(schedule, next_run_at=None, due_at_ms=None)
    if schedule.max_runs and schedule.run_count >= schedule.max_runs:
        return _replaced(schedule, enabled=False, next_run_at=None, due_at_ms=None)
    slot = first_slot(schedule, after=now if after is None else after)
    if slot is None:
        return _replaced(schedule, enabled=False, next_run_at=None, due_at_ms=None)
    return _replaced(schedule, next_run_at=slot, due_at_ms=due_ms(schedule, slot, now_ms=now_ms))


def adopted(schedule: Schedule, *, now_ms: int) -> Schedule:
    """Return a row that another program wrote with the time to act on it; its own next time is kept."""
    if not schedule.enabled or schedule.next_run_at is None:
        is_new_once = schedule.schedule_type == "once" and schedule.run_count == 0
        after = (schedule.execute_at or 0) - 1 if is_new_once else None
        return planned(schedule, now_ms=now_ms, after=after)
    slot = schedule.next_run_at
    return _replaced(schedule, due_at_ms=due_ms(schedule, slot, now_ms=now_ms))


def due_ms(schedule: Schedule, slot: int, *, now_ms: int) -> int:
    """Return when a slot is acted on: at its time, plus its share of the jitter.

    An interval that has begun never waits longer than its interval: if the clock was set back, the slots keep their
    names, which the ledger has not seen, and come earlier than their names say.
    """
    due = slot * 1000 + _jitter_ms(schedule, slot)
    if schedule.schedule_type != "interval" or schedule.last_run_at is None or schedule.interval_seconds is None:
        return due
    is_first = schedule.start_at is not None and slot - schedule.interval_seconds < schedule.start_at
    return due if is_first else min(due, now_ms + (schedule.interval_seconds + schedule.jitter) * 1000)


def fire(
    schedule: Schedule,
    *,
    now_ms: int,
    unfinished: Sequence[Task] = (),
    default_max_retries: int = DEFAULT_MAX_RETRIES,
) -> Firing:
    """Decide what becomes of the slots of a due schedule.

    ``unfinished`` are its tasks that are not finished; they matter unless ``overlap`` is ``allow``. The counters of the
    advanced schedule count every slot, the ledger names those that were enqueued and the newest of the others.
    """
    first = schedule.next_run_at
    if first is None:
        return Firing(schedule=schedule, advanced=_stamped(planned(schedule, now_ms=now_ms), schedule, now_ms))
    if schedule.overlap == "buffer_one" and unfinished:
        return _buffered(schedule, first, now_ms)
    last = _last(schedule, first, now_ms)
    fired, missed = _chosen(schedule, first, last, now_ms)
    cancel: tuple[str, ...] = ()
    skipped: list[int] = []
    if schedule.overlap == "skip" and fired:
        fired, skipped = ([], fired) if unfinished else (fired[:1], fired[1:])
    elif schedule.overlap == "cancel_running" and fired:
        fired, skipped = fired[-1:], fired[:-1]
        cancel = tuple(task.task_id for task in unfinished)
    elif schedule.overlap == "buffer_one" and len(fired) > 1:
        last, fired = fired[0], fired[:1]  # the others follow one by one, each when the one before has ended
    advanced = _replaced(
        schedule,
        last_run_at=fired[-1] if fired else schedule.last_run_at,
        run_count=schedule.run_count + len(fired),
        missed_count=schedule.missed_count + missed,
        skipped_count=schedule.skipped_count + len(skipped),
        version=schedule.version + 1,
        updated_at=now_ms // 1000,
    )
    tasks = tuple([task_of(schedule, slot, default_max_retries=default_max_retries) for slot in fired])
    return Firing(
        schedule=schedule,
        advanced=planned(advanced, now_ms=now_ms, after=last),
        slots=_ledger(schedule, (first, last), tasks=tasks, skipped=skipped, missed=missed),
        tasks=tasks,
        cancel=cancel,
    )


def task_of(schedule: Schedule, slot: int, *, default_max_retries: int = DEFAULT_MAX_RETRIES) -> NewTask:
    """Return the task of one slot. Its id follows from schedule and slot."""
    return NewTask(
        task_id=task_id_of(schedule.task_id, slot),
        task_type=schedule.task_type,
        params=schedule.params,
        priority=schedule.priority,
        max_retries=default_max_retries if schedule.max_retries is None else schedule.max_retries,
        timeout_seconds=schedule.timeout_seconds,
        scheduler_task_id=schedule.task_id,
        fire_at=slot,
    )


def task_id_of(schedule_id: str, slot: int) -> str:
    """Return the id of the task of one slot: a UUID of version 5."""
    named = _NAMESPACE.copy()
    named.update(f"{schedule_id}:{slot}".encode())
    text = named.hexdigest()
    variant = _VARIANTS[text[16]]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


def _next(schedule: Schedule, after: int) -> int | None:
    match schedule.schedule_type:
        case "once":
            at = schedule.execute_at
            return at if at is not None and at > after else None
        case "interval":
            anchor, interval = _phase(schedule)
            return max(anchor, after + 1 + (anchor - after - 1) % interval)
        case "cron":
            return next_slot(cron_of(schedule.cron_expression or ""), _zone(schedule), after)


def _slots(schedule: Schedule, after: int) -> Iterator[int]:
    while (slot := first_slot(schedule, after=after)) is not None:
        yield slot
        after = slot


def _phase(schedule: Schedule) -> tuple[int, int]:
    """Return a time that is a slot, and the interval. No slot is earlier than the first of a start or the making."""
    interval = max(schedule.interval_seconds or 1, 1)
    if schedule.start_at is not None:
        return schedule.start_at, interval
    if schedule.last_run_at is not None:
        return schedule.last_run_at, interval
    return schedule.created_at + interval, interval


def _zone(schedule: Schedule) -> tzinfo:
    return machine_zone() if schedule.timezone is None else zone_of(schedule.timezone)


def _end(schedule: Schedule) -> int:
    return LAST if schedule.end_at is None else schedule.end_at


def _jitter_ms(schedule: Schedule, slot: int) -> int:
    """Spread slots over the jitter, each always by the same part of it."""
    if not schedule.jitter:
        return 0
    digest = hashlib.blake2b(f"{schedule.task_id}:{slot}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (schedule.jitter * 1000 + 1)


def _last(schedule: Schedule, first: int, now_ms: int) -> int:
    """Return the newest slot whose time to act has come: ``first`` or a later one."""
    until = min(now_ms // 1000, _end(schedule))
    if until <= first:
        return first
    slot = _latest(schedule, first, until)
    while slot > first and slot * 1000 + _jitter_ms(schedule, slot) > now_ms:
        slot = _latest(schedule, first, slot - 1)
    return slot


def _latest(schedule: Schedule, first: int, until: int) -> int:
    """Return the last slot in ``[first, until]``, where ``first`` is one."""
    match schedule.schedule_type:
        case "once":
            return first
        case "interval":
            return first + (until - first) // _phase(schedule)[1] * _phase(schedule)[1]
        case "cron":
            cron = cron_of(schedule.cron_expression or "")
            return latest_slot(cron, _zone(schedule), until, after=first) or first


def _count(schedule: Schedule, after: int, until: int) -> int:
    """Count the slots in ``(after, until]``, where ``after`` is one."""
    match schedule.schedule_type:
        case "once":
            return 0
        case "interval":
            return (until - after) // _phase(schedule)[1]
        case "cron":
            return count_slots(cron_of(schedule.cron_expression or ""), _zone(schedule), after, until)


def _chosen(schedule: Schedule, first: int, last: int, now_ms: int) -> tuple[list[int], int]:
    """Return the slots of ``[first, last]`` to fire, oldest first, and how many are missed.

    Missed are those older than the misfire window, and those beyond what is replayed. The others are coalesced.
    """
    total = 1 + (_count(schedule, first, last) if last > first else 0)
    start: int | None = first
    if schedule.misfire_window is not None:
        oldest = now_ms // 1000 - schedule.misfire_window
        if first < oldest:
            start = _following(schedule, first, oldest - 1)
    if start is None or start > last:
        return [], total
    within = 1 + (_count(schedule, start, last) if last > start else 0)
    missed = total - within
    left = schedule.max_runs - schedule.run_count if schedule.max_runs else REPLAYED
    match schedule.coalesce:
        case "latest":
            return [last], missed
        case "earliest":
            return [start], missed
        case "all":
            beyond = max(within - REPLAYED, 0)
            slots = [last] if within == 1 else _newest(schedule, start, last, within - beyond)
            return slots[: max(left, 0)], missed + beyond


def _following(schedule: Schedule, first: int, after: int) -> int | None:
    """Return the first slot later than ``after`` on the grid that ``first`` is on."""
    if schedule.schedule_type == "interval":
        interval = _phase(schedule)[1]
        return first + -((first - after - 1) // interval) * interval
    return first_slot(schedule, after=after)


def _newest(schedule: Schedule, start: int, last: int, count: int) -> list[int]:
    """Return the newest ``count`` slots of ``[start, last]``, oldest first."""
    if schedule.schedule_type == "interval":
        interval = _phase(schedule)[1]
        return [last - interval * index for index in reversed(range(count))]
    if schedule.schedule_type == "once":
        return [last][:count]
    after = start - 1 if schedule.last_run_at is None else max(start - 1, schedule.last_run_at)
    if count < 1 + _count(schedule, start, last):
        after = max(after, last - _reach(schedule, last, count))
    slots = list(slots_within(cron_of(schedule.cron_expression or ""), _zone(schedule), after, last))
    return slots[-count:]


def _reach(schedule: Schedule, last: int, count: int) -> int:
    """Return how many seconds before ``last`` hold at least ``count`` slots, within a factor of two."""
    reach = 1
    while _count(schedule, last - reach, last) < count:
        reach *= 2
    return reach


def _buffered(schedule: Schedule, first: int, now_ms: int) -> Firing:
    """Keep the slot until the running task has ended, and look again after a part of the time it has waited."""
    least, most = LOOK_AGAIN_MS
    look_ms = now_ms + min(max((now_ms - first * 1000) // 20, least), most)
    again = _replaced(schedule, next_run_at=first, due_at_ms=look_ms)
    return Firing(schedule=schedule, advanced=_stamped(again, schedule, now_ms))


def _ledger(
    schedule: Schedule, span: tuple[int, int], *, tasks: Sequence[NewTask], skipped: list[int], missed: int
) -> tuple[Slot, ...]:
    """Name what was enqueued, and the newest of what was not."""
    rows = [Slot(nominal=task.fire_at or 0, outcome=_ENQUEUED, task_id=task.task_id) for task in tasks]
    if len(rows) == 1 and span[0] == span[1]:  # in time, which is nearly always
        return (rows[0],)
    known = {*(row.nominal for row in rows), *skipped}
    rows += [Slot(nominal=slot, outcome=SlotOutcome.SKIPPED_OVERLAP) for slot in skipped[-REMEMBERED:]]
    return (*rows, *_passed(schedule, span, known, missed))


def _passed(schedule: Schedule, span: tuple[int, int], known: set[int], missed: int) -> Iterator[Slot]:
    first, last = span
    if first == last and first in known:
        return
    total = 1 + _count(schedule, first, last)
    newest = _newest(schedule, first, last, min(total, REMEMBERED))
    older = total - len(newest)
    for index, slot in enumerate(newest, start=older):
        if slot not in known:
            yield Slot(nominal=slot, outcome=SlotOutcome.MISSED if index < missed else SlotOutcome.COALESCED)


def _stamped(advanced: Schedule, schedule: Schedule, now_ms: int) -> Schedule:
    return _replaced(advanced, version=schedule.version + 1, updated_at=now_ms // 1000)
