"""What every `ScheduleStore` does, on every backend."""

from __future__ import annotations

import anyio
import msgspec
import pytest
from backends import BACKENDS

from musicq_async.errors import InvalidSchedule
from musicq_async.model.schedule import Schedule, Slot, SlotOutcome
from musicq_async.model.task import TaskState

pytestmark = pytest.mark.anyio


@pytest.fixture(params=BACKENDS)
def kind(request) -> str:
    return request.param


async def test_a_schedule_comes_back_as_it_was_stored(bench) -> None:
    schedule = bench.schedule(
        "full",
        name="每天 🎵 'quoted'",
        params={"url": "https://example.com/?a=1", "n": [1, None, 2.5]},
        schedule_type="cron",
        interval_seconds=None,
        cron_expression="0 2 * * *",
        last_run_at=1,
        run_count=3,
        max_runs=9,
        description="two\nlines 🎵",
        timezone="America/Argentina/ComodRivadavia",
        misfire_window=60,
        coalesce="all",
        overlap="cancel_running",
        jitter=5,
        start_at=1,
        end_at=2**40,
        priority=-2,
        max_retries=0,
        timeout_seconds=0.25,
        missed_count=4,
        skipped_count=5,
        version=7,
    )
    await bench.schedules.add(schedule)
    assert await bench.schedules.get("full") == schedule
    assert await bench.schedules.get("nobody") is None


async def test_a_taken_id_is_refused(bench) -> None:
    await bench.schedules.add(bench.schedule("s"))
    with pytest.raises(InvalidSchedule, match="'s'"):
        await bench.schedules.add(bench.schedule("s"))


async def test_a_value_that_no_column_holds_is_refused(bench) -> None:
    if bench.kind in {"memory", "sqlite"}:
        pytest.skip(f"{bench.kind} has no lengths")
    with pytest.raises(InvalidSchedule):
        await bench.schedules.add(bench.schedule("s", name="n" * 300))
    assert await bench.schedules.get("s") is None


async def test_all_are_listed_oldest_first(bench) -> None:
    for number, enabled in enumerate([True, False, True]):
        await bench.schedules.add(bench.schedule(f"s{number}", created_at=100 + number, enabled=enabled))
    assert [each.task_id for each in await bench.schedules.all()] == ["s0", "s1", "s2"]
    assert [each.task_id for each in await bench.schedules.all(enabled_only=True)] == ["s0", "s2"]


async def test_an_edit_of_an_older_version_is_refused(bench) -> None:
    schedule = bench.schedule("s")
    await bench.schedules.add(schedule)
    first = msgspec.structs.replace(schedule, name="first", version=2)
    second = msgspec.structs.replace(schedule, name="second", version=2)
    assert await bench.schedules.replace(first)
    assert not await bench.schedules.replace(second)
    assert await bench.schedules.get("s") == first
    assert not await bench.schedules.replace(msgspec.structs.replace(schedule, task_id="nobody", version=2))


async def test_of_many_edits_at_once_one_wins(bench) -> None:
    schedule = bench.schedule("s")
    await bench.schedules.add(schedule)
    other = await bench.other_schedules()
    results: list[bool] = []

    async def edit(number: int) -> None:
        store = (bench.schedules, other)[number % 2]
        results.append(await store.replace(msgspec.structs.replace(schedule, name=f"n{number}", version=2)))

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(edit, number)
    assert results.count(True) == 1


async def test_deleting_takes_the_ledger_along(bench) -> None:
    schedule = bench.schedule("s")
    await bench.schedules.add(schedule)
    await bench.record([bench.firing(schedule)])
    assert await bench.schedules.delete("s")
    assert not await bench.schedules.delete("s")
    await bench.schedules.add(schedule)
    again = bench.firing(schedule)
    assert (await bench.record([again]))[0].slots == again.slots


