"""Every statement that runs for every task finds its rows by an index, on each database, in a table that is mostly done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from backends import SQL_BACKENDS, terms
from sqlalchemy import event, text

from musicq_async.model.limit import Limit
from musicq_async.model.outcome import Failure, Success
from musicq_async.model.task import ErrorRecord, TaskState
from musicq_async.ports import TaskFilter

pytestmark = pytest.mark.anyio

FINISHED = 3_000
FEW = 100
"""Rows that may be sorted: what runs just now, or belongs to one schedule."""
TYPES = frozenset({"work", "other", "limited"})


@pytest.fixture(params=SQL_BACKENDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def filled(bench):
    """A table with many finished rows and some of every other state."""
    await bench.queue.push([bench.task(f"done{n:05}") for n in range(FINISHED)])
    await bench.database.write(
        lambda connection: connection.execute(text("UPDATE task_queue SET status = 'completed', completed_at = 1"))
    )
    for kind in sorted(TYPES):
        await bench.queue.push([bench.task(f"{kind}{n}", task_type=kind, group_key=f"g{n % 3}") for n in range(60)])
    await bench.push(*(f"later{n}" for n in range(40)), run_at_ms=bench.clock.time_ms() + 60_000)
    await bench.push("after", waits="finished")
    await bench.push("member", then_id="after")
    table = "TABLE task_queue" if bench.kind == "mysql" else "task_queue"
    await bench.database.write(lambda connection: connection.execute(text(f"ANALYZE {table}")))
    return bench


async def use_every_hot_statement(bench) -> None:
    asked = terms(types=TYPES)
    limits = (Limit(task_type="limited", concurrency=50, rate=1000.0, group_concurrency=20, group_rate=500.0),)
    leases = await bench.queue.claim(asked, 30)
    await bench.queue.claim(terms(types=TYPES, limits=limits), 10)
    await bench.queue.settle(leases[0], bench.change(leases[0], Success("done")))
    await bench.queue.exchange(leases[1], bench.change(leases[1], Success()), asked)
    error = ErrorRecord(time=1, attempt=1, type="E", message="m")
    await bench.queue.settle(leases[2], bench.change(leases[2], Failure(error=error, retryable=True)))
    await bench.queue.heartbeat(leases[3:6], seconds=10)
    await bench.queue.report(leases[3], {"done": 1, "total": 2, "message": None})
    await bench.queue.request_cancel(leases[4].task.task_id, "enough")
    await bench.queue.get("work1")
    await bench.queue.find(TaskFilter(limit=20))
    await bench.queue.counts(finished=False)
    await bench.queue.releasable()
    await bench.queue.members("after")
    await bench.queue.unfinished("schedule")
    bench.clock.advance(120)
    await bench.queue.promote()
    await bench.queue.expired()
    await bench.queue.purge(states={TaskState.COMPLETED: 0})


async def test_no_hot_statement_reads_the_whole_table(filled) -> None:
    with watched(filled) as statements:
        await use_every_hot_statement(filled)
    ours = {key: values for key, values in statements.items() if is_about_tasks(key)}
    assert len(ours) >= 12, "the statements were not seen"
    plans = await filled.database.write(lambda connection: [plan_of(connection, *item) for item in ours.items()])
    wrong = [
        f"{statement}\n{plan}" for (statement, _), plan in zip(ours.items(), plans, strict=True) if not is_good(plan)
    ]
    assert not wrong, "\n\n".join(wrong)


def is_about_tasks(statement: str) -> bool:
    return "task_queue" in statement and re.match(r"\s*(SELECT|UPDATE|DELETE)", statement) is not None


@contextmanager
def watched(bench) -> Iterator[dict[str, Any]]:
    """Collect the statements with one set of parameters each."""
    seen: dict[str, Any] = {}

    def note(_connection, _cursor, statement, parameters, _context, many) -> None:
        seen.setdefault(statement, parameters[0] if many else parameters)

    transactions = bench.database._transactions
    engines = [getattr(engine, "sync_engine", engine) for engine in (transactions._writes, transactions._reads)]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    kept = getattr(transactions, "_kept", None)
    driver = kept.connection.driver_connection if kept is not None else None
    if driver is not None:  # the statements that go below SQLAlchemy, with their values in them
        driver.set_trace_callback(lambda statement: seen.setdefault(shape_of(statement), statement))
    try:
        yield seen
    finally:
        if driver is not None:
            driver.set_trace_callback(None)
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


def shape_of(statement: str) -> str:
    return re.sub(r"'[^']*'|\b\d+\b", "?", statement)


def plan_of(connection, statement: str, parameters: Any) -> list[dict[str, Any]]:
    """Explain a statement; where ``parameters`` is a text, it is the statement with its values."""
    prefix = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL enable_seqscan = off"))  # a scan that is left then had no index to use
    if isinstance(parameters, str):
        return [dict(row) for row in connection.exec_driver_sql(prefix + parameters).mappings()]
    return [dict(row) for row in connection.exec_driver_sql(prefix + statement, parameters).mappings()]


def is_good(plan: list[dict[str, Any]]) -> bool:
    if "detail" in plan[0]:
        return not any(re.match(r"SCAN (task_queue|other|t)\b(?!.*USING)", row["detail"]) for row in plan)
    if "QUERY PLAN" in plan[0]:
        return not any("Seq Scan on task_queue" in row["QUERY PLAN"] for row in plan)
    ours = [row for row in plan if row["table"] in {"task_queue", "other", "t"}]
    return all(row["key"] is not None and (int(row["rows"]) <= FEW or "filesort" not in row["Extra"]) for row in ours)


async def test_a_settle_finds_its_tasks_by_their_ids(filled) -> None:
    """The index of the running ones is full of rows that ran a moment ago: PostgreSQL keeps them until a vacuum."""
    leases = await filled.queue.claim(terms(types=TYPES), 30)
    with watched(filled) as statements:
        await filled.queue.settle(leases[0], filled.change(leases[0], Success("done")))
    ((statement, values),) = [item for item in statements.items() if is_about_tasks(item[0])]
    plan = await filled.database.write(lambda connection: plan_of(connection, statement, values))
    assert "task_queue_leases" not in str(plan)


async def test_the_check_sees_a_scan(filled) -> None:
    bad = "SELECT task_id FROM task_queue WHERE error_message = 'x' ORDER BY params"
    (plan,) = await filled.database.write(lambda connection: [plan_of(connection, bad, bad)])
    assert not is_good(plan)


async def test_a_second_claimer_gets_the_next_rows_while_the_first_has_not_committed(bench) -> None:
    """On servers; SQLite has one writer, and the second waits for the first."""
    if bench.kind == "sqlite":
        pytest.skip("one writer")
    from musicq_async.sql.claims import Claim, claim

    await bench.push("a", "b")
    other = await bench.another_database()

    async def second() -> list[str]:
        claimed = await other.write(
            lambda connection: claim(connection, [Claim(terms(owner="w2"), 1, "second")], now_ms=1)
        )
        return [lease.task.task_id for lease in claimed[0].leases]

    engine = bench.database._transactions._writes
    async with engine.connect() as connection, connection.begin():
        first = await connection.run_sync(lambda sync: claim(sync, [Claim(terms(owner="w1"), 1, "first")], now_ms=1))
        assert [lease.task.task_id for lease in first[0].leases] == ["a"]
        assert await second() == ["b"]
