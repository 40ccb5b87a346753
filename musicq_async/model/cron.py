"""A cron expression as sets of numbers: which local times it means, found by arithmetic and never by walking.

croniter reads the expression. Its stepping is not used: it takes 30 microseconds a step, runs fixed times twice when
clocks go back, and would need half a minute to count the minutes of a year.
"""

from __future__ import annotations

import calendar
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from datetime import date
from functools import lru_cache
from typing import Any, Final

from croniter import croniter

from musicq_async.errors import InvalidSchedule

LONGEST: Final = 255
"""Characters of an expression, as many as its column holds; a list of hundreds of thousands of minutes would block
everything for seconds."""
DAY: Final = 86_400
YEARS_AHEAD: Final = 60
"""Years within which a cron must fire to count as one that ever does: even 29 February on a Monday comes every 28."""
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_HASHED: Final = re.compile(r"[hr]([^a-z]|$)", re.IGNORECASE)
_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY, _SECOND, _YEAR = range(7)
_NO_YEARS: Final = range(0)


class Cron:
    """One expression. A local time is an integer: the seconds from 1970 to it, as if the zone were UTC.

    Five fields are minute, hour, day, month and day of the week; six begin with the second; seven end with the year.
    Where day and day of the week are both given, either is enough.
    """

    __slots__ = (
        "_days",
        "_fields",
        "_hours",
        "_minutes",
        "_months",
        "_nth",
        "_seconds",
        "_workdays",
        "_years",
        "hourly",
    )

    def __init__(self, expression: str) -> None:
        """Read an expression; raise `InvalidSchedule` if it cannot be."""
        read = _read(expression)
        fields = read.expanded
        self._fields = fields
        self._seconds = _numbers(fields[_SECOND], range(60)) if len(fields) > _SECOND else (0,)
        self._minutes = _numbers(fields[_MINUTE], range(60))
        self._hours = _numbers(fields[_HOUR], range(24))
        self._months = _numbers(fields[_MONTH], range(1, 13))
        years = fields[_YEAR] if len(fields) > _YEAR else ["*"]
        self._years: tuple[int, ...] = _numbers(years, _NO_YEARS)
        """Empty: every year."""
        self._nth: Mapping[Any, set[Any]] = read.nth_weekday_of_month
        self._workdays: set[int] = read.nearest_weekday
        self._days: dict[tuple[int, int], tuple[int, ...]] = {}
        self.hourly = len(self._hours) == 24
        """Whether every hour is meant: such a schedule goes by elapsed time when clocks are changed."""

    def at_or_after(self, local: int) -> int | None:
        """Return the first time from ``local`` on; ``None`` if there is none within `YEARS_AHEAD`."""
        day, second = divmod(local, DAY)
        today = date.fromordinal(day + _EPOCH_DAY)
        if today.day in self._days_of(today.year, today.month):
            time = self._time_from(second)
            if time is not None:
                return day * DAY + time
        first = self._first_time()
        for year, month in self._months_from(today.year, today.month):
            days = self._days_of(year, month)
            start = bisect_right(days, today.day) if (year, month) == (today.year, today.month) else 0
            if start < len(days):
                return (date(year, month, days[start]).toordinal() - _EPOCH_DAY) * DAY + first
        return None

    def between(self, start: int, end: int) -> Iterator[int]:
        """Yield the times in ``[start, end)``."""
        first = self.at_or_after(start)
        while first is not None and first < end:
            day, second = divmod(first, DAY)
            for time in self._times_since(second):
                if day * DAY + time >= end:
                    return
                yield day * DAY + time
            first = self.at_or_after((day + 1) * DAY)

    def count(self, start: int, end: int) -> int:
        """Return how many times lie in ``[start, end)``."""
        if start >= end:
            return 0
        (first, from_second), (last, until_second) = divmod(start, DAY), divmod(end, DAY)
        count = self._days_between(first, last) * len(self._hours) * len(self._minutes) * len(self._seconds)
        if self._is_meant(first):
            count -= self._times_until(from_second)
        if self._is_meant(last):
            count += self._times_until(until_second)
        return count

    def _is_meant(self, day: int) -> bool:
        today = date.fromordinal(day + _EPOCH_DAY)
        return today.day in self._days_of(today.year, today.month)

    def _days_between(self, first: int, last: int) -> int:
        """Count the days that are meant from ``first`` until the day before ``last``."""
        start, end = date.fromordinal(first + _EPOCH_DAY), date.fromordinal(last + _EPOCH_DAY)
        count = -bisect_left(self._days_of(start.year, start.month), start.day)
        year, month = start.year, start.month
        while (year, month) < (end.year, end.month):
            count += len(self._days_of(year, month))
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        return count + bisect_left(self._days_of(year, month), end.day)

    def _first_time(self) -> int:
        return self._hours[0] * 3600 + self._minutes[0] * 60 + self._seconds[0]

    def _time_from(self, second: int) -> int | None:
        """Return the first time of a day from this second of it on."""
        hour, rest = divmod(second, 3600)
        minute, second = divmod(rest, 60)
        hours, minutes, seconds = self._hours, self._minutes, self._seconds
        at = bisect_left(hours, hour)
        if at < len(hours) and hours[at] == hour:
            in_hour = bisect_left(minutes, minute)
            if in_hour < len(minutes) and minutes[in_hour] == minute:
                in_minute = bisect_left(seconds, second)
                if in_minute < len(seconds):
                    return hour * 3600 + minute * 60 + seconds[in_minute]
                in_hour += 1
            if in_hour < len(minutes):
                return hour * 3600 + minutes[in_hour] * 60 + seconds[0]
            at += 1
        return hours[at] * 3600 + minutes[0] * 60 + seconds[0] if at < len(hours) else None

    def _times_since(self, second: int) -> Iterator[int]:
        """Yield the times of a day from this second of it on."""
        for hour in self._hours[bisect_left(self._hours, second // 3600) :]:
            for minute in self._minutes:
                begin = hour * 3600 + minute * 60
                for each in self._seconds:
                    if begin + each >= second:
                        yield begin + each

    def _times_until(self, second: int) -> int:
        """Count the times of a day before this second of it."""
        hour, rest = divmod(second, 3600)
        minute, second = divmod(rest, 60)
        hours, minutes, seconds = self._hours, self._minutes, self._seconds
        at = bisect_left(hours, hour)
        count = at * len(minutes) * len(seconds)
        if at < len(hours) and hours[at] == hour:
            in_hour = bisect_left(minutes, minute)
            count += in_hour * len(seconds)
            if in_hour < len(minutes) and minutes[in_hour] == minute:
                count += bisect_left(seconds, second)
        return count

    def _months_from(self, year: int, month: int) -> Iterator[tuple[int, int]]:
        """Yield the months that are meant, from this one on, for `YEARS_AHEAD` years."""
        for each in range(year, min(year + YEARS_AHEAD, 9999) + 1):
            if not self._years or each in self._years:
                for number in self._months:
                    if each > year or number >= month:
                        yield each, number

    def _days_of(self, year: int, month: int) -> tuple[int, ...]:
        """Return the days that are meant in one month."""
        days = self._days.get((year, month))
        if days is None:
            if len(self._days) > 1500:
                self._days.clear()
            days = self._days[year, month] = self._found_days(year, month)
        return days

    def _found_days(self, year: int, month: int) -> tuple[int, ...]:
        if month not in self._months or (self._years and year not in self._years):
            return ()
        first_weekday, length = calendar.monthrange(year, month)
        every = range(1, length + 1)
        of_month = self._by_day_of_month(year, month, length)
        of_week = self._by_weekday(every, first_weekday)
        if of_month is not None and of_week is not None:
            return tuple(sorted(of_month | of_week))
        return tuple(sorted(every if of_month is None and of_week is None else of_month or of_week or ()))

    def _by_day_of_month(self, year: int, month: int, length: int) -> set[int] | None:
        """Return the days by the third field; ``None`` where it says nothing."""
        if self._workdays:
            return {_nearest_workday(year, month, min(day, length)) for day in self._workdays}
        field = self._fields[_DAY]
        if field[0] == "*":
            return None
        return {length if day == "l" else day for day in field if day == "l" or day <= length}

    def _by_weekday(self, every: range, first_weekday: int) -> set[int] | None:
        """Return the days by the fifth field, where Sunday is 0; ``None`` where it says nothing."""
        field = self._fields[_WEEKDAY]
        if not self._nth:
            return None if field[0] == "*" else {day for day in every if (first_weekday + day) % 7 in field}
        days: set[int] = set()
        for weekday, numbers in self._nth.items():
            same = [day for day in every if weekday == "*" or (first_weekday + day) % 7 == weekday]
            days |= {same[-1] if n == "l" else same[n - 1] for n in numbers if n == "l" or n <= len(same)}
        return days


@lru_cache(maxsize=4096)
def cron_of(expression: str) -> Cron:
    """Return the `Cron` of an expression; the ones in use are kept."""
    return Cron(expression)


def _read(expression: str) -> croniter:
    if not isinstance(expression, str):
        raise InvalidSchedule(f"cron_expression must be text, not {type(expression).__name__}")
    if len(expression) > LONGEST:
        raise InvalidSchedule(f"cron_expression has {len(expression)} characters; at most {LONGEST} are read")
    fields = expression.split()
    if any(_HASHED.match(field) for field in fields):
        raise InvalidSchedule(f"cron_expression {expression!r}: H and R stand for random times; name the times")
    try:
        return croniter(expression, 0.0, second_at_beginning=True)
    except Exception as error:
        raise InvalidSchedule(
            f"cron_expression {expression!r} cannot be read: {str(error).splitlines()[0] if str(error) else error!r}; "
            "write minute hour day month weekday, for example '30 2 * * *'"
        ) from error


def _numbers(field: list[Any], every: range) -> tuple[int, ...]:
    return tuple(every) if field[0] == "*" else tuple(sorted(field))


def _nearest_workday(year: int, month: int, day: int) -> int:
    """Return the Monday-to-Friday nearest to a day, without leaving its month."""
    weekday, length = calendar.weekday(year, month, day), calendar.monthrange(year, month)[1]
    if weekday == calendar.SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == calendar.SUNDAY:
        return day + 1 if day < length else day - 2
    return day
