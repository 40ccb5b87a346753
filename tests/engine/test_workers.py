"""Workers: whatever a handler does, its task ends as it should and the workers go on."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time

import anyio
import pytest

from musicq_async.engine.drain import until_idle
from musicq_async.errors import (
    InvalidParams,
    RateLimited,
    TaskCancelled,
    TaskFailed,
    TransferBroken,
    UnknownTaskType,
    UsageError,
)
from musicq_async.model.event import Completed, Failed, Progressed, Retried, Returned, Snoozed, Started, Warned
from musicq_async.model.task import TaskState

pytestmark = pytest.mark.anyio

OUTLANDISH = [
    asyncio.CancelledError("mine"),
    SystemExit(3),
    GeneratorExit(),
    BaseExceptionGroup("both", [SystemExit(1), ValueError("x")]),
    ExceptionGroup("inner", [ValueError("x")]),
    StopIteration("done"),
    StopAsyncIteration(),
    MemoryError(),
    RecursionError("deep"),
    type("Own", (BaseException,), {})("own"),
    type("Speechless", (Exception,), {"__str__": lambda self: 1 / 0})(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad \ud800 \x00 text"),
]


@pytest.mark.parametrize("kind", ["async", "plain"])
@pytest.mark.parametrize("error", OUTLANDISH, ids=lambda error: type(error).__name__)
async def test_any_exception_leaves_the_number_of_workers_unchanged(engine, handlers, error, kind):
    if kind == "async":

        @handlers.register("bad", max_retries=0)
        async def bad(params):
            raise error

    else:

        @handlers.register("bad", max_retries=0)
        def bad_plain(params):
            raise error

    @handlers.register("good")
    async def good(params):
        return 1

    async with engine(concurrency=2) as running:
        bad_ids = [await running.push("bad") for _ in range(4)]
        good_ids = [await running.push("good") for _ in range(4)]
        await running.idle()
        assert running.workers._executors == 2
        assert [(await running.task(each)).status for each in bad_ids] == [TaskState.FAILED] * 4
        assert [(await running.task(each)).status for each in good_ids] == [TaskState.COMPLETED] * 4
        task = await running.task(bad_ids[0])
        if not (kind == "async" and isinstance(error, StopIteration)):  # Python itself makes it a RuntimeError
            assert task.errors[0].type == type(error).__name__
        task.errors[0].message.encode()
        assert "\x00" not in task.errors[0].message


async def test_a_handler_that_cancels_its_own_task_is_only_failed(engine, handlers):
    @handlers.register("suicidal", max_retries=0)
    async def suicidal(params):
        asyncio.current_task().cancel()
        if params["waits"]:
            await anyio.sleep(1)
        return "still here"

    async with engine(concurrency=1) as running:
        waited = await running.run("suicidal", {"waits": True})
        returned = await running.run("suicidal", {"waits": False})
        assert (waited.status, waited.errors[0].type) == (TaskState.FAILED, "CancelledError")
        assert (returned.status, returned.result) == (TaskState.COMPLETED, "still here")
        assert running.workers._executors == 1


async def test_the_result_is_kept_as_json(engine, handlers):
    @handlers.register("give")
    async def give(params):
        return {"list": (1, 2.5, None, True), "text": "玉盘", "of": params["n"]}

    async with engine() as running:
        task = await running.run("give", {"n": 7})
    assert task.result == {"list": [1, 2.5, None, True], "text": "玉盘", "of": 7}
    assert task.error_message is None
    assert task.lease_token is None
    assert task.started_at is not None
    assert task.completed_at is not None


class Odd:
    pass


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "result", [Odd(), {1: 2}, float("nan"), {"deep": {"set": {1}}}, b"bytes", 1 << 70, "\ud800", nested(70)]
)
async def test_a_result_that_is_not_json_completes_the_task_without_it(engine, handlers, result):
    @handlers.register("give")
    async def give(params):
        return result

    async with engine() as running:
        task = await running.run("give")
        assert (task.status, task.result) == (TaskState.COMPLETED, None)
        assert len(running.events.of(Warned)) == 1


async def test_a_handler_cannot_change_what_its_retry_gets(engine, handlers):
    seen = []

    @handlers.register("greedy", max_retries=1)
    async def greedy(params):
        seen.append({key: list(value) for key, value in params.items()})
        params["list"].append(9)
        params["new"] = [1]
        raise TransferBroken("again", retry_after=0)

    async with engine() as running:
        task = await running.run("greedy", {"list": [1]})
    assert seen == [{"list": [1]}, {"list": [1]}]
    assert task.params == {"list": [1]}


async def test_context_variables_of_one_task_are_not_seen_by_the_next(engine, handlers):
    variable = contextvars.ContextVar("variable", default="clean")

    @handlers.register("paint")
    async def paint(params):
        seen = variable.get()
        variable.set("painted")
        await anyio.sleep(0)
        assert variable.get() == "painted"
        return seen

    async with engine(concurrency=1) as running:
        await running.run("paint")
        assert (await running.run("paint")).result == "clean"


async def test_retries_count_and_the_error_decides_whether_there_are_any(engine, handlers):
    attempts = []

    @handlers.register("flaky", max_retries=2)
    async def flaky(params, context):
        attempts.append(context.attempt)
        raise TransferBroken("cut off", retry_after=0.001)

    @handlers.register("hopeless")
    async def hopeless(params):
        raise InvalidParams("no such field")

    @handlers.register("final")
    async def final(params):
        raise TaskFailed("enough")

    async with engine() as running:
        task = await running.run("flaky")
        assert attempts == [1, 2, 3]
        assert (task.status, task.retry_count, len(task.errors)) == (TaskState.FAILED, 2, 3)
        assert [each.attempt for each in task.errors] == [1, 2, 3]
        assert task.error_message == "TransferBroken: cut off"
        assert "raise TransferBroken" in task.errors[0].traceback
        assert "attempt.py" not in task.errors[0].traceback
        assert running.events.names(task.task_id) == [
            "Queued", "Started", "Retried", "Started", "Retried", "Started", "Failed",
        ]  # fmt: skip
        assert len((await running.run("hopeless")).errors) == 1
        assert len((await running.run("final")).errors) == 1
        assert (await running.run("flaky", max_retries=0)).retry_count == 0


async def test_an_error_names_its_own_wait_and_others_back_off(engine, handlers):
    @handlers.register("slow_down", max_retries=1)
    async def slow_down(params):
        raise RateLimited("asked to wait")

    @handlers.register("foreign", max_retries=1)
    async def foreign(params):
        raise KeyError("foreign errors are retried")

    async with engine(draw=lambda: 0.5) as running:
        await running.push("slow_down")
        await running.push("foreign")
        while len(running.events.of(Retried)) < 2:
            await anyio.sleep(0.001)
        waits = {event.task_type: event.wait for event in running.events.of(Retried)}
        assert waits == {"slow_down": 30.0, "foreign": 1.0}


@pytest.mark.parametrize("wait", [float("nan"), float("inf"), -5, "soon", None])
async def test_a_senseless_retry_after_does_no_harm(engine, handlers, wait):
    @handlers.register("odd", max_retries=1)
    async def odd(params):
        error = TransferBroken("x")
        error.retry_after = wait
        raise error

    async with engine() as running:
        task_id = await running.push("odd")
        while not running.events.of(Retried):
            await anyio.sleep(0.001)
        assert (await running.task(task_id)).status in {TaskState.SCHEDULED, TaskState.PENDING, TaskState.FAILED}


async def test_a_timeout_stops_an_async_handler_and_counts_as_an_attempt(engine, handlers):
    cleaned = []

    @handlers.register("slow", timeout=0.02, max_retries=0)
    async def slow(params):
        try:
            await anyio.sleep(5)
        finally:
            cleaned.append(True)

    async with engine() as running:
        task = await running.run("slow")
        assert (task.status, task.errors[0].type, cleaned) == (TaskState.FAILED, "TaskTimedOut", [True])
        own = await running.run("slow", timeout=0.01)
        assert "0.01 s" in own.error_message


async def test_a_plain_handler_that_overruns_its_timeout_has_failed_and_is_told(engine, handlers):
    told = []

    @handlers.register("slow", timeout=0.03, max_retries=0)
    def slow(params, context):
        while not context.cancelled:
            time.sleep(0.002)
        told.append(True)

    @handlers.register("deaf", timeout=0.03, max_retries=0)
    def deaf(params):
        time.sleep(0.06)
        return "done after all"

    async with engine() as running:
        assert (await running.run("slow")).errors[0].type == "TaskTimedOut"
        assert told == [True]
        assert (await running.run("deaf")).errors[0].type == "TaskTimedOut"


async def test_plain_handlers_partials_and_callable_objects_run(engine, handlers):
    import functools

    class Adder:
        async def __call__(self, params):
            return params["a"] + 1

    def multiply(factor, params):
        return params["a"] * factor, threading.current_thread() is threading.main_thread()

    handlers.register("add", Adder())
    handlers.register("multiply")(functools.partial(multiply, 3))
    handlers.register("lambda", lambda params: params["a"])

    async def later(params):
        return "awaited"

    handlers.register("disguised", lambda params: later(params))
    async with engine() as running:
        assert (await running.run("add", {"a": 1})).result == 2
        assert (await running.run("multiply", {"a": 2})).result == [6, False]
        assert (await running.run("lambda", {"a": 5})).result == 5
        assert (await running.run("disguised")).result == "awaited"


async def test_a_task_that_nobody_handles_fails_in_memory_with_its_reason(engine, handlers):
    async with engine() as running:
        task = await running.run("nobody")
        assert task.status is TaskState.FAILED
        assert task.errors[0].type == UnknownTaskType.__name__


async def test_a_task_that_nobody_handles_waits_where_others_may_take_it(engine, handlers):
    @handlers.register("mine")
    async def mine(params):
        return 1

    async with engine(fails_unknown=False) as running:
        waiting = await running.push("nobody")
        ours = await running.push("mine")
        with anyio.fail_after(5):
            await until_idle(running.queue, running.workers, clock=running.clock, types=handlers.types)
        assert (await running.task(ours)).result == 1
        assert (await running.task(waiting)).status is TaskState.PENDING


async def test_cancelling_a_running_task_stops_it_and_keeps_the_reason(engine, handlers):
    started = anyio.Event()
    cleaned = []

    @handlers.register("long")
    async def long(params):
        started.set()
        try:
            await anyio.sleep(30)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.001)
                cleaned.append(True)
            raise

    async with engine(concurrency=1) as running:
        task_id = await running.push("long")
        await started.wait()
        assert await running.tasks.cancel_task(task_id, "not needed")
        await running.idle()
        task = await running.task(task_id)
        assert (task.status, task.cancel_reason, cleaned) == (TaskState.CANCELLED, "not needed", [True])
        assert not await running.tasks.cancel_task(task_id)
        handlers.register("next", lambda params: 2)
        assert (await running.run("next")).result == 2


async def test_a_cancel_from_another_process_reaches_a_running_task_within_a_second(engine, handlers):
    started = anyio.Event()

    @handlers.register("long")
    async def long(params):
        started.set()
        await anyio.sleep(30)

    async with engine() as running:
        task_id = await running.push("long")
        await started.wait()
        await running.memory.request_cancel(task_id, "from elsewhere")
        with anyio.fail_after(1):
            await running.idle()
        assert (await running.task(task_id)).cancel_reason == "from elsewhere"


async def test_a_plain_handler_sees_that_it_was_cancelled(engine, handlers):
    @handlers.register("long")
    def long(params, context):
        while not context.cancelled:
            time.sleep(0.001)
        return "early"

    async with engine() as running:
        task_id = await running.push("long")
        while not running.events.of(Started):
            await anyio.sleep(0.001)
        await running.tasks.cancel_task(task_id)
        await running.idle()
        assert (await running.task(task_id)).status is TaskState.CANCELLED


async def test_a_failure_after_a_cancel_request_is_not_retried(engine, handlers):
    @handlers.register("fails", max_retries=5)
    async def fails(params, context):
        await running.memory.request_cancel(context.task_id, "enough")
        raise ValueError("too late")

    async with engine() as running:
        task = await running.run("fails")
        assert (task.status, task.cancel_reason) == (TaskState.CANCELLED, "enough")


async def test_a_handler_may_say_that_its_task_is_cancelled(engine, handlers):
    @handlers.register("gives_up")
    async def gives_up(params):
        raise TaskCancelled("nothing to do")

    async with engine() as running:
        assert (await running.run("gives_up")).status is TaskState.CANCELLED


@pytest.mark.parametrize("way", ["return", "raise", "await", "call"])
async def test_a_snooze_runs_the_task_again_without_spending_an_attempt(engine, handlers, way):
    attempts = []

    @handlers.register("sleepy", max_retries=0)
    async def sleepy(params, context):
        attempts.append(context.attempt)
        if len(attempts) < 3:
            if way == "return":
                return context.snooze(0.001)
            if way == "raise":
                raise context.snooze(0.001)
            if way == "await":
                await context.snooze(0.001)
            context.snooze(0.001)
            return None
        return "awake"

    async with engine() as running:
        task = await running.run("sleepy")
        assert attempts == [1, 1, 1]
        assert (task.result, task.snooze_count, task.retry_count) == ("awake", 2, 0)
        assert len(running.events.of(Snoozed)) == 2


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "1", None, True, 1e12])
async def test_a_senseless_snooze_fails_the_task(engine, handlers, seconds):
    @handlers.register("sleepy")
    async def sleepy(params, context):
        return context.snooze(seconds)

    async with engine() as running:
        assert (await running.run("sleepy")).errors[0].type == UsageError.__name__


async def test_progress_is_stored_and_told(engine, handlers):
    @handlers.register("count")
    async def count(params, context):
        for done in range(1, 4):
            await context.progress(done, 3, f"step {done}")

    @handlers.register("count_plain")
    def count_plain(params, context):
        context.progress_sync(1, 2)
        context.progress_sync(2, 2)

    async with engine() as running:
        task = await running.run("count")
        assert task.progress == {"done": 3, "total": 3, "message": "step 3"}
        assert [event.done for event in running.events.of(Progressed)] == [1, 2, 3]
        assert (await running.run("count_plain")).progress["done"] == 2


async def test_handlers_push_through_their_context(engine, handlers):
    @handlers.register("parent")
    async def parent(params, context):
        return await context.queue.push_task({"type": "child"})

    handlers.register("child", lambda params: "born")
    async with engine() as running:
        child = (await running.run("parent")).result
        assert (await running.task(child)).result == "born"


async def test_stop_waits_for_running_tasks_and_claims_no_more(engine, handlers):
    release = anyio.Event()

    @handlers.register("held")
    async def held(params):
        await release.wait()
        return "finished"

    async with engine(concurrency=1) as running:
        first = await running.push("held")
        second = await running.push("held")
        while running.workers.running == 0:
            await anyio.sleep(0)
        running.workers.stop()
        await anyio.sleep(0.01)
        release.set()
        while running.workers._executors:
            await anyio.sleep(0.001)
        assert (await running.task(first)).result == "finished"
        assert (await running.task(second)).status is TaskState.PENDING


async def test_what_runs_past_the_grace_is_put_back_uncounted(engine, handlers):
    cleaned = []

    @handlers.register("long")
    async def long(params):
        try:
            await anyio.sleep(30)
        finally:
            cleaned.append(True)

    @handlers.register("stuck")
    def stuck(params, context):
        while not context.cancelled:
            time.sleep(0.001)

    async with engine(concurrency=2, grace=0.02) as running:
        ids = [await running.push("long"), await running.push("stuck")]
        while running.workers.running < 2:
            await anyio.sleep(0.001)
        running.workers.stop()
        while running.workers._executors:
            await anyio.sleep(0.001)
        for task_id in ids:
            task = await running.task(task_id)
            assert (task.status, task.retry_count, task.interrupt_count) == (TaskState.PENDING, 0, 1)
            assert task.lease_token is None
        assert cleaned == [True]
        assert len(running.events.of(Returned)) == 2


async def test_a_thread_that_never_ends_does_not_hold_up_the_stop(engine, handlers):
    release = threading.Event()

    @handlers.register("deaf")
    def deaf(params):
        release.wait(20)

    async with engine(concurrency=1) as running:
        task_id = await running.push("deaf")
        while running.workers.running < 1:
            await anyio.sleep(0.001)
        running.workers.stop(grace=0)
        with anyio.fail_after(3):
            while running.workers._executors:
                await anyio.sleep(0.005)
        assert (await running.task(task_id)).status is TaskState.PENDING
        release.set()


async def test_cancelling_the_workers_from_outside_puts_tasks_back(engine, handlers):
    @handlers.register("long")
    async def long(params):
        await anyio.sleep(30)

    async with engine(concurrency=3) as running:
        ids = [await running.push("long") for _ in range(3)]
        while running.workers.running < 3:
            await anyio.sleep(0.001)
    for task_id in ids:
        task = await running.task(task_id)
        assert (task.status, task.retry_count, task.interrupt_count) == (TaskState.PENDING, 0, 1)


async def test_priorities_are_exact_and_equal_ones_first_come_first_served(engine, handlers):
    order = []

    @handlers.register("note")
    async def note(params):
        order.append(params["n"])

    async with engine(concurrency=1) as running:
        blocker = anyio.Event()

        @handlers.register("block")
        async def block(params):
            await blocker.wait()

        await running.push("block")
        await anyio.sleep(0.01)
        for n, priority in enumerate([5, 0, -3, 0, 5, -3]):
            await running.push("note", {"n": n}, priority=priority)
        blocker.set()
        await running.idle()
    assert order == [2, 5, 1, 3, 0, 4]


async def test_a_delayed_task_waits_for_its_time(engine, handlers):
    @handlers.register("note")
    async def note(params):
        return None

    async with engine() as running:
        before = time.time()
        task_id = await running.push("note", delay=0.05)
        assert (await running.task(task_id)).status is TaskState.SCHEDULED
        await running.idle()
        assert (await running.task(task_id)).status is TaskState.COMPLETED
        assert 0.049 <= time.time() - before < 0.5  # the store counts whole milliseconds
        far = await running.push("note", delay=3600)
        await running.idle()
        assert (await running.task(far)).status is TaskState.SCHEDULED


async def test_the_concurrency_of_a_type_is_kept_and_bars_no_other(engine, handlers):
    now = peak = 0
    others = []

    @handlers.register("narrow", concurrency=2)
    async def narrow(params):
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        await anyio.sleep(0.005)
        now -= 1

    @handlers.register("wide")
    async def wide(params):
        others.append(now)

    async with engine(concurrency=8) as running:
        for _ in range(8):
            await running.push("narrow")
        for _ in range(4):
            await running.push("wide")
        await running.idle()
    assert peak == 2
    assert len(others) == 4
    assert max(others) > 0


async def test_the_rate_of_a_type_is_kept(engine, handlers):
    began = []

    @handlers.register("slow", rate=100)
    async def slow(params):
        began.append(time.monotonic())

    async with engine(concurrency=8) as running:
        for _ in range(30):
            await running.push("slow")
        await running.idle()
    assert len(began) == 30
    assert 0.15 < began[-1] - began[0] < 1.0


async def test_unknown_types_fail_even_while_a_limit_bars_a_type(engine, handlers):
    release = anyio.Event()

    @handlers.register("narrow", concurrency=1)
    async def narrow(params):
        await release.wait()

    async with engine(concurrency=4, poll_interval=0.01) as running:
        await running.push("narrow")
        await running.push("narrow")
        await anyio.sleep(0.01)
        unknown = await running.push("nobody")
        with anyio.fail_after(2):
            while (await running.task(unknown)).status is not TaskState.FAILED:
                await anyio.sleep(0.002)
        release.set()
        await running.idle()


async def test_events_tell_one_story_in_order(engine, handlers):
    @handlers.register("give")
    async def give(params, context):
        await context.progress(1)
        return 5

    async with engine() as running:
        task = await running.run("give")
        assert running.events.names(task.task_id) == ["Queued", "Started", "Progressed", "Completed"]
        assert running.events.of(Completed)[0].result == 5
        assert running.events.of(Completed)[0].seconds >= 0
        assert not running.events.of(Failed)


async def test_secrets_are_taken_out_of_errors_before_they_are_stored(engine, handlers):
    @handlers.register("leaky", max_retries=0)
    async def leaky(params):
        raise ValueError("cookie hunter2 refused")

    async with engine(redact=lambda text: text.replace("hunter2", "***")) as running:
        task = await running.run("leaky")
        assert (
            "hunter2" not in task.error_message + task.errors[0].message + task.errors[0].traceback.split("Error:")[-1]
        )


async def test_other_tasks_of_the_loop_have_their_turn_while_no_ops_run(engine, handlers):
    @handlers.register("noop")
    async def noop(params):
        return None

    async with engine(concurrency=50) as running:
        for _ in range(20_000):
            await running.push("noop")
        worst = 0.0
        last = time.perf_counter()
        while running.workers.running or await running.tasks.get_queue_size():
            await anyio.sleep(0)
            now = time.perf_counter()
            worst, last = max(worst, now - last), now
        assert worst < 0.25
