"""The promises of the queue under fire: cancellation of every kind, many loops beside threads, the end of the process.

Whatever is pushed is counted, and whatever comes out; nothing may be missing and nothing may come twice. The long runs
are marked ``soak``; their seed is printed by pytest when they fail.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time

import anyio
import pytest

from musicq_async.core import MemoryQueue
from musicq_async.memory.facade import AsyncQueue

KINDS = ["scope", "native", "wait_for", "timeout"]


def loops():
    names = ["asyncio"]
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: F401

        names.append("uvloop")
    return names


def run(main, loop="asyncio"):
    if loop == "asyncio":
        return asyncio.run(main())
    import uvloop

    return (
        asyncio.run(main(), loop_factory=uvloop.new_event_loop) if sys.version_info >= (3, 12) else uvloop.run(main())
    )


class Ledger:
    """What went in and what came out."""

    def __init__(self):
        self.pushed = collections.Counter()
        self.popped = collections.Counter()
        self.cancelled = 0
        self._names = iter(range(10**9))
        self._lock = threading.Lock()

    def push(self, queue):
        with self._lock:
            name = f"{next(self._names)}"
        queue.push_task({"type": "x", "task_id": name, "params": {}}, priority=int(name) % 2)
        self.pushed[name] += 1

    def note(self, task):
        if task is not None:
            with self._lock:
                self.popped[task["task_id"]] += 1

    def verdict(self, queue):
        while task := queue.pop_task(timeout=0):
            self.note(task)
        lost = self.pushed - self.popped
        doubled = self.popped - self.pushed
        return sum(lost.values()), sum(doubled.values())


async def cancelled_pop(kind, queue, ledger, seconds):
    """Pop and cancel after so many seconds; the note follows the pop with nothing between."""
    if kind == "scope":
        with anyio.move_on_after(seconds) as scope:
            ledger.note(await queue.pop_task())
        ledger.cancelled += scope.cancelled_caught
        return

    async def pop():
        ledger.note(await queue.pop_task())

    try:
        if kind == "native":
            task = asyncio.ensure_future(pop())
            await asyncio.sleep(seconds)
            task.cancel()
            await task
        elif kind == "wait_for":
            await asyncio.wait_for(pop(), seconds)
        else:
            async with asyncio.timeout(seconds):
                await pop()
    except (asyncio.CancelledError, TimeoutError):
        ledger.cancelled += 1


async def storm(kind, *, seconds, seed, consumers=40, tasks=0, cancels=0):
    """Pop with random cancellations on this loop, while threads and coroutines push and threads pop."""
    draw = random.Random(seed)
    core = MemoryQueue()
    queue, ledger, stop = AsyncQueue(core), Ledger(), threading.Event()
    ends = time.monotonic() + seconds
    latest = ends + 10 * seconds

    def enough():
        return time.monotonic() >= ends and (
            (len(ledger.pushed) >= tasks and ledger.cancelled >= cancels) or time.monotonic() >= latest
        )

    def push():
        while not stop.is_set():
            if core.get_queue_size() < 5:
                ledger.push(core)
            time.sleep(0.0002)

    def pop():
        while not stop.is_set():
            ledger.note(core.pop_task(timeout=0.002))
            time.sleep(0.001)

    async def consume():
        while not enough():
            await cancelled_pop(kind, queue, ledger, draw.choice([0, 0, 0.0001, 0.001, 0.003]))

    async def produce():
        while not enough():
            if core.get_queue_size() < 5:  # so that the consumers have to wait, and are cancelled waiting
                for _ in range(draw.randrange(6)):
                    ledger.push(core)
            await asyncio.sleep(draw.choice([0, 0.0005]))

    threads = [threading.Thread(target=target, daemon=True) for target in (push, push, pop)]
    for thread in threads:
        thread.start()
    async with anyio.create_task_group() as group:
        for _ in range(consumers):
            group.start_soon(consume)
        group.start_soon(produce)
    stop.set()
    for thread in threads:
        thread.join()
    assert len(core.tasks.getters.waiting) == 0
    assert core.tasks.getters.promised == {}
    assert ledger.verdict(core) == (0, 0), f"seed {seed}"
    assert len(ledger.pushed) >= tasks
    assert ledger.cancelled >= cancels


@pytest.mark.parametrize("loop", loops())
@pytest.mark.parametrize("kind", KINDS)
def test_a_storm_of_cancellations_loses_and_doubles_nothing(kind, loop):
    run(lambda: storm(kind, seconds=0.3, seed=1, tasks=500, cancels=500), loop)


@pytest.mark.soak
@pytest.mark.parametrize("loop", loops())
@pytest.mark.parametrize("kind", KINDS)
def test_a_long_storm_of_cancellations_loses_and_doubles_nothing(kind, loop):
    run(lambda: storm(kind, seconds=3, seed=random.randrange(10**6), tasks=5000, cancels=10_000), loop)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_minute_of_cancellations_loses_and_doubles_nothing():
    run(lambda: storm("native", seconds=60, seed=random.randrange(10**6), tasks=100_000, cancels=100_000))


@pytest.mark.parametrize("kind", ["scope", "native"])
def test_cancelled_pushes_into_a_full_queue_have_pushed_nothing(kind):
    core = MemoryQueue(maxsize=2)
    queue, pushed, popped = AsyncQueue(core), set(), []

    async def main():
        draw = random.Random(2)

        async def push(name):
            await queue.push_task({"type": "x", "task_id": name})
            pushed.add(name)

        async def produce(first):
            for number in range(first, first + 60):
                if kind == "scope":
                    with anyio.move_on_after(draw.choice([0, 0.0005, 0.002])):
                        await push(f"{number}")
                    continue
                task = asyncio.ensure_future(push(f"{number}"))
                await asyncio.sleep(draw.choice([0, 0.0005, 0.002]))
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

        async def consume():
            while True:
                popped.append((await queue.pop_task())["task_id"])
                await asyncio.sleep(0.0005)

        async with anyio.create_task_group() as group:
            group.start_soon(consume)
            async with anyio.create_task_group() as producers:
                for first in range(0, 600, 60):
                    producers.start_soon(produce, first)
            await asyncio.sleep(0.01)
            group.cancel_scope.cancel()

    asyncio.run(main())
    while task := core.pop_task(timeout=0):
        popped.append(task["task_id"])
    assert sorted(popped) == sorted(pushed)
    assert len(core.tasks.putters.waiting) == 0


def three_loops_and_four_threads(seconds, seed):
    core = MemoryQueue()
    ledger, stop = Ledger(), threading.Event()
    queue = AsyncQueue(core)

    async def main(number):
        draw = random.Random(seed + number)

        async def consume():
            while not stop.is_set():
                await cancelled_pop(draw.choice(KINDS), queue, ledger, draw.choice([0, 0.001, 0.005]))

        async def produce():
            while not stop.is_set():
                ledger.push(core)
                await asyncio.sleep(0.0005)

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(consume)
            group.start_soon(produce)

    def push():
        while not stop.is_set():
            ledger.push(core)
            time.sleep(0.0003)

    def pop():
        while not stop.is_set():
            ledger.note(core.pop_task(timeout=0.003))

    available = loops()
    names = [available[number % len(available)] for number in range(3)]
    threads = [threading.Thread(target=run, args=(lambda n=n: main(n), name)) for n, name in enumerate(names)]
    threads += [threading.Thread(target=target) for target in (push, push, pop, pop)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert ledger.verdict(core) == (0, 0), f"seed {seed}"
    assert len(ledger.pushed) > 100 * seconds


def test_three_loops_and_four_threads_share_one_core():
    three_loops_and_four_threads(0.5, seed=3)


@pytest.mark.soak
def test_three_loops_and_four_threads_share_one_core_for_long():
    three_loops_and_four_threads(5, seed=random.randrange(10**6))


WAITING_PROGRAM = """
    import asyncio, signal, sys, anyio
    from musicq_async.memory.facade import AsyncQueue

    async def main():
        queue = AsyncQueue()
        await queue.start_cleanup()
        async with anyio.create_task_group() as group:
            for _ in range(1000):
                group.start_soon(queue.pop_task)
            await asyncio.sleep(0.05)
            print("waiting", flush=True)
            {ending}

    {start}
