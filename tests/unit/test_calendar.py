"""When schedules fire: crons, zones and the two nights, misses, overlap."""

from __future__ import annotations

import importlib
import itertools
import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from musicq_async.errors import InvalidSchedule
from musicq_async.model.calendar import adopted, fire, next_slots, planned, task_id_of
from musicq_async.model.cron import LONGEST as LONGEST_CRON
from musicq_async.model.cron import Cron, cron_of
from musicq_async.model.schedule import SlotOutcome
from musicq_async.model.schedule_input import LONGEST_NAME, edited, new_schedule
from musicq_async.model.zones import count_slots, latest_slot, machine_zone, next_slot, slots_within, zone_of

NOW = 1_767_225_600
"""2026-01-01 00:00:00 UTC."""
DAY = 86_400
YEAR = 365 * DAY


def made(schedule_type="interval", *, now=NOW, **fields):
    times = {"interval": {"interval_seconds": 60}, "cron": {"cron_expression": "* * * * *"}, "once": {}}[schedule_type]
    given = {"name": "n", "task_type": "t", "schedule_type": schedule_type, **times, **fields}
    return new_schedule("id", given, now_ms=now * 1000)


# Crons against croniter, in UTC


def field(low, high):
    number = st.integers(low, high)
    return st.one_of(
        st.just("*"),
        number.map(str),
        st.integers(1, high).map(lambda step: f"*/{step}"),
        st.tuples(number, number).filter(lambda pair: pair[0] < pair[1]).map(lambda pair: f"{pair[0]}-{pair[1]}"),
        st.lists(number, min_size=2, max_size=4, unique=True).map(lambda each: ",".join(map(str, sorted(each)))),
    )


FIVE = st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(st.one_of(FIVE, st.tuples(field(0, 59), FIVE).map(" ".join)), st.integers(1_500_000_000, 1_900_000_000))
def test_a_cron_steps_as_croniter_does(expression, after):
    try:
        start = datetime.fromtimestamp(after, UTC)
        expected = croniter(expression, start, second_at_beginning=True).get_next(float)
    except ValueError:
        expected = None
    assert Cron(expression).at_or_after(after + 1) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 12 l * *", "2026-01-31T12:00"),
        ("0 12 * * 5#2", "2026-01-09T12:00"),
        ("0 12 * * l5", "2026-01-30T12:00"),
        ("0 12 15w * *", "2026-01-15T12:00"),
        ("0 12 31w * *", "2026-01-30T12:00"),
        ("0 0 13 * 5", "2026-01-02T00:00"),
        ("@daily", "2026-01-02T00:00"),
        ("@hourly", "2026-01-01T01:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("0 0 12 * * *", "2026-01-01T12:00"),
        ("*/10 * * * * *", "2026-01-01T00:00:10"),
        ("0 0 0 1 6 * 2030", "2030-06-01T00:00"),
        ("0 0 * jan-mar mon,wed", "2026-01-05T00:00"),
    ],
)
def test_crons_mean_what_they_say(expression, expected):
    slot = next_slot(cron_of(expression), UTC, NOW)
    assert datetime.fromtimestamp(slot, UTC) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


# The nights on which clocks are changed

