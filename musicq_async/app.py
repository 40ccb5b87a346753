"""The composition root: `open_musicq` opens the database, builds the parts and runs them in one host."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio

from musicq_async import dump
from musicq_async.clock import SystemClock
from musicq_async.engine.drain import until_idle
from musicq_async.engine.host import Host
from musicq_async.engine.janitor import Janitor
from musicq_async.engine.keeper import LeaseKeeper
from musicq_async.engine.outlets import PlainOutlet, QueueOutlet
from musicq_async.engine.presence import Presence, shown
from musicq_async.engine.registry import Handlers
from musicq_async.engine.scheduler import Scheduler as StoredScheduler
from musicq_async.engine.signal import WorkSignal
from musicq_async.engine.tasks import Tasks
from musicq_async.engine.worker import Workers
from musicq_async.errors import SettingsError, UsageError
from musicq_async.handlers.builtin import builtin_handlers
from musicq_async.handlers.library import Library
from musicq_async.memory.tasks import MemoryTasks
from musicq_async.model.task import DEFAULT_MAX_RETRIES, TaskState
from musicq_async.observe.fanout import Events
from musicq_async.observe.secrets import redact
from musicq_async.ports import Clock, NodeStore, PublicStore, Rows, TaskQueue
from musicq_async.settings import Settings

if TYPE_CHECKING:
    from musicq_async.sql import Database

MEMORY = "memory://"


class MusicQ:
    """An open application: ``queue``, ``scheduler``, ``handlers`` and ``events``. Made by `open_musicq`."""

    def __init__(
        self,
        *,
        settings: Settings,
        node: str,
        queue: Tasks,
        scheduler: StoredScheduler,
        handlers: Handlers,
        events: Events,
        library: Library,
        workers: Workers,
        backend: TaskQueue,
        beside: Rows,
        database: Database,
        nodes: NodeStore,
        signal: WorkSignal,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.node = node
        """The name of this process among the `nodes`, and of its leases."""
        self.queue = queue
        self.scheduler = scheduler
        self.handlers = handlers
        self.events = events
        self.library = library
        self._workers = workers
        self._backend = backend
        self._beside = beside
        self._database = database
        self._nodes = nodes
        self._signal = signal
        self._clock = clock
        self._stopped = anyio.Event()
        self.get_task = queue.get_task
        self.list_tasks = queue.list_tasks
        self.cancel_task = queue.cancel_task
        self.retry_task = queue.retry_task
        self.retry_failed = queue.retry_failed
        self.pause_type = queue.pause_type
        self.resume_type = queue.resume_type
        self.paused_types = queue.paused_types
        self.purge = queue.purge

    async def push_in_session(self, session: Any, tasks: dict[str, Any] | Iterable[dict[str, Any]]) -> list[str]:
        """Push tasks inside the caller's own transaction: they exist if, and only if, the caller's data does.

        ``session`` is an open SQLAlchemy ``AsyncSession`` (or ``AsyncConnection``) on the database that holds the
        queue; this neither commits nor rolls back. Returns the ids. Raises `UsageError` where the queue is in memory
        or Redis, `InvalidTask`, `DuplicateTask`, and what SQLAlchemy raises.
        """
        url = self.settings.queue_url
        if url == MEMORY or self.settings.queues_in_redis:
            raise UsageError("push_in_session needs a queue in an SQL database: set queue_url to it, or leave it empty")
        new = [self.queue.accepted(task) for task in ([tasks] if isinstance(tasks, dict) else tasks)]
        pushed = await _sql().push_in_session(session, new, clock=self._clock, on_commit=self._signal.look)
        return [known or task.task_id for known, task in zip(pushed, new, strict=True)]

    async def run_until_idle(self) -> int:
        """Wait until no task that this process handles is left to run, retries included. See `engine.drain`.

        Return how many are left: due in over a minute, of a paused type, or of one that nobody here handles.
        """
        if not self.settings.concurrency:
            raise UsageError("concurrency is 0: this application runs no workers, so nothing would ever become idle")
        types = None if self.settings.queue_url == MEMORY else self.handlers.types
        await until_idle(self._backend, self._workers, clock=self._clock, types=types)
        return sum((await self._backend.counts(finished=False)).values())

    async def nodes(self) -> list[dict[str, Any]]:
        """Return the processes on this database, as dicts: ``node``, ``alive``, ``heartbeat_ms``, ``running``, ..."""
        now_ms = self._clock.time_ms()
        return [shown(node, now_ms=now_ms) for node in await self._nodes.nodes()]

    async def backup(self, path: str | Path) -> None:
        """Write a consistent copy of the SQLite database, also while it is used, to a new file: a database itself.

        Raises `UsageError` where the database is no SQLite file or the target exists, `BackendError` where the copy
        cannot be written.
        """
        await _sql().copy_file(self._database, Path(path))

    async def export(self, path: str | Path) -> dict[str, int]:
        """Write tasks, schedules, values and archive to a new file; return how many of each. See `dump.export`."""
        tables = _sql().SqlTables(self._database)
        return await dump.export(
            Path(path), queue=self._backend, beside=self._beside, tables=tables, now_ms=self._clock.time_ms()
        )

    async def restore(self, path: str | Path) -> dict[str, int]:
        """Read what `export` wrote, of whatever database and queue; return how many of each were new."""
        tables = _sql().SqlTables(self._database)
        return await dump.restore(
            Path(path), queue=self._backend, pause=self.queue.pause_type, beside=self._beside, tables=tables
        )

    async def run(self) -> None:
        """Serve until `stop` is called or this is cancelled."""
        await self._stopped.wait()

    def stop(self) -> None:
        """Claim nothing more and let `run` return. Running tasks have ``shutdown_grace`` seconds."""
        self._workers.stop()
        self._stopped.set()

    async def doctor(self) -> list[dict[str, Any]]:
        """Return what was looked at: dicts with ``name``, ``ok``, ``message`` and ``cure``."""
        counts = await self._backend.counts()
        nodes = [node for node in await self.nodes() if node["alive"] and node["node"] != self.node]
        handled = self.handlers.types.union(*(node["types"] for node in nodes))
        pending = {kind for (kind, state), count in counts.items() if state is TaskState.PENDING and count}
        waiting = sorted(pending - handled)
        paused = await self.paused_types()
        findings = [
            {
                "name": "database",
                "ok": True,
                "message": f"answers and takes writes; {sum(counts.values())} tasks",
                "cure": None,
            },
            {
                "name": "handlers",
                "ok": not waiting,
                "message": f"nobody here handles {', '.join(waiting)}"
                if waiting
                else "every waiting task has a handler",
                "cure": "run with --handlers MODULE:NAME that registers them, or cancel the tasks" if waiting else None,
            },
        ]
        findings += [
            {
                "name": "nodes",
                "ok": True,
                "message": f"{len(nodes)} alive, {_running(nodes)} tasks running",
                "cure": None,
            },
            {
                "name": "paused types",
                "ok": not pending.intersection(paused),
                "message": ", ".join(paused) or "none",
                "cure": "resume them, or leave them paused" if paused else None,
            },
        ]
        folder = await anyio.Path(self.settings.music_dir).expanduser()
        try:
            await folder.mkdir(parents=True, exist_ok=True)
            usable = os.access(folder, os.W_OK)
        except OSError:
            usable = False
        findings.append(
            {
                "name": "music folder",
                "ok": usable,
                "message": f"{folder} {'can' if usable else 'cannot'} be written",
                "cure": None if usable else "set music_dir to a folder that you may write",
            }
        )
        return findings


def _running(nodes: list[dict[str, Any]]) -> int:
    return sum(node["running"] for node in nodes)


@asynccontextmanager
async def open_musicq(
    settings: Settings | None = None, *, handlers: Handlers | None = None, clock: Clock | None = None
) -> AsyncIterator[MusicQ]:
    """Open the database (migrating it), start workers, scheduler and maintenance, and give the `MusicQ`.

    ``settings`` default to the environment and ``musicq.toml``. The caller's ``handlers`` join the built-in ones.
    Raises `SettingsError`, `BackendUnavailable` or `BackendError` at once when the database cannot be used. On leaving,
    running tasks have ``shutdown_grace`` seconds, then they are put back with no attempt spent; a cancellation puts
    them back at once.
    """
    if not isinstance(settings, Settings | None) or not isinstance(handlers, Handlers | None):
        raise UsageError("open_musicq takes a musicq_async.Settings, and handlers=, a musicq_async.Handlers")
    settings = settings or Settings()
    clock = clock or SystemClock()
    owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    signal, events = WorkSignal(), Events()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_Background(events))
        database = await stack.enter_async_context(_open(settings.database_url, clock))
        queue, store, beside, connect = await _queue(settings, database, clock, signal, stack)
        archive = _sql().SqlArchive(database)
        library = await stack.enter_async_context(Library(settings, clock=clock, store=store, archive=archive))
        merged = (handlers or Handlers()).merged(builtin_handlers(library))
        in_memory = settings.queue_url == MEMORY
        keeper = LeaseKeeper(queue, clock=clock, sink=events, seconds=settings.lease, connect=connect)
        workers = Workers(
            queue, merged, clock=clock, sink=events, signal=signal, keeper=keeper, owner=owner,
            concurrency=settings.concurrency, poll_interval=settings.poll_interval, max_crashes=settings.max_crashes,
            grace=settings.shutdown_grace, fails_unknown=in_memory, redact=redact,
        )  # fmt: skip
        tasks = Tasks(
            queue, store, merged, clock=clock, sink=events, signal=signal, keeper=keeper, owner=owner,
            cancel_here=workers.cancel,
            pause_here=lambda task_type, paused: workers.pause(task_type, paused=paused),
        )  # fmt: skip
        workers.tasks = tasks
        enqueues = settings.queue_url == settings.database_url
        schedules = _sql().SqlScheduleStore(database, enqueues=enqueues, node=owner, wakeup=signal)
        scheduler = StoredScheduler(
            settings.check_interval, store=schedules, outlet=QueueOutlet(queue, tasks), clock=clock, sink=events,
            default_max_retries=lambda kind: _max_retries(merged, kind), redact=redact,
        )  # fmt: skip
        kept = settings.retention
        janitor = Janitor(
            queue, store, schedules, clock=clock, sink=events, signal=signal,
            retention={
                TaskState.COMPLETED: kept.completed, TaskState.CANCELLED: kept.cancelled, TaskState.FAILED: kept.failed,
            },
            max_crashes=settings.max_crashes, poll_interval=settings.poll_interval,
            rescue_interval=None if in_memory else 2.0, redact=redact,
        )  # fmt: skip
        stack.push_async_callback(tasks.close)
        nodes = _sql().SqlNodes(database)
        presence = Presence(
            nodes, owner, clock=clock, sink=events, running=lambda: workers.running, redact=redact,
            met=library.meet, version=version("musicq_async"), concurrency=settings.concurrency,
            scheduler=settings.scheduler, types=sorted(merged.types) if settings.concurrency else [],
        )  # fmt: skip
        await stack.enter_async_context(_Running(keeper, janitor, presence, workers, settings))
        if settings.scheduler:
            await stack.enter_async_context(scheduler)
        yield MusicQ(
            settings=settings, node=owner, queue=tasks, scheduler=scheduler, handlers=merged, events=events,
            library=library, workers=workers, backend=queue, beside=beside, database=database,
            nodes=nodes, signal=signal, clock=clock,
        )  # fmt: skip


class _Background:
    """Delivers events in a host of its own, first to start and last to end."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._host = Host("musicq events")

    async def __aenter__(self) -> None:
        await self._host.open()
        await self._host.start(self._events.run)

    async def __aexit__(self, *_: object) -> None:
        await self._host.close()


