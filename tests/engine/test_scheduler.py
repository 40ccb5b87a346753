"""The scheduler: every slot once, in time, whatever the clock and the other processes do."""

from __future__ import annotations

import itertools
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import anyio
import pytest

from musicq_async.clock import SystemClock
from musicq_async.engine.host import Host
from musicq_async.engine.scheduler import Scheduler
from musicq_async.errors import BackendUnavailable, InvalidSchedule, NotRunning, ScheduleNotFound, UsageError
from musicq_async.memory.schedules import MemorySchedules
from musicq_async.model.event import Fired, Queued, Warned
from musicq_async.testing.clock import NEW_YEAR, FakeClock
from musicq_async.testing.events import RecordedEvents

pytestmark = pytest.mark.anyio


class Collected:
    """An outlet that keeps what it is given, with the time it came."""

    def __init__(self, clock):
        self.clock = clock
        self.tasks = []
        self.times = []
        self.running = {}
        self.cancelled = []
        self.known = set()

    async def push(self, tasks):
        for task in tasks:
            if task.task_id not in self.known:
                self.known.add(task.task_id)
                self.tasks.append(task)
                self.times.append(self.clock.time())

    async def unfinished(self, schedule_id):
        return self.running.get(schedule_id, [])

    async def cancel(self, task_id, reason):
        self.cancelled.append(task_id)

    def fired(self, schedule_id=None):
        return [task.fire_at for task in self.tasks if schedule_id in {None, task.scheduler_task_id}]


class World:
    def __init__(self, clock, store=None, check_interval=10):
        self.check_interval = check_interval
        self.clock = clock
        self.store = store or MemorySchedules()
        self.events = RecordedEvents()
        self.outlet = Collected(clock)
        self.scheduler = self.another()

    def another(self):
        return Scheduler(self.check_interval, store=self.store, outlet=self.outlet, clock=self.clock, sink=self.events)

    async def add(self, schedule_type="interval", **fields):
        return await self.scheduler.add_scheduler_task("name", "type", schedule_type, **fields)


@asynccontextmanager
async def fake_world(start=NEW_YEAR, *, runs=True, store=None, check_interval=10):
    with FakeClock(start).running() as clock:
        world = World(clock, store, check_interval)
        if runs:
            await world.scheduler.start()
        try:
            yield world
        finally:
            await world.scheduler.stop()


async def test_an_interval_keeps_its_phase():
    async with fake_world(NEW_YEAR + 0.4) as world:
        task_id = await world.add(interval_seconds=7)
        await world.clock.sleep(70)
        assert world.outlet.fired() == [NEW_YEAR + 7 * n for n in range(1, 11)]
        assert all(abs(at - slot) < 0.01 for at, slot in zip(world.outlet.times, world.outlet.fired(), strict=True))
        row = await world.scheduler.get_task(task_id)
        assert (row["run_count"], row["last_run_at"]) == (10, NEW_YEAR + 70)
        assert [event.fire_at for event in world.events.of(Fired)] == world.outlet.fired()
        assert all(event.scheduler_task_id == task_id for event in world.events.of(Queued))


async def test_a_month_with_two_nights_of_changed_clocks_fires_every_slot_once():
    zone = ZoneInfo("America/New_York")
    for begin in (datetime(2026, 2, 20, tzinfo=zone), datetime(2026, 10, 15, tzinfo=zone)):
        async with fake_world(begin.timestamp(), check_interval=3600) as world:
            daily = await world.add("cron", cron_expression="30 2 * * *", timezone="America/New_York")
            night = await world.add("cron", cron_expression="30 1 * * *", timezone="America/New_York")
            often = await world.add("cron", cron_expression="*/30 * * * *", timezone="America/New_York")
            steady = await world.add(interval_seconds=3600)
            began = time.perf_counter()
            await world.clock.sleep(30 * 86_400 + 1)
            assert time.perf_counter() - began < 6
            days = [datetime.fromtimestamp(at, zone).date() for at in world.outlet.fired(daily)]
            assert days == sorted(set(days))
            assert len(days) == 30
            assert len({datetime.fromtimestamp(at, zone).date() for at in world.outlet.fired(night)}) == 30
            assert len(world.outlet.fired(night)) == 30
            for fired, step in ((world.outlet.fired(often), 1800), (world.outlet.fired(steady), 3600)):
                assert {b - a for a, b in itertools.pairwise(fired)} == {step}
            assert len(world.outlet.fired(steady)) == 30 * 24
            if begin.month == 2:
                assert datetime(2026, 3, 8, 3, 0, tzinfo=zone).timestamp() in world.outlet.fired(daily)


