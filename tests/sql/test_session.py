"""A task pushed inside the caller's own transaction exists if, and only if, that transaction was committed."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from backends import SQL_BACKENDS
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from musicq_async.errors import DuplicateTask
from musicq_async.model.task import TaskState
from musicq_async.sql import push_in_session
from musicq_async.sql.tables import public_store

pytestmark = pytest.mark.anyio


@pytest.fixture(params=SQL_BACKENDS)
def kind(request) -> str:
    if request.param == "sqlite":
        pytest.importorskip("aiosqlite")
    return str(request.param)


@pytest.fixture
async def engine(bench):
    """The caller's own engine, which knows nothing of ours."""
    engine = create_async_engine(bench.url)
    yield engine
    await engine.dispose()


class Calls:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def order(key="order") -> object:
    """What the caller itself stores beside the task."""
    return insert(public_store).values(key=key, value='"paid"')


async def stored_orders(engine) -> list[str]:
    async with engine.connect() as connection:
        return list((await connection.execute(select(public_store.c.key))).scalars())


@asynccontextmanager
async def session_on(engine):
    async with AsyncSession(engine) as session:
        yield session


async def test_a_task_appears_with_the_callers_commit_and_not_before(bench, engine) -> None:
    woken = Calls()
    async with session_on(engine) as session:
        await session.execute(order())
        await push_in_session(session, [bench.task("a"), bench.task("b")], clock=bench.clock, on_commit=woken)
        assert await bench.queue.get("a") is None
        assert woken.count == 0, "nobody looks for what is not there"
        await session.commit()
    assert woken.count == 1
    assert await bench.names() == ["a", "b"]
    assert await stored_orders(engine) == ["order"]


async def test_a_task_is_rolled_back_with_the_callers_own_rows(bench, engine) -> None:
    woken = Calls()
    async with session_on(engine) as session:
        await session.execute(order())
        await push_in_session(session, [bench.task("a")], clock=bench.clock, on_commit=woken)
        await session.rollback()
    assert await bench.queue.get("a") is None
    assert await stored_orders(engine) == []
    assert woken.count == 0


async def test_an_error_after_the_push_takes_the_task_along(bench, engine) -> None:
    async def sell() -> None:
        async with session_on(engine) as session, session.begin():
            await push_in_session(session, [bench.task("a")], clock=bench.clock)
            raise LookupError("out of stock")

    with pytest.raises(LookupError):
        await sell()
    assert await bench.queue.get("a") is None
    await bench.push("a")
    assert await bench.names() == ["a"]


async def test_a_session_that_is_left_open_has_pushed_nothing(bench, engine) -> None:
    woken = Calls()
    async with session_on(engine) as session:
        await push_in_session(session, [bench.task("a")], clock=bench.clock, on_commit=woken)
    assert await bench.queue.get("a") is None
    assert woken.count == 0


async def test_a_bare_connection_will_do(bench, engine) -> None:
    async with engine.begin() as connection:
        await push_in_session(connection, [bench.task("a")], clock=bench.clock)
    async with engine.connect() as connection:
        await push_in_session(connection, [bench.task("b")], clock=bench.clock)
        await connection.rollback()
    assert await bench.names() == ["a"]


async def test_a_known_id_is_refused_and_the_callers_transaction_goes_on(bench, engine) -> None:
    await bench.push("known")
    before = await bench.queue.get("known")
    async with session_on(engine) as session:
        await session.execute(order())
        with pytest.raises(DuplicateTask, match="known"):
            await push_in_session(session, [bench.task("fresh"), bench.task("known", priority=5)], clock=bench.clock)
        await session.commit()
    assert await bench.queue.get("known") == before
    assert await bench.queue.get("fresh") is None, "all of a push or nothing"
    assert await stored_orders(engine) == ["order"]


async def test_one_id_twice_in_a_push_is_refused(bench, engine) -> None:
    async with session_on(engine) as session:
        with pytest.raises(DuplicateTask):
            await push_in_session(session, [bench.task("a"), bench.task("a")], clock=bench.clock)
        await session.commit()
    assert await bench.queue.get("a") is None


async def test_nothing_to_push_is_no_error(bench, engine) -> None:
    async with session_on(engine) as session:
        await push_in_session(session, [], clock=bench.clock)
        await session.commit()
    assert await bench.queue.counts() == {}


async def test_a_task_for_later_waits_for_its_time(bench, engine) -> None:
    async with session_on(engine) as session:
        later = bench.clock.time_ms() + 60_000
        await push_in_session(session, [bench.task("a", run_at_ms=later, params={"n": [1, "晴天"]})], clock=bench.clock)
        await session.commit()
    task = await bench.stored("a")
    assert (task.status, task.run_at_ms, task.params) == (TaskState.SCHEDULED, later, {"n": [1, "晴天"]})


async def test_a_savepoint_that_is_rolled_back_takes_its_tasks_along(bench, engine) -> None:
    async with session_on(engine) as session:
        await push_in_session(session, [bench.task("a")], clock=bench.clock)
        async with session.begin_nested() as savepoint:
            await push_in_session(session, [bench.task("b")], clock=bench.clock)
            await savepoint.rollback()
        await session.commit()
    assert await bench.names() == ["a"]


async def test_a_savepoint_that_is_released_wakes_nobody_yet(bench, engine) -> None:
    woken = Calls()
    async with session_on(engine) as session:
        async with session.begin_nested():
            await push_in_session(session, [bench.task("a")], clock=bench.clock, on_commit=woken)
        assert woken.count == 0, "the transaction is still open"
        await session.commit()
    assert woken.count == 1


async def test_what_was_rolled_back_wakes_nobody_later(bench, engine) -> None:
    woken = Calls()
    async with session_on(engine) as session:
        await push_in_session(session, [bench.task("a")], clock=bench.clock, on_commit=woken)
        await session.rollback()
        await session.execute(order())
        await session.commit()
    assert woken.count == 0
