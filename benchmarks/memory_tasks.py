"""No-op tasks end to end in memory (push, claim, run, settle): ``memory://`` beside taskiq and huey, in one run.

    python benchmarks/memory_tasks.py [--tasks 10000] [--rounds 5] [--json]

Every contender gets the same number of tasks with one integer argument, from one producer, with ids of its own making,
and is timed from the first push until the last task is settled. The contenders take turns. taskiq is its InMemoryBroker
with as many async tasks at once as the concurrency says; huey is MemoryHuey(immediate=False, results=False) with as
many worker threads. CPU is that of the whole process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import platform
import statistics
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

import anyio
import huey
import taskiq

import musicq_async

TARGET = 3.0


def by_musicq(tasks: int, concurrency: int) -> tuple[float, float]:
    handlers = musicq_async.Handlers()

    @handlers.register("noop")
    async def noop(params):  # noqa: ARG001 - a no-op
        return None

    async def main() -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as folder:
            settings = musicq_async.Settings(
                database_url=f"sqlite+aiosqlite:///{Path(folder, 'bench.db')}",
                queue_url="memory://",
                music_dir=folder,
                concurrency=concurrency,
                scheduler=False,
            )
            async with musicq_async.open_musicq(settings, handlers=handlers) as app:
                push = app.queue.push_task
                began, cpu = time.perf_counter(), time.process_time()
                for n in range(tasks):
                    await push({"type": "noop", "params": {"n": n}})
                await app.run_until_idle()
                return time.perf_counter() - began, time.process_time() - cpu

    return anyio.run(main)


def by_taskiq(tasks: int, concurrency: int) -> tuple[float, float]:
    broker = taskiq.InMemoryBroker(max_async_tasks=concurrency)

    @broker.task
    async def noop(n: int) -> None:  # noqa: ARG001 - a no-op
        return None

    async def main() -> tuple[float, float]:
        await broker.startup()
        began, cpu = time.perf_counter(), time.process_time()
        for n in range(tasks):
            await noop.kiq(n)
        await broker.wait_all()
        took = time.perf_counter() - began, time.process_time() - cpu
        await broker.shutdown()
        return took

    return asyncio.run(main())


def by_huey(tasks: int, concurrency: int) -> tuple[float, float]:
    queue = huey.MemoryHuey(immediate=False, results=False)
    done = 0
    finished = threading.Event()
    lock = threading.Lock()

    @queue.task()
    def noop(n: int) -> None:  # noqa: ARG001 - a no-op
        nonlocal done
        with lock:
            done += 1
            if done == tasks:
                finished.set()

    consumer = queue.create_consumer(
        workers=concurrency, worker_type="thread", periodic=False, initial_delay=0.001, max_delay=0.01
    )
    consumer.start()
    began, cpu = time.perf_counter(), time.process_time()
    for n in range(tasks):
        noop(n)
    finished.wait(120)
    took = time.perf_counter() - began, time.process_time() - cpu
    consumer.stop(graceful=True)
    return took


CONTENDERS = {"musicq_async": by_musicq, "taskiq": by_taskiq, "huey": by_huey}


def measured(tasks: int, rounds: int, concurrency: int) -> list[dict[str, object]]:
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name, work in CONTENDERS.items():
            taken[name].append(work(tasks, concurrency))
    ours = statistics.median(wall for wall, _ in taken["musicq_async"])
    rows = []
    for name, results in taken.items():
        walls = sorted(wall for wall, _ in results)
        median = statistics.median(walls)
        rows.append(
            {
                "contender": name,
                "concurrency": concurrency,
                "tasks_per_second": round(tasks / median),
                "slowest": round(tasks / walls[-1]),
                "fastest": round(tasks / walls[0]),
                "cpu_us_per_task": round(statistics.median(cpu for _, cpu in results) / tasks * 1e6, 1),
                "times_of_peer": round(median / ours, 2),
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    rows = [row for concurrency in (10, 100) for row in measured(given.tasks, given.rounds, concurrency)]
    machine = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {"musicq_async": musicq_async.__version__} | {name: version(name) for name in ("taskiq", "huey")},
        "target": TARGET,
    }
    if given.json:
        print(json.dumps({"machine": machine, "results": rows}, indent=2))
    else:
        print(machine)
        print(f"{'contender':14}{'at once':>8}{'tasks/s':>10}{'slowest':>10}{'fastest':>10}{'CPU us':>8}{'ours is':>9}")
        for row in rows:
            print(
                f"{row['contender']:14}{row['concurrency']:>8}{row['tasks_per_second']:>10}{row['slowest']:>10}"
                f"{row['fastest']:>10}{row['cpu_us_per_task']:>8}{row['times_of_peer']:>8}x"
            )
    peers = [row["times_of_peer"] for row in rows if row["contender"] != "musicq_async"]
    return 0 if min(peers) >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
