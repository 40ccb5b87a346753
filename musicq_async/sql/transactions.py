"""How one transaction runs: SQLite's in a single hop to a thread, a server's on its async engine.

Both run the same plain functions of a synchronous SQLAlchemy connection (`Unit`). Neither tries twice nor renames
errors; `musicq_async.sql.database` does. Neither expects to be cancelled: `Database` calls them under a shield.
"""

from __future__ import annotations

import asyncio
import functools
import os
import queue
import sqlite3
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

import anyio
import anyio.to_thread
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool, StaticPool

from musicq_async.errors import BackendError
from musicq_async.sql.address import Address
from musicq_async.sql.faults import CommitUnknown, Fault, fault_of

Result = TypeVar("Result")
Unit = Callable[[Connection], Result]
"""All that one transaction does. It may be run again from the start, so it has no effect outside the database."""

READERS: Final = 4
WRITERS: Final = 8
BUSY_MS: Final = 5_000
CONNECT_SECONDS: Final = 10
_EXTRAS: Final = {"aiomysql": "mysql", "pymysql": "mysql", "asyncpg": "postgres"}


class Transactions(Protocol):
    """Where units run."""

    async def read(self, unit: Unit[Result]) -> Result:
        """Run a unit that only reads."""

    async def write(self, unit: Unit[Result]) -> Result:
        """Run a unit and commit, or roll back when it raises. Raises `CommitUnknown` where the answer was lost."""

    async def close(self) -> None:
        """Close every connection."""


class SqliteTransactions:
    """SQLite: one writer, four readers, each unit whole in a thread: the writer's own, or one of the readers'.

    A transaction that hopped between thread and event loop would hold the write lock while a handler blocks the loop.
    """

    def __init__(self, address: Address) -> None:
        self._path = address.path
        self._lock: threading.Lock | None = None
        self._writer = _Writer()
        self._writes = _sqlite_engine(address, begin="BEGIN IMMEDIATE", connections=1)
        self._kept: Connection | None = None
        """The writer's connection: taking it from the pool for each transaction would cost as much as a commit."""
        if address.path is None:  # a database in memory lives in its one connection
            self._reads = self._writes
        else:
            self._reads = _sqlite_engine(address, begin="BEGIN", connections=READERS)
        self._reads_limiter = anyio.CapacityLimiter(READERS)

    async def read(self, unit: Unit[Result]) -> Result:
        """Run a unit on a read connection, in a thread."""
        if self._reads is self._writes:
            return await self.write(unit)
        return await anyio.to_thread.run_sync(_read_with, self._reads, unit, limiter=self._reads_limiter)

    async def write(self, unit: Unit[Result]) -> Result:
        """Run a unit under the write lock, in the writer's thread."""
        return await self._writer.run(self._write, unit)

    def _write(self, unit: Unit[Result]) -> Result:
        if self._lock is None:
            self._lock = _write_lock(self._path)
        with self._lock:
            connection, self._kept = self._kept or self._writes.connect(), None
            try:
                result = _transact(connection, unit)
            except BaseException:
                connection.close()
                raise
            if connection.get_execution_options().get("musicq_commit_lost"):
                connection.close()  # an option, once set, stays
            else:
                self._kept = connection
            return result

    async def close(self) -> None:
        """Close every connection."""
        await self._writer.run(self._dispose)
        await self._writer.close()

    def _dispose(self) -> None:
        if self._kept is not None:
            self._kept.close()
        self._reads.dispose()
        self._writes.dispose()


