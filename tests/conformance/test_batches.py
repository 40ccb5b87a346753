"""What tasks that wait for others do, on every backend; restoring and pausing."""

from __future__ import annotations

import msgspec
import pytest
from backends import terms

from musicq_async.model.lifecycle import retry
from musicq_async.model.outcome import Cancellation, Failure, Snooze, Success
from musicq_async.model.task import ErrorRecord, Task, TaskState

pytestmark = pytest.mark.anyio


def failure() -> Failure:
    return Failure(error=ErrorRecord(time=1, attempt=1, type="E", message="m"), retryable=False)


async def push_group(bench, *children: str, waits: str = "finished") -> None:
    after = bench.task("after", waits=waits)
    await bench.queue.push([after, *(bench.task(name, then_id="after") for name in children)])


async def test_a_task_that_waits_is_not_lent_while_one_of_the_others_is_unfinished(bench) -> None:
    await push_group(bench, "a", "b")
    assert (await bench.stored("after")).status is TaskState.SCHEDULED
    bench.clock.advance(10**6)
    assert await bench.queue.promote() is None
    first, second = await bench.claim()
    assert [first.task.task_id, second.task.task_id] == ["a", "b"]
    await bench.settle(first, Success())
    assert await bench.queue.release("after") is None
    assert await bench.queue.releasable() == []
    await bench.settle(second, Success())
    assert await bench.queue.releasable() == ["after"]
    assert await bench.queue.release("after") is TaskState.PENDING
    assert await bench.queue.release("after") is None
    assert await bench.queue.releasable() == []
    assert await bench.names() == ["after"]


async def test_failed_and_cancelled_ones_count_as_done(bench) -> None:
    await push_group(bench, "a", "b", "c")
    one, two, three = await bench.claim()
    await bench.settle(one, failure())
    await bench.settle(two, Cancellation("enough"))
    await bench.settle(three, Success())
    assert await bench.queue.members("after") == {
        TaskState.FAILED: 1,
        TaskState.CANCELLED: 1,
        TaskState.COMPLETED: 1,
    }
    assert await bench.queue.release("after") is TaskState.PENDING


async def test_a_task_that_waits_for_success_is_cancelled_when_one_fails(bench) -> None:
    await push_group(bench, "a", waits="completed")
    await bench.settle((await bench.claim())[0], failure())
    assert await bench.queue.release("after") is TaskState.CANCELLED
    stored = await bench.stored("after")
    assert "did not complete" in (stored.error_message or "")


async def test_a_snoozed_or_retried_one_is_still_waited_for(bench) -> None:
    await push_group(bench, "a")
    await bench.settle((await bench.claim())[0], Snooze(60))
    assert await bench.queue.release("after") is None
    assert await bench.queue.releasable() == []


async def test_a_task_without_others_goes_on_at_once(bench) -> None:
    await bench.queue.push([bench.task("after", waits="finished")])
    assert await bench.queue.releasable() == ["after"]
    assert await bench.queue.release("after") is TaskState.PENDING


async def test_an_ordinary_task_is_not_released(bench) -> None:
    await bench.push("a")
    await bench.push("later", run_at_ms=bench.clock.time_ms() + 60_000)
    for name in ("a", "later", "nobody"):
        assert await bench.queue.release(name) is None
    assert (await bench.stored("later")).status is TaskState.SCHEDULED


async def test_members_that_were_purged_are_finished(bench) -> None:
    await push_group(bench, "a")
    await bench.settle((await bench.claim())[0], Success())
    await bench.queue.purge(states={TaskState.COMPLETED: int(bench.clock.time()) + 10})
    assert await bench.queue.members("after") == {}
    assert await bench.queue.release("after") is TaskState.PENDING


# Pause


async def test_paused_types_are_known_to_every_process(bench) -> None:
    other = await bench.another()
    await bench.queue.pause("mail")
    await bench.queue.pause("mail")
    await bench.queue.pause("写信")
    assert await other.paused() == {"mail", "写信"}
    await other.pause("mail", paused=False)
    await other.pause("nobody", paused=False)
    assert await bench.queue.paused() == {"写信"}