async def test_due_are_the_enabled_whose_time_has_come_earliest_first(bench) -> None:
    for name, due, enabled in (
        ("c", 300, True),
        ("a", 100, True),
        ("off", 100, False),
        ("b", 200, True),
        ("d", 301, True),
    ):
        await bench.schedules.add(bench.schedule(name, due_at_ms=due, enabled=enabled))
    await bench.schedules.add(bench.schedule("unplanned", due_at_ms=None))
    await bench.schedules.add(bench.schedule("ended", due_at_ms=None, enabled=False))
    assert [each.task_id for each in await bench.schedules.due(300)] == ["a", "b", "c"]
    assert [each.task_id for each in await bench.schedules.due(300, limit=1)] == ["a"]
    assert await bench.schedules.due(99) == []
    assert await bench.schedules.next_due_ms() == 100
    if bench.kind != "memory":  # which no other program writes
        assert [each.task_id for each in await bench.schedules.unplanned()] == ["unplanned"]


async def test_nothing_is_due_of_nothing(bench) -> None:
    assert await bench.schedules.next_due_ms() is None
    assert await bench.schedules.due(2**60) == []
    assert await bench.record([]) == []


# Firing


async def test_firing_advances_the_schedule_and_pushes_the_task(bench) -> None:
    schedule = bench.schedule("s")
    await bench.schedules.add(schedule)
    firing = bench.firing(schedule)
    assert await bench.record([firing]) == [firing]
    assert await bench.schedules.get("s") == firing.advanced
    task = await bench.stored(firing.tasks[0].task_id)
    assert (task.status, task.scheduler_task_id, task.fire_at) == (TaskState.PENDING, "s", schedule.next_run_at)
    assert await bench.names() == [task.task_id]


async def test_a_firing_decided_from_an_older_version_writes_nothing(bench) -> None:
    schedule = bench.schedule("s")
    await bench.schedules.add(schedule)
    edited = msgspec.structs.replace(schedule, name="edited", version=2)
    await bench.schedules.replace(edited)
    firing = bench.firing(schedule)
    assert await bench.record([firing]) == []
    assert await bench.schedules.get("s") == edited
    assert await bench.queue.get(firing.tasks[0].task_id) is None


async def test_a_firing_of_a_deleted_schedule_writes_nothing(bench) -> None:
    assert await bench.record([bench.firing(bench.schedule("gone"))]) == []


async def test_a_slot_that_the_ledger_knows_is_dropped_with_its_task(bench) -> None:
    schedule = bench.schedule("s")
    await bench.schedules.add(schedule)
    first = bench.firing(schedule)
    await bench.record([first])
    turned_back = msgspec.structs.replace(first.advanced, next_run_at=schedule.next_run_at, version=3)
    await bench.schedules.replace(turned_back)
    nominal = schedule.next_run_at
    fresh = bench.task("fresh", scheduler_task_id="s", fire_at=nominal + 60)
    second = bench.firing(turned_back)
    second = msgspec.structs.replace(
        second,
        tasks=(bench.task("double", scheduler_task_id="s"), fresh),
        slots=(
            Slot(nominal=nominal, outcome=SlotOutcome.ENQUEUED, task_id="double"),
            Slot(nominal=nominal + 60, outcome=SlotOutcome.ENQUEUED, task_id="fresh"),
        ),
    )
    written = (await bench.record([second]))[0]
    assert [slot.nominal for slot in written.slots] == [nominal + 60]
    assert written.tasks == (fresh,)
    assert await bench.queue.get("double") is None
    assert await bench.queue.get("fresh") is not None
    assert (await bench.schedules.get("s")).version == 4


async def test_schedulers_at_once_enqueue_each_slot_once(bench) -> None:
    schedules = [bench.schedule(f"s{number}") for number in range(5)]
    for schedule in schedules:
        await bench.schedules.add(schedule)
    stores = [bench.schedules, await bench.other_schedules(), await bench.other_schedules()]
    rounds = 6

    async def scheduler(store) -> None:
        while True:
            due = [each for each in await store.due(2**60) if each.run_count < rounds]
            if not due:
                return
            await bench.record([bench.firing(schedule) for schedule in due], store)

    async with anyio.create_task_group() as group:
        for store in stores:
            group.start_soon(scheduler, store)
    names = await bench.names(1000)
    expected = [f"{each.task_id}:{each.next_run_at + 60 * step}" for each in schedules for step in range(rounds)]
    assert sorted(names) == sorted(expected)


