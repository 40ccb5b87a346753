"""One place for connections and transactions: `Database`, opened by `open_database`."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import secrets
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import anyio
from anyio.abc import TaskGroup
from sqlalchemy import Connection

from musicq_async.errors import NotRunning, UsageError
from musicq_async.lane import Call
from musicq_async.ports import Clock
from musicq_async.sql.address import Address, Kind, read_address
from musicq_async.sql.faults import CommitUnknown, Fault, fault_of, renamed
from musicq_async.sql.group_commit import BatchUnit, GroupCommit
from musicq_async.sql.transactions import Transactions, Unit, open_transactions
from musicq_async.sql.upgrade import check_writable, upgrade, version_of

Result = TypeVar("Result")
Item = TypeVar("Item")

TRIES: Final = 12
"""How often a transaction that others were in the way of is done."""
LAST_WAIT: Final = 1.0


def open_database(url: str, *, clock: Clock, patience: float = 10.0) -> Database:
    """Prepare a database for ``async with``; nothing is connected before the first unit of work or `Database.upgrade`.

    ``url`` is an async SQLAlchemy address of SQLite, MySQL, MariaDB or PostgreSQL. While the server is away, work waits
    up to ``patience`` seconds from the moment it was first missed, then raises `BackendUnavailable` at once.
    Raises `SettingsError` for a bad address and `BackendError` for a missing driver; neither shows the address.
    """
    return Database(read_address(url), clock=clock, patience=patience)


class Database:
    """Runs units of work: plain functions of a SQLAlchemy connection, each in one transaction.

    Belongs to the event loop it was opened in; another thread's loop opens its own. Whole transactions are repeated
    after deadlocks, lock timeouts and lost connections. Callers see errors of `musicq_async.errors` only.

    Cancelling a caller never touches a connection: what has not begun is withdrawn, what has begun is finished, and the
    cancelled caller waits for that up to five seconds. Leaving ``async with`` waits for what has begun.
    """

    def __init__(self, address: Address, *, clock: Clock, patience: float = 10.0) -> None:
        self.address = address
        self.clock = clock
        self._node = secrets.token_hex(5)
        self._tokens = itertools.count(1)
        self._patience = patience
        self._away_since: float | None = None
        self._transactions: Transactions = open_transactions(address)
        self._group: TaskGroup | None = None
        self._commits: GroupCommit | None = None

    @property
    def kind(self) -> Kind:
        """Which SQL is spoken."""
        return self.address.kind

    def token(self) -> str:
        """Return a text that no other call, in no process, returns."""
        return f"{self._node}-{next(self._tokens):x}"

    async def __aenter__(self) -> Self:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError("the database drivers run on asyncio only, not on trio; use asyncio.run()") from None
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._commits = GroupCommit(
            self._committed, group=self._group, clock=self.clock, parallel=self.kind != "sqlite"
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        group, self._group, self._commits = self._group, None, None
        if group is None:
            return
        try:
            # The group is not told of the caller's error, which it would wrap. Its tasks are shielded and end.
            await group.__aexit__(None, None, None)
        finally:
            with anyio.CancelScope(shield=True):
                await self._transactions.close()

    async def upgrade(self) -> None:
        """Create the tables, or bring those of an earlier version or of the earlier system up to date; keeps every row.

        Any number of processes may call it at once. Raises `BackendUnavailable` at once where the database cannot be
        reached or does not take writes, `BackendError` where it is no database or comes from a newer version.
        """
        if self.address.path is not None:
            _make_private(self.address.path)
        await self._alone(self._upgrade)

    async def version(self) -> str | None:
        """Return the schema version that the database is at, ``None`` before the first `upgrade`."""
        return await self.read(version_of)

    async def read(self, unit: Unit[Result]) -> Result:
        """Run a unit that only reads."""

        async def run() -> Result:
            return await self._persist(self._transactions.read, unit)

        return await self._alone(run)

    async def write(self, unit: Unit[Result]) -> Result:
        """Run a unit in a transaction and return after its commit."""
        result: Result = await self.submit(_each, unit)
        return result

    async def submit(
        self,
        unit: Callable[[Connection, Sequence[Item]], Sequence[Any]],
        item: Item,
        *,
        on_abandoned: Callable[[Any], None] | None = None,
    ) -> Any:
        """Have ``unit`` do ``item`` together with others that arrive about now; return its result after the commit.

        ``on_abandoned`` is told the result where it came after the caller was cancelled.
        """
        commits = self._commits
        if commits is None:
            raise self._closed()
        call = Call(unit, item, on_abandoned=on_abandoned)
        return await commits.lane_of(call).answer(call)

    def post(self, unit: BatchUnit, item: Any) -> None:
        """Have ``unit`` do ``item`` some time soon; nobody waits, and a failure is dropped."""
        if self._commits is not None:
            call = Call(unit, item)
            self._commits.lane_of(call).post(call)

    def _closed(self) -> NotRunning:
        return NotRunning(
            f"{self.address} is not open; use it inside 'async with', or between 'await start()' and 'await stop()'"
        )

    async def _alone(self, run: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Run in a task of our own group, so that cancelling the caller leaves the connection in peace."""
        if self._group is None:
            raise self._closed()
        waiter: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

        async def serve() -> None:
            with anyio.CancelScope(shield=True):
                try:
                    result = await run()
                except Exception as error:  # noqa: BLE001 - it is handed to whoever waits
                    if not waiter.done():
                        waiter.set_exception(error)
                else:
                    if not waiter.done():
                        waiter.set_result(result)

        self._group.start_soon(serve)
        return await waiter

    async def _committed(self, unit: Unit[list[Any]]) -> list[Any]:
        return await self._persist(self._transactions.write, unit)

    async def _persist(self, run: Callable[[Unit[Result]], Coroutine[Any, Any, Result]], unit: Unit[Result]) -> Result:
        """Run a transaction until it is done, or hopeless."""
        tries = 0
        while True:
            tries += 1
            try:
                result = await run(unit)
            except Exception as error:
                fault = fault_of(error)
                if fault is None:
                    raise
                if not self._worth_another(fault, tries):
                    raise renamed(error, self.address) from error
                if isinstance(error, CommitUnknown):
                    unit = _after_lost_commit(unit)
            else:
                self._away_since = None
                return result
            first = 0.005 if fault is Fault.CONTENDED else 0.05
            await self.clock.sleep(min(LAST_WAIT, first * 2 ** min(tries, 10)) * (0.5 + random.random()))

    def _worth_another(self, fault: Fault, tries: int) -> bool:
        if fault is Fault.CONTENDED:
            return tries < TRIES
        if fault is not Fault.AWAY:
            return False
        now = self.clock.monotonic()
        if self._away_since is None:
            self._away_since = now
        return now - self._away_since < self._patience

    async def _upgrade(self) -> None:
        tries = 0
        while True:
            tries += 1
            try:
                if not await self._transactions.write(check_writable):
                    await self._transactions.write(upgrade)
            except Exception as error:
                fault = fault_of(error)
                if fault is None:
                    raise
                if fault is not Fault.CONTENDED or tries >= TRIES:
                    raise renamed(error, self.address) from error
            else:
                return
            await self.clock.sleep(0.05 * tries * (0.5 + random.random()))


def commit_was_lost(connection: Connection) -> bool:
    """Whether the transaction that runs may have been committed before: the answer to an earlier COMMIT was lost."""
    return bool(connection.get_execution_options().get("musicq_commit_lost"))


def _after_lost_commit(unit: Unit[Result]) -> Unit[Result]:
    def again(connection: Connection) -> Result:
        return unit(connection.execution_options(musicq_commit_lost=True))

    return again


def _each(connection: Connection, units: Sequence[Unit[Any]]) -> list[Any]:
    return [unit(connection) for unit in units]


def _make_private(path: str) -> None:
    """Make the file of a new SQLite database for its owner alone: it may come to hold a session."""
    with suppress(OSError):  # it is there, or SQLite will say what is wrong
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
