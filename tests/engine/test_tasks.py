"""`Tasks`, the face of a queue: what users call."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from musicq_async.errors import (
    DuplicateTask,
    InvalidTask,
    LeaseLost,
    NotRunning,
    TaskNotFound,
    UsageError,
)
from musicq_async.model.event import Cancelled, Queued
from musicq_async.model.task import TaskState

pytestmark = pytest.mark.anyio


@pytest.fixture
async def tasks(engine):
    """A queue without workers."""
    async with engine(concurrency=1) as running:
        running.workers.stop(grace=0)
        while running.workers._executors:
            await anyio.sleep(0)
        running.tasks.engine = running
        yield running.tasks


async def test_a_pushed_task_comes_back_as_it_was_pushed(tasks):
    pushed = {"type": "t", "params": {"n": [1, {"a": "玉盘"}]}, "mine": "kept", "priority": 3, "max_retries": 0}
    task_id = await tasks.push_task(pushed)
    assert "task_id" not in pushed
    popped = await tasks.pop_task(timeout=0)
    assert popped == {**pushed, "task_id": task_id}
    pushed["params"]["n"].append(2)
    assert popped["params"] == {"n": [1, {"a": "玉盘"}]}
    await tasks.task_done()
    assert (await tasks.get_task(task_id))["status"] == "completed"


async def test_rows_have_the_columns_as_keys(tasks):
    row = await tasks.get_task(await tasks.push_task({"type": "t", "note": 1}))
    assert {
        *("task_id", "task_type", "params", "status", "priority", "retry_count", "max_retries", "created_at"),
        *(
            "started_at",
            "completed_at",
            "error_message",
            "scheduler_task_id",
            "fire_at",
            "result",
            "progress",
            "errors",
        ),
    } <= set(row)
    assert type(row["status"]) is str
    assert row["extra"] == {"note": 1}
    assert "lease_token" not in row
    assert await tasks.get_task("unknown") is None


@pytest.mark.parametrize(
    "task",
    [None, [], {}, {"type": ""}, {"type": 5}, {"type": "t", "params": []}, {"type": "t", "params": {"x": object()}},
     {"type": "t", "params": {"x": float("nan")}}, {"type": "t", "task_id": ""}, {"type": "t", "task_id": "x" * 37},
     {"type": "t", "delay": -1}, {"type": "t", "max_retries": -1}, {"type": "t", "timeout": 0}, {"type": "t", 5: 1}],
)  # fmt: skip
async def test_bad_tasks_are_refused_and_nothing_is_queued(tasks, task):
    with pytest.raises(InvalidTask):
        await tasks.push_task(task)
    with pytest.raises(InvalidTask):
        await tasks.push_many([{"type": "good"}, task])
    assert await tasks.is_empty()


async def test_a_known_id_is_refused(tasks):
    await tasks.push_task({"type": "t", "task_id": "a"})
    with pytest.raises(DuplicateTask):
        await tasks.push_task({"type": "t", "task_id": "a"})
    with pytest.raises(DuplicateTask):
        await tasks.push_many([{"type": "t", "task_id": "b"}, {"type": "t", "task_id": "b"}])
    assert await tasks.get_queue_size() == 1


async def test_push_many_returns_the_ids_in_order(tasks):
    ids = await tasks.push_many({"type": "t", "task_id": f"n{n}"} for n in range(5))
    assert ids == [f"n{n}" for n in range(5)]
    assert [(await tasks.pop_task(0))["task_id"] for _ in range(5)] == ids
    assert await tasks.push_many([]) == []
    for wrong in ({"type": "t"}, "text", 5):
        with pytest.raises(UsageError):
            await tasks.push_many(wrong)


async def test_pop_waits_for_a_push_and_gives_up_in_time(tasks):
    assert await tasks.pop_task(timeout=0) is None
    assert await tasks.pop_task(timeout=0.01) is None
    async with anyio.create_task_group() as group:
        popped = []

        async def consume():
            popped.append((await tasks.pop_task(timeout=5))["task_id"])

        for _ in range(3):
            group.start_soon(consume)
        await anyio.sleep(0.005)
        for n in range(3):
            await tasks.push_task({"type": "t", "task_id": str(n)})
    assert sorted(popped) == ["0", "1", "2"]


async def test_a_storm_of_cancelled_pops_loses_nothing(tasks):
    got = []

    async def consume():
        while True:
            try:
                with anyio.move_on_after(0.0005):
                    task = await tasks.pop_task()
                    got.append(task["task_id"])
                    await tasks.task_done(task["task_id"])
            except asyncio.CancelledError:
                raise

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(consume)
        for n in range(500):
            await tasks.push_task({"type": "t", "task_id": str(n)})
            if n % 7 == 0:
                await anyio.sleep(0.0003)
        with anyio.fail_after(5):
            await tasks.join()
        group.cancel_scope.cancel()
    assert sorted(got, key=int) == [str(n) for n in range(500)]


async def test_task_done_settles_the_oldest_or_the_named(tasks):
    await tasks.push_many([{"type": "t", "task_id": each} for each in "abc"])
    for _ in "abc":
        await tasks.pop_task(0)
    await tasks.task_done("b")
    await tasks.task_done()
    assert [(await tasks.get_task(each))["status"] for each in "abc"] == ["completed", "completed", "running"]
    await tasks.task_done()
    for wrong in (None, "a"):
        with pytest.raises(ValueError, match="more often"):
            await tasks.task_done(wrong)


async def test_join_waits_until_everything_is_done(tasks):
    assert await tasks.join(0)
    await tasks.push_task({"type": "t"})
    assert not await tasks.join(0.01)
    await tasks.pop_task(0)
    assert not await tasks.join(0.01)
    await tasks.task_done()
    assert await tasks.join(0.01)


async def test_waiting_tasks_are_cancelled_at_once(tasks):
    task_id = await tasks.push_task({"type": "t"})
    later = await tasks.push_task({"type": "t", "delay": 60})
    assert await tasks.cancel_task(task_id, "no need")
    assert await tasks.cancel_task(later)
    row = await tasks.get_task(task_id)
    assert (row["status"], row["cancel_reason"]) == ("cancelled", "no need")
    assert not await tasks.cancel_task(task_id)
    assert await tasks.pop_task(0) is None
    with pytest.raises(TaskNotFound):
        await tasks.cancel_task("unknown")
    assert [event.reason for event in tasks.engine.events.of(Cancelled)] == ["no need", None]


async def test_failed_and_cancelled_tasks_are_retried_by_hand(engine, handlers):
    seen = []

    @handlers.register("t", max_retries=0)
    async def t(params):
        seen.append(dict(params))
        if len(seen) < 4:
            raise ValueError("not yet")
        return "done"

    async with engine(concurrency=1) as running:
        first = await running.push("t", {"n": 1})
        other = await running.push("t", {"n": 2})
        await running.idle()
        assert await running.tasks.retry_task(first)
        await running.idle()
        assert await running.tasks.retry_failed() == 2
        await running.idle()
        assert seen[-1] in ({"n": 1}, {"n": 2})
        assert {(await running.task(each)).status for each in (first, other)} == {TaskState.COMPLETED}
        assert not await running.tasks.retry_task(first)
        assert len((await running.task(first)).errors) == 2
        with pytest.raises(TaskNotFound):
            await running.tasks.retry_task("unknown")
        assert await running.tasks.retry_failed(type="other") == 0


async def test_lists_are_pages_newest_first(tasks):
    ids = await tasks.push_many([{"type": "ab"[n % 2], "task_id": str(n)} for n in range(10)])
    assert [row["task_id"] for row in await tasks.list_tasks()] == ids[::-1]
    first = await tasks.list_tasks(type="a", limit=2)
    assert [row["task_id"] for row in first] == ["8", "6"]
    assert [row["task_id"] for row in await tasks.list_tasks(type="a", limit=9, after="6")] == ["4", "2", "0"]
    assert await tasks.list_tasks(state="failed") == []
    for wrong in ({"state": "odd"}, {"limit": 0}, {"limit": 10_000}, {"limit": True}):
        with pytest.raises(UsageError):
            await tasks.list_tasks(**wrong)


async def test_purge_takes_finished_tasks_only(tasks):
    ids = await tasks.push_many([{"type": "t", "task_id": each} for each in "abc"])
    await tasks.cancel_task("a")
    assert await tasks.purge(older_than=60) == 0
    assert await tasks.purge() == 1
    assert [row["task_id"] for row in await tasks.list_tasks()] == ids[:0:-1]
    for wrong in ({"state": "running"}, {"state": "odd"}, {"older_than": -1}, {"older_than": float("nan")}):
        with pytest.raises(UsageError):
            await tasks.purge(**wrong)


async def test_the_status_key_follows_the_task(tasks):
    task_id = await tasks.push_task({"type": "t"})
    key = f"task_{task_id}_status"
    assert await tasks.get_public(key) == "pending"
    await tasks.pop_task(0)
    assert await tasks.get_public(key) == "running"
    await tasks.task_done()
    assert await tasks.get_public(key) == "completed"
    await tasks.set_public("task_other_status", "mine")
    assert await tasks.get_public("task_other_status") == "mine"
    assert await tasks.get_public("task__status") is None


async def test_shared_values_pass_through(tasks):
    await tasks.set_public("a", {"n": 1}, ttl=60)
    assert await tasks.get_public("a") == {"n": 1}
    assert (await tasks.get_store_size(), await tasks.list_keys()) == (1, ["a"])
    assert await tasks.delete_public("a")
    await tasks.set_public("b", 1)
    await tasks.clear_store()
    assert (await tasks.get_store_size(), await tasks.cleanup()) == (0, 0)


async def test_closing_puts_popped_tasks_back_and_ends_waits(tasks):
    task_id = await tasks.push_task({"type": "t"})
    await tasks.pop_task(0)
    async with anyio.create_task_group() as group:

        async def wait():
            with pytest.raises(NotRunning):
                await tasks.pop_task()

        group.start_soon(wait)
        await anyio.sleep(0.002)
        await tasks.close()
    row = await tasks.get_task(task_id)
    assert (row["status"], row["retry_count"]) == ("pending", 0)
    with pytest.raises(NotRunning):
        await tasks.push_task({"type": "t"})


async def test_a_popped_task_that_was_given_away_is_told(tasks):
    await tasks.push_task({"type": "t", "task_id": "a"})
    await tasks.pop_task(0)
    memory = tasks.engine.memory
    from musicq_async.model.lifecycle import settle
    from musicq_async.model.outcome import Crash

    task = await memory.get("a")
    await memory.change(task, settle(task, Crash(), now_ms=0, draw=0.0, max_crashes=9))
    with pytest.raises(LeaseLost):
        await tasks.task_done()
    with pytest.raises(ValueError, match="more often"):
        await tasks.task_done()


async def test_pushes_are_told_and_ids_are_uuids(tasks):
    import uuid

    task_id = await tasks.push_task({"type": "t"})
    assert uuid.UUID(task_id).version == 4
    assert [event.task_id for event in tasks.engine.events.of(Queued)] == [task_id]
    ids = {await tasks.push_task({"type": "t"}) for _ in range(1000)}
    assert len(ids) == 1000