NIGHTS = [
    ("America/New_York", "30 2 * * *", "2026-03-07T12:00", ["2026-03-08T03:00-04:00", "2026-03-09T02:30-04:00"]),
    ("America/New_York", "0 3 * * *", "2026-03-07T12:00", ["2026-03-08T03:00-04:00", "2026-03-09T03:00-04:00"]),
    ("America/New_York", "30 1 * * *", "2026-10-31T12:00", ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"]),
    ("America/New_York", "0,30 1 * * *", "2026-10-31T12:00", ["2026-11-01T01:00-04:00", "2026-11-01T01:30-04:00", "2026-11-02T01:00-05:00"]),
    ("America/New_York", "0 * * * *", "2026-11-01T00:30", ["2026-11-01T01:00-04:00", "2026-11-01T01:00-05:00", "2026-11-01T02:00-05:00"]),
    ("America/New_York", "*/30 * * * *", "2026-03-08T01:15", ["2026-03-08T01:30-05:00", "2026-03-08T03:00-04:00", "2026-03-08T03:30-04:00"]),
    ("Europe/London", "30 1 * * *", "2026-03-28T12:00", ["2026-03-29T02:00+01:00", "2026-03-30T01:30+01:00"]),
    ("Europe/London", "15 1 * * *", "2026-10-24T12:00", ["2026-10-25T01:15+01:00", "2026-10-26T01:15+00:00"]),
    ("Europe/London", "*/20 * * * *", "2026-10-25T00:45", ["2026-10-25T01:00+01:00", "2026-10-25T01:20+01:00", "2026-10-25T01:40+01:00", "2026-10-25T01:00+00:00"]),
    ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00", ["2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"]),
    ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T12:00", ["2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"]),
    ("Asia/Shanghai", "30 2 * * *", "1986-05-03T12:00", ["1986-05-04T03:00+09:00", "1986-05-05T02:30+09:00"]),
    ("Asia/Shanghai", "30 1 * * *", "1986-09-13T12:00", ["1986-09-14T01:30+09:00", "1986-09-15T01:30+08:00"]),
    ("Pacific/Apia", "0 12 * * *", "2011-12-29T06:00", ["2011-12-29T12:00-10:00", "2011-12-31T00:00+14:00", "2011-12-31T12:00+14:00"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "expression", "after", "expected"), NIGHTS)
def test_each_local_time_runs_once_and_steps_go_by_elapsed_time(name, expression, after, expected):
    zone, cron = ZoneInfo(name), cron_of(expression)
    moment = int(datetime.fromisoformat(after).replace(tzinfo=zone).timestamp())
    start, found = moment, []
    for _ in expected:
        moment = next_slot(cron, zone, moment)
        found.append(moment)
    assert [datetime.fromtimestamp(at, zone).isoformat(timespec="minutes") for at in found] == expected
    assert count_slots(cron, zone, start, found[-1]) == len(expected)
    assert latest_slot(cron, zone, found[-1], after=start) == found[-1]
    assert list(slots_within(cron, zone, start, found[-1])) == found
    for slot in found:  # asked for in the very second before, as next_runs and firing do
        assert next_slot(cron, zone, slot - 1) == slot
        assert list(slots_within(cron, zone, slot - 1, slot)) == [slot]
        assert count_slots(cron, zone, slot - 1, slot) == 1


TURNING = ["America/New_York", "Europe/London", "Australia/Lord_Howe", "America/Santiago", "Africa/Casablanca"]


@pytest.mark.parametrize("name", TURNING)
def test_a_fixed_time_comes_exactly_once_on_every_local_day_of_a_year(name):
    zone = ZoneInfo(name)
    days = [date(2026, 1, 1) + timedelta(days=number) for number in range(365)]
    start = int(datetime(2026, 1, 1, tzinfo=zone).timestamp()) - 1
    end = int(datetime(2027, 1, 1, tzinfo=zone).timestamp()) - 1
    for hour, minute in itertools.product((0, 1, 2, 3, 23), (0, 15, 30, 59)):
        cron = cron_of(f"{minute} {hour} * * *")
        slots = list(slots_within(cron, zone, start, end))
        assert [datetime.fromtimestamp(slot, zone).date() for slot in slots] == days, (hour, minute)
        assert count_slots(cron, zone, start, end) == len(days)


@pytest.mark.parametrize("name", TURNING)
@pytest.mark.parametrize("minutes", [1, 15, 30])
def test_steps_of_minutes_go_by_elapsed_time_all_year(name, minutes):
    start = NOW - 1
    slots = list(slots_within(cron_of(f"*/{minutes} * * * *"), ZoneInfo(name), start, start + YEAR))
    assert len(slots) == YEAR // (60 * minutes)
    assert {after - before for before, after in itertools.pairwise(slots)} == {60 * minutes}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(
        ["America/New_York", "Europe/London", "Australia/Lord_Howe", "Africa/Casablanca", "America/Havana"]
    ),
    st.tuples(field(0, 59), field(0, 23)).map(lambda pair: f"{pair[0]} {pair[1]} * * *"),
    st.integers(1_400_000_000, 1_800_000_000),
)
def test_counting_and_looking_back_agree_with_stepping(name, expression, after):
    zone, cron = ZoneInfo(name), cron_of(expression)
    until = after + 2 * DAY
    slots = []
    moment = after
    while (moment := next_slot(cron, zone, moment)) is not None and moment <= until:
        slots.append(moment)
    assert all(a < b for a, b in itertools.pairwise(slots))
    assert count_slots(cron, zone, after, until) == len(slots)
    assert latest_slot(cron, zone, until, after=after) == (slots[-1] if slots else None)
    assert list(slots_within(cron, zone, after, until)) == slots
    assert [next_slot(cron, zone, slot - 1) for slot in slots[:50]] == slots[:50]


def test_the_machine_zone_is_the_variables(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    assert datetime.fromtimestamp(NOW, machine_zone()).hour == 8
    schedule = made("cron", cron_expression="0 2 * * *")
    assert datetime.fromtimestamp(schedule.next_run_at, UTC).hour == 18
    monkeypatch.setenv("TZ", "nonsense/zone")
    assert machine_zone() is not None
    with pytest.raises(InvalidSchedule):
        zone_of("nonsense/zone")


# Firing


def test_an_interval_keeps_its_phase_however_late_it_fires():
    schedule = made(interval_seconds=60)
    assert schedule.next_run_at == NOW + 60
    firing = fire(schedule, now_ms=(NOW + 60) * 1000 + 700)
    assert [task.fire_at for task in firing.tasks] == [NOW + 60]
    assert firing.advanced.next_run_at == NOW + 120
    late = fire(schedule, now_ms=(NOW + 150) * 1000)
    assert [task.fire_at for task in late.tasks] == [NOW + 120]
    assert late.advanced.next_run_at == NOW + 180
    assert [slot.outcome for slot in late.slots] == [SlotOutcome.ENQUEUED, SlotOutcome.COALESCED]
    assert late.advanced.version == schedule.version + 1


def test_the_id_of_a_task_follows_from_its_schedule_and_slot():
    first, second = fire(made(), now_ms=(NOW + 60) * 1000), fire(made(), now_ms=(NOW + 60) * 1000 + 400)
    assert first.tasks[0].task_id == second.tasks[0].task_id == task_id_of("id", NOW + 60)
    assert task_id_of("id", NOW + 61) != task_id_of("id", NOW + 60) != task_id_of("other", NOW + 60)
    assert len(task_id_of("id", 1)) == 36


@pytest.mark.parametrize("coalesce", ["latest", "earliest", "all"])
@pytest.mark.parametrize("window", [None, 3600])
def test_a_year_of_misses_is_resolved_in_milliseconds(coalesce, window):
    schedule = made("cron", timezone="Europe/London", coalesce=coalesce, misfire_window=window)
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        firing = fire(schedule, now_ms=(NOW + YEAR) * 1000)
        best = min(best, time.perf_counter() - began)
    assert best < 0.02
    assert len(firing.slots) <= 1101
    expected = {"latest": 1, "earliest": 1, "all": 1000 if window is None else 61}[coalesce]
    assert abs(len(firing.tasks) - expected) <= 1
    assert firing.advanced.next_run_at > NOW + YEAR


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([{"interval_seconds": 1}, {"interval_seconds": 3600}, {"cron_expression": "*/5 * * * *"}]),
    st.integers(-7200, 40 * DAY),
)
def test_after_a_jump_or_a_long_pause_one_run_makes_up_for_all(when, late):
    schedule = made("cron" if "cron_expression" in when else "interval", timezone="Europe/London", **when)
    now_ms = max(schedule.due_at_ms + late * 1000, schedule.due_at_ms)
    firing = fire(schedule, now_ms=now_ms)
    assert len(firing.tasks) == 1
    assert firing.tasks[0].fire_at * 1000 <= now_ms
    assert firing.advanced.next_run_at * 1000 > now_ms, "nothing else is due now"
    assert firing.advanced.due_at_ms == firing.advanced.next_run_at * 1000


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 5000), st.integers(0, 40_000), st.sampled_from(["latest", "earliest", "all"]),
    st.one_of(st.none(), st.integers(1, 20_000)), st.integers(0, 5),
)  # fmt: skip
def test_every_slot_is_accounted_for(interval, late, coalesce, window, max_runs):
    schedule = made(interval_seconds=interval, coalesce=coalesce, misfire_window=window, max_runs=max_runs)
    firing = fire(schedule, now_ms=schedule.due_at_ms + late * 1000)
    slots = [task.fire_at for task in firing.tasks]
    total = 1 + late // interval
    assert slots == sorted(set(slots))
    assert all((slot - schedule.next_run_at) % interval == 0 for slot in slots)
    assert len(slots) + firing.advanced.missed_count <= total
    assert len({slot.nominal for slot in firing.slots}) == len(firing.slots)
    assert firing.advanced.run_count == len(slots) <= (max_runs or 1000)
    assert firing.advanced.enabled is not bool(max_runs and len(slots) >= max_runs)
    if firing.advanced.next_run_at is not None:
        assert firing.advanced.next_run_at > (slots[-1] if slots else 0)