class _Running:
    """Workers with what keeps their leases and their queue in order. On leaving, the workers end first."""

    def __init__(
        self, keeper: LeaseKeeper, janitor: Janitor, presence: Presence, workers: Workers, settings: Settings
    ) -> None:
        self._support_work = (keeper.run, janitor.run, presence.run)
        self._workers, self._settings = workers, settings
        self._support = Host("musicq support")
        self._host = Host("musicq workers")
        self._ended = anyio.Event()

    async def __aenter__(self) -> Self:
        await self._support.open()
        for work in self._support_work:
            await self._support.start(work)
        await self._host.open()
        if self._settings.concurrency:
            await self._host.start(self._work)
        else:
            self._ended.set()
        return self

    async def _work(self, *, task_status: Any) -> None:
        try:
            await self._workers.run(task_status=task_status)
        finally:
            self._ended.set()

    async def __aexit__(self, *_: object) -> None:
        self._workers.stop()
        try:
            await self._ended.wait()
        finally:
            try:
                await self._host.close()
            finally:
                await self._support.close()


class Scheduler(StoredScheduler):
    """A scheduler on its own: ``Scheduler(check_interval=10)`` keeps its schedules in the database of the settings.

    What is due is pushed to ``queue``, anything with an awaitable ``push_task(dict, priority)``; by default
    `get_queue`'s. ``await start()`` and ``await stop()``, or ``async with``. The database is opened by the first of
    `start` and any call about schedules made after it; calls before `start` raise `NotRunning`.
    """

    def __init__(
        self,
        check_interval: float = 10,
        *,
        queue: Any = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        settings = settings or Settings()
        clock = clock or SystemClock()
        self._database = _open_lazily(settings.database_url, clock)
        self._events = Events()
        self._starting = anyio.Lock()
        if queue is None:
            from musicq_async.memory.facade import AsyncQueue  # noqa: PLC0415

            queue = AsyncQueue()
        self.queue = queue
        """Where due tasks are pushed to."""
        super().__init__(
            check_interval,
            store=_sql().SqlScheduleStore(self._database, enqueues=False),
            outlet=PlainOutlet(queue.push_task),
            clock=clock,
            sink=self._events,
            redact=redact,
        )

    async def start(self) -> None:
        """Open and migrate the database, then fire in the background. Does nothing if it runs already."""
        async with self._starting:
            if self.is_running:
                return
            self._home = Host("musicq database")
            await self._home.open()
            try:
                await self._home.start(self._hold)
                await super().start()
            except BaseException:
                await self._home.close()
                raise

    async def _hold(self, *, task_status: Any) -> None:
        async with self._database:
            await self._database.upgrade()
            task_status.started()
            await anyio.sleep_forever()

    async def stop(self) -> None:
        """Fire no more and close the database. Does nothing if it does not run."""
        async with self._starting:
            if self.is_running:
                await super().stop()
                await self._home.close()


def _sql() -> Any:
    from musicq_async import sql  # noqa: PLC0415 - SQLAlchemy takes 300 ms

    return sql


def _open_lazily(url: str, clock: Clock) -> Database:
    if url.startswith("sqlite"):
        path = Path(url.partition(":///")[2].partition("?")[0])
        if str(path) not in {".", ":memory:"}:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise SettingsError(f"database_url: cannot make the folder {path.parent}: {error.strerror}") from error
    database: Database = _sql().open_database(url, clock=clock)
    return database


@asynccontextmanager
async def _held(
    backend: AbstractAsyncContextManager[Any], prepare: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Open and prepare a backend in a host, so that the application may be left by another task than entered it."""
    host = Host("musicq backend")

    async def hold(*, task_status: Any) -> None:
        async with backend:
            await prepare()
            task_status.started()
            await anyio.sleep_forever()

    await host.open()
    try:
        await host.start(hold)
        yield
    finally:
        await host.close()


@asynccontextmanager
async def _open(url: str, clock: Clock) -> AsyncIterator[Database]:
    """Open and migrate a database."""
    database = _open_lazily(url, clock)
    async with _held(database, database.upgrade):
        yield database


async def _queue(
    settings: Settings, database: Database, clock: Clock, signal: WorkSignal, stack: AsyncExitStack
) -> tuple[TaskQueue, PublicStore, Rows, Any]:
    """Return the queue that the settings name, its public store, and how the lease keeper opens a queue of its own."""
    url, sql = settings.queue_url, _sql()
    if url == MEMORY:
        return MemoryTasks(clock=clock, wakeup=signal), sql.SqlPublicStore(database), sql.SqlTables(database), None
    if settings.queues_in_redis:
        return await _redis_queue(settings, clock, signal, stack)
    try:
        own = database if url == settings.database_url else await stack.enter_async_context(_open(url, clock))
    except SettingsError as error:
        raise SettingsError(str(error).replace("database_url", "queue_url")) from None

    @asynccontextmanager
    async def connect() -> AsyncIterator[TaskQueue]:
        async with sql.open_database(url, clock=clock) as second:
            yield sql.SqlTaskQueue(second)

    return sql.SqlTaskQueue(own, wakeup=signal), sql.SqlPublicStore(own), sql.SqlTables(own), connect


async def _redis_queue(
    settings: Settings, clock: Clock, signal: WorkSignal, stack: AsyncExitStack
) -> tuple[TaskQueue, PublicStore, Rows, Any]:
    try:
        from musicq_async import redis  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise SettingsError("queue_url: Redis needs the extra: pip install 'musicq_async[redis]'") from error

    def opened() -> Any:
        return redis.redis_of(settings, clock=clock)

    @asynccontextmanager
    async def connect() -> AsyncIterator[TaskQueue]:
        async with opened() as second:
            yield redis.RedisTaskQueue(second)

    server = opened()
    await stack.enter_async_context(_held(server, server.check))
    store = redis.RedisPublicStore(server)
    return redis.RedisTaskQueue(server, wakeup=signal), store, store, connect


def _max_retries(handlers: Handlers, task_type: str) -> int:
    handler = handlers.get(task_type)
    return DEFAULT_MAX_RETRIES if handler is None else handler.max_retries
