"""What a schedule may look like: the arguments of add and update go in, a checked `Schedule` comes out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

import msgspec

from musicq_async.core import checked_task
from musicq_async.errors import InvalidSchedule, InvalidTask
from musicq_async.model.calendar import adopted, planned
from musicq_async.model.cron import LONGEST, cron_of
from musicq_async.model.schedule import Coalesce, Overlap, Schedule, ScheduleType
from musicq_async.model.zones import machine_zone, next_slot, zone_of

TEN_YEARS: Final = 3660 * 86_400
LONGEST_NAME: Final = 255
LONGEST_DESCRIPTION: Final = 10_000
LONGEST_JITTER: Final = 86_400
JUST_NOW: Final = 2
"""Seconds that ``execute_at`` may lie back: ``int(time.time())`` is in the past as soon as it is made."""
TIME_FIELDS: Final = {"interval": "interval_seconds", "cron": "cron_expression", "once": "execute_at"}
"""The one field that each type of schedule needs, and no other has."""
FIELDS: Final = frozenset(
    {
        *TIME_FIELDS.values(),
        *("name", "task_type", "schedule_type", "params", "max_runs", "enabled", "description", "timezone", "priority"),
        *("max_retries", "timeout", "misfire_window", "coalesce", "overlap", "jitter", "start_at", "end_at"),
    }
)
"""What can be given to `new_schedule` and `edited`: the names of ``add_scheduler_task``."""
DEFAULTS: Final[Mapping[str, Any]] = {
    "params": None,
    "max_runs": 0,
    "enabled": True,
    "priority": 0,
    "coalesce": "latest",
    "overlap": "allow",
    "jitter": 0,
}
"""What a field is where it is not given; the others are ``None``."""
RETIMED: Final = frozenset(
    {*TIME_FIELDS.values(), "schedule_type", "timezone", "jitter", "start_at", "end_at", "enabled"}
)
"""Fields whose change means that the next time is found anew."""


def new_schedule(task_id: str, given: Mapping[str, Any], *, now_ms: int) -> Schedule:
    """Return a schedule with its next time. Raises `InvalidSchedule` that names the field and the cure."""
    now = now_ms // 1000
    values = _checked(dict(DEFAULTS) | dict(given), now)
    schedule = adopted(Schedule(task_id=task_id, created_at=now, updated_at=now, **values), now_ms=now_ms)
    if values["enabled"] and schedule.next_run_at is None:
        raise InvalidSchedule("the schedule would never fire: no time lies between start_at and end_at")
    return schedule


def edited(schedule: Schedule, changes: Mapping[str, Any], *, now_ms: int) -> Schedule:
    """Return the schedule with some fields changed and ``version`` raised. Raises `InvalidSchedule`.

    The next time stays unless a field that decides it changes. A new ``schedule_type`` drops the time of the old one.
    """
    unknown = sorted(set(changes) - FIELDS)
    if unknown:
        raise InvalidSchedule(f"{unknown[0]} cannot be changed; can be: {', '.join(sorted(FIELDS))}")
    before = {name: getattr(schedule, "timeout_seconds" if name == "timeout" else name) for name in FIELDS}
    wanted = before | dict(changes)
    if wanted["schedule_type"] != schedule.schedule_type:
        needed = TIME_FIELDS.get(wanted["schedule_type"]) if isinstance(wanted["schedule_type"], str) else None
        wanted |= {name: None for name in TIME_FIELDS.values() if name != needed and name not in changes}
    is_retimed = any(name in RETIMED and wanted[name] != before[name] for name in changes)
    now = now_ms // 1000
    values = _checked(wanted, now, is_old=not is_retimed or "execute_at" not in changes)
    after = msgspec.structs.replace(schedule, version=schedule.version + 1, updated_at=now, **values)
    if not is_retimed and not (after.max_runs and after.run_count >= after.max_runs):
        return after
    return planned(after, now_ms=now_ms)


def _checked(given: dict[str, Any], now: int, *, is_old: bool = False) -> dict[str, Any]:
    """Check every field. ``is_old`` lets a time pass that lies back, because it was accepted once."""
    unknown = sorted(set(given) - FIELDS)
    if unknown:
        raise InvalidSchedule(f"{unknown[0]} is no field of a schedule; fields are: {', '.join(sorted(FIELDS))}")
    schedule_type = _one_of("schedule_type", given.get("schedule_type"), get_args(ScheduleType))
    values = {
        "name": _text("name", given.get("name"), LONGEST_NAME),
        "schedule_type": schedule_type,
        "max_runs": _whole("max_runs", given["max_runs"], 0),
        "enabled": _flag("enabled", given["enabled"]),
        "description": _optional(_description, given.get("description")),
        "timezone": _optional(_timezone, given.get("timezone")),
        "misfire_window": _optional(lambda value: _whole("misfire_window", value, 1), given.get("misfire_window")),
        "coalesce": _one_of("coalesce", given["coalesce"], get_args(Coalesce)),
        "overlap": _one_of("overlap", given["overlap"], get_args(Overlap)),
        "jitter": _whole("jitter", given["jitter"], 0, LONGEST_JITTER),
        "start_at": _optional(lambda value: _moment("start_at", value, now), given.get("start_at")),
        "end_at": _optional(lambda value: _moment("end_at", value, now), given.get("end_at")),
        **_task_fields(given),
    }
    values |= _time_fields(schedule_type, given, values["timezone"], now, is_old=is_old)
    _check_together(values, now, is_old=is_old)
    return values


def _task_fields(given: dict[str, Any]) -> dict[str, Any]:
    """Check what the pushed tasks will be made of, by the queue's own rules."""
    task_type = _text("task_type", given.get("task_type"), 100)
    task: dict[str, Any] = {"type": task_type, "params": {} if given["params"] is None else given["params"]}
    task |= {name: given[name] for name in ("max_retries", "timeout") if given.get(name) is not None}
    priority = _whole("priority", given["priority"], -(2**31))
    try:
        checked = checked_task(task, json_only=True)
    except InvalidTask as error:
        raise InvalidSchedule(
            str(error).replace("Task field 'type'", "Field 'task_type'").replace("Task f", "F")
        ) from error
    return {
        "task_type": checked["type"],
        "params": checked["params"],
        "priority": priority,
        "max_retries": checked.get("max_retries"),
        "timeout_seconds": checked.get("timeout"),
    }


