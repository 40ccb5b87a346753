"""`AsyncQueue` beside asyncio.Queue, janus and a naive ``to_thread`` wrapper, in one run.

    python benchmarks/facade.py [--rounds 7] [--json]

Task dicts bring their ids and are made inside the timed loop, for every contender alike; the peers do not check or copy
them. Rates are tasks a second, higher is better; wake-ups are microseconds from a thread's put to the consumer's next
line, lower is better. A thread is measured twice: with consumers that all wait, and with consumers that come back
for more and, once the thread is ahead, hardly ever wait; no target is set for the second.
"""

from __future__ import annotations

import asyncio
import functools
import queue
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import janus
from _report import arguments, case, report, take_turns

from musicq_async import AsyncQueue

TASKS = 20_000
NAIVE_TASKS = 300
CONSUMERS = 1000
SUSTAINED = 10_000
WAKES = 300


def task(number: int) -> dict[str, Any]:
    return {"task_id": f"id-{number}", "type": "download_audio", "params": {"n": number, "quality": "320k"}}


async def push_and_pop(put: Callable[..., Any], get: Callable[..., Any], count: int = TASKS) -> float:
    began = time.perf_counter()
    for number in range(count):
        await put(task(number))
        await get()
    return count / (time.perf_counter() - began)


async def feed(put_from_thread: Callable[..., Any], get: Callable[..., Any], *, count: int, again: bool) -> float:
    """Rate from a thread's first put, with every consumer waiting, until the consumers have had all the tasks."""
    left = count
    finished = asyncio.Event()

    async def consume() -> None:
        nonlocal left
        while True:
            await get()
            left -= 1
            if not left:
                finished.set()
            if not again:
                return

    def put_all() -> None:
        for number in range(count):
            put_from_thread(task(number))

    consumers = [asyncio.ensure_future(consume()) for _ in range(CONSUMERS)]
    await asyncio.sleep(0.05)
    began = time.perf_counter()
    threading.Thread(target=put_all).start()
    await finished.wait()
    took = time.perf_counter() - began
    for consumer in consumers:
        consumer.cancel()
    await asyncio.gather(*consumers, return_exceptions=True)
    return count / took


feed_waiting = functools.partial(feed, count=CONSUMERS, again=False)
feed_on = functools.partial(feed, count=SUSTAINED, again=True)


async def wake_up(put_from_thread: Callable[..., Any], get: Callable[..., Any]) -> float:
    """Median time from the put to the line after the consumer's get, the consumer being idle."""
    took: list[float] = []
    began = 0.0
    go = threading.Event()

    def feed() -> None:
        nonlocal began
        for number in range(WAKES):
            go.wait()
            go.clear()
            time.sleep(0.0005)  # the loop falls asleep
            item = task(number)
            began = time.perf_counter()
            put_from_thread(item)

    thread = threading.Thread(target=feed)
    thread.start()
    for _ in range(WAKES):
        go.set()
        await get()
        took.append(time.perf_counter() - began)
    thread.join()
    return statistics.median(took) * 1e6


def on_musicq(measure: Callable[..., Any]) -> Callable[[], float]:
    async def main() -> float:
        ours = AsyncQueue()
        put = ours.push_task if measure is push_and_pop else ours.core.push_task
        return await measure(put, ours.pop_task)

    return lambda: asyncio.run(main())


def on_janus(measure: Callable[..., Any]) -> Callable[[], float]:
    async def main() -> float:
        peer: janus.Queue[Any] = janus.Queue()
        put = peer.async_q.put if measure is push_and_pop else peer.sync_q.put
        figure = await measure(put, peer.async_q.get)
        await peer.aclose()
        return figure

    return lambda: asyncio.run(main())


def on_asyncio() -> float:
    async def main() -> float:
        peer: asyncio.Queue[Any] = asyncio.Queue()
        return await push_and_pop(peer.put, peer.get)

    return asyncio.run(main())


def on_threads() -> float:
    async def main() -> float:
        peer: queue.Queue[Any] = queue.Queue()

        async def put(item: object) -> None:
            await anyio.to_thread.run_sync(peer.put, item)

        async def get() -> object:
            return await anyio.to_thread.run_sync(peer.get)

        return await push_and_pop(put, get, NAIVE_TASKS)

    return asyncio.run(main())


def main() -> int:
    options = arguments(__doc__ or "")
    loop = {"musicq_async": on_musicq(push_and_pop), "asyncio.Queue": on_asyncio, "janus": on_janus(push_and_pop)}
    cases = [
        case(
            "push and pop on one loop",
            take_turns({**loop, "to_thread wrapper": on_threads}, options.rounds),
            unit="tasks/s",
            targets=[("janus", "at least", 1.2), ("asyncio.Queue", "at least", 0.5)],
        ),
        case(
            f"a thread feeds {CONSUMERS:,} waiting consumers, a task each",
            take_turns({"musicq_async": on_musicq(feed_waiting), "janus": on_janus(feed_waiting)}, options.rounds),
            unit="tasks/s",
            targets=[("janus", "at least", 5)],
        ),
        case(
            f"a thread feeds {SUSTAINED:,} tasks to {CONSUMERS:,} consumers that come back",
            take_turns({"musicq_async": on_musicq(feed_on), "janus": on_janus(feed_on)}, options.rounds),
            unit="tasks/s",
        ),
        case(
            "a thread wakes an idle consumer, p50",
            take_turns({"musicq_async": on_musicq(wake_up), "janus": on_janus(wake_up)}, options.rounds),
            unit="us",
            targets=[("janus", "at most", 1.5)],
        ),
    ]
    return report("facade", cases, packages=["musicq_async", "anyio", "janus"], json_only=options.json)


if __name__ == "__main__":
    sys.exit(main())
