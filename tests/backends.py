"""The backends that every port is tried on, each behind a `Bench` with a clock that can be moved."""

from __future__ import annotations

import importlib
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest
from services import apart, fresh_database, need

from musicq_async.clock import SystemClock
from musicq_async.model.lifecycle import Change, settle
from musicq_async.model.outcome import Outcome
from musicq_async.model.schedule import Firing, Schedule, Slot, SlotOutcome
from musicq_async.model.task import Lease, NewTask, Task
from musicq_async.ports import Clock, PublicStore, ScheduleStore, TaskQueue, Terms

BACKENDS = ["memory", "sqlite", "mysql", "postgresql"]
SQL_BACKENDS = ["sqlite", "mysql", "postgresql"]
QUEUE_BACKENDS = [*BACKENDS, "redis"]
"""Those with a queue and a public store of their own; beside Redis the schedules stay in SQL."""


class MovedClock(SystemClock):
    """The system's clock; `stop` lets it stand, `advance` sets it forward."""

    def __init__(self) -> None:
        self.moved_ms = 0
        self.stopped_ms: int | None = None

    def time(self) -> float:
        return self.time_ms() / 1000

    def time_ms(self) -> int:
        return (super().time_ms() if self.stopped_ms is None else self.stopped_ms) + self.moved_ms

    def stop(self) -> None:
        self.stopped_ms = super().time_ms()

    def advance(self, seconds: float) -> None:
        self.moved_ms += round(seconds * 1000)


def terms(**fields: Any) -> Terms:
    """The terms on which a worker borrows."""
    return Terms(**({"owner": "w1", "seconds": 10.0} | fields))


class Recorder:
    """The wakeups that a queue gave."""

    def __init__(self) -> None:
        self.pending = 0
        self.due_at: list[int] = []
        self.opens_at: list[int] = []

    def notify(self, count: int = 1) -> None:
        self.pending += count

    def due(self, run_at_ms: int) -> None:
        self.due_at.append(run_at_ms)

    def opens(self, at_ms: int) -> None:
        self.opens_at.append(at_ms)


class Bench:
    """One backend's ports, and the values that tests make again and again."""

    def __init__(self, kind: str, url: str, stack: AsyncExitStack, clock: MovedClock) -> None:
        self.kind = kind
        self.url = url
        self.clock = clock
        self.wakeup = Recorder()
        self._stack = stack
        self._names = 0
        self.database: Any = None

    async def open(self) -> None:
        if self.kind == "memory":
            self.queue: TaskQueue = _memory("tasks", "MemoryTasks")(clock=self.clock, wakeup=self.wakeup)
            return
        self.database = await self._opened(self.clock)
        """The open database, or the open Redis."""
        self.queue = self._queue(self.database)

    async def _opened(self, clock: Clock) -> Any:
        if self.kind == "redis":
            from musicq_async.redis import open_redis

            url, _, namespace = self.url.partition("#")
            return await self._stack.enter_async_context(open_redis(url, clock=clock, namespace=namespace))
        from musicq_async.sql import open_database

        return await self._stack.enter_async_context(open_database(self.url, clock=clock))

    def _queue(self, database: Any) -> TaskQueue:
        if self.kind == "redis":
            from musicq_async.redis import RedisTaskQueue

            return RedisTaskQueue(database, wakeup=self.wakeup)
        from musicq_async.sql import SqlTaskQueue

        return SqlTaskQueue(database, wakeup=self.wakeup)

    @property
    def schedules(self) -> ScheduleStore:
        return self.schedules_on(self.database, enqueues=self.kind != "memory")

    def schedules_on(self, database: Any, *, enqueues: bool) -> ScheduleStore:
        if self.kind == "memory":
            if not hasattr(self, "_schedules"):
                self._schedules = _memory("schedules", "MemorySchedules")()
            return self._schedules
        from musicq_async.sql import SqlScheduleStore

        return SqlScheduleStore(database, enqueues=enqueues)

    @property
    def store(self) -> PublicStore:
        if self.kind == "memory":
            if not hasattr(self, "_store"):
                self._store = _memory("store", "MemoryStore")()
            return self._store
        if self.kind == "redis":
            from musicq_async.redis import RedisPublicStore

            return RedisPublicStore(self.database)
        from musicq_async.sql import SqlPublicStore

        return SqlPublicStore(self.database)

    async def another(self) -> TaskQueue:
        """The same queue as another process sees it: with connections of its own."""
        return self.queue if self.kind == "memory" else self._queue(await self._opened(self.clock))

    async def other_schedules(self) -> ScheduleStore:
        """The same schedules as another process sees them."""
        if self.kind == "memory":
            return self.schedules
        return self.schedules_on(await self.another_database(), enqueues=True)

    async def another_database(self) -> Any:
        return await self._opened(self.clock)

    def task(self, task_id: str | None = None, **fields: Any) -> NewTask:
        self._names += 1
        return NewTask(**({"task_id": task_id or f"t{self._names:04}", "task_type": "work", "params": {}} | fields))

    async def push(self, *names: str, **fields: Any) -> list[NewTask]:
        tasks = [self.task(name, **fields) for name in names]
        await self.queue.push(tasks)
        return tasks

    async def claim(self, limit: int = 10, **fields: Any) -> list[Lease]:
        return await self.queue.claim(terms(**fields), limit)

    async def names(self, limit: int = 100, **fields: Any) -> list[str]:
        return [lease.task.task_id for lease in await self.claim(limit, **fields)]

    def change(self, lease: Lease, outcome: Outcome) -> Change:
        return settle(lease.task, outcome, now_ms=self.clock.time_ms(), draw=0.5, max_crashes=3)

    async def settle(self, lease: Lease, outcome: Outcome, queue: TaskQueue | None = None) -> None:
        await (queue or self.queue).settle(lease, self.change(lease, outcome))

    async def stored(self, task_id: str) -> Task:
        task = await self.queue.get(task_id)
        assert task is not None, f"{task_id} is gone"
        return task

    async def record(self, firings: list[Firing], store: ScheduleStore | None = None) -> list[Firing]:
        """Record firings and see their tasks into the queue."""
        store = store or self.schedules
        written = await store.record(firings)
        if not store.enqueues:
            unsent = await store.unsent()
            await self.queue.push(unsent, ignore_known=True)
            await store.sent([task.task_id for task in unsent])
        return written

    def schedule(self, task_id: str, **fields: Any) -> Schedule:
        now = int(self.clock.time())
        made: dict[str, Any] = {
            "task_id": task_id,
            "name": f"schedule {task_id}",
            "task_type": "work",
            "schedule_type": "interval",
            "interval_seconds": 60,
            "created_at": now,
            "updated_at": now,
            "next_run_at": now,
            "due_at_ms": now * 1000,
        }
        return Schedule(**(made | fields))

    def firing(self, schedule: Schedule, **fields: Any) -> Firing:
        """The schedule's next slot, enqueued; the schedule advanced by a minute."""
        import msgspec

        nominal = schedule.next_run_at or 0
        task_id = f"{schedule.task_id}:{nominal}"
        task = self.task(task_id, scheduler_task_id=schedule.task_id, fire_at=nominal)
        made: dict[str, Any] = {
            "schedule": schedule,
            "advanced": msgspec.structs.replace(
                schedule,
                last_run_at=nominal,
                next_run_at=nominal + 60,
                due_at_ms=(nominal + 60) * 1000,
                run_count=schedule.run_count + 1,
                version=schedule.version + 1,
            ),
            "slots": (Slot(nominal=nominal, outcome=SlotOutcome.ENQUEUED, task_id=task_id),),
            "tasks": (task,),
        }
        return Firing(**(made | fields))