def _time_fields(
    schedule_type: str, given: dict[str, Any], timezone: str | None, now: int, *, is_old: bool
) -> dict[str, Any]:
    """Check that the type has its own field and no other."""
    needed = TIME_FIELDS[schedule_type]
    for name in TIME_FIELDS.values():
        if name != needed and given.get(name) is not None:
            raise InvalidSchedule(
                f"{name} does not go with schedule_type {schedule_type!r}, which needs {needed} alone"
            )
    value = given.get(needed)
    if value is None:
        raise InvalidSchedule(f"{needed} is missing; schedule_type {schedule_type!r} needs it")
    values: dict[str, Any] = dict.fromkeys(TIME_FIELDS.values())
    if schedule_type == "interval":
        values[needed] = _whole(needed, value, 1, TEN_YEARS)
    elif schedule_type == "cron":
        values[needed] = _cron(value, timezone, now)
    else:
        values[needed] = _moment(needed, value, now, least=None if is_old else now - JUST_NOW)
    return values


def _check_together(values: dict[str, Any], now: int, *, is_old: bool) -> None:
    start, end, interval = values["start_at"], values["end_at"], values["interval_seconds"]
    if start is not None and end is not None and end < start:
        raise InvalidSchedule(f"end_at ({end}) lies before start_at ({start})")
    if end is not None and end <= now and not is_old:
        raise InvalidSchedule(f"end_at ({end}) lies in the past")
    if interval is not None and values["jitter"] >= interval and values["jitter"]:
        raise InvalidSchedule(f"jitter ({values['jitter']}) must be below interval_seconds ({interval})")


def _cron(value: Any, timezone: str | None, now: int) -> str:
    if isinstance(value, str) and not value.strip():
        raise InvalidSchedule("cron_expression is empty; write minute hour day month weekday")
    cron = cron_of(value) if isinstance(value, str) else None
    if cron is None:
        raise InvalidSchedule(f"cron_expression must be text of at most {LONGEST} characters, not {_kind(value)}")
    if next_slot(cron, machine_zone() if timezone is None else zone_of(timezone), now) is None:
        raise InvalidSchedule(f"cron_expression {value!r} never fires: no such day comes")
    return str(value)


def _moment(name: str, value: Any, now: int, *, least: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e15 < value < 1e15:
        raise InvalidSchedule(f"{name} must be epoch seconds, not {_shown(value)}")
    moment = math.ceil(value)
    if moment > now + TEN_YEARS:
        raise InvalidSchedule(f"{name} ({_shown(value)}) is over ten years ahead; it is in seconds, not milliseconds")
    if moment < 0 or (least is not None and moment < least):
        raise InvalidSchedule(f"{name} ({_shown(value)}) lies in the past")
    return moment


def _whole(name: str, value: Any, least: int, most: int = 2**31 - 1) -> int:
    number = int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        raise InvalidSchedule(f"{name} must be a whole number from {least} to {most}, not {_shown(value)}")
    return number


def _text(name: str, value: Any, longest: int) -> str:
    if not isinstance(value, str):
        raise InvalidSchedule(f"{name} must be text, not {_kind(value)}")
    if not value.strip() or len(value) > longest:
        raise InvalidSchedule(f"{name} must have 1 to {longest} characters, not {len(value)}")
    return _encodable(name, value)


def _description(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_DESCRIPTION:
        raise InvalidSchedule(f"description must be text of at most {LONGEST_DESCRIPTION} characters")
    return _encodable("description", value)


def _encodable(name: str, value: str) -> str:
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidSchedule(f"{name} holds NUL or half of a surrogate pair, which a database cannot keep")
    return str(value)


def _timezone(value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > 64:
        raise InvalidSchedule(f"timezone must be an IANA name such as 'Asia/Shanghai' or None, not {_shown(value)}")
    zone_of(value)
    return value


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> Any:
    if not isinstance(value, str) or value not in choices:
        raise InvalidSchedule(f"{name} must be one of {', '.join(choices)}, not {_shown(value)}")
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidSchedule(f"{name} must be True or False, not {_shown(value)}")
    return value


def _optional(check: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else check(value)


def _kind(value: Any) -> str:
    return type(value).__name__


def _shown(value: Any) -> str:
    """Show a wrong value, shortened; a number of thousands of digits cannot even be printed."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return "a number of that size"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
