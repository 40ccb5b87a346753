"""Backends that fail, leases that are lost, loops that are blocked, processes that die."""

from __future__ import annotations

import threading
import time
from contextlib import asynccontextmanager

import anyio
import msgspec
import pytest

from musicq_async.errors import BackendUnavailable, LeaseLost
from musicq_async.model.event import Completed, Failed, Returned, Started, Warned
from musicq_async.model.lifecycle import settle
from musicq_async.model.outcome import Crash, Interruption
from musicq_async.model.task import TaskState
from musicq_async.ports import Terms

pytestmark = pytest.mark.anyio


class Faulty:
    """A task queue whose methods fail on command."""

    def __init__(self, queue):
        self.queue = queue
        self.away: set[str] = set()
        self.calls: dict[str, int] = {}
        self.delay: dict[str, float] = {}

    def __getattr__(self, name):
        real = getattr(self.queue, name)

        async def call(*args, **kwargs):
            self.calls[name] = self.calls.get(name, 0) + 1
            if name in self.delay:
                await anyio.sleep(self.delay[name])
            if name in self.away:
                raise BackendUnavailable("the database cannot be reached")
            return await real(*args, **kwargs)

        return call


async def until(is_so, seconds=5):
    with anyio.fail_after(seconds):
        while not is_so():
            await anyio.sleep(0.002)


async def test_workers_wait_for_a_backend_that_is_away_and_warn_once(engine, handlers):
    handlers.register("noop", lambda params: 1)
    async with engine(wrap=Faulty, poll_interval=0.01) as running:
        running.queue.away = {"claim"}
        await running.push("noop")
        task_id = await running.push("noop")
        await anyio.sleep(0.3)
        assert running.queue.calls["claim"] < 30
        assert len(running.events.of(Warned)) == 1
        running.queue.away = set()
        await until(lambda: len(running.events.of(Completed)) == 2, 3)
        assert (await running.task(task_id)).result == 1


async def test_a_settle_that_fails_is_made_again_until_it_is_accepted(engine, handlers):
    runs = []

    @handlers.register("once")
    async def once(params):
        runs.append(1)
        running.queue.away = {"settle", "exchange", "claim", "heartbeat"}
        return "kept"

    async with engine(wrap=Faulty, poll_interval=0.01) as running:
        task_id = await running.push("once")
        await until(lambda: running.queue.calls.get("settle", 0) > 2)
        running.queue.away = set()
        await running.idle()
        assert ((await running.task(task_id)).result, runs) == ("kept", [1])


async def test_a_backend_that_reads_and_does_not_settle_is_told_of_once(engine, handlers):
    handlers.register("noop", lambda params: 1)
    async with engine(wrap=Faulty, poll_interval=0.01, concurrency=2) as running:
        running.queue.away = {"settle", "exchange"}
        await running.push("noop")
        await until(lambda: running.queue.calls.get("settle", 0) > 1)
        for _ in range(3):
            await running.push("noop")
            await anyio.sleep(0.1)
        assert running.queue.calls["claim"] < 30
        assert len(running.events.of(Warned)) == 1
        running.queue.away = set()
        await until(lambda: len(running.events.of(Completed)) == 4)


async def test_a_janitor_that_can_do_one_thing_and_not_another_tells_of_it_once(engine, handlers):
    async with engine(wrap=Faulty, poll_interval=0.01, sweep_interval=0.01) as running:
        running.queue.away = {"purge"}
        for _ in range(3):
            calls = dict(running.queue.calls)
            running.signal.due(1)
            await until(
                lambda calls=calls: all(running.queue.calls[name] > calls[name] for name in ("purge", "promote"))
            )
        assert len(running.events.of(Warned)) == 1
        running.queue.away = set()
        calls = running.queue.calls["purge"]
        await until(lambda: running.queue.calls["purge"] > calls + 1)
        running.queue.away = {"purge"}
        await until(lambda: len(running.events.of(Warned)) == 2)


async def test_the_answer_of_a_worker_that_lost_its_lease_is_dropped(engine, handlers):
    release = anyio.Event()

    @handlers.register("slow", max_retries=0)
    async def slow(params):
        await release.wait()
        return "stale"

    async with engine(concurrency=1) as running:
        task_id = await running.push("slow")
        await until(lambda: running.workers.running == 1)
        task = await running.task(task_id)
        change = settle(task, Crash(), now_ms=0, draw=0.0, max_crashes=9)
        running.workers.stop(grace=5)  # or it would claim the task again itself
        assert await running.memory.change(task, change)
        [lease] = await running.memory.claim(Terms(owner="other", seconds=10))
        release.set()
        await until(lambda: not running.workers._executors)
        task = await running.task(task_id)
        assert (task.status, task.lease_token) == (TaskState.RUNNING, lease.token)
        assert len(running.events.of(Warned)) == 1
        assert not running.events.of(Completed)


