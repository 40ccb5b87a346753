"""No-op tasks end to end on durable queues (push, claim, run, settle), beside the peers that keep theirs there too.

    python benchmarks/durable_tasks.py [--backend sqlite mysql postgresql redis] [--tasks 10000] [--rounds 3] [--json]

Every contender runs in a process of its own, is timed from the first push until the last handler has run and been
settled, and gets the same number of tasks with one integer; one that loses some is timed until the last that ran.
"100 pushers" are 100 coroutines (for huey: 10 threads) that each await their push; "one pusher" awaits each push before
the next. CPU is of the whole process, client side; peak memory is its resident set. Servers are the ones of
``MUSICQ_TEST_MYSQL_URL``, ``MUSICQ_TEST_POSTGRES_URL`` and
``MUSICQ_TEST_REDIS_URL``, by default on this machine's usual ports; each run makes and drops a database of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from _report import case, report

TARGETS = {"sqlite": 10_000, "sqlite full": 6_000, "mysql": 5_000, "postgresql": 5_000, "redis": 4_000}
"""Tasks a second that 100 pushers are to reach."""
SERVERS = {
    "mysql": os.environ.get("MUSICQ_TEST_MYSQL_URL", "mysql+aiomysql://root@127.0.0.1:3306/test"),
    "postgresql": os.environ.get("MUSICQ_TEST_POSTGRES_URL", "postgresql+asyncpg://postgres@127.0.0.1:5432/postgres"),
    "redis": os.environ.get("MUSICQ_TEST_REDIS_URL", "redis://127.0.0.1:6379/0"),
}


Took = tuple[float, float]
"""Seconds on the wall, and of this process's CPU."""


def now() -> Took:
    return time.perf_counter(), time.process_time()


def since(began: Took) -> Took:
    wall, cpu = now()
    return wall - began[0], cpu - began[1]


async def by_musicq(url: str, queue_url: str, folder: str, *, tasks: int, concurrency: int, pushers: int) -> Took:
    import anyio

    import musicq_async

    handlers = musicq_async.Handlers()
    left = tasks
    done = anyio.Event()

    @handlers.register("noop")
    async def noop(params):  # noqa: ARG001 - a no-op
        nonlocal left
        left -= 1
        if not left:
            done.set()

    address, _, name = queue_url.partition("#")
    settings = musicq_async.Settings(
        database_url=url, queue_url=address, music_dir=folder, concurrency=concurrency, scheduler=False,
        redis={"allow_volatile": True, "namespace": name or "musicq"},
    )  # fmt: skip
    async with musicq_async.open_musicq(settings, handlers=handlers) as app:
        numbers = iter(range(tasks))

        async def push() -> None:
            for n in numbers:
                await app.queue.push_task({"type": "noop", "params": {"n": n}})

        began = now()
        async with anyio.create_task_group() as group:
            for _ in range(pushers):
                group.start_soon(push)
        await done.wait()
        await app.run_until_idle()
        return since(began)


def by_huey(queue, *, tasks: int, concurrency: int, pushers: int) -> Took:
    left = tasks
    last = now()
    finished = threading.Event()
    lock = threading.Lock()

    @queue.task()
    def noop(n):  # noqa: ARG001 - a no-op
        nonlocal left, last
        with lock:
            left -= 1
            last = now()
            if not left:
                finished.set()

    consumer = queue.create_consumer(
        workers=concurrency, worker_type="thread", periodic=False, initial_delay=0.001, max_delay=0.01
    )
    consumer.start()
    numbers = iter(range(tasks))
    began = now()

    def push() -> None:
        for n in iter(lambda: next(numbers, None), None):
            noop(n)

    threads = [threading.Thread(target=push) for _ in range(pushers)]
    for thread in threads:
        thread.start()
    while not finished.wait(5):
        with lock:
            if now()[0] - last[0] > 5:  # it has lost some: count what it ran, until the last of them
                break
    consumer.stop(graceful=True)
    ran = tasks - left
    return (last[0] - began[0]) * tasks / ran, (last[1] - began[1]) * tasks / ran


async def by_procrastinate(url: str, *, tasks: int, concurrency: int, pushers: int) -> Took:
    import procrastinate

    address = url.replace("+asyncpg", "").replace("postgresql://", "postgres://")
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=address))
    left = tasks
    done = asyncio.Event()

    @app.task(name="noop")
    async def noop(n):  # noqa: ARG001 - a no-op
        nonlocal left
        left -= 1
        if not left:
            done.set()

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        worker = asyncio.create_task(
            app.run_worker_async(concurrency=concurrency, install_signal_handlers=False, wait=True)
        )
        numbers = iter(range(tasks))

        async def push() -> None:
            for n in numbers:
                await noop.defer_async(n=n)

        began = now()
        await asyncio.gather(*(push() for _ in range(pushers)))
        await done.wait()
        took = since(began)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        return took