async def test_a_once_task_fires_once_and_is_disabled():
    async with fake_world() as world:
        task_id = await world.add("once", execute_at=NEW_YEAR + 5)
        await world.clock.sleep(3600)
        row = await world.scheduler.get_task(task_id)
        assert world.outlet.fired() == [NEW_YEAR + 5]
        assert (row["enabled"], row["run_count"], row["next_run_at"]) == (False, 1, None)


async def test_once_at_this_very_second_fires_at_once():
    async with fake_world(NEW_YEAR + 0.9) as world:
        await world.add("once", execute_at=int(world.clock.time()))
        await world.clock.sleep(0.1)
        assert world.outlet.fired() == [NEW_YEAR]


async def test_max_runs_disables_the_schedule_and_keeps_its_row():
    async with fake_world() as world:
        task_id = await world.add(interval_seconds=10, max_runs=3)
        assert len(await world.scheduler.next_runs(task_id, 10)) == 3
        await world.clock.sleep(1000)
        row = await world.scheduler.get_task(task_id)
        assert len(world.outlet.tasks) == 3
        assert (row["enabled"], row["run_count"]) == (False, 3)
        assert not await world.scheduler.resume_task(task_id)
        assert (await world.scheduler.update_task(task_id, max_runs=5))["enabled"] is False
        assert await world.scheduler.resume_task(task_id)
        await world.clock.sleep(1000)
        assert len(world.outlet.tasks) == 5


async def test_start_and_end_bound_the_slots():
    async with fake_world() as world:
        await world.add(interval_seconds=60, start_at=NEW_YEAR + 100, end_at=NEW_YEAR + 280)
        await world.clock.sleep(1000)
        assert world.outlet.fired() == [NEW_YEAR + 100, NEW_YEAR + 160, NEW_YEAR + 220, NEW_YEAR + 280]
        assert (await world.scheduler.list_tasks())[0]["enabled"] is False


async def test_pause_resume_update_and_delete_act_at_once():
    async with fake_world() as world:
        task_id = await world.add(interval_seconds=10)
        await world.clock.sleep(25)
        assert await world.scheduler.pause_task(task_id)
        assert await world.scheduler.next_runs(task_id) == []
        await world.clock.sleep(100)
        assert len(world.outlet.tasks) == 2
        assert await world.scheduler.resume_task(task_id)
        assert await world.scheduler.next_runs(task_id, 2) == [NEW_YEAR + 130, NEW_YEAR + 140]
        await world.clock.sleep(10)
        assert world.outlet.fired()[-1] == NEW_YEAR + 130
        row = await world.scheduler.update_task(task_id, interval_seconds=3, params={"n": 1}, name="new")
        assert (row["name"], row["params"], row["interval_seconds"]) == ("new", {"n": 1}, 3)
        await world.clock.sleep(4)
        assert world.outlet.tasks[-1].params == {"n": 1}
        assert await world.scheduler.delete_task(task_id)
        count = len(world.outlet.tasks)
        await world.clock.sleep(100)
        assert len(world.outlet.tasks) == count
        assert not await world.scheduler.delete_task(task_id)
        assert not await world.scheduler.pause_task(task_id)


async def test_a_new_type_of_schedule_drops_the_time_of_the_old_one():
    async with fake_world() as world:
        task_id = await world.add(interval_seconds=10)
        row = await world.scheduler.update_task(
            task_id, schedule_type="cron", cron_expression="0 0 * * *", timezone="UTC"
        )
        assert (row["interval_seconds"], row["next_run_at"]) == (None, NEW_YEAR + 86_400)


async def test_unknown_schedules_and_fields_are_refused():
    async with fake_world() as world:
        for call in (
            world.scheduler.update_task("no", name="x"),
            world.scheduler.run_now("no"),
            world.scheduler.next_runs("no"),
        ):
            with pytest.raises(ScheduleNotFound):
                await call
        assert await world.scheduler.get_task("no") is None
        task_id = await world.add(interval_seconds=10)
        for changes in ({"run_count": 3}, {"interval_seconds": 0}, {"cron_expression": "* * * * *"}):
            with pytest.raises(InvalidSchedule):
                await world.scheduler.update_task(task_id, **changes)
        assert (await world.scheduler.get_task(task_id))["version"] == 1
        with pytest.raises(UsageError):
            await world.scheduler.next_runs(task_id, -1)


async def test_run_now_pushes_and_changes_no_count():
    async with fake_world() as world:
        task_id = await world.add(interval_seconds=100, params={"a": 1}, priority=4, max_retries=7, timeout=9)
        first = await world.scheduler.run_now(task_id)
        second = await world.scheduler.run_now(task_id)
        assert first != second
        task = world.outlet.tasks[0]
        assert (task.params, task.priority, task.max_retries, task.timeout_seconds) == ({"a": 1}, 4, 7, 9)
        assert (task.scheduler_task_id, task.fire_at) == (task_id, NEW_YEAR)
        assert (await world.scheduler.get_task(task_id))["run_count"] == 0