class _Writer:
    """One thread that runs one function after the other; half the price of a hop through a pool of threads.

    It is a daemon and begins with the first function, so that a database that nobody opened or closed costs nothing.
    """

    def __init__(self) -> None:
        self._functions: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, function: Callable[..., Result], *args: Any) -> Result:
        """Run a function in the thread. The caller is not to be cancelled: the function would go on."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._work, args=(asyncio.get_running_loop(),), name="musicq writer", daemon=True
            )
            self._thread.start()
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._functions.put((functools.partial(function, *args), done))
        return await done

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (item := self._functions.get()) is not None:
            function, done = item
            result, error = None, None
            try:
                result = function()
            except BaseException as caught:  # noqa: BLE001 - it is handed to whoever waits
                error = caught
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(_tell, done, result, error)
            del item, function, done, result, error

    async def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._functions.put(None)
            await anyio.to_thread.run_sync(self._thread.join)
            self._thread = None


def _tell(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(result)


class ServerTransactions:
    """MySQL, MariaDB and PostgreSQL: READ COMMITTED: locks then cover only the rows that are written."""

    def __init__(self, address: Address) -> None:
        self._writes = _server_engine(address, isolation="READ COMMITTED", connections=WRITERS)
        self._reads = _server_engine(address, isolation="AUTOCOMMIT", connections=READERS)

    async def read(self, unit: Unit[Result]) -> Result:
        """Run a unit whose statements each see what is committed when they start."""
        async with self._reads.connect() as connection:
            return await connection.run_sync(unit)

    async def write(self, unit: Unit[Result]) -> Result:
        """Run a unit in one transaction."""
        async with self._writes.connect() as connection:
            try:
                return await connection.run_sync(_transact, unit)
            except DBAPIError as error:
                if fault_of(error) is Fault.REFUSED:  # it may stay so for this session alone: after a failover
                    await connection.invalidate()
                raise

    async def close(self) -> None:
        """Close every connection."""
        await self._reads.dispose()
        await self._writes.dispose()


_write_locks: Final[weakref.WeakValueDictionary[str, threading.Lock]] = weakref.WeakValueDictionary()


def _write_lock(path: str | None) -> threading.Lock:
    """Return the lock of this process for writing the file: SQLite's own lets the late go first and waits in sleeps."""
    lock = threading.Lock()
    return lock if path is None else _write_locks.setdefault(os.path.realpath(path), lock)


def open_transactions(address: Address) -> Transactions:
    """Prepare the engines; nothing is connected yet. Raises `BackendError` where the driver is not installed."""
    try:
        return SqliteTransactions(address) if address.kind == "sqlite" else ServerTransactions(address)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "")
        if extra is None:
            raise
        raise BackendError(
            f"{address} needs the driver {error.name!r}; install it with: pip install 'musicq_async[{extra}]'"
        ) from error


def sqlite_of(connection: Connection) -> sqlite3.Connection:
    """Return the driver's connection below, for the few statements that run for every task: ten times cheaper."""
    driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    return driver


def each_in_sqlite(connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """Run a statement for each row; return how many rows it changed.

    The connection may be a caller's own, made with aiosqlite.
    """
    driver = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection):
        return driver.executemany(statement, rows).rowcount
    return connection.exec_driver_sql(statement, list(rows)).rowcount


def _read_with(engine: Engine, unit: Unit[Result]) -> Result:
    with engine.connect() as connection:
        return unit(connection)


def _transact(connection: Connection, unit: Unit[Result]) -> Result:
    transaction = connection.begin()
    try:
        result = unit(connection)
    except BaseException:
        transaction.rollback()  # also after 1205, where MySQL alone would keep the half that was done
        raise
    try:
        transaction.commit()
    except DBAPIError as error:
        if error.connection_invalidated:
            raise CommitUnknown from error
        raise
    return result


def _sqlite_engine(address: Address, *, begin: str, connections: int) -> Engine:
    pool: dict[str, Any] = (
        {"poolclass": StaticPool}
        if address.path is None
        else {"poolclass": QueuePool, "pool_size": connections, "max_overflow": 0}
    )
    engine = create_engine(
        address.url,
        connect_args={"check_same_thread": False, "timeout": BUSY_MS / 1000, "cached_statements": 256},
        hide_parameters=True,
        **pool,
    )

    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late and lets two claims read one task
        for pragma in (
            f"busy_timeout = {BUSY_MS}",
            "journal_mode = WAL",
            f"synchronous = {address.synchronous}",
            "foreign_keys = ON",
            "cache_size = -16000",
            "wal_autocheckpoint = 4000",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    def start(connection: Connection) -> None:
        sqlite_of(connection).execute(begin)

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", start)
    return engine


def _server_engine(address: Address, *, isolation: str, connections: int) -> AsyncEngine:
    arguments: dict[str, Any] = (
        {"connect_timeout": CONNECT_SECONDS, "init_command": "SET SESSION sql_mode = 'STRICT_ALL_TABLES'"}
        if address.kind == "mysql"
        else {"timeout": CONNECT_SECONDS, "command_timeout": 60, "server_settings": {"application_name": "musicq"}}
    )
    return create_async_engine(
        address.url,
        isolation_level=isolation,
        connect_args=arguments,
        hide_parameters=True,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=30,
        pool_recycle=3600,
        pool_reset_on_return=None,  # every unit ends its own transaction; a second ROLLBACK would cost a round trip
    )