def one_run(contender: str, backend: str, url: str, *, tasks: int, concurrency: int, pushers: int) -> Took:
    """Run in this process, which was started for it."""
    load = {"tasks": tasks, "concurrency": concurrency, "pushers": pushers}
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        file = Path(folder, "bench.db")
        match contender:
            case "musicq_async":
                database = url if backend in {"mysql", "postgresql"} else f"sqlite+aiosqlite:///{file}"
                if backend == "sqlite full":
                    database += "?synchronous=FULL"
                return asyncio.run(by_musicq(database, url if backend == "redis" else database, folder, **load))
            case "huey":
                import huey

                if backend == "redis":
                    from redis import ConnectionPool

                    address, _, name = url.partition("#")
                    pool = ConnectionPool.from_url(address, max_connections=concurrency + pushers + 10)
                    queue = huey.RedisHuey(name, connection_pool=pool, results=False)
                else:
                    queue = huey.SqliteHuey(filename=str(file), results=False, fsync=backend == "sqlite full")
                return by_huey(queue, **load | {"pushers": min(pushers, 10)})
            case _:
                return asyncio.run(by_procrastinate(url, **load))


def in_a_process(contender: str, backend: str, url: str, **load: int) -> dict[str, float]:
    arguments = [sys.executable, __file__, "--one", contender, backend, url, json.dumps(load)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        raise SystemExit(f"{contender} on {backend} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def with_database(backend: str, work):
    """Call ``work`` with the URL of a database that nobody else uses."""
    if backend.startswith("sqlite"):
        return work("")
    if backend == "redis":
        from redis import Redis

        name = f"bench-{secrets.token_hex(4)}"
        try:
            return work(f"{SERVERS['redis']}#{name}")
        finally:
            with Redis.from_url(SERVERS["redis"]) as redis:
                for key in redis.scan_iter(f"*{name}*", count=1000):
                    redis.delete(key)
    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import make_url

    server = make_url(SERVERS[backend])
    name = f"bench_{secrets.token_hex(4)}"
    drivers = {"mysql": "mysql+pymysql", "postgresql": "postgresql+psycopg"}
    engine = create_engine(server.set(drivername=drivers[backend]), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        return work(server.set(database=name).render_as_string(hide_password=False))
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name}"))


PEERS = {
    "sqlite": ["huey"],
    "sqlite full": ["huey"],
    "mysql": [],
    "postgresql": ["procrastinate"],
    "redis": ["huey"],
}


def measured(backend: str, *, tasks: int, rounds: int, concurrency: int, pushers: int) -> dict:
    figures: dict[str, list[float]] = {name: [] for name in ["musicq_async", *PEERS[backend]]}
    costs: dict[str, list[dict[str, float]]] = {name: [] for name in figures}
    for _ in range(rounds):
        for name, rates in figures.items():
            count = tasks if name != "procrastinate" else max(tasks // 10, 500)

            def work(url: str, name: str = name, count: int = count) -> dict[str, float]:
                return in_a_process(name, backend, url, tasks=count, concurrency=concurrency, pushers=pushers)

            run = with_database(backend, work)
            rates.append(count / run["seconds"])
            costs[name].append({"cpu_us": run["cpu_seconds"] / count * 1e6, "peak_mib": run["peak_mib"]})
    targets = [(peer, "at least", {"huey": 2.0, "procrastinate": 10.0}[peer]) for peer in PEERS[backend]]
    if pushers > 1:
        targets.append(("", "at least", float(TARGETS[backend])))
    row = case(f"{backend}, {pushers} pushers, concurrency {concurrency}", figures, unit="tasks/s", targets=targets)
    row["cost"] = {
        name: {key: round(statistics.median(each[key] for each in runs), 1) for key in ("cpu_us", "peak_mib")}
        for name, runs in costs.items()
    }
    return row


def main() -> int:
    if sys.argv[1:2] == ["--one"]:
        contender, backend, url, load = sys.argv[2:6]
        logging.disable(logging.CRITICAL)
        seconds, cpu = one_run(contender, backend, url, **json.loads(load))
        used = resource.getrusage(resource.RUSAGE_SELF)
        peak = used.ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20)
        print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak}))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = []
    for backend in given.backend:
        for concurrency, pushers in ((10, 100), (100, 100), (10, 1)):
            row = measured(backend, tasks=given.tasks, rounds=given.rounds, concurrency=concurrency, pushers=pushers)
            rows.append(row)
            if not given.json:
                print(row["case"], row["cost"], file=sys.stderr)
    return report("durable tasks", rows, packages=["musicq_async", "huey", "procrastinate"], json_only=given.json)


if __name__ == "__main__":
    sys.exit(main())
