"""How a durable queue behaves beside its throughput: latency, idle cost, long tables, bulk pushes, many runners.

    python benchmarks/durable_scale.py [--backend sqlite mysql postgresql] [--quick] [--json]

- latency: one push on an idle system to the handler's first line, 200 times, in one process;
- idle: CPU of a runner with nothing to do (workers, scheduler, janitor, keeper), over 10 s;
- long tables: CPU a task with so many finished rows in the table, as a ratio to 1,000 rows;
- bulk: ``push_many`` of 10,000 tasks at a time;
- runners: four processes on one database against one, 10,000 tasks that were pushed before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _report import case, report
from durable_tasks import with_database

import musicq_async

LATENCY_MS = {"sqlite": 5.0, "mysql": 10.0, "postgresql": 10.0}


def opened(url: str, folder: str, handlers: musicq_async.Handlers, **given):
    settings = musicq_async.Settings(database_url=url, music_dir=folder, **{"concurrency": 10, **given})
    return musicq_async.open_musicq(settings, handlers=handlers)


async def latency(url: str, folder: str) -> list[float]:
    handlers = musicq_async.Handlers()
    began = 0.0
    taken: list[float] = []

    @handlers.register("noop")
    async def noop(params):  # noqa: ARG001 - a no-op
        taken.append((time.perf_counter() - began) * 1000)

    async with opened(url, folder, handlers) as app:
        for n in range(220):
            await asyncio.sleep(0.02)
            began = time.perf_counter()
            await app.queue.push_task({"type": "noop", "params": {"n": n}})
            while len(taken) <= n:
                await asyncio.sleep(0.001)
    return taken[20:]


async def idle(url: str, folder: str) -> list[float]:
    async with opened(url, folder, musicq_async.Handlers(), concurrency=4):
        await asyncio.sleep(2)
        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.sleep(10)
        return [(time.process_time() - cpu) / (time.perf_counter() - wall) * 100]


def noop_handlers(done: list[int]) -> musicq_async.Handlers:
    handlers = musicq_async.Handlers()

    @handlers.register("noop")
    async def noop(params):  # noqa: ARG001 - a no-op
        done.append(1)

    return handlers


async def long_table(url: str, folder: str, rows: int) -> list[float]:
    """Fill a table with finished rows, then measure CPU a task."""
    from musicq_async.model.task import Task, TaskState

    done: list[int] = []
    async with opened(url, folder, noop_handlers(done), scheduler=False) as app:
        now = int(time.time())
        for start in range(0, rows, 5_000):
            await app._backend.restore(  # noqa: SLF001 - finished rows come from nowhere else
                [
                    Task(
                        task_id=f"old-{n:08}", task_type="noop", params={"n": n}, status=TaskState.COMPLETED,
                        position=n + 1, created_at=now, completed_at=now,
                    )
                    for n in range(start, min(start + 5_000, rows))
                ]
            )  # fmt: skip
        figures = []
        for _ in range(3):
            done.clear()
            cpu = time.process_time()
            async with asyncio.TaskGroup() as group:
                for _ in range(100):
                    group.create_task(_push(app, 30))
            await app.run_until_idle()
            figures.append((time.process_time() - cpu) / 3_000 * 1e6)
        return figures


async def _push(app, count: int) -> None:
    for n in range(count):
        await app.queue.push_task({"type": "noop", "params": {"n": n}})


async def bulk(url: str, folder: str) -> list[float]:
    async with opened(url, folder, noop_handlers([]), concurrency=0, scheduler=False) as app:
        figures = []
        for _ in range(5):
            tasks = [{"type": "noop", "params": {"n": n}} for n in range(10_000)]
            began = time.perf_counter()
            await app.queue.push_many(tasks)
            figures.append(10_000 / (time.perf_counter() - began))
        return figures


async def drain(url: str, folder: str) -> list[float]:
    """Be one runner: work until nothing is left."""
    done: list[int] = []
    async with opened(url, folder, noop_handlers(done), scheduler=False) as app:
        print("ready", flush=True)
        sys.stdin.readline()
        await app.resume_type("noop")
        while await app.queue.get_queue_size():
            await asyncio.sleep(0.02)
        await app.run_until_idle()
    return [len(done)]


def runners(url: str, count: int, tasks: int) -> list[float]:
    """Return tasks a second of so many processes."""

    async def push(folder: str) -> None:
        async with opened(url, folder, noop_handlers([]), concurrency=0, scheduler=False) as app:
            await app.pause_type("noop")
            await app.queue.push_many([{"type": "noop", "params": {"n": n}} for n in range(tasks)])

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(push(folder))
        command = [sys.executable, __file__, "--one", "drain", url, folder]
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
        ]
        for process in processes:
            process.stdout.readline()
        began = time.perf_counter()
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [json.loads(process.communicate(timeout=300)[0].splitlines()[-1])[0] for process in processes]
        took = time.perf_counter() - began
        if sum(answers) != tasks:
            raise SystemExit(f"{tasks} tasks were pushed, {answers} ran")
        return [tasks / took]


def one(what: str, backend: str, *arguments: str) -> list[float]:
    """Run a measurement in a process of its own."""

    def work(url: str) -> list[float]:
        with tempfile.TemporaryDirectory() as folder:
            address = url or f"sqlite+aiosqlite:///{Path(folder, 'bench.db')}"
            command = [sys.executable, __file__, "--one", what, address, folder, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
            if done.returncode:
                raise SystemExit(f"{what} on {backend} failed:\n{done.stderr[-2000:]}")
            return json.loads(done.stdout.splitlines()[-1])

    return with_database(backend, work)


def with_runners(backend: str, count: int, tasks: int) -> list[float]:
    def work(url: str) -> list[float]:
        with tempfile.TemporaryDirectory() as folder:
            return runners(url or f"sqlite+aiosqlite:///{Path(folder, 'bench.db')}", count, tasks)

    return with_database(backend, work)


def main() -> int:
    if sys.argv[1:2] == ["--one"]:
        logging.disable(logging.CRITICAL)
        what, url, folder, *rest = sys.argv[2:]
        works = {"latency": latency, "idle": idle, "bulk": bulk, "drain": drain}
        work = works[what](url, folder) if what in works else long_table(url, folder, int(rest[0]))
        print(json.dumps(asyncio.run(work)))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", nargs="+", default=list(LATENCY_MS), choices=list(LATENCY_MS))
    parser.add_argument("--quick", action="store_true", help="no table of a million rows")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = []
    for backend in given.backend:
        figures = {"musicq_async": one("latency", backend)}
        rows.append(
            case(f"{backend}: push to handler", figures, unit="ms", targets=[("", "at most", LATENCY_MS[backend])])
        )
        figures = {"musicq_async": one("idle", backend)}
        rows.append(case(f"{backend}: idle runner", figures, unit="% of a core", targets=[("", "at most", 0.5)]))
        target = [("", "at least", 50_000.0)] if backend == "sqlite" else []
        rows.append(
            case(f"{backend}: push_many", {"musicq_async": one("bulk", backend)}, unit="rows/s", targets=target)
        )
        lengths = (1_000, 100_000) if given.quick else (1_000, 100_000, 1_000_000)
        costs = {f"{length:,} rows": one("long", backend, str(length)) for length in lengths}
        first, last = f"{lengths[0]:,} rows", f"{lengths[-1]:,} rows"
        rows.append(
            case(f"{backend}: long table", costs, unit="CPU us a task", ours=last, targets=[(first, "at most", 1.3)])
        )
        speeds = {f"{count} runners": [with_runners(backend, count, 10_000)[0] for _ in range(3)] for count in (1, 4)}
        rows.append(
            case(
                f"{backend}: many runners",
                speeds,
                unit="tasks/s",
                ours="4 runners",
                targets=[("1 runners", "at least", 2.0)],
            )
        )
        if not given.json:
            for row in rows[-5:]:
                medians = {name: round(figure["median"], 2) for name, figure in row["figures"].items()}
                print(row["case"], medians, file=sys.stderr)
    return report("durable scale", rows, packages=["musicq_async"], json_only=given.json)


if __name__ == "__main__":
    sys.exit(main())