def _memory(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(f"musicq_async.memory.{module}"), name)
    except (ModuleNotFoundError, AttributeError):
        pytest.skip(f"musicq_async.memory.{module}.{name} is not there yet")


@pytest.fixture(scope="session")
def blank_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema and no rows, to copy."""
    path = tmp_path_factory.mktemp("blank") / "blank.db"
    _prepare(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture(scope="module")
def server_urls() -> Iterator[dict[str, str]]:
    """Addresses of this module's own databases by kind, made when first asked for."""
    with ExitStack() as stack:
        yield _ServerUrls(stack)


class _ServerUrls(dict[str, str]):
    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self._stack = stack

    def __missing__(self, kind: str) -> str:
        url = self._stack.enter_context(fresh_database(kind))
        _prepare(url)
        self[kind] = url
        return url


def _prepare(url: str) -> None:
    from musicq_async.sql import open_database

    async def upgrade() -> None:
        async with open_database(url, clock=SystemClock()) as database:
            await database.upgrade()

    apart(upgrade())


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture(params=QUEUE_BACKENDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def bench(kind: str, clock: MovedClock, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if kind == "memory":
        url = "memory://"
    elif kind == "sqlite":
        path = tmp_path / "queue.db"
        shutil.copy(request.getfixturevalue("blank_sqlite"), path)
        url = f"sqlite+aiosqlite:///{path}"
    elif kind == "redis":
        url = f"{need('redis')}#musicq-test-{secrets.token_hex(6)}"
    else:
        url = request.getfixturevalue("server_urls")[kind]
    async with AsyncExitStack() as stack:
        bench = Bench(kind, url, stack, clock)
        await bench.open()
        try:
            yield bench
        finally:
            await empty(bench)


async def empty(bench: Bench) -> None:
    """Empty a database, or the names of one test on a Redis."""
    if bench.kind in SQL_BACKENDS:
        await bench.database.write(_empty)
    elif bench.kind == "redis":
        from redis.asyncio import Redis

        url, _, namespace = bench.url.partition("#")
        async with Redis.from_url(url) as client:
            keys = [key async for key in client.scan_iter(f"{{{namespace}}}:*", count=1000)]
            for start in range(0, len(keys), 500):
                await client.unlink(*keys[start : start + 500])


def _empty(connection: Any) -> None:
    from musicq_async.sql.tables import metadata

    for table in metadata.tables.values():
        connection.execute(table.delete())