def test_an_interval_goes_on_when_the_clock_was_set_back():
    schedule = fire(made(interval_seconds=2), now_ms=(NOW + 2) * 1000).advanced
    back_ms = (NOW - 3600) * 1000
    again = planned(schedule, now_ms=back_ms, after=schedule.next_run_at - 1)
    assert again.next_run_at == schedule.next_run_at
    assert again.due_at_ms == back_ms + 2000
    firing = fire(again, now_ms=again.due_at_ms)
    assert [task.fire_at for task in firing.tasks] == [NOW + 4]
    assert firing.advanced.due_at_ms == again.due_at_ms + 2000


def test_a_row_of_another_program_keeps_its_next_time():
    row = msgspec.structs.replace(made(), due_at_ms=None, next_run_at=NOW - 500)
    assert adopted(row, now_ms=NOW * 1000).due_at_ms == (NOW - 500) * 1000
    row = msgspec.structs.replace(made(), due_at_ms=None, next_run_at=None)
    assert adopted(row, now_ms=NOW * 1000).next_run_at == NOW + 60
    once = msgspec.structs.replace(made("once", execute_at=NOW + 5), due_at_ms=None, next_run_at=None)
    assert adopted(once, now_ms=(NOW + 900) * 1000).next_run_at == NOW + 5


