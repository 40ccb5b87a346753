"""A whole engine over the memory backend, without an application around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest

from musicq_async.clock import SystemClock
from musicq_async.engine.drain import until_idle
from musicq_async.engine.janitor import Janitor
from musicq_async.engine.keeper import LeaseKeeper
from musicq_async.engine.registry import Handlers
from musicq_async.engine.signal import WorkSignal
from musicq_async.engine.tasks import Tasks
from musicq_async.engine.worker import Workers
from musicq_async.memory.store import MemoryStore
from musicq_async.memory.tasks import MemoryTasks
from musicq_async.model.task import Task
from musicq_async.testing.events import RecordedEvents


class Engine:
    """Everything that runs tasks, put together as an application would."""

    def __init__(
        self,
        handlers: Handlers,
        *,
        clock: Any = None,
        wrap: Callable[[Any], Any] = lambda queue: queue,
        lease: float = 10.0,
        sweep_interval: float = 60.0,
        retention: dict[Any, float] | None = None,
        connect: Any = None,
        **options: Any,
    ) -> None:
        self.clock = clock or SystemClock()
        self.events = RecordedEvents()
        self.signal = WorkSignal()
        self.memory = MemoryTasks(clock=self.clock, wakeup=self.signal)
        self.queue = wrap(self.memory)
        self.keeper = LeaseKeeper(self.queue, clock=self.clock, sink=self.events, seconds=lease, connect=connect)
        common: dict[str, Any] = {"clock": self.clock, "sink": self.events, "signal": self.signal}
        self.workers = Workers(
            self.queue, handlers, keeper=self.keeper, owner="test", **common, **{"fails_unknown": True, **options}
        )
        self.tasks = Tasks(
            self.queue,
            MemoryStore(),
            handlers,
            keeper=self.keeper,
            owner="test",
            cancel_here=self.workers.cancel,
            pause_here=lambda task_type, paused: self.workers.pause(task_type, paused=paused),
            **common,
        )
        self.workers.tasks = self.tasks
        self.janitor = Janitor(
            self.queue,
            MemoryStore(),
            None,
            retention=retention or {},
            rescue_interval=None,
            sweep_interval=sweep_interval,
            **common,
        )

    async def push(self, task_type: str, params: dict[str, Any] | None = None, **keys: Any) -> str:
        return await self.tasks.push_task({"type": task_type, "params": params or {}, **keys})

    async def task(self, task_id: str) -> Task:
        task = await self.memory.get(task_id)
        assert task is not None
        return task

    async def idle(self, **options: Any) -> None:
        with anyio.fail_after(10):
            await until_idle(self.queue, self.workers, clock=self.clock, types=None, **options)

    async def run(self, task_type: str, params: dict[str, Any] | None = None, **keys: Any) -> Task:
        task_id = await self.push(task_type, params, **keys)
        await self.idle()
        return await self.task(task_id)


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


@pytest.fixture
def engine(handlers: Handlers) -> Callable[..., AbstractAsyncContextManager[Engine]]:
    """Open an engine: ``async with engine(concurrency=2) as running``."""

    @asynccontextmanager
    async def opened(**options: Any) -> AsyncIterator[Engine]:
        built = Engine(handlers, **options)
        async with anyio.create_task_group() as group:
            await group.start(built.keeper.run)
            await group.start(built.workers.run)
            await group.start(built.janitor.run)
            try:
                yield built
            finally:
                group.cancel_scope.cancel()

    return opened
