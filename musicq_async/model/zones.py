"""Time zones, and what a `Cron` means in one: its slots in epoch seconds, also on nights when clocks change.

A local time that does not exist becomes the first moment after the gap. A local time that comes twice means the first.
A cron that means every hour goes by elapsed time instead: it skips what does not exist, and runs in both passes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from musicq_async.errors import InvalidSchedule
from musicq_async.model.cron import Cron

LAST: Final = 253_402_200_000
"""Epoch second near the end of year 9999, after which Python knows no dates."""
WEEK: Final = 7 * 86_400
_LINK: Final = "zoneinfo/"


@lru_cache(maxsize=1024)
def zone_of(name: str) -> tzinfo:
    """Return the zone of an IANA name; raise `InvalidSchedule` if there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError) as error:
        raise InvalidSchedule(
            f"timezone {name!r} is not known; use an IANA name such as 'Asia/Shanghai', or None for the machine's zone"
        ) from error


def machine_zone() -> tzinfo:
    """Return the zone of this machine, with its rules where they can be found."""
    return _machine_zone(os.environ.get("TZ"))


@lru_cache(maxsize=8)
def _machine_zone(variable: str | None) -> tzinfo:
    if variable is not None:
        name = variable.removeprefix(":").rpartition(_LINK)[2]
        return _known(name) or _offset_now()
    for path in (Path("/etc/localtime"), Path("/var/db/timezone/localtime")):
        try:
            name = str(path.resolve(strict=True)).rpartition(_LINK)[2]
            if (found := _known(name)) is not None:
                return found
            with path.open("rb") as file:
                return ZoneInfo.from_file(file)
        except (OSError, ValueError):
            continue
    return _offset_now()


def _known(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _offset_now() -> tzinfo:
    """Return today's offset as a zone: the last resort, without rules for the changing of clocks."""
    return datetime.now(UTC).astimezone().tzinfo or UTC


def next_slot(cron: Cron, zone: tzinfo, after: int) -> int | None:
    """Return the first slot later than ``after``."""
    start = after + 1
    if not 0 <= start < LAST:
        return None
    seen = max(after, 0)  # the clock as it was before: what a gap swallowed runs at its end, also if that is ``start``
    offset, is_repeat = _at(zone, seen)
    local = start + offset
    if is_repeat and not cron.hourly:
        local = _end_of_repeat(zone, seen + offset)
    while (wanted := cron.at_or_after(local)) is not None and (moment := wanted - offset) < LAST:
        there, is_repeat = _at(zone, moment)
        if there == offset:
            if not is_repeat:
                return moment
            earlier = wanted - _first_pass_offset(zone, wanted)
            if earlier >= start:
                return earlier
            if cron.hourly:
                return moment
            local = _end_of_repeat(zone, wanted)
            continue
        change = _change(zone, seen, moment, offset)
        new, _ = _at(zone, change)
        if new > offset and not cron.hourly and wanted < change + new:
            return change
        local = change + (offset if new < offset and not cron.hourly else new)
        offset, start, seen = new, change, change
    return None


def count_slots(cron: Cron, zone: tzinfo, after: int, until: int) -> int:
    """Return how many slots are later than ``after`` and not later than ``until``, without visiting them."""
    count = 0
    before, _ = _at(zone, max(after, 0))
    for start, end, offset in _segments(zone, after + 1, min(until + 1, LAST)):
        local = start + offset
        if not cron.hourly:
            if offset == before:
                local = _end_of_repeat(zone, local) if _at(zone, start)[1] else local
            elif offset < before:
                local = start + before
            elif cron.count(start + before, local) and not cron.count(local, local + 1):
                count += 1
        count += cron.count(local, end + offset)
        before = offset
    return count


def slots_within(cron: Cron, zone: tzinfo, after: int, until: int) -> Iterator[int]:
    """Yield the slots later than ``after`` and not later than ``until``: those of `next_slot`, many times faster."""
    last = after
    for _, end, offset in _segments(zone, after + 1, min(until + 1, LAST)):
        while (slot := next_slot(cron, zone, last)) is not None and slot < end:
            yield slot
            last = slot
            if not _at(zone, slot)[1]:  # from here on the clock of this part shows every time once
                for wanted in cron.between(slot + offset + 1, end + offset):
                    last = wanted - offset
                    yield last
                break


def latest_slot(cron: Cron, zone: tzinfo, until: int, *, after: int) -> int | None:
    """Return the last slot not later than ``until`` and later than ``after``."""
    reach = 1
    while True:
        start = max(until - reach, after)
        found = next_slot(cron, zone, start)
        if found is not None and found <= until:
            return _last_from(cron, zone, found, until)
        if start == after:
            return None
        reach *= 4


def _last_from(cron: Cron, zone: tzinfo, slot: int, until: int) -> int:
    """Go on from a slot that is a few steps away from the last one."""
    while (following := next_slot(cron, zone, slot)) is not None and following <= until:
        slot = following
    return slot


def _at(zone: tzinfo, moment: int) -> tuple[int, int]:
    """Return the offset from UTC in seconds, and whether the clock shows this time for the second time."""
    local = datetime.fromtimestamp(moment, zone)
    offset = local.utcoffset()
    return (0 if offset is None else offset.days * 86_400 + offset.seconds), local.fold


def _first_pass_offset(zone: tzinfo, local: int) -> int:
    offset = datetime.fromtimestamp(local, UTC).replace(tzinfo=zone, fold=0).utcoffset()
    return 0 if offset is None else offset.days * 86_400 + offset.seconds


def _end_of_repeat(zone: tzinfo, local: int) -> int:
    """Return the first local time after the span that comes twice and holds ``local``."""
    first = _first_pass_offset(zone, local)
    moment = local - first
    second, _ = _at(zone, moment + WEEK)
    return _change(zone, moment, moment + WEEK, first) + max(first, second)


def _change(zone: tzinfo, before: int, after: int, offset: int) -> int:
    """Return the first moment in ``(before, after]`` with another offset than this, which ``before`` has."""
    while after - before > 1:
        middle = (before + after) // 2
        if _at(zone, middle)[0] == offset:
            before = middle
        else:
            after = middle
    return after


def _segments(zone: tzinfo, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield ``[start, end)`` in parts of one offset. Two changes within a week do not happen."""
    offset, _ = _at(zone, start)
    begin = probe = start
    while begin < end:
        following = min(probe + WEEK, end)
        there, _ = _at(zone, following)
        if there != offset and following > begin:
            change = _change(zone, probe, following, offset)
            if change >= end:
                break
            yield begin, change, offset
            begin = probe = change
            offset, _ = _at(zone, change)
        elif following == end:
            break
        else:
            probe = following
    if begin < end:
        yield begin, end, offset
