"""What limits do in a claim, on every backend."""

from __future__ import annotations

import anyio
import pytest
from backends import terms

from musicq_async.model.limit import Limit
from musicq_async.model.outcome import Success

pytestmark = pytest.mark.anyio


async def test_no_more_of_a_type_run_at_once_than_its_limit_whoever_claims(bench) -> None:
    await bench.push(*(f"t{place}" for place in range(5)))
    limits = (Limit(task_type="work", concurrency=2),)
    (first,) = await bench.claim(1, limits=limits)
    assert await bench.names(owner="w2", limits=limits) == ["t1"]
    assert await bench.names(owner="w3", limits=limits) == []
    await bench.settle(first, Success())
    assert await bench.names(owner="w3", limits=limits) == ["t2"]


async def test_a_full_type_does_not_hold_up_the_others(bench) -> None:
    await bench.push("a", "b", priority=-5)
    await bench.push("x", "y", task_type="other")
    limits = (Limit(task_type="work", concurrency=1),)
    both = frozenset({"work", "other"})
    assert await bench.names(limits=limits, types=both) == ["a", "x", "y"]


async def test_order_holds_across_limited_and_free_types(bench) -> None:
    await bench.push("a")
    await bench.push("x", task_type="other")
    await bench.push("b")
    await bench.push("urgent", task_type="other", priority=-1)
    limits = (Limit(task_type="work", concurrency=9),)
    assert await bench.names(3, limits=limits, types=frozenset({"work", "other"})) == ["urgent", "a", "x"]


async def test_a_group_has_its_own_limit(bench) -> None:
    for place in range(3):
        await bench.push(f"a{place}", group_key="a")
        await bench.push(f"b{place}", group_key="b")
        await bench.push(f"n{place}")
    limits = (Limit(task_type="work", group_concurrency=1),)
    assert await bench.names(limits=limits) == ["a0", "b0", "n0", "n1", "n2"]
    assert await bench.names(limits=limits) == []


async def test_a_long_line_of_a_full_group_does_not_hide_the_others(bench) -> None:
    await bench.queue.push([bench.task(f"a{place}", group_key="a") for place in range(700)])
    await bench.push("b", group_key="b")
    await bench.push("c")
    limits = (Limit(task_type="work", group_concurrency=1),)
    assert await bench.names(2, limits=limits) == ["a0", "b"]
    assert await bench.names(2, limits=limits) == ["c"]


async def test_a_rate_lets_one_begin_an_interval(bench) -> None:
    bench.clock.stop()
    await bench.push(*(f"t{place}" for place in range(5)))
    limits = (Limit(task_type="work", rate=2.0),)
    assert await bench.names(limits=limits) == ["t0"]
    assert await bench.names(limits=limits, owner="w2") == []
    assert bench.wakeup.opens_at[-1] == bench.clock.time_ms() + 500
    bench.clock.advance(0.5)
    assert await bench.names(limits=limits, owner="w2") == ["t1"]
    bench.clock.advance(100)
    assert await bench.names(limits=limits) == ["t2"]


async def test_a_high_rate_may_begin_a_tenth_of_a_second_worth_at_once(bench) -> None:
    bench.clock.stop()
    await bench.queue.push([bench.task(f"t{place:03}") for place in range(200)])
    limits = (Limit(task_type="work", rate=100.0),)
    begun = len(await bench.names(limits=limits))
    assert begun == 10
    for _ in range(10):
        bench.clock.advance(0.1)
        begun += len(await bench.names(limits=limits))
    assert begun == 110


async def test_a_groups_rate_holds_up_nobody_else(bench) -> None:
    bench.clock.stop()
    await bench.push("a0", "a1", group_key="a")
    await bench.push("b0", group_key="b")
    limits = (Limit(task_type="work", group_rate=1.0),)
    assert await bench.names(limits=limits) == ["a0", "b0"]
    assert bench.wakeup.opens_at[-1] == bench.clock.time_ms() + 1000
    bench.clock.advance(1)
    assert await bench.names(limits=limits) == ["a1"]


async def test_limits_hold_when_many_claim_at_once(bench) -> None:
    await bench.queue.push([bench.task(f"t{place}", group_key=f"g{place % 4}") for place in range(40)])
    queues = [bench.queue, await bench.another(), await bench.another()]
    limits = (Limit(task_type="work", concurrency=7, group_concurrency=2),)
    got: list[str] = []

    async def claim(place: int) -> None:
        queue = queues[place % 3]
        leases = await queue.claim(terms(owner=f"w{place}", limits=limits), 2)
        got.extend(lease.task.group_key for lease in leases)

    for _ in range(6):  # one that met another's claim looks again later
        async with anyio.create_task_group() as group:
            for place in range(12):
                group.start_soon(claim, place)
    assert len(got) == 7
    assert max(got.count(each) for each in set(got)) <= 2
