"""What unique keys do, on every backend."""

from __future__ import annotations

import anyio
import pytest

from musicq_async.errors import DuplicateTask
from musicq_async.model.outcome import Failure, Success
from musicq_async.model.task import ErrorRecord, TaskState

pytestmark = pytest.mark.anyio


async def test_a_second_task_with_a_queued_key_is_not_stored_and_the_first_ones_id_is_returned(bench) -> None:
    assert await bench.queue.push([bench.task("a", unique_key="k")]) == [None]
    assert await bench.queue.push([bench.task("b", unique_key="k")]) == ["a"]
    assert await bench.queue.get("b") is None
    assert await bench.names() == ["a"]


async def test_keys_that_differ_do_not_meet(bench) -> None:
    tasks = [bench.task(f"t{place}", unique_key=key) for place, key in enumerate(["k", "K", "k ", "钥匙", "鑰匙"])]
    assert await bench.queue.push(tasks) == [None] * 5


async def test_a_key_is_free_once_its_task_has_begun(bench) -> None:
    await bench.push("a", unique_key="k")
    await bench.claim()
    assert await bench.queue.push([bench.task("b", unique_key="k")]) == [None]


async def test_until_finished_means_running_as_well_and_retries(bench) -> None:
    await bench.push("a", unique_key="k")
    again = [bench.task("b", unique_key="k", unique_mode="unfinished")]
    (lease,) = await bench.claim()
    assert await bench.queue.push(again) == ["a"]
    error = ErrorRecord(time=1, attempt=1, type="E", message="m")
    await bench.settle(lease, Failure(error=error, retryable=True))
    assert await bench.queue.push(again) == ["a"]
    bench.clock.advance(10)
    await bench.queue.promote()
    await bench.settle((await bench.claim())[0], Success())
    assert await bench.queue.push(again) == [None]


async def test_a_window_of_seconds_outlasts_the_task(bench) -> None:
    await bench.push("a", unique_key="k", unique_mode="60.0")
    await bench.settle((await bench.claim())[0], Success())
    again = [bench.task("b", unique_key="k", unique_mode="60.0")]
    bench.clock.advance(59)
    assert await bench.queue.push(again) == ["a"]
    bench.clock.advance(2)
    assert await bench.queue.push(again) == [None]


async def test_replace_gives_the_waiting_task_new_params_and_leaves_its_place(bench) -> None:
    await bench.push("a", unique_key="k", params={"n": 1})
    await bench.push("other")
    new = bench.task("b", unique_key="k", unique_mode="replace", params={"n": 2}, extra={"why": "later"})
    assert await bench.queue.push([new]) == ["a"]
    first, second = await bench.claim()
    assert (first.task.task_id, first.task.params, first.task.extra) == ("a", {"n": 2}, {"why": "later"})
    assert second.task.task_id == "other"


async def test_replace_does_not_touch_a_task_that_has_begun(bench) -> None:
    await bench.push("a", unique_key="k", params={"n": 1})
    await bench.claim()
    new = bench.task("b", unique_key="k", unique_mode="replace", params={"n": 2})
    assert await bench.queue.push([new]) == [None]
    assert (await bench.stored("a")).params == {"n": 1}


async def test_debounce_starts_the_delay_again(bench) -> None:
    def call(name: str, n: int):
        at = bench.clock.time_ms() + 10_000
        return bench.task(name, unique_key="k", unique_mode="debounce", params={"n": n}, run_at_ms=at)

    assert await bench.queue.push([call("a", 1)]) == [None]
    bench.clock.advance(6)
    assert await bench.queue.push([call("b", 2)]) == ["a"]
    bench.clock.advance(6)
    await bench.queue.promote()
    assert await bench.names() == []
    bench.clock.advance(5)
    await bench.queue.promote()
    (lease,) = await bench.claim()
    assert (lease.task.task_id, lease.task.params) == ("a", {"n": 2})


async def test_a_key_twice_in_one_push_is_one_task(bench) -> None:
    tasks = [bench.task("a", unique_key="k"), bench.task("b"), bench.task("c", unique_key="k")]
    assert await bench.queue.push(tasks) == [None, None, "a"]
    assert await bench.names() == ["a", "b"]


async def test_a_refused_push_takes_no_key(bench) -> None:
    await bench.push("known")
    with pytest.raises(DuplicateTask):
        await bench.queue.push([bench.task("a", unique_key="k"), bench.task("known")])
    assert await bench.queue.get("a") is None
    assert await bench.queue.push([bench.task("b", unique_key="k")]) == [None]


async def test_a_refused_push_replaces_nothing(bench) -> None:
    await bench.push("a", unique_key="k", params={"n": 1})
    await bench.push("known")
    new = bench.task("b", unique_key="k", unique_mode="replace", params={"n": 2})
    with pytest.raises(DuplicateTask):
        await bench.queue.push([new, bench.task("known")])
    assert (await bench.stored("a")).params == {"n": 1}


async def test_of_many_that_push_one_key_at_once_one_is_stored(bench) -> None:
    other = await bench.another()
    answers: list[str | None] = []

    async def push(queue, name: str) -> None:
        answers.extend(await queue.push([bench.task(name, unique_key="k")]))

    async with anyio.create_task_group() as group:
        for place in range(20):
            group.start_soon(push, bench.queue if place % 2 else other, f"t{place}")
    assert answers.count(None) == 1
    (name,) = await bench.names()
    assert {answer for answer in answers if answer is not None} == {name}


async def test_keys_that_nobody_can_hold_any_more_are_forgotten(bench) -> None:
    await bench.push("a", unique_key="k")
    await bench.settle((await bench.claim())[0], Success())
    bench.clock.advance(7200)
    await bench.queue.purge(states={TaskState.COMPLETED: int(bench.clock.time())})
    assert await bench.queue.push([bench.task("b", unique_key="k", unique_mode="7300.0")]) == [None]
