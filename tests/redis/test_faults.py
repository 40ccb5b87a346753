"""What lost answers, restarts, rivals and cancellations do to a queue on Redis: nothing."""

from __future__ import annotations

import asyncio
import random
import signal
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from services import start_redis

from musicq_async.clock import SystemClock
from musicq_async.errors import BackendUnavailable, DuplicateTask, LeaseLost
from musicq_async.model.lifecycle import cancel, completed, settle
from musicq_async.model.outcome import Crash, Success
from musicq_async.model.task import NewTask, TaskState
from musicq_async.ports import TaskFilter, Terms
from musicq_async.redis import RedisTaskQueue, open_redis

pytestmark = pytest.mark.anyio

ANY = Terms(owner="w1", seconds=30.0)


def new(name: str, **fields) -> NewTask:
    return NewTask(task_id=name, task_type="work", params={"name": name}, **fields)


async def finished(queue, lease) -> None:
    await queue.settle(lease, completed(lease.task, lease.task.task_id, now_ms=SystemClock().time_ms()))


async def all_counts(queue) -> dict[TaskState, int]:
    return {state: count for (_, state), count in (await queue.counts()).items()}


@pytest.fixture
async def through_losses(lossy, server, request):
    """A queue behind a proxy that loses one answer in ten, and the proxy."""
    proxy = await lossy(lost=0.1, seed=18)
    url = f"redis://127.0.0.1:{proxy.own_port}"
    async with open_redis(url, clock=SystemClock(), namespace=request.node.name) as opened:
        yield RedisTaskQueue(opened), proxy


async def test_a_push_whose_answer_was_lost_is_stored_exactly_once(through_losses) -> None:
    queue, proxy = through_losses
    for number in range(1000):
        assert await queue.push([new(f"n{number}")]) == [None]
    assert proxy.losses > 50
    assert await all_counts(queue) == {TaskState.PENDING: 1000}
    for number in range(0, 1000, 100):
        with pytest.raises(DuplicateTask):
            await queue.push([new(f"n{number}")])


async def test_a_unique_push_whose_answer_was_lost_knows_itself(through_losses) -> None:
    queue, proxy = through_losses
    for number in range(200):
        first = [new(f"a{number}", unique_key=f"k{number}"), new(f"b{number}", unique_key=f"k{number}")]
        assert await queue.push(first) == [None, f"a{number}"]
        assert await queue.push([new(f"c{number}", unique_key=f"k{number}", unique_mode="replace")]) == [f"a{number}"]
    assert proxy.losses > 10
    assert await all_counts(queue) == {TaskState.PENDING: 200}


async def test_a_claim_or_settle_whose_answer_was_lost_counts(through_losses) -> None:
    queue, proxy = through_losses
    await queue.push([new(f"n{number:03}") for number in range(300)])
    names = []
    leases = await queue.claim(ANY)
    while leases:
        names.append(leases[0].task.task_id)
        change = completed(leases[0].task, None, now_ms=SystemClock().time_ms())
        settled, leases = await queue.exchange(leases[0], change, ANY)
        assert settled
    assert proxy.losses > 10
    assert names == [f"n{number:03}" for number in range(300)]
    assert await all_counts(queue) == {TaskState.COMPLETED: 300}


async def test_a_change_whose_answer_was_lost_is_known_as_ours(through_losses) -> None:
    queue, proxy = through_losses
    await queue.push([new(f"n{number}") for number in range(150)])
    for number in range(150):
        task = await queue.get(f"n{number}")
        change = cancel(task, now_ms=SystemClock().time_ms(), reason=None)
        assert await queue.change(task, change)
        assert not await queue.change(task, change)
    assert proxy.losses > 10


async def test_a_second_settle_of_one_lease_is_refused_also_by_another_process(bench) -> None:
    other = await bench.another()
    await bench.push("a")
    lease = (await bench.claim(seconds=0.001))[0]
    bench.clock.advance(1)
    taken = (await other.expired())[0]
    change = bench.change(lease, Success())
    assert await other.change(taken, settle(taken, Crash(), now_ms=bench.clock.time_ms(), draw=0.5, max_crashes=3))
    second = (await other.claim(Terms(owner="w2", seconds=30.0)))[0]
    with pytest.raises(LeaseLost):
        await bench.queue.settle(lease, change)
    assert (await bench.queue.exchange(lease, change, ANY, 0))[0] is False
    assert (await bench.queue.heartbeat([lease], seconds=5)).lost == {"a"}
    await other.settle(second, bench.change(second, Success("second")))
    assert (await bench.stored("a")).result == "second"


async def test_eight_claimers_in_two_processes_get_every_task_once(bench) -> None:
    queues = [bench.queue, await bench.another()]
    names = [f"n{number:04}" for number in range(2000)]
    await bench.queue.push([bench.task(name) for name in names])
    taken: list[str] = []

    async def claimer(number: int) -> None:
        queue = queues[number % 2]
        while leases := await queue.claim(ANY, random.Random(number).randint(1, 9)):
            taken.extend(lease.task.task_id for lease in leases)

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(claimer, number)
    assert len(taken) == 2000
    assert set(taken) == set(names)