async def test_many_fire_in_one_record(bench) -> None:
    schedules = [bench.schedule(f"s{number:04}") for number in range(700)]
    async with anyio.create_task_group() as group:
        for schedule in schedules:
            group.start_soon(bench.schedules.add, schedule)
    due = await bench.schedules.due(2**60, limit=1000)
    firings = [bench.firing(schedule) for schedule in due]
    assert len(await bench.record(firings)) == 700
    assert await bench.record(firings) == []
    assert await bench.queue.counts() == {("work", TaskState.PENDING): 700}


async def test_a_run_that_replaces_the_last_one_cancels_it(bench) -> None:
    if not bench.schedules.enqueues:
        pytest.skip("the scheduler cancels where the queue is elsewhere")
    schedule = bench.schedule("s")
    await bench.schedules.add(schedule)
    await bench.push("running", "pending", scheduler_task_id="s")
    leases = await bench.claim(1)
    firing = bench.firing(schedule, cancel=("running", "pending", "nobody"))
    await bench.record([firing])
    assert (await bench.stored("pending")).status is TaskState.CANCELLED
    beat = await bench.queue.heartbeat(leases, seconds=5)
    assert set(beat.cancelled) == {"running"}


async def test_missed_slots_are_written_without_a_task(bench) -> None:
    schedule = bench.schedule("s")
    await bench.schedules.add(schedule)
    nominal = schedule.next_run_at
    slots = tuple(
        Slot(nominal=nominal + 60 * step, outcome=outcome)
        for step, outcome in enumerate([SlotOutcome.MISSED, SlotOutcome.COALESCED, SlotOutcome.SKIPPED_OVERLAP])
    )
    written = await bench.record([bench.firing(schedule, slots=slots, tasks=())])
    assert written[0].slots == slots
    assert await bench.queue.counts() == {}


# Where the queue is elsewhere


async def test_a_task_is_kept_until_it_is_confirmed_sent(bench) -> None:
    store = bench.schedules_on(bench.database, enqueues=False)
    schedule = bench.schedule("s")
    await store.add(schedule)
    firing = bench.firing(schedule)
    assert await store.record([firing]) == [firing]
    assert await bench.queue.counts() == {}
    assert await store.unsent() == list(firing.tasks)
    if bench.kind != "memory":
        assert await store.prune(2**40) == 0
        await store.delete("s")
        assert await store.unsent() == list(firing.tasks)
    await store.sent([task.task_id for task in firing.tasks])
    await store.sent([])
    assert await store.unsent() == []
    assert await store.prune(2**40) == 1


async def test_the_ledger_is_pruned_by_age(bench) -> None:
    schedule = bench.schedule("s", next_run_at=1000)
    await bench.schedules.add(schedule)
    await bench.schedules.record([bench.firing(schedule)])
    assert await bench.schedules.prune(1000) == 0
    assert await bench.schedules.prune(1001) == 1


async def test_rows_of_another_program_are_found(bench) -> None:
    """The earlier system's tools write the old columns only."""
    if bench.kind == "memory":
        pytest.skip("no other program writes here")
    from sqlalchemy import text

    def write(connection) -> None:
        connection.execute(
            text(
                "INSERT INTO scheduler_task (task_id, name, task_type, params, schedule_type, interval_seconds,"
                " next_run_at, created_at, updated_at) VALUES ('old', 'n', 'work', NULL, 'interval', 60, 5, 1, 1)"
            )
        )
        connection.execute(text("INSERT INTO task_queue (task_id, task_type, created_at) VALUES ('old', 'work', 1)"))

    await bench.database.write(write)
    found = (await bench.schedules.unplanned())[0]
    assert found == Schedule(
        task_id="old",
        name="n",
        task_type="work",
        schedule_type="interval",
        interval_seconds=60,
        next_run_at=5,
        created_at=1,
        updated_at=1,
    )
    lease = (await bench.claim())[0]
    assert (lease.task.task_id, lease.task.params, lease.task.max_retries) == ("old", {}, 3)