async def test_a_worker_that_gets_its_own_lost_task_again_keeps_it_apart_from_the_stale_run(engine, handlers):
    release = anyio.Event()
    runs = []

    @handlers.register("again")
    async def again(params):
        runs.append(1)
        if len(runs) == 1:
            running.queue.away = {"settle", "exchange"}
        else:
            await release.wait()
        return len(runs)

    async with engine(wrap=Faulty, poll_interval=0.01, concurrency=2) as running:
        task_id = await running.push("again")
        await until(lambda: running.queue.calls.get("settle", 0) > 0)
        task = await running.task(task_id)
        change = settle(task, Interruption(), now_ms=0, draw=0.0, max_crashes=9)
        assert await running.memory.change(task, change)
        await until(lambda: len(runs) == 2)
        running.queue.away = set()
        await until(lambda: any("another worker" in each.message for each in running.events.of(Warned)))
        await anyio.sleep(0)
        assert running.workers.running == 1, "its lease is renewed"
        release.set()
        await running.idle()
        assert (await running.task(task_id)).result == 2
        assert not any("broke" in each.message for each in running.events.of(Warned))


async def test_a_handler_is_cancelled_when_its_lease_is_found_lost(engine, handlers):
    cancelled = []

    @handlers.register("slow")
    async def slow(params):
        try:
            await anyio.sleep(30)
        finally:
            cancelled.append(True)

    async with engine(concurrency=1, lease=1.0) as running:
        task_id = await running.push("slow")
        await until(lambda: running.workers.running == 1)
        task = await running.task(task_id)
        running.workers.stop(grace=20)
        await running.memory.change(task, settle(task, Crash(), now_ms=0, draw=0.0, max_crashes=9))
        await until(lambda: cancelled, 2)
        await until(lambda: not running.workers._executors)
        assert (await running.task(task_id)).crash_count == 1


async def test_leases_are_renewed_while_a_task_runs(engine, handlers):
    @handlers.register("slow")
    async def slow(params):
        await anyio.sleep(0.9)

    async with engine(lease=1.0) as running:
        task_id = await running.push("slow")
        await until(lambda: running.workers.running == 1)
        first = (await running.task(task_id)).lease_until_ms
        await running.idle()
        assert running.events.names(task_id) == ["Queued", "Started", "Completed"]
        assert first is not None


@asynccontextmanager
async def second_connection(queue):
    yield queue


async def test_a_blocked_event_loop_keeps_its_lease_and_is_reported(engine, handlers):
    beats = []
    renewed = threading.Event()

    class Remote:
        """The keeper's own connection: it is used from the keeper's thread."""

        async def heartbeat(self, leases, *, seconds):
            beats.append((threading.current_thread().name, [lease.task.task_id for lease in leases]))
            renewed.set()
            from musicq_async.ports import Heartbeat

            return Heartbeat()

    @handlers.register("blocks")
    async def blocks(params):
        time.sleep(0.9)

    async with engine(lease=1.0, connect=lambda: second_connection(Remote())) as running:
        task_id = await running.push("blocks")
        await running.idle()
        blocked_beats = [ids for name, ids in beats if "keeper" in name and task_id in ids]
        assert len(blocked_beats) >= 2
        [warning] = running.events.of(Warned)
        assert "blocked" in warning.message
        assert task_id in warning.message
        assert "in blocks" in warning.message


async def test_a_keeper_whose_connection_fails_goes_on(engine, handlers):
    opened = []

    def connect():
        opened.append(1)
        raise BackendUnavailable("no")

    @handlers.register("slow")
    async def slow(params):
        await anyio.sleep(0.7)

    async with engine(lease=1.0, connect=connect) as running:
        await running.push("slow")
        await running.idle()
        assert len(opened) >= 2
        assert running.events.of(Completed)