def test_next_slots_stop_at_the_end_and_at_max_runs():
    assert len(next_slots(made(end_at=NOW + 200), after=NOW, count=9)) == 3
    assert len(next_slots(made(max_runs=2), after=NOW, count=9)) == 2


# Editing


def test_editing_what_is_no_time_keeps_the_next_time():
    schedule = made()
    edit = edited(schedule, {"name": "new", "params": {"a": 1}, "timeout": 5}, now_ms=(NOW + 30) * 1000)
    assert (edit.next_run_at, edit.name, edit.timeout_seconds) == (schedule.next_run_at, "new", 5)
    assert edited(edit, {"interval_seconds": 7}, now_ms=(NOW + 30) * 1000).next_run_at == NOW + 35


def test_pausing_and_resuming_keep_the_phase():
    paused = edited(made(), {"enabled": False}, now_ms=(NOW + 10) * 1000)
    assert (paused.next_run_at, paused.due_at_ms) == (None, None)
    assert edited(paused, {"enabled": True}, now_ms=(NOW + 130) * 1000).next_run_at == NOW + 180


# Bad input

NONSENSE = [
    {"schedule_type": "weekly"}, {"schedule_type": None}, {"schedule_type": 5}, {"schedule_type": ["cron"]},
    {"interval_seconds": 0}, {"interval_seconds": -1}, {"interval_seconds": float("nan")},
    {"interval_seconds": 10**400}, {"interval_seconds": True}, {"interval_seconds": "60"},
    {"interval_seconds": 1.5}, {"interval_seconds": None}, {"interval_seconds": float("inf")}, {"interval_seconds": 4 * 10**8},
    {"name": ""}, {"name": " "}, {"name": None}, {"name": "x" * 256}, {"name": 5}, {"name": "\ud800"},
    {"task_type": ""}, {"task_type": None}, {"task_type": "x" * 101},
    {"params": []}, {"params": {1: 2}}, {"params": {"a": float("nan")}}, {"params": {"a": object()}},
    {"max_runs": -1}, {"max_runs": True}, {"max_runs": "3"}, {"enabled": 1}, {"enabled": None},
    {"timezone": "Mars/Base"}, {"timezone": 8}, {"timezone": ""}, {"timezone": "../etc/passwd"},
    {"misfire_window": 0}, {"misfire_window": -5}, {"coalesce": "some"}, {"overlap": None}, {"overlap": "queue"},
    {"jitter": -1}, {"jitter": 60}, {"jitter": 10**9}, {"start_at": "soon"}, {"end_at": NOW - 5},
    {"start_at": NOW + 100, "end_at": NOW + 50}, {"start_at": NOW * 1000}, {"end_at": NOW + 10},
    {"priority": 2**40}, {"max_retries": -1}, {"timeout": 0}, {"description": 5}, {"cron_expression": "* * * * *"},
    {"execute_at": NOW + 5}, {"unknown": 1},
]  # fmt: skip
CRONS = [
    "", " ", "nonsense", "* * * *", "60 * * * *", "* 24 * * *", "0 0 31 2 *", "0 0 30 2 *", "R R * * *", "H * * * *",
    "@reboot", "@every 5m", "*/0 * * * *", "0 0 0 1 1 * 1999", "* * * * * * * *", "-1 * * * *", None, 5, b"* * * * *",
    ",".join(str(n % 60) for n in range(200)) + " * * * *", "a b c d e", "0 0 L-3 * *", "? ? * * *", "1-70 * * * *",
    "* * * * 8", "* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * 0 *", "*/ * * * *", "/5 * * * *", "1,,2 * * * *", ", * * * *",
    "* * * * mon#6", "* * * * mon#0", "* * * foo *", "* * * * foo", "0 0 31 4,6,9,11 *", "1.5 * * * *", "1e3 * * * *", "0x5 * * * *",
    "* * * * *\x00", "*\t*\t*\t*", "61 * * * * *", "* 60 * * * *", "@", "@yearly5", "@daily @daily", "0 0 * * 1-", "0 0 -5 * *",
    "** * * * *", "*-5 * * * *", "0 0 W * *", "* * * * * * 1960", "* * * * * * 2025", "\ud800 * * * *", "0-59/0 * * * *", "9" * 300,
    "0 0 0 29 2 * 2027", "{} * * * *", "%d * * * *", "h(1-5) * * * *", "H/5 * * * *", "0 0 1 1 * 9999999", [], {}, True, 1.5, ("*",) * 5,
    "* * * * *;rm", "--5 * * * *", "5- * * * *", "mon * * * *", "* jan * * *",
]  # fmt: skip
MOMENTS = [NOW - 10, -1, NOW * 1000, float("nan"), float("inf"), "tomorrow", True, None, 10**400, 253402300800]