@pytest.mark.parametrize(
    ("coalesce", "window", "fired", "missed"),
    [
        ("latest", None, [600], 0),
        ("earliest", None, [60], 0),
        ("all", None, [60 * n for n in range(1, 11)], 0),
        ("latest", 200, [600], 6),
        ("earliest", 200, [420], 6),
        ("all", 200, [420, 480, 540, 600], 6),
        ("latest", 10, [], 10),
    ],
)
async def test_missed_slots_are_fired_as_coalesce_and_window_say(coalesce, window, fired, missed):
    async with fake_world(runs=False) as world:
        task_id = await world.add(interval_seconds=60, coalesce=coalesce, misfire_window=window)
        await world.clock.sleep(615)
        await world.scheduler.start()
        await world.clock.sleep(10)
        assert world.outlet.fired() == [NEW_YEAR + at for at in fired]
        row = await world.scheduler.get_task(task_id)
        assert (row["missed_count"], row["run_count"]) == (missed, len(fired))
        await world.clock.sleep(40)
        assert world.outlet.fired()[-1] == NEW_YEAR + 660


async def test_a_year_of_missed_minutes_is_resolved_at_once():
    async with fake_world(runs=False) as world:
        await world.add("cron", cron_expression="* * * * *", timezone="Europe/London")
        await world.clock.sleep(365 * 86_400)
        began = time.perf_counter()
        await world.scheduler.start()
        await world.clock.sleep(1)
        assert time.perf_counter() - began < 0.5
        assert len(world.outlet.tasks) == 1


async def test_overlap_decides_what_a_slot_does_while_a_task_is_unfinished():
    async with fake_world() as world:
        ids = {
            overlap: await world.add(interval_seconds=10, overlap=overlap)
            for overlap in ("allow", "skip", "buffer_one", "cancel_running")
        }
        await world.clock.sleep(10.5)
        assert len(world.outlet.tasks) == 4
        first = {task.scheduler_task_id: task for task in world.outlet.tasks}
        for task_id in ids.values():
            world.outlet.running[task_id] = [first[task_id]]
        await world.clock.sleep(20)
        assert len(world.outlet.fired(ids["allow"])) == 3
        assert len(world.outlet.fired(ids["skip"])) == 1
        assert (await world.scheduler.get_task(ids["skip"]))["skipped_count"] == 2
        assert len(world.outlet.fired(ids["buffer_one"])) == 1
        assert set(world.outlet.cancelled) == {first[ids["cancel_running"]].task_id}
        assert len(world.outlet.fired(ids["cancel_running"])) == 3
        world.outlet.running.clear()
        await world.clock.sleep(2)
        assert len(world.outlet.fired(ids["buffer_one"])) == 2
        await world.clock.sleep(8)
        assert len(world.outlet.fired(ids["skip"])) == 2


async def test_the_clock_set_forward_brings_one_catch_up_run_and_no_burst():
    async with fake_world() as world:
        await world.add(interval_seconds=1)
        await world.add("once", execute_at=NEW_YEAR + 1800)
        await world.clock.sleep(5.5)
        world.clock.jump(3600)
        await world.clock.sleep(0.05)
        assert world.outlet.fired()[5:] == [NEW_YEAR + 3605, NEW_YEAR + 1800] or sorted(world.outlet.fired()[5:]) == [
            NEW_YEAR + 1800,
            NEW_YEAR + 3605,
        ]
        await world.clock.sleep(3)
        assert len(world.outlet.tasks) == 10


async def test_the_clock_set_back_neither_stops_nor_floods_an_interval():
    async with fake_world() as world:
        await world.add(interval_seconds=2)
        await world.clock.sleep(10.5)
        assert len(world.outlet.tasks) == 5
        world.clock.jump(-3600)
        await world.clock.sleep(20)
        assert 9 <= len(world.outlet.tasks) - 5 <= 11
        assert len(set(world.outlet.fired())) == len(world.outlet.tasks)
        world.clock.jump(3600)
        await world.clock.sleep(10)
        assert 4 <= len(world.outlet.tasks) - 15 <= 7


async def test_two_schedulers_on_one_store_fire_each_slot_once():
    async with fake_world() as world:
        others = [world.another() for _ in range(2)]
        for other in others:
            await other.start()
        ids = [await world.add(interval_seconds=1) for _ in range(5)]
        await world.clock.sleep(60.5)
        for other in others:
            await other.stop()
        for task_id in ids:
            assert world.outlet.fired(task_id) == [NEW_YEAR + n for n in range(1, 61)]