async def test_a_task_that_was_there_when_a_process_died_runs_alone(engine, handlers):
    together = []

    @handlers.register("work")
    async def work(params):
        together.append(running.workers.running)
        await anyio.sleep(0.002)

    async with engine(concurrency=8) as running:
        for n in range(6):
            await running.memory.push([_new(f"s{n}")])
        leases = await running.memory.claim(Terms(owner="dead", seconds=0), 6)
        for lease in leases:
            change = settle(lease.task, Crash(), now_ms=0, draw=0.0, max_crashes=5)
            await running.memory.settle(lease, change)
        for n in range(12):
            await running.push("work", task_id=f"innocent{n}")
        await running.idle()
        suspects = [await running.task(f"s{n}") for n in range(6)]
        assert all(task.status is TaskState.COMPLETED for task in suspects)
        assert all(task.crash_count == 1 for task in suspects)
        assert len(together) == 18


def _new(task_id):
    from musicq_async.model.task import NewTask

    return NewTask(task_id=task_id, task_type="work", params={})


async def test_the_janitor_returns_the_tasks_of_dead_workers_and_fails_those_that_kill(engine, handlers):
    async with engine(concurrency=1) as running:
        running.workers.stop(grace=0)
        task_id = await running.push("deadly")
        for _ in range(3):
            [lease] = await running.memory.claim(Terms(owner="dead", seconds=0))
            await anyio.sleep(0.002)
            await running.janitor.rescue()
            with pytest.raises(LeaseLost):
                await running.memory.report(lease, {})
        task = await running.task(task_id)
        assert (task.status, task.crash_count, task.retry_count) == (TaskState.FAILED, 3, 0)
        assert len(running.events.of(Returned)) == 2
        assert len(running.events.of(Failed)) == 1


async def test_the_janitor_sweeps_what_is_over(engine, handlers):
    handlers.register("noop", lambda params: 1)
    retention = {TaskState.COMPLETED: 0.0}
    async with engine(retention=retention, sweep_interval=3600) as running:
        task_id = await running.push("noop")
        failed = await running.push("nobody")
        await running.idle()
        while int(time.time()) <= (await running.task(task_id)).completed_at:
            await anyio.sleep(0.02)
        await running.janitor.sweep()
        assert await running.memory.get(task_id) is None
        assert await running.memory.get(failed) is not None


async def test_an_executor_that_breaks_down_is_replaced(engine, handlers):
    handlers.register("noop", lambda params: 1)
    async with engine(concurrency=2) as running:
        real = running.workers._attempts.outcome
        broken = [True]

        async def outcome(run, scope):
            if broken:
                broken.clear()
                raise RuntimeError("a bug of ours")
            return await real(run, scope)

        running.workers._attempts.outcome = outcome
        ids = [await running.push("noop") for _ in range(4)]
        await running.idle()
        assert running.workers._executors == 2
        assert [(await running.task(each)).status for each in ids] == [TaskState.COMPLETED] * 4
        assert "replaced" in running.events.of(Warned)[0].message


async def test_no_cancel_is_lost_between_a_failure_and_its_retry(engine, handlers):
    """Cancelled by another process in the very moment in which the handler fails."""

    @handlers.register("fails", max_retries=9)
    async def fails(params, context):
        raise ValueError("x")

    class CancelsAtHeartbeat(Faulty):
        def __getattr__(self, name):
            call = super().__getattr__(name)

            async def heartbeat(leases, *, seconds):
                for lease in leases:
                    await self.queue.request_cancel(lease.task.task_id, "now")
                return await self.queue.heartbeat(leases, seconds=seconds)

            return heartbeat if name == "heartbeat" else call

    async with engine(wrap=CancelsAtHeartbeat) as running:
        task = await running.run("fails")
        assert (task.status, task.cancel_reason) == (TaskState.CANCELLED, "now")


async def test_events_of_a_run_begin_only_once_it_begins(engine, handlers):
    handlers.register("noop", lambda params: 1)
    async with engine() as running:
        await running.run("noop")
        assert len(running.events.of(Started)) == 1
        assert msgspec.structs.asdict(running.events.of(Started)[0])["attempt"] == 1


async def test_a_claim_that_is_on_its_way_when_the_workers_stop_is_put_back(engine, handlers):
    asked, answer = anyio.Event(), anyio.Event()
    ran = []

    class SlowToLend(Faulty):
        async def claim(self, terms, limit=1):
            asked.set()
            await answer.wait()
            return await self.queue.claim(terms, limit)

    @handlers.register("job")
    async def job(params):
        ran.append(True)
        await anyio.sleep(30)

    began = time.monotonic()
    async with engine(concurrency=1, wrap=SlowToLend) as running:
        task_id = await running.push("job")
        await asked.wait()
        running.workers.stop(grace=0)
        answer.set()
    assert time.monotonic() - began < 1
    task = await running.task(task_id)
    assert (task.status, task.retry_count, ran) == (TaskState.PENDING, 0, [])
