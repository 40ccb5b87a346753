"""What `AsyncQueue` does: the calls of the core awaited, waiting in order, cancellation, closing."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import anyio
import anyio.to_thread
import pytest

import musicq_async.memory.facade as module
from musicq_async.core import InvalidTask, MemoryQueue
from musicq_async.errors import NotRunning, UsageError
from musicq_async.memory.facade import AsyncQueue

pytestmark = pytest.mark.anyio


async def until(condition):
    with anyio.fail_after(5):
        while not condition():
            await anyio.sleep(0.001)


def waiting(queue):
    return len(queue.core.tasks.getters.waiting)


class Consumers:
    """Consumers that wait, one after the other, and note who got what."""

    def __init__(self, queue, group):
        self.queue, self.group, self.got, self.tasks = queue, group, [], []

    async def add(self, count):
        for _ in range(count):
            number = len(self.tasks)
            self.tasks.append(None)
            self.group.start_soon(self.consume, number)
            await until(lambda number=number: waiting(self.queue) == number + 1)

    async def consume(self, number):
        self.tasks[number] = asyncio.current_task()
        task = await self.queue.pop_task()
        self.got.append((number, task["task_id"]))


async def test_every_call_of_the_core_can_be_awaited():
    queue = AsyncQueue()
    task_id = await queue.push_task({"type": "x", "params": {"a": 1}}, priority=2)
    assert await queue.get_queue_size() == 1
    assert await queue.is_empty() is False
    assert await queue.pop_task(timeout=3) == {"task_id": task_id, "type": "x", "params": {"a": 1}}
    assert await queue.join(timeout=0.01) is False
    await queue.task_done()
    assert await queue.join() is True
    with pytest.raises(ValueError, match="too many"):
        await queue.task_done()
    await queue.set_public("key", "value", ttl=60)
    await queue.set_public("kept", "value")
    with pytest.raises(ValueError, match="ttl"):
        await queue.set_public("key", "value", ttl=0)
    assert await queue.get_public("key") == "value"
    assert sorted(await queue.list_keys()) == ["kept", "key"]
    assert await queue.get_store_size() == 2
    assert await queue.cleanup() == 0
    assert await queue.delete_public("key") is True
    await queue.clear_store()
    assert await queue.get_store_size() == 0
    await queue.start_cleanup()
    await queue.start_cleanup()
    await queue.stop_cleanup()
    await queue.stop_cleanup()


async def test_a_facade_can_be_made_over_a_core_and_shared_with_threads():
    core = MemoryQueue()
    queue = AsyncQueue(core)
    assert queue.core is core
    core.push_task({"type": "x", "task_id": "a"})
    assert (await queue.pop_task())["task_id"] == "a"
    await queue.push_task({"type": "x", "task_id": "b"})
    assert core.pop_task()["task_id"] == "b"


async def test_only_a_core_can_stand_behind_a_facade():
    for wrong in ("x", 5, AsyncQueue()):
        with pytest.raises(UsageError, match="MemoryQueue"):
            AsyncQueue(wrong)


async def test_a_wrong_task_is_refused_and_not_queued():
    queue = AsyncQueue()
    with pytest.raises(InvalidTask, match="'type'"):
        await queue.push_task({"params": {}})
    assert await queue.is_empty()


@pytest.mark.parametrize("timeout", [0, -1, 0.02])
async def test_an_empty_queue_gives_none_when_the_time_is_up(timeout):
    queue = AsyncQueue()
    began = time.monotonic()
    assert await queue.pop_task(timeout=timeout) is None
    assert max(0, timeout) <= time.monotonic() - began + 0.001 < max(0, timeout) + 1
    assert waiting(queue) == 0


async def test_polling_lets_the_others_on_the_loop_run():
    queue, turns = AsyncQueue(), []

    async def poll():
        while not turns:
            await queue.pop_task(timeout=0)

    async with anyio.create_task_group() as group:
        group.start_soon(poll)
        await anyio.sleep(0)
        turns.append(1)


async def test_a_consumer_that_never_has_to_wait_lets_the_others_run_and_can_be_cancelled():
    queue, popped = AsyncQueue(), 0
    for _ in range(3000):
        await queue.push_task({"task_id": "a", "type": "x", "params": {}})
    with anyio.move_on_after(0):
        while await queue.pop_task():
            popped += 1
    assert popped <= module.TURNS
    assert await queue.get_queue_size() == 3000 - popped


async def test_waiting_consumers_are_woken_in_the_order_in_which_they_came():
    queue = AsyncQueue()
    async with anyio.create_task_group() as group:
        consumers = Consumers(queue, group)
        await consumers.add(10)
        for number in range(10):
            await queue.push_task({"type": "x", "task_id": f"{number}"})
    assert consumers.got == [(number, f"{number}") for number in range(10)]


async def test_threads_and_coroutines_wait_in_one_line():
    queue, got = AsyncQueue(), []

    def in_thread():
        got.append(("thread", queue.core.pop_task()["task_id"]))

    async with anyio.create_task_group() as group:
        consumers = Consumers(queue, group)
        await consumers.add(1)
        thread = threading.Thread(daemon=True, target=in_thread)
        thread.start()
        await until(lambda: waiting(queue) == 2)
        for task_id in "ab":
            await queue.push_task({"type": "x", "task_id": task_id})
            await until(lambda task_id=task_id: len(got) + len(consumers.got) == "ab".index(task_id) + 1)
    thread.join(5)
    assert (consumers.got, got) == ([(0, "a")], [("thread", "b")])


async def test_an_overtaken_consumer_is_not_overtaken_again():
    queue = AsyncQueue()
    push = queue.core.push_task
    async with anyio.create_task_group() as group:
        consumers = Consumers(queue, group)
        await consumers.add(2)
        push({"type": "x", "task_id": "a"})  # wakes the first, and before it runs:
        assert (await queue.pop_task(timeout=0))["task_id"] == "a"
        await until(lambda: waiting(queue) == 2)
        push({"type": "x", "task_id": "b"})
        assert queue.core.pop_task(timeout=0) is None  # promised
        await until(lambda: consumers.got == [(0, "b")])
        push({"type": "x", "task_id": "c"})
    assert consumers.got == [(0, "b"), (1, "c")]


async def test_no_consumer_is_starved_by_one_that_asks_again_at_once():
    queue, counts, stop = AsyncQueue(), [0, 0, 0], anyio.Event()

    async def greedy(number):
        while True:
            await queue.pop_task()
            counts[number] += 1
            for _ in range(number):
                await anyio.lowlevel.checkpoint()

    async def produce():
        while not stop.is_set():
            await queue.push_task({"task_id": "a", "type": "x", "params": {}})
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(greedy, number)
        group.start_soon(produce)
        await until(lambda: min(counts) >= 20)
        assert max(counts) <= 10 * min(counts)
        group.cancel_scope.cancel()


async def test_a_consumer_whose_promise_is_not_kept_in_time_does_not_hold_the_task_for_ever(monkeypatch):
    monkeypatch.setattr("musicq_async.core.PROMISE_SECONDS", 0.01)
    queue = AsyncQueue()
    async with anyio.create_task_group() as group:
        consumers = Consumers(queue, group)
        await consumers.add(1)
        queue.core.push_task({"type": "x", "task_id": "a"})
        queue.core.pop_task(timeout=0)
        await until(lambda: waiting(queue) == 1)
        queue.core.push_task({"type": "x", "task_id": "b"})
        time.sleep(0.02)  # the loop hangs; another thread, played by this one, comes for the task
        assert queue.core.pop_task(timeout=0)["task_id"] == "b"
        await until(lambda: waiting(queue) == 1)
        queue.core.push_task({"type": "x", "task_id": "c"})
    assert consumers.got == [(0, "c")]


async def test_a_woken_consumer_that_is_cancelled_wakes_the_next():
    queue = AsyncQueue()
    async with anyio.create_task_group() as group:
        consumers = Consumers(queue, group)
        await consumers.add(3)
        queue.core.push_task({"type": "x", "task_id": "a"})
        consumers.tasks[0].cancel()
        with anyio.fail_after(0.05):
            await until(lambda: consumers.got == [(1, "a")])
        group.cancel_scope.cancel()


async def test_a_woken_consumer_that_is_cancelled_wakes_a_waiting_thread():
    queue, got = AsyncQueue(), []
    async with anyio.create_task_group() as group:
        consumers = Consumers(queue, group)
        await consumers.add(1)
        thread = threading.Thread(daemon=True, target=lambda: got.append(queue.core.pop_task()))
        thread.start()
        await until(lambda: waiting(queue) == 2)
        queue.core.push_task({"type": "x", "task_id": "a"})
        consumers.tasks[0].cancel()
        with anyio.fail_after(1):
            await until(lambda: got)
    thread.join(5)
    assert got[0]["task_id"] == "a"


async def test_a_consumer_cancelled_with_its_task_overdue_keeps_its_promise_for_the_next():
    queue = AsyncQueue()
    async with anyio.create_task_group() as group:
        consumers = Consumers(queue, group)
        await consumers.add(2)
        queue.core.push_task({"type": "x", "task_id": "a"})
        queue.core.pop_task(timeout=0)
        await until(lambda: waiting(queue) == 2)
        queue.core.push_task({"type": "x", "task_id": "b"})
        consumers.tasks[0].cancel()
        await until(lambda: consumers.got == [(1, "b")])
    assert queue.core.tasks.getters.promised == {}


async def test_a_time_out_in_the_moment_of_waking_loses_nothing():
    queue, got = AsyncQueue(), 0
    for _ in range(200):
        async with anyio.create_task_group() as group:

            async def consume():
                nonlocal got
                got += await queue.pop_task(timeout=0.001) is not None

            group.start_soon(consume)
            await anyio.sleep(0.0009)
            await queue.push_task({"task_id": "a", "type": "x", "params": {}})
        while await queue.pop_task(timeout=0):
            got += 1
    assert got == 200


async def test_a_consumer_collected_as_garbage_leaves_the_line():
    queue, got = AsyncQueue(), []
    for woken in (False, True):
        lost = queue.pop_task()
        lost.send(None)  # it waits
        async with anyio.create_task_group() as group:
            consumers = Consumers(queue, group)
            consumers.tasks.append(None)  # so that it counts from two
            await consumers.add(1)
            if woken:
                queue.core.push_task({"type": "x", "task_id": "a"})
            lost.close()
            del lost
            gc.collect()
            if not woken:
                queue.core.push_task({"type": "x", "task_id": "a"})
        got += consumers.got
    assert got == [(1, "a"), (1, "a")]


async def test_a_consumer_whose_loop_died_is_passed_over():
    queue = AsyncQueue()
    for stopped in ("closed", "standing still"):
        loop = asyncio.new_event_loop()
        task = loop.create_task(queue.pop_task())
        await anyio.to_thread.run_sync(loop.run_until_complete, asyncio.sleep(0.001))
        assert waiting(queue) == 1
        if stopped == "closed":
            loop.close()
        async with anyio.create_task_group() as group:
            consumers = Consumers(queue, group)
            consumers.tasks.append(None)
            await consumers.add(1)
            queue.core.push_task({"type": "x", "task_id": "a"})
            await until(lambda consumers=consumers: consumers.got == [(1, "a")])
        if stopped == "standing still":
            task.cancel()
            await anyio.to_thread.run_sync(loop.run_until_complete, asyncio.wait([task]))
            loop.close()
        else:
            task._log_destroy_pending = False
        assert waiting(queue) == 0


async def test_a_waiting_consumer_gets_a_delayed_task_when_it_is_due():
    queue = AsyncQueue()
    await queue.push_task({"type": "x", "task_id": "late", "delay": 0.03})
    began = time.monotonic()
    assert (await queue.pop_task())["task_id"] == "late"
    assert 0.029 <= time.monotonic() - began < 0.3


async def test_consumers_that_wait_already_hear_of_delayed_tasks_pushed_from_a_thread():
    queue = AsyncQueue()
    async with anyio.create_task_group() as group:
        consumers = Consumers(queue, group)
        await consumers.add(5)

        def push():
            for number in (4, 1, 3, 0, 2):
                queue.core.push_task({"type": "x", "task_id": f"{number}", "delay": 0.02 + number / 100})

        await anyio.to_thread.run_sync(push)
    assert consumers.got == [(number, f"{number}") for number in range(5)]


async def test_a_push_into_a_full_queue_waits_for_room_in_order():
    queue = AsyncQueue(MemoryQueue(maxsize=1))
    await queue.push_task({"type": "x", "task_id": "0"})
    async with anyio.create_task_group() as group:
        for number in range(1, 4):
            group.start_soon(queue.push_task, {"type": "x", "task_id": f"{number}"})
            await until(lambda number=number: len(queue.core.tasks.putters.waiting) == number)
        assert [(await queue.pop_task())["task_id"] for _ in range(4)] == ["0", "1", "2", "3"]


async def test_a_cancelled_push_has_pushed_nothing():
    queue = AsyncQueue(MemoryQueue(maxsize=1))
    await queue.push_task({"type": "x", "task_id": "0"})
    with anyio.move_on_after(0.005) as scope:
        await queue.push_task({"type": "x", "task_id": "1"})
    assert scope.cancelled_caught
    task = asyncio.ensure_future(queue.push_task({"type": "x", "task_id": "2"}))
    await asyncio.sleep(0)
    queue.core.pop_task()  # there is room, and it is told so; but before it runs:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await queue.is_empty()
    await queue.push_task({"type": "x", "task_id": "3"})
    assert (await queue.pop_task())["task_id"] == "3"


async def test_a_thread_s_push_into_a_full_queue_ends_when_a_coroutine_makes_room():
    queue = AsyncQueue(MemoryQueue(maxsize=1))
    await queue.push_task({"type": "x"})
    thread = threading.Thread(daemon=True, target=queue.core.push_task, args=({"type": "y"},))
    thread.start()
    await until(lambda: len(queue.core.tasks.putters.waiting) == 1)
    assert [(await queue.pop_task())["type"], (await queue.pop_task(timeout=5))["type"]] == ["x", "y"]
    thread.join(5)


async def test_join_waits_for_tasks_done_in_threads_and_can_be_cancelled():
    queue = AsyncQueue()
    await queue.push_task({"type": "x"})
    await queue.pop_task()
    with anyio.move_on_after(0.005) as scope:
        await queue.join()
    assert scope.cancelled_caught
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(queue.join)
        await anyio.sleep(0.005)
        group.start_soon(anyio.to_thread.run_sync, queue.core.task_done)
    assert len(queue.core.tasks.joiners.waiting) == 0


async def test_waiting_needs_no_thread_and_starves_no_other_user_of_threads():
    queue = AsyncQueue(MemoryQueue(maxsize=1))
    full = AsyncQueue(MemoryQueue(maxsize=1))
    await full.push_task({"type": "x"})
    threads = threading.active_count()
    limiter = anyio.to_thread.current_default_thread_limiter()
    async with anyio.create_task_group() as group:
        for _ in range(1000):
            group.start_soon(queue.pop_task)
        for _ in range(50):
            group.start_soon(full.push_task, {"type": "y"})
            group.start_soon(full.join)
        await until(lambda: waiting(queue) == 1000)
        assert limiter.borrowed_tokens == 0
        assert threading.active_count() - threads <= 1
        used, began = time.process_time(), time.monotonic()
        await anyio.sleep(0.2)
        assert (time.process_time() - used) / (time.monotonic() - began) < 0.05
        began = time.monotonic()
        await anyio.to_thread.run_sync(str)
        assert time.monotonic() - began < 0.1
        group.cancel_scope.cancel()
    assert waiting(queue) == 0


async def test_walks_over_a_large_store_leave_the_loop_free(monkeypatch):
    queue, threads = AsyncQueue(), []
    await queue.set_public("small", 1)
    monkeypatch.setattr(queue.core, "cleanup", lambda: threads.append(threading.current_thread()) or 0)
    await queue.cleanup()
    monkeypatch.setattr(module, "LARGE_STORE", 1)
    await queue.cleanup()
    assert threads[0] is threading.current_thread()
    assert threads[1] is not threading.current_thread()
    assert await queue.list_keys() == ["small"]


async def test_a_walk_in_a_thread_can_be_cancelled(monkeypatch):
    queue, release = AsyncQueue(), threading.Event()
    await queue.set_public("small", 1)
    monkeypatch.setattr(module, "LARGE_STORE", 1)
    monkeypatch.setattr(queue.core, "cleanup", release.wait)
    with anyio.move_on_after(0.01) as scope:
        await queue.cleanup()
    assert scope.cancelled_caught
    release.set()


async def test_closing_ends_every_wait_and_refuses_further_calls():
    queue, ended = AsyncQueue(MemoryQueue(maxsize=1)), []
    await queue.push_task({"type": "x", "task_id": "kept"})

    async def wait(call, *arguments):
        with pytest.raises(NotRunning, match="closed"):
            await call(*arguments)
        ended.append(call)

    async with anyio.create_task_group() as group:
        group.start_soon(wait, queue.push_task, {"type": "y"})
        group.start_soon(wait, queue.join)
        await anyio.sleep(0.002)
        with anyio.fail_after(1):
            await queue.close()
            await queue.close()
    assert len(ended) == 2
    for call in (
        queue.pop_task,
        queue.get_queue_size,
        queue.task_done,
        queue.list_keys,
        queue.stop_cleanup,
        queue.join,
    ):
        await wait(call)
    await wait(queue.push_task, {"type": "y"})
    await wait(queue.get_public, "key")
    assert queue.core.pop_task(timeout=0)["task_id"] == "kept"


async def test_closing_ends_waits_on_other_loops_and_takes_no_task_along():
    queue, ended = AsyncQueue(), []

    async def wait():
        try:
            await queue.pop_task()
        except NotRunning:
            ended.append(True)

    threads = [threading.Thread(daemon=True, target=asyncio.run, args=(wait(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    await until(lambda: waiting(queue) == 3)
    await queue.close()
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join, 5)
    assert len(ended) == 3
    again = AsyncQueue(queue.core)
    await again.push_task({"type": "x", "task_id": "a"})
    assert (await again.pop_task(timeout=1))["task_id"] == "a"


async def test_leaving_the_context_closes():
    async with AsyncQueue() as queue:
        await queue.start_cleanup()
        thread = queue.core._cleaner
    with pytest.raises(NotRunning):
        await queue.is_empty()
    await anyio.to_thread.run_sync(thread.join, 5)
    assert not thread.is_alive()
    await queue.aclose()


def test_one_facade_serves_one_loop_after_another():
    queue = AsyncQueue()

    async def turn(task_id):
        async with anyio.create_task_group() as group:
            group.start_soon(queue.pop_task)
            await anyio.sleep(0.001)
            await queue.push_task({"type": "x", "task_id": task_id})
        await queue.stop_cleanup()

    for number in range(5):
        asyncio.run(turn(f"{number}"))
    assert len(queue._stations) <= 2
    assert queue.core.is_empty()


async def test_nothing_blocks_the_loop():
    blockbuster = pytest.importorskip("blockbuster")
    queue, stop = AsyncQueue(MemoryQueue(maxsize=8)), threading.Event()

    def churn():
        while not stop.is_set():
            if queue.core.pop_task(timeout=0.001):
                queue.core.task_done()

    threads = [threading.Thread(daemon=True, target=churn) for _ in range(2)]
    for thread in threads:
        thread.start()
    with blockbuster.blockbuster_ctx():
        for number in range(2000):
            await queue.push_task({"type": "x", "params": {"n": number}})
            await queue.set_public("key", number, ttl=1)
            await queue.pop_task(timeout=0.0001)
            await queue.cleanup()
            await queue.get_queue_size()
            await queue.list_keys()
    stop.set()
    for thread in threads:
        thread.join(5)


@pytest.mark.parametrize(("timeout", "error"), [("1", TypeError), (float("nan"), ValueError)])
async def test_a_timeout_that_is_no_number_is_refused_and_takes_nothing(timeout, error):
    queue = AsyncQueue()
    await queue.push_task({"type": "x"})
    for call in (queue.pop_task, queue.join):
        with pytest.raises(error, match="timeout must be a number of seconds"):
            await call(timeout=timeout)
    assert await queue.get_queue_size() == 1