async def test_jitter_delays_each_slot_within_its_bound_and_changes_no_name():
    async with fake_world() as world:
        await world.add(interval_seconds=60, jitter=20)
        await world.clock.sleep(60 * 30 + 30)
        late = [at - slot for at, slot in zip(world.outlet.times, world.outlet.fired(), strict=True)]
        assert world.outlet.fired() == [NEW_YEAR + 60 * n for n in range(1, 31)]
        assert 0 <= min(late) < 5
        assert 15 < max(late) <= 20.01


async def test_schedules_go_on_when_the_store_comes_back():
    class Flaky(MemorySchedules):
        away = False

        async def due(self, before_ms, *, limit=1000):
            if self.away:
                raise BackendUnavailable("the database cannot be reached")
            return await super().due(before_ms, limit=limit)

    async with fake_world(store=Flaky()) as world:
        await world.add(interval_seconds=10)
        await world.clock.sleep(15)
        world.store.away = True
        await world.clock.sleep(30)
        assert len(world.events.of(Warned)) == 1
        world.store.away = False
        await world.clock.sleep(10)
        assert len(world.outlet.tasks) >= 3
        assert world.scheduler.is_running


async def test_a_task_that_was_recorded_and_not_sent_is_sent_later():
    class Broken(Collected):
        breaks = 1

        async def push(self, tasks):
            if self.breaks:
                self.breaks -= 1
                raise BackendUnavailable("queue away")
            await super().push(tasks)

    async with fake_world() as world:
        world.outlet = world.scheduler._outlet = Broken(world.clock)
        await world.add(interval_seconds=10)
        await world.clock.sleep(12)
        assert world.outlet.fired() == [NEW_YEAR + 10]


async def test_what_a_scheduler_recorded_and_died_before_sending_is_sent_by_another():
    class Dying(Collected):
        async def push(self, tasks):
            await anyio.sleep_forever()

    async with fake_world(runs=False) as world:
        await world.add(interval_seconds=60)
        dying = world.another()
        dying._outlet = Dying(world.clock)
        await dying.start()
        await world.scheduler.start()
        await world.clock.sleep(61)
        assert world.outlet.fired() == []
        await world.clock.sleep(21)
        assert world.outlet.fired() == [NEW_YEAR + 60]
        await dying.stop()


async def test_a_row_that_cannot_be_read_stops_no_other():
    import msgspec

    async with fake_world(runs=False) as world:
        broken = await world.add("cron", cron_expression="* * * * *")
        row = await world.store.get(broken)
        await world.store.replace(msgspec.structs.replace(row, cron_expression="nonsense", version=2))
        await world.add(interval_seconds=60)
        await world.scheduler.start()
        await world.clock.sleep(130)
        assert len(world.outlet.tasks) == 2
        assert len(world.events.of(Warned)) == 1
        await world.scheduler.update_task(broken, cron_expression="* * * * *")
        await world.clock.sleep(60)
        assert len(world.outlet.fired(broken)) == 1


async def test_start_and_stop_may_be_called_from_different_tasks_and_twice():
    world = World(SystemClock())
    async with anyio.create_task_group() as group:
        group.start_soon(world.scheduler.start)
    assert world.scheduler.is_running
    await world.scheduler.start()
    async with anyio.create_task_group() as group:
        group.start_soon(world.scheduler.stop)
    assert not world.scheduler.is_running
    await world.scheduler.stop()
    async with world.scheduler as same:
        assert same.is_running


async def test_due_schedules_fire_within_milliseconds_of_real_time():
    world = World(SystemClock())
    async with world.scheduler:
        await world.add("once", execute_at=int(time.time()) + 1)
        with anyio.fail_after(3):
            while not world.outlet.tasks:
                await anyio.sleep(0.002)
    assert 0 <= world.outlet.times[0] - world.outlet.fired()[0] < 0.1


async def test_a_host_ends_with_what_broke_down_in_it():
    async def broken():
        raise ValueError("bug")

    host = Host()
    await host.open()
    host.run(broken)
    while host.is_open:
        await anyio.sleep(0)
    with pytest.raises(ExceptionGroup):
        await host.close()
    with pytest.raises(NotRunning):
        host.run(broken)


async def test_next_runs_of_a_cron_are_those_of_its_zone():
    async with fake_world() as world:
        task_id = await world.add("cron", cron_expression="0 2 * * *", timezone="Asia/Shanghai")
        runs = await world.scheduler.next_runs(task_id, 3)
        assert [datetime.fromtimestamp(at, UTC).hour for at in runs] == [18, 18, 18]
        assert len(await world.scheduler.next_runs(task_id)) == 5


@pytest.mark.parametrize("interval", [0, -1, True, float("nan"), "10", None])
def test_a_senseless_check_interval_is_refused(interval):
    with pytest.raises(UsageError):
        Scheduler(interval, store=MemorySchedules(), outlet=None, clock=None, sink=None)
