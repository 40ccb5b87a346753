"""Groups, chains, unique tasks, limits, pauses and throttled retries, with workers that run them."""

from __future__ import annotations

import anyio
import pytest

from musicq_async.errors import InvalidTask, UsageError
from musicq_async.model.event import Cancelled, Queued
from musicq_async.model.task import TaskState

pytestmark = pytest.mark.anyio


async def test_a_groups_callback_runs_once_after_the_last_and_learns_how_the_others_ended(engine, handlers):
    seen = []

    @handlers.register("part", max_retries=0)
    async def part(params):
        seen.append(params["n"])
        if params["n"] == 1:
            raise ValueError("no")

    @handlers.register("after")
    async def after(params, context):
        seen.append(await context.queue.group_counts(context.task_id))

    async with engine(concurrency=3) as running:
        parts = [{"type": "part", "params": {"n": n}} for n in range(4)]
        callback = await running.tasks.push_group(parts, {"type": "after"})
        await running.idle()
        assert seen[-1] == {"completed": 3, "failed": 1}
        assert sorted(seen[:-1]) == [0, 1, 2, 3]
        assert (await running.task(callback)).status is TaskState.COMPLETED


async def test_a_group_of_nothing_calls_back_at_once(engine, handlers):
    handlers.register("after", lambda params: "done")
    async with engine() as running:
        callback = await running.tasks.push_group([], {"type": "after"})
        await running.idle()
        assert (await running.task(callback)).result == "done"


async def test_a_group_whose_last_member_is_cancelled_while_it_waits_calls_back(engine, handlers):
    handlers.register("after", lambda params: "done")
    async with engine() as running:
        callback = await running.tasks.push_group([{"type": "part", "task_id": "p", "delay": 60}], {"type": "after"})
        await running.tasks.cancel_task("p")
        await running.idle()
        assert (await running.task(callback)).result == "done"


async def test_a_chain_runs_in_order_and_is_cancelled_behind_a_failure(engine, handlers):
    order = []

    @handlers.register("step", max_retries=0)
    async def step(params):
        order.append(params["n"])
        await anyio.sleep(0.001)
        if params.get("bad"):
            raise ValueError("no")

    async with engine(concurrency=4) as running:
        good = await running.tasks.push_chain([{"type": "step", "params": {"n": n}} for n in range(4)])
        await running.idle()
        assert order == [0, 1, 2, 3]
        bad = await running.tasks.push_chain([{"type": "step", "params": {"n": n, "bad": n == 5}} for n in range(4, 8)])
        await running.idle()
        states = [(await running.task(each)).status.value for each in bad]
        assert states == ["completed", "failed", "cancelled", "cancelled"]
        assert [event.task_id for event in running.events.of(Cancelled)] == bad[2:]
        assert len(good) == 4


async def test_waiting_tasks_take_no_time_of_their_own(engine):
    async with engine() as running:
        with pytest.raises(InvalidTask, match="delay"):
            await running.tasks.push_group([], {"type": "after", "delay": 5})
        with pytest.raises(InvalidTask, match="first task"):
            await running.tasks.push_chain([{"type": "a"}, {"type": "b", "delay": 5}])


async def test_pushing_a_held_key_returns_the_id_that_is_there_and_tells_of_nothing(engine):
    async with engine() as running:
        first = await running.push("nobody", unique_key="k", delay=60)
        again = await running.push("nobody", unique_key="k")
        many = await running.tasks.push_many([{"type": "nobody", "unique_key": "k"}])
        assert (again, many) == (first, [first])
        assert len(running.events.of(Queued)) == 1


@pytest.mark.parametrize("mode", ["always", 0, -1, True, float("nan"), [], {"s": 1}])
async def test_a_wrong_unique_mode_is_refused_by_name(engine, mode):
    async with engine() as running:
        with pytest.raises(InvalidTask, match="unique_mode"):
            await running.push("a", unique_key="k", unique_mode=mode)
        with pytest.raises(InvalidTask, match="unique_key"):
            await running.push("a", unique_mode="queued")


async def test_a_groups_concurrency_holds_while_other_groups_go_on(engine, handlers):
    now: dict[str, int] = {}
    most: dict[str, int] = {}

    @handlers.register("fetch", group_concurrency=1)
    async def fetch(params):
        group = params["group"]
        now[group] = now.get(group, 0) + 1
        most[group] = max(most.get(group, 0), now[group])
        most["all"] = max(most.get("all", 0), sum(now.values()))
        await anyio.sleep(0.005)
        now[group] -= 1

    async with engine(concurrency=6) as running:
        for place in range(24):
            await running.push("fetch", {"group": f"g{place % 3}"}, group_key=f"g{place % 3}")
        await running.idle()
    assert most == {"g0": 1, "g1": 1, "g2": 1, "all": 3}


async def test_a_paused_type_rests_until_it_is_resumed(engine, handlers):
    handlers.register("mail", lambda params: "sent")
    handlers.register("other", lambda params: "done")
    async with engine(poll_interval=0.01) as running:
        await running.tasks.pause_type("mail")
        mail = await running.push("mail")
        other = await running.push("other")
        await running.idle()
        assert (await running.task(mail)).status is TaskState.PENDING
        assert (await running.task(other)).status is TaskState.COMPLETED
        assert await running.tasks.paused_types() == ["mail"]
        await running.tasks.resume_type("mail")
        await running.idle()
        assert (await running.task(mail)).result == "sent"


async def test_a_pause_by_another_process_is_seen_at_the_next_poll(engine, handlers):
    handlers.register("mail", lambda params: "sent")
    async with engine(poll_interval=0.01) as running:
        await running.memory.pause("mail")
        await anyio.sleep(0.05)
        mail = await running.push("mail")
        await anyio.sleep(0.03)
        assert (await running.task(mail)).status is TaskState.PENDING


@pytest.mark.parametrize("name", ["", None, 5, "x" * 101])
async def test_only_a_type_can_be_paused(engine, name):
    async with engine() as running:
        with pytest.raises(UsageError, match="type"):
            await running.tasks.pause_type(name)


async def test_dead_letters_can_be_retried_so_many_a_second(engine, handlers):
    @handlers.register("fails", max_retries=0)
    async def fails(params):
        raise ValueError("no")

    async with engine() as running:
        ids = [await running.push("fails", {"n": n}) for n in range(4)]
        await running.idle()
        handlers.register("fails", lambda params: params["n"], replace=True)
        before = running.clock.time_ms()
        assert await running.tasks.retry_failed(rate=2) == 4
        times = sorted([(await running.task(each)).run_at_ms or before for each in ids])
        assert [round((time - before) / 500) for time in times] == [0, 1, 2, 3]
        with pytest.raises(UsageError, match="rate"):
            await running.tasks.retry_failed(rate=0)
