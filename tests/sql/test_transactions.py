"""Units of work: what a caller's cancellation, a rival transaction and a lost connection do to them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from pathlib import Path

import anyio
import pytest
import trio
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from musicq_async.clock import SystemClock
from musicq_async.errors import BackendError, BackendUnavailable, NotRunning, UsageError
from musicq_async.model.outcome import Interruption, Success
from musicq_async.model.task import NewTask, TaskState
from musicq_async.ports import TaskFilter
from musicq_async.sql import SqlPublicStore, SqlScheduleStore, SqlTaskQueue, open_database
from musicq_async.sql.address import read_address
from musicq_async.sql.database import TRIES, commit_was_lost
from musicq_async.sql.faults import CommitUnknown, Fault, fault_of

pytestmark = pytest.mark.anyio

SQL_BACKENDS = ["sqlite", "mysql", "postgresql"]


@pytest.fixture(params=SQL_BACKENDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def put(key: str, value: int):
    def unit(connection) -> str:
        connection.execute(
            text("INSERT INTO node (id, started_ms, heartbeat_ms) VALUES (:key, 0, :value)"),
            {"key": key, "value": value},
        )
        return key

    return unit


async def keys(database) -> list[str]:
    return await database.read(lambda connection: sorted(connection.execute(text("SELECT id FROM node")).scalars()))


# Cancellation


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("how", ["scope", "native"])
async def test_a_storm_of_cancellations_leaks_nothing_and_loses_no_answer(bench, how) -> None:
    await bench.push("warm up")
    await bench.names()
    tasks_before, files_before = len(asyncio.all_tasks()), open_files()
    acknowledged: list[str] = []
    draw = random.Random(1)

    async def push(name: str) -> None:
        await bench.queue.push([bench.task(name)])
        acknowledged.append(name)

    async def cancelled(name: str) -> None:
        delay = draw.random() * 0.004
        if how == "scope":
            with anyio.move_on_after(delay):
                await push(name)
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(push(name), delay)

    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(cancelled, f"n{number}")
            await anyio.sleep(0.0005)
    await bench.queue.push([bench.task("last")])
    assert len(asyncio.all_tasks()) <= tasks_before + 1
    assert abs(open_files() - files_before) <= 2 + (8 if bench.kind != "sqlite" else 0)
    stored = {task.task_id for task in await bench.queue.find(TaskFilter(limit=1000))}
    assert set(acknowledged) <= stored
    if bench.kind == "mysql":
        running = text(
            "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_started < NOW() - INTERVAL 1 SECOND"
        )
        assert await bench.database.read(lambda connection: connection.execute(running).scalar()) == 0


async def test_a_task_claimed_for_a_cancelled_caller_is_put_back(bench) -> None:
    await bench.push(*[f"n{number}" for number in range(20)])
    for step in range(12):
        leases = []
        with anyio.move_on_after(step * 0.0004):
            leases = await bench.claim(20)
        for lease in leases:
            await bench.settle(lease, Interruption())
    with anyio.fail_after(5):
        while await bench.queue.counts() != {("work", TaskState.PENDING): 20}:
            await anyio.sleep(0.005)
    assert await bench.names() == [f"n{number}" for number in range(20)]
    tasks = await bench.queue.find(TaskFilter())
    assert all(task.crash_count == 0 for task in tasks)


async def test_closing_waits_for_what_has_begun(bench) -> None:
    async with open_database(bench.url, clock=SystemClock()) as database:
        queue = SqlTaskQueue(database)
        async with anyio.create_task_group() as group:
            group.start_soon(queue.push, [bench.task("in flight")])
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    with pytest.raises(NotRunning):
        await queue.push([bench.task("late")])
    with pytest.raises(NotRunning):
        await queue.get("late")


async def test_an_error_inside_the_block_is_not_wrapped(bench) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_database(bench.url, clock=SystemClock()) as database:
            await database.write(put("a", 1))
            raise KeyError("mine")


async def test_a_blocked_event_loop_holds_no_lock(bench) -> None:
    """A unit that has begun goes on while a handler blocks the loop, so other processes are not held up."""
    if bench.kind != "sqlite":
        pytest.skip("a server's transaction needs the loop")
    begun = threading.Event()

    def unit(connection) -> None:
        put("slow", 1)(connection)
        begun.set()

    async with anyio.create_task_group() as group:
        group.start_soon(bench.database.write, unit)
        while not begun.is_set():
            await anyio.sleep(0)
        rival = threading.Thread(target=lambda: anyio.run(_push_once, bench.url))
        rival.start()
        rival.join(5)  # blocks the loop
        assert not rival.is_alive()


async def _push_once(url: str) -> None:
    async with open_database(url, clock=SystemClock()) as database:
        await SqlTaskQueue(database).push([NewTask(task_id="rival", task_type="t", params={})])


# Errors


async def test_a_unit_that_raises_is_rolled_back_and_its_error_comes_through(bench) -> None:
    def unit(connection) -> None:
        put("half", 1)(connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bench.database.write(unit)
    assert await keys(bench.database) == []


async def test_a_bad_unit_does_not_hurt_those_beside_it(bench) -> None:
    results: dict[str, object] = {}

    async def run(name: str) -> None:
        try:
            results[name] = await bench.database.write(put(name, 1))
        except BackendError as error:
            results[name] = type(error)

    async with anyio.create_task_group() as group:
        for name in ("a", "same", "b", "same", "c"):
            group.start_soon(run, name)
    assert results | {"same": None} == {"a": "a", "b": "b", "c": "c", "same": None}
    assert await keys(bench.database) == ["a", "b", "c", "same"]


async def test_a_database_error_never_shows_parameters(bench) -> None:
    await bench.database.write(put("hunter2", 1))
    with pytest.raises(BackendError) as caught:
        await bench.database.write(
            lambda connection: connection.execute(text("SELECT :secret FROM nowhere"), {"secret": "hunter3"})
        )
    assert "hunter3" not in str(caught.value)
    assert "hunter3" not in str(caught.value.__cause__)


async def test_a_missing_table_is_an_error_of_our_own_whichever_way_it_is_asked(tmp_path) -> None:
    async with open_database(f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}", clock=SystemClock()) as database:
        store = SqlScheduleStore(database, enqueues=True)
        for ask in (store.unplanned, lambda: store.due(0)):  # through SQLAlchemy, and on the driver's own connection
            with pytest.raises(BackendError, match="no such table"):
                await ask()


# Repeating


class Deadlock(Exception):
    sqlite_errorname = "SQLITE_BUSY"


def contended() -> OperationalError:
    return OperationalError("UPDATE", {}, FakeDriverError(1213, "Deadlock found"))


class FakeDriverError(Exception):
    pass


async def test_a_transaction_that_lost_a_deadlock_is_done_again_from_its_start(bench) -> None:
    seen: list[int] = []

    def unit(connection) -> str:
        seen.append(1)
        put("a", 1)(connection)
        if len(seen) < 4:
            raise contended()
        return "done"

    assert await bench.database.write(unit) == "done"
    assert len(seen) == 4
    assert await keys(bench.database) == ["a"]


async def test_endless_contention_ends_in_an_error(bench, monkeypatch) -> None:
    monkeypatch.setattr("musicq_async.sql.database.LAST_WAIT", 0.001)
    seen: list[int] = []

    def unit(connection) -> None:
        seen.append(1)
        raise contended()

    with pytest.raises(BackendUnavailable, match="locked"):
        await bench.database.write(unit)
    assert len(seen) == TRIES


async def test_a_commit_whose_answer_was_lost_is_not_done_twice(bench, monkeypatch) -> None:
    """The first COMMIT happens and its answer does not arrive."""
    write = bench.database._transactions.write
    lost: list[int] = []

    async def losing(unit):
        result = await write(unit)
        if len(lost) < 1:
            lost.append(1)
            raise CommitUnknown
        return result

    monkeypatch.setattr(bench.database._transactions, "write", losing)
    assert await bench.queue.push([bench.task("a"), bench.task("b")]) == [None, None]
    lost.clear()
    leases = await bench.claim()
    assert leases == [] or len(leases) == 2
    if not leases:  # lent to nobody: the lease runs out
        monkeypatch.setattr(bench.database._transactions, "write", write)
        assert (await bench.stored("a")).status is TaskState.RUNNING
        return
    lost.clear()
    await bench.settle(leases[0], Success("once"))
    assert (await bench.stored("a")).result == "once"


async def test_a_settle_whose_answer_was_lost_counts_as_done(bench, monkeypatch) -> None:
    await bench.push("a", "b")
    leases = await bench.claim()
    write = bench.database._transactions.write
    lost: list[int] = []

    async def losing(unit):
        result = await write(unit)
        if not lost:
            lost.append(1)
            raise CommitUnknown
        return result

    monkeypatch.setattr(bench.database._transactions, "write", losing)
    await bench.settle(leases[0], Success("once"))
    assert (await bench.stored("a")).result == "once"
    lost.clear()
    schedule = bench.schedule("s")
    await bench.schedules.add(schedule)
    lost.clear()
    firing = bench.firing(schedule)
    assert await bench.schedules.record([firing]) == [firing]
    assert await bench.schedules.get("s") == firing.advanced


async def test_units_can_tell_that_they_may_have_been_committed(bench, monkeypatch) -> None:
    write = bench.database._transactions.write
    seen: list[bool] = []

    async def losing(unit):
        result = await write(unit)
        if len(seen) == 1:
            raise CommitUnknown
        return result

    monkeypatch.setattr(bench.database._transactions, "write", losing)
    await bench.database.write(lambda connection: seen.append(commit_was_lost(connection)))
    assert seen == [False, True]


CODES = [
    (1213, Fault.CONTENDED),
    (1205, Fault.CONTENDED),
    (1020, Fault.CONTENDED),
    *[
        (code, Fault.AWAY)
        for code in (
            1040,
            1053,
            1077,
            1078,
            1079,
            1158,
            1159,
            1160,
            1161,
            1927,
            2002,
            2003,
            2006,
            2013,
            2014,
            2055,
            4031,
        )
    ],
    (1021, Fault.REFUSED),
    (1290, Fault.REFUSED),
    (1406, Fault.TOO_LARGE),
    (1062, Fault.CONFLICT),
    (1045, Fault.CLOSED_DOOR),
]


@pytest.mark.parametrize(("code", "fault"), CODES)
def test_mysql_codes_mean(code, fault) -> None:
    assert fault_of(OperationalError("x", {}, FakeDriverError(code, "words"))) is fault


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        ("40001", Fault.CONTENDED),
        ("40P01", Fault.CONTENDED),
        ("08006", Fault.AWAY),
        ("57P01", Fault.AWAY),
        ("57P03", Fault.AWAY),
        ("53300", Fault.AWAY),
        ("53100", Fault.REFUSED),
        ("25006", Fault.REFUSED),
        ("23505", Fault.CONFLICT),
        ("28P01", Fault.CLOSED_DOOR),
        ("22001", Fault.TOO_LARGE),
    ],
)
def test_postgres_states_mean(state, fault) -> None:
    error = FakeDriverError("words")
    error.sqlstate = state
    assert fault_of(OperationalError("x", {}, error)) is fault


@pytest.mark.parametrize("error", [ConnectionRefusedError(), TimeoutError(), OSError("no route"), EOFError()])
def test_a_broken_connection_is_an_absent_database(error) -> None:
    assert fault_of(error) is Fault.AWAY


@pytest.mark.parametrize("error", [ValueError("mine"), KeyError("x"), UsageError("y")])
def test_a_mistake_of_our_own_is_no_fault_of_the_database(error) -> None:
    assert fault_of(error) is None


# On live servers


@pytest.mark.parametrize("kind", ["mysql"])
async def test_a_lock_timeout_keeps_no_half(bench) -> None:
    """After 1205 MySQL itself would commit what the transaction did before."""
    other = await bench.another_database()
    await bench.database.write(put("held", 1))
    locked = anyio.Event()
    tries: list[int] = []

    def hold(connection) -> None:
        connection.execute(text("SELECT * FROM node WHERE id = 'held' FOR UPDATE"))

    def half(connection) -> None:
        tries.append(1)
        connection.execute(text("SET SESSION innodb_lock_wait_timeout = 1"))
        put("half", 1)(connection)
        connection.execute(text("UPDATE node SET heartbeat_ms = 2 WHERE id = 'held'"))

    async def holder() -> None:
        async with other._transactions._writes.connect() as connection:
            await connection.begin()
            await connection.run_sync(hold)
            locked.set()
            while len(tries) < 2:
                await anyio.sleep(0.01)
            await connection.rollback()

    async with anyio.create_task_group() as group:
        group.start_soon(holder)
        await locked.wait()
        await bench.database.write(half)
    assert await keys(bench.database) == ["half", "held"]


@pytest.mark.parametrize("kind", ["mysql", "postgresql"])
async def test_a_deadlock_is_resolved_and_both_get_through(bench) -> None:
    other = await bench.another_database()
    for name in ("a", "b"):
        await bench.database.write(put(name, 0))
    tries: list[str] = []
    held = {"a": anyio.Event(), "b": anyio.Event()}

    def crossing(first: str, second: str):
        def unit(connection) -> None:
            from sqlalchemy.util import await_only

            tries.append(first)
            add = "UPDATE node SET heartbeat_ms = heartbeat_ms + 1 WHERE id = :id"
            connection.execute(text(add), {"id": first})
            held[first].set()
            await_only(held[second].wait())
            connection.execute(text(add), {"id": second})

        return unit

    async with anyio.create_task_group() as group:
        group.start_soon(bench.database.write, crossing("a", "b"))
        group.start_soon(other.write, crossing("b", "a"))
    assert len(tries) == 3
    values = text("SELECT heartbeat_ms FROM node")
    assert await bench.database.read(lambda connection: list(connection.execute(values).scalars())) == [2, 2]


@pytest.mark.parametrize("kind", ["mysql", "postgresql"])
async def test_connections_that_the_server_closed_are_replaced_unseen(bench) -> None:
    await bench.push("a")
    await bench.queue.get("a")
    other = await bench.another_database()
    if bench.kind == "postgresql":
        kill = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await other.read(lambda connection: connection.execute(kill).all())
    else:
        ids = text("SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")

        def kill_all(connection) -> None:
            for (number,) in connection.execute(ids).all():
                connection.execute(text(f"KILL {number}"))

        await other.read(kill_all)
    assert await bench.queue.push([bench.task("b")]) == [None]
    assert (await bench.stored("a")).task_id == "a"


# Places


async def test_a_database_in_memory_works_as_long_as_it_is_open() -> None:
    async with open_database("sqlite+aiosqlite://", clock=SystemClock()) as database:
        await database.upgrade()
        queue, store = SqlTaskQueue(database), SqlPublicStore(database)
        await queue.push([NewTask(task_id="a", task_type="t", params={})])
        await store.set_public("k", 1)
        assert (await store.get_public("k"), (await queue.get("a")).task_id) == (1, "a")


async def test_one_database_object_may_be_opened_again_and_in_another_loop(bench) -> None:
    def elsewhere() -> None:
        anyio.run(_push_once, bench.url)

    await anyio.to_thread.run_sync(elsewhere)
    assert (await bench.stored("rival")).task_id == "rival"


def test_trio_is_refused_with_a_clear_word(tmp_path) -> None:

    async def main() -> None:
        async with open_database(f"sqlite:///{tmp_path / 'x.db'}", clock=SystemClock()):
            pass

    with pytest.raises(UsageError, match="asyncio"):
        trio.run(main)


async def test_full_synchronous_is_honoured(tmp_path) -> None:
    for level, number in (("", 1), ("?synchronous=FULL", 2), ("?synchronous=off", 0)):
        async with open_database(f"sqlite+aiosqlite:///{tmp_path / 'x.db'}{level}", clock=SystemClock()) as database:
            assert await database.write(lambda connection: pragma(connection, "synchronous")) == number
            assert await database.read(lambda connection: pragma(connection, "journal_mode")) == "wal"


def pragma(connection, name: str):
    return connection.execute(text(f"PRAGMA {name}")).scalar()


@pytest.mark.parametrize("url", ["mysql://host/music", "postgresql://host/music", "sqlite://", "sqlite:///:memory:"])
def test_only_a_sqlite_file_has_a_path(url):
    assert read_address(url).path is None
    assert read_address("sqlite:///music.db").path == "music.db"