def open_files() -> int:
    files = Path("/proc/self/fd")
    return len(list(files.iterdir())) if files.is_dir() else 0


@pytest.mark.parametrize("how", ["scope", "native"])
async def test_a_storm_of_cancellations_loses_no_task_and_leaks_nothing(bench, how) -> None:
    await bench.push("warm")
    await bench.settle((await bench.claim())[0], Success())
    await bench.queue.counts()
    files, tasks = open_files(), len(asyncio.all_tasks())
    acknowledged: set[str] = set()
    draw = random.Random(400)

    async def act(number: int) -> None:
        if number % 2:
            await bench.queue.push([bench.task(f"n{number}")])
            acknowledged.add(f"n{number}")
        else:
            for lease in await bench.queue.claim(ANY, 2):
                await finished(bench.queue, lease)

    async def cut(number: int) -> None:
        if how == "scope":
            with anyio.move_on_after(draw.random() * 0.004):
                await act(number)
            return
        task = asyncio.ensure_future(act(number))
        await asyncio.sleep(draw.random() * 0.004)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async with anyio.create_task_group() as group:
        for number in range(400):
            group.start_soon(cut, number)
            if number % 20 == 0:
                await anyio.sleep(0.001)
    await bench.queue.counts()
    await anyio.sleep(0.02)
    stored = {task.task_id for task in await bench.queue.find(TaskFilter(limit=1000))}
    assert acknowledged <= stored
    for task in await bench.queue.find(TaskFilter(state=TaskState.RUNNING)):
        assert task.lease_until_ms, "a claimer that was cut in its work left its lease to run out"
    while leases := await bench.claim(100):
        for lease in leases:
            await finished(bench.queue, lease)
    assert (await all_counts(bench.queue)).get(TaskState.PENDING, 0) == 0
    assert abs(open_files() - files) <= 2
    assert len(asyncio.all_tasks()) <= tasks


async def test_what_was_lent_to_a_cancelled_caller_is_pending_again(bench) -> None:
    await bench.push(*[f"n{number}" for number in range(50)])
    for _ in range(50):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(bench.claim, 5)
                await anyio.sleep(0)
                await anyio.sleep(0)
                scope.cancel()
    deadline = anyio.current_time() + 5
    while (await all_counts(bench.queue)) != {TaskState.PENDING: 50}:
        assert anyio.current_time() < deadline
        await anyio.sleep(0.005)
    assert (await bench.stored("n0")).interrupt_count == 0
    assert await bench.names(50) == [f"n{number}" for number in range(50)]


async def test_the_death_of_a_connection_is_not_noticed(bench, server) -> None:
    from redis.asyncio import Redis

    async with Redis.from_url(server.url) as admin:
        for number in range(5):
            await bench.push(f"n{number}")
            await admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await bench.settle((await bench.claim(1))[0], Success())
            await admin.execute_command("SCRIPT", "FLUSH")
    assert await all_counts(bench.queue) == {TaskState.COMPLETED: 5}


async def test_a_redis_without_room_refuses_and_stores_no_half(bench, server) -> None:
    from redis.asyncio import Redis

    await bench.push("before")
    async with Redis.from_url(server.url) as admin:
        await admin.config_set("maxmemory", "1mb")
        try:
            with pytest.raises(BackendUnavailable, match="memory"):
                await bench.push("a", "b")
        finally:
            await admin.config_set("maxmemory", "0")
    assert await all_counts(bench.queue) == {TaskState.PENDING: 1}
    await bench.push("a", "b")
    assert await bench.names() == ["before", "a", "b"]


@pytest.mark.parametrize("fsync", ["everysec", "always"])
async def test_a_redis_that_is_killed_under_load_loses_nothing_that_was_acknowledged(fsync) -> None:
    redis = start_redis(appendfsync=fsync)
    acknowledged: set[str] = set()
    ran: list[str] = []
    pushed_all = anyio.Event()

    async def push(queue) -> None:
        async def one(lane: int) -> None:
            for number in range(75):
                await queue.push([new(f"{lane}-{number}")])
                acknowledged.add(f"{lane}-{number}")

        async with anyio.create_task_group() as group:
            for lane in range(10):
                group.start_soon(one, lane)
        pushed_all.set()

    async def work(queue) -> None:
        while not pushed_all.is_set() or len(ran) < len(acknowledged):
            for lease in await queue.claim(ANY, 3):
                await finished(queue, lease)
                ran.append(lease.task.task_id)
            await anyio.sleep(0.001)

    async def kill() -> None:
        for _ in range(3):
            await anyio.sleep(0.05)
            await anyio.to_thread.run_sync(redis.stop, signal.SIGKILL)
            await anyio.to_thread.run_sync(redis.start)

    try:
        async with open_redis(redis.url, clock=SystemClock()) as opened:
            queue = RedisTaskQueue(opened)
            with anyio.fail_after(30):
                async with anyio.create_task_group() as group:
                    for job in (push, work, work):
                        group.start_soon(job, queue)
                    group.start_soon(kill)
            assert await all_counts(queue) == {TaskState.COMPLETED: 750}
    finally:
        redis.remove()
    assert len(ran) == len(set(ran)) == 750
    assert acknowledged == set(ran)