async def test_a_claim_leaves_out_what_it_is_told_to(bench) -> None:
    await bench.push("a", task_type="x")
    await bench.push("b", task_type="y")
    assert await bench.names(but=frozenset({"x"})) == ["b"]
    assert await bench.names(types=frozenset({"x", "y"}), but=frozenset({"x"})) == []
    assert await bench.names() == ["a"]


# Restore


async def test_restored_tasks_stand_as_they_stood_but_for_their_leases(bench) -> None:
    await bench.push("new", params={"n": 1}, priority=2, group_key="g", extra={"k": [1]})
    await bench.push("done", "dead", "running")
    leases = {lease.task.task_id: lease for lease in await bench.claim(3, types=frozenset({"work"}))}
    await bench.settle(leases["done"], Success({"r": "值"}))
    await bench.settle(leases["dead"], failure())
    tasks = [await bench.stored(name) for name in ("new", "done", "dead", "running")]
    copies = [msgspec.structs.replace(task, task_id=f"copy of {task.task_id}") for task in tasks]
    assert await bench.queue.restore(copies) == 4
    assert await bench.queue.restore(copies) == 0
    for task, copy in zip(tasks, copies, strict=True):
        stored = await bench.stored(copy.task_id)
        expected = msgspec.structs.replace(copy, lease_owner=None, lease_token=None, lease_until_ms=None)
        if task.status is TaskState.RUNNING:
            expected = msgspec.structs.replace(expected, status=TaskState.PENDING)
        assert stored == expected
    assert set(await bench.names(types=frozenset({"work"}))) == {"new", "copy of new", "copy of running"}


async def test_a_restored_task_that_waits_holds_its_unique_key_again(bench) -> None:
    fields = {"task_type": "work", "params": {}, "created_at": bench.clock.time_ms() // 1000, "unique_key": "k"}
    newer = Task(task_id="newer", status=TaskState.PENDING, position=2, **fields)
    running = Task(task_id="running", status=TaskState.RUNNING, position=1, **fields)
    done = Task(task_id="done", status=TaskState.COMPLETED, position=3, **fields | {"unique_key": "free"})
    assert await bench.queue.restore([done, newer, running]) == 3
    assert await bench.queue.push([bench.task("b", unique_key="k")]) == ["newer"]
    assert await bench.queue.push([bench.task("c", unique_key="free")]) == [None]


async def test_a_restored_dead_letter_can_be_retried(bench) -> None:
    await bench.push("dead")
    await bench.settle((await bench.claim())[0], failure())
    copy = msgspec.structs.replace(await bench.stored("dead"), task_id="copy")
    await bench.queue.restore([copy])
    change = retry(copy, now_ms=bench.clock.time_ms())
    assert change is not None
    assert await bench.queue.change(copy, change)
    assert await bench.names() == ["copy"]


async def test_unfinished_counts_leave_the_finished_out(bench) -> None:
    await bench.push("a", "b", "c")
    await bench.push("later", run_at_ms=bench.clock.time_ms() + 60_000)
    first, _ = await bench.claim(2)
    await bench.settle(first, Success())
    assert await bench.queue.counts(finished=False) == {
        ("work", TaskState.RUNNING): 1,
        ("work", TaskState.PENDING): 1,
        ("work", TaskState.SCHEDULED): 1,
    }


# Exchange


async def test_an_exchange_settles_and_lends_the_next(bench) -> None:
    await bench.push("a", "b")
    (lease,) = await bench.claim(1)
    done = bench.change(lease, Success("first"))
    settled, leases = await bench.queue.exchange(lease, done, terms())
    assert settled
    assert [each.task.task_id for each in leases] == ["b"]
    assert (await bench.stored("a")).result == "first"
    settled, leases = await bench.queue.exchange(lease, done, terms())
    assert (settled, leases) == (False, [])
