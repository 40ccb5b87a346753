"""A transaction in one hop to a thread beside aiosqlite, which hops for every statement, in one run.

    python benchmarks/sqlite_units.py [--rounds 5] [--json]

Both run the same SQLAlchemy statements on files of the same settings (write-ahead log, ``synchronous = NORMAL``): ours
as a unit of work of `Database`, the peer on SQLAlchemy's async engine over aiosqlite with one writer at a time. Rates
are transactions a second, higher is better. The last case is how long another connection waits for the write lock,
while a handler blocks the event loop for 300 ms just after a transaction has begun: lower is better.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from _report import arguments, case, report, take_turns
from sqlalchemy.ext.asyncio import create_async_engine

from musicq_async.clock import SystemClock
from musicq_async.sql import open_database

UNITS = 400
CALLERS = 50
ROWS = 1_000
BLOCKED = 0.3

items = sqlalchemy.Table(
    "items",
    sqlalchemy.MetaData(),
    sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True),
    sqlalchemy.Column("state", sqlalchemy.String(20)),
    sqlalchemy.Column("count", sqlalchemy.Integer),
)
ONE = sqlalchemy.select(items).where(items.c.id == sqlalchemy.bindparam("wanted"))
CLAIM = (
    sqlalchemy.update(items)
    .where(items.c.id == sqlalchemy.bindparam("wanted"))
    .values(state="running", count=items.c.count + 1)
)
ADD = sqlalchemy.insert(items)

Write = Callable[[int], Awaitable[None]]
Read = Callable[[int], Awaitable[None]]


def look(connection: sqlalchemy.Connection, number: int) -> None:
    connection.execute(ONE, {"wanted": number % ROWS}).all()


def work(connection: sqlalchemy.Connection, number: int) -> None:
    """Do what a claim does: read, change, add."""
    look(connection, number)
    connection.execute(CLAIM, {"wanted": number % ROWS})
    connection.execute(ADD, {"state": "fired", "count": number})


@asynccontextmanager
async def ours(path: Path) -> Any:
    async with open_database(f"sqlite+aiosqlite:///{path}", clock=SystemClock()) as database:

        async def write(number: int) -> None:
            await database.write(lambda connection: work(connection, number))

        async def read(number: int) -> None:
            await database.read(lambda connection: look(connection, number))

        yield write, read


@asynccontextmanager
async def aiosqlite(path: Path) -> Any:
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    sqlalchemy.event.listen(engine.sync_engine, "connect", prepare)
    sqlalchemy.event.listen(engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    writer = asyncio.Lock()

    async def write(number: int) -> None:
        async with writer, engine.begin() as connection:
            (await connection.execute(ONE, {"wanted": number % ROWS})).all()
            await connection.execute(CLAIM, {"wanted": number % ROWS})
            await connection.execute(ADD, {"state": "fired", "count": number})

    async def read(number: int) -> None:
        async with engine.connect() as connection:
            (await connection.execute(ONE, {"wanted": number % ROWS})).all()

    yield write, read
    await engine.dispose()


def prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = -16000", "busy_timeout = 5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


async def one_by_one(act: Write, count: int) -> float:
    began = time.perf_counter()
    for number in range(count):
        await act(number)
    return count / (time.perf_counter() - began)


async def by_many(act: Write, count: int) -> float:
    """Have fifty callers at once, as workers are."""

    async def caller(first: int) -> None:
        for number in range(first, count, CALLERS):
            await act(number)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for first in range(CALLERS):
            group.create_task(caller(first))
    return count / (time.perf_counter() - began)


def waited_for_lock(path: Path, begun: threading.Event) -> float:
    """Take the write lock once the transaction has begun; return how long that took, in milliseconds."""
    begun.wait()
    time.sleep(0.02)
    other = sqlite3.connect(path, timeout=10, isolation_level=None)
    began = time.perf_counter()
    other.execute("BEGIN IMMEDIATE")
    took = time.perf_counter() - began
    other.execute("COMMIT")
    other.close()
    return took * 1e3


async def blocked_ours(path: Path, begun: threading.Event) -> None:
    async with open_database(f"sqlite+aiosqlite:///{path}", clock=SystemClock()) as database:

        def unit(connection: sqlalchemy.Connection) -> None:
            connection.execute(CLAIM, {"wanted": 1})
            begun.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(database.write(unit))
            await asyncio.to_thread(begun.wait)
            time.sleep(BLOCKED)


async def blocked_peer(path: Path, begun: threading.Event) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    sqlalchemy.event.listen(engine.sync_engine, "connect", prepare)
    sqlalchemy.event.listen(engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    async with engine.begin() as connection:
        await connection.execute(CLAIM, {"wanted": 1})
        begun.set()
        time.sleep(BLOCKED)
        await connection.execute(ADD, {"state": "fired", "count": 1})
    await engine.dispose()


def lock_wait(path: Path, blocked: Callable[[Path, threading.Event], Any]) -> float:
    begun = threading.Event()
    found: list[float] = []
    other = threading.Thread(target=lambda: found.append(waited_for_lock(path, begun)))
    other.start()
    asyncio.run(blocked(path, begun))
    other.join()
    return found[0]


def make(path: Path) -> Path:
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    items.create(engine)
    with engine.begin() as connection:
        connection.execute(ADD, [{"id": number, "state": "new", "count": 0} for number in range(ROWS)])
    engine.dispose()
    return path


def main() -> int:
    options = arguments(__doc__ or "", rounds=5)
    with tempfile.TemporaryDirectory() as folder:
        paths = {"musicq_async": make(Path(folder, "ours.db")), "aiosqlite": make(Path(folder, "peer.db"))}
        opened = {"musicq_async": ours, "aiosqlite": aiosqlite}

        def measured(measure: Callable[..., Any], which: int, count: int) -> dict[str, list[float]]:
            async def run(name: str) -> float:
                async with opened[name](paths[name]) as acts:
                    figure: float = await measure(acts[which], count)
                    return figure

            contenders = {name: lambda name=name: asyncio.run(run(name)) for name in opened}
            return take_turns(contenders, options.rounds)

        better = [("aiosqlite", "at least", 1.0)]
        cases = [
            case("writing, one after the other", measured(one_by_one, 0, UNITS), unit="transactions/s", targets=better),
            case(f"writing, {CALLERS} callers", measured(by_many, 0, 5 * UNITS), unit="transactions/s", targets=better),
            case("reading, one after the other", measured(one_by_one, 1, UNITS), unit="reads/s", targets=better),
            case(f"reading, {CALLERS} callers", measured(by_many, 1, 5 * UNITS), unit="reads/s"),
        ]
        waits = {
            "musicq_async": lambda: lock_wait(paths["musicq_async"], blocked_ours),
            "aiosqlite": lambda: lock_wait(paths["aiosqlite"], blocked_peer),
        }
        figures = take_turns(waits, options.rounds)
        name = f"wait for the write lock while the loop is blocked for {BLOCKED * 1e3:g} ms"
        cases.append(case(name, figures, unit="ms", targets=[("aiosqlite", "at most", 0.1)]))
    packages = ["musicq_async", "sqlalchemy", "aiosqlite", "anyio"]
    return report("sqlite_units", cases, packages=packages, json_only=options.json)


if __name__ == "__main__":
    sys.exit(main())