"""


def program(ending, start):
    code = textwrap.dedent(WAITING_PROGRAM).format(ending=ending, start=start)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_process_with_a_thousand_waiting_consumers_ends_at_once(sent):
    ending = """with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                print("ready", flush=True)
                async for _ in signals:
                    group.cancel_scope.cancel()
                    break"""
    process = program(ending, "anyio.run(main)")
    try:
        assert process.stdout.readline() == "waiting\n"
        assert process.stdout.readline() == "ready\n"
        began = time.monotonic()
        process.send_signal(sent)
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")
        assert time.monotonic() - began < 1.5
    finally:
        process.kill()


def test_a_loop_that_is_left_standing_does_not_hold_up_the_exit():
    start = """loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    loop.run_until_complete(asyncio.sleep(0.5))
    print("left", flush=True)
    sys.stderr = None""".replace("\n    ", "\n")
    process = program("await asyncio.sleep(60)", start)
    try:
        assert process.stdout.readline() == "waiting\n"
        assert process.stdout.readline() == "left\n"
        began = time.monotonic()
        process.communicate(timeout=20)
        assert process.returncode == 0
        assert time.monotonic() - began < 1.5
    finally:
        process.kill()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_can_use_the_facade_on_a_loop_of_its_own():
    code = """
    import asyncio, os, warnings
    warnings.simplefilter("ignore")
    from musicq_async.memory.facade import AsyncQueue
    queue = AsyncQueue()

    async def wait_a_little():
        await queue.push_task({"type": "parents"})
        try:
            await asyncio.wait_for(asyncio.gather(queue.pop_task(), queue.pop_task()), 0.02)
        except TimeoutError:
            pass
        await queue.push_task({"type": "parents"})

    async def work():
        assert await queue.is_empty()
        assert await queue.pop_task(timeout=0.01) is None
        async with asyncio.TaskGroup() as group:
            popped = group.create_task(queue.pop_task())
            await asyncio.sleep(0)
            await queue.push_task({"type": "own"})
        assert popped.result()["type"] == "own"

    asyncio.run(wait_a_little())
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(work())
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert asyncio.run(queue.pop_task())["type"] == "parents"
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=False, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