@pytest.mark.parametrize(
    "fields",
    [
        *NONSENSE,
        *({"schedule_type": "cron", "cron_expression": each, "interval_seconds": None} for each in CRONS),
        *({"schedule_type": "once", "execute_at": each, "interval_seconds": None} for each in MOMENTS),
    ],
    ids=lambda fields: repr(fields)[:60],
)
def test_nonsense_is_refused_at_once(fields):
    given = {"name": "n", "task_type": "t", "schedule_type": "interval", "interval_seconds": 60, **fields}
    took = []
    for _ in range(2):
        began = time.perf_counter()
        with pytest.raises(InvalidSchedule) as refused:
            new_schedule("id", given, now_ms=NOW * 1000)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.05
    assert len(str(refused.value)) < 500


def test_the_longest_values_are_as_long_as_their_columns():
    columns = importlib.import_module("musicq_async.sql.tables").scheduler_task.c
    longest = {"name": LONGEST_NAME, "cron_expression": LONGEST_CRON, "timezone": 64, "task_type": 100}
    assert {name: columns[name].type.length for name in longest} == longest
    minutes = ",".join(str(n % 60) for n in range(100))
    fits = f"{minutes[: LONGEST_CRON - 8].rstrip(',')} * * * *".rjust(LONGEST_CRON)
    assert made("cron", cron_expression=fits).cron_expression == fits
    with pytest.raises(InvalidSchedule, match="256 characters; at most 255"):
        made("cron", cron_expression=f"{fits} ")


def test_an_edit_that_is_nonsense_is_refused():
    for changes in (
        {"interval_seconds": 0},
        {"schedule_type": "cron"},
        {"task_id": "x"},
        {"cron_expression": "* * * * *"},
    ):
        with pytest.raises(InvalidSchedule):
            edited(made(), changes, now_ms=NOW * 1000)
