"""Events reach every hook that asked for them, in order, and no hook holds anything up."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading

import anyio
import pytest

from musicq_async.model.event import Completed, Progressed, Queued, Started, TaskEvent, Warned
from musicq_async.observe.fanout import Events

pytestmark = pytest.mark.anyio


def queued(number: int) -> Queued:
    return Queued(task_id=str(number), task_type="t")


@pytest.fixture
def events() -> Events:
    return Events(buffer=8)


def test_a_plain_hook_is_called_at_once_and_in_order(events):
    seen = []
    events.subscribe(seen.append)
    for number in range(3):
        events.emit(queued(number))
    assert seen == [queued(0), queued(1), queued(2)]


def test_a_hook_sees_only_the_types_it_asked_for_and_their_subclasses(events):
    started, of_tasks = [], []
    events.subscribe(started.append, Started, Warned)
    events.subscribe(of_tasks.append, TaskEvent)
    start, warning = Started(task_id="1", task_type="t", attempt=1), Warned(message="look")
    for event in (queued(1), start, warning):
        events.emit(event)
    assert started == [start, warning]
    assert of_tasks == [queued(1), start]


def test_nobody_listens_until_somebody_subscribes_nor_after_the_last_has_left(events):
    assert not events.listening
    leave = events.subscribe(print)
    assert events.listening
    leave()
    leave()
    assert not events.listening


def test_a_decorated_function_is_subscribed_and_stays_what_it_was(events):
    seen = []

    @events.on(Warned)
    def note(event):
        seen.append(event.message)
        return "noted"

    events.emit(Warned(message="a"))
    events.emit(queued(1))
    assert seen == ["a"]
    assert note(Warned(message="b")) == "noted"


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), asyncio.CancelledError(), GeneratorExit()])
def test_a_hook_that_raises_is_named_in_one_warning_and_stays(events, caplog, error):
    calls, after = [], []

    def broken(event):
        calls.append(event)
        raise error

    events.subscribe(broken)
    events.subscribe(after.append)
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            events.emit(queued(number))
    assert len(calls) == len(after) == 3
    assert ["broken" in record.getMessage() for record in caplog.records] == [True]


def test_a_hook_that_emits_is_not_overtaken_by_its_own_event(events):
    seen = []
    events.subscribe(lambda event: event.task_id == "1" and events.emit(queued(2)), Queued)
    events.subscribe(seen.append)
    events.emit(queued(1))
    assert seen == [queued(1), queued(2)]


def test_a_hook_may_leave_while_it_is_called(events):
    seen = []

    def once(event):
        seen.append(event)
        leave()

    leave = events.subscribe(once)
    events.emit(queued(1))
    events.emit(queued(2))
    assert seen == [queued(1)]


def test_a_plain_hook_that_is_slow_is_named(events, caplog, monkeypatch):
    monkeypatch.setattr("musicq_async.observe.hooks.SLOW", -1.0)
    events.subscribe(lambda _: None)
    with caplog.at_level(logging.WARNING):
        events.emit(queued(1))
    assert "held up everything else" in caplog.text


def test_a_lambda_that_returns_a_coroutine_is_told_to_be_async(events, caplog):
    async def hook(event):
        raise AssertionError

    events.subscribe(lambda event: hook(event))
    with caplog.at_level(logging.WARNING):
        events.emit(queued(1))
    assert "async def" in caplog.text


async def test_an_async_hook_gets_every_event_in_order_those_before_the_start_too(events):
    seen = []

    async def hook(event):
        await anyio.sleep(0)
        seen.append(event)

    events.subscribe(hook)
    events.emit(queued(0))
    async with events.running():
        events.emit(queued(1))
        events.emit(queued(2))
    assert seen == [queued(0), queued(1), queued(2)]


async def test_methods_partials_and_objects_count_as_async_hooks(events):
    class Counter:
        seen = 0

        async def note(self, event):
            self.seen += 1

        async def __call__(self, event):
            self.seen += 1

    async def note(counter, event):
        counter.seen += 1

    counter = Counter()
    async with events.running():
        events.subscribe(counter)
        events.subscribe(counter.note)
        events.subscribe(functools.partial(note, counter))
        events.emit(queued(1))
    assert counter.seen == 3


async def test_an_async_hook_that_raises_or_cancels_itself_goes_on(events, caplog):
    seen = []

    async def hook(event):
        seen.append(event)
        raise (ValueError, asyncio.CancelledError, SystemExit)[len(seen) - 1]

    events.subscribe(hook)
    with caplog.at_level(logging.WARNING):
        async with events.running():
            for number in range(3):
                events.emit(queued(number))
    assert len(seen) == 3
    assert len(caplog.records) == 1


async def test_a_slow_async_hook_loses_the_oldest_and_delays_nobody(events, caplog):
    slow, quick = [], []
    gate = anyio.Event()

    async def hook(event):
        await gate.wait()
        slow.append(event.task_id)

    events.subscribe(hook)
    events.subscribe(quick.append)
    with caplog.at_level(logging.WARNING):
        async with events.running():
            for number in range(20):
                events.emit(queued(number))
            assert len(quick) == 20
            gate.set()
    assert slow == [str(number) for number in range(12, 20)]
    assert caplog.text.count("oldest events are dropped") == 1


async def test_leaving_waits_for_hooks_only_so_long(events, monkeypatch):
    monkeypatch.setattr("musicq_async.observe.fanout.DRAIN", 0.01)

    @events.on()
    async def hook(event):
        await anyio.sleep_forever()

    with anyio.fail_after(1):
        async with events.running():
            events.emit(queued(1))


async def test_an_unsubscribed_async_hook_is_called_no_more(events):
    seen = []

    async def hook(event):
        seen.append(event)

    async with events.running():
        leave = events.subscribe(hook)
        events.emit(queued(1))
        while not seen:
            await anyio.sleep(0)
        leave()
        events.emit(queued(2))
    assert seen == [queued(1)]


async def test_an_error_inside_running_comes_out_as_itself(events):
    with pytest.raises(KeyError):
        async with events.running():
            raise KeyError("mine")


async def test_running_twice_is_refused_and_running_again_is_not(events):
    async with events.running():
        with pytest.raises(RuntimeError):
            async with events.running():
                pass
    async with events.running():
        pass


async def test_run_belongs_to_a_task_group_and_ends_with_it(events):
    seen = []

    @events.on()
    async def hook(event):
        seen.append(event)

    async with anyio.create_task_group() as group:
        await group.start(events.run)
        events.emit(queued(1))
        group.cancel_scope.cancel()
    assert seen == [queued(1)]


async def test_events_of_other_threads_reach_plain_hooks_on_the_loop_in_order(events):
    seen, threads = [], set()

    @events.on()
    def hook(event):
        seen.append(event)
        threads.add(threading.get_ident())

    def emit():
        for number in range(100):
            events.emit(queued(number))

    async with events.running():
        await anyio.to_thread.run_sync(emit)
    assert seen == [queued(number) for number in range(100)]
    assert threads == {threading.get_ident()}


def test_without_a_loop_many_threads_lose_nothing_and_never_nest(events):
    seen, inside, nested = [], [], []

    @events.on()
    def hook(event):
        nested.extend(inside)
        inside.append(1)
        seen.append(event.task_id)
        inside.pop()

    def emit():
        for number in range(500):
            events.emit(queued(number))

    threads = [threading.Thread(target=emit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 2000
    assert not nested


async def test_a_stream_gives_what_happens_while_it_is_open(events):
    events.emit(queued(0))
    async with events.stream(Queued, Completed) as happened:
        events.emit(queued(1))
        events.emit(Progressed(task_id="1", task_type="t", done=1))
        events.emit(queued(2))
        got = [await anext(happened), await anext(happened)]
    assert got == [queued(1), queued(2)]
    assert not events.listening


async def test_a_stream_wakes_for_events_from_a_thread(events):
    async with events.stream() as happened, anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, functools.partial(events.emit, queued(1)))
        with anyio.fail_after(1):
            assert await anext(happened) == queued(1)


async def test_a_slow_stream_loses_the_oldest_and_counts_them(events):
    async with events.stream(buffer=2) as happened:
        for number in range(5):
            events.emit(queued(number))
        assert happened.dropped == 3
        assert await anext(happened) == queued(3)


async def test_cancelling_a_reader_loses_no_event(events):
    got = []
    async with events.stream(buffer=100) as happened:
        for number in range(20):
            with anyio.move_on_after(0.001 if number % 2 else 0):
                events.emit(queued(number))
                got.append(await anext(happened))
        while len(got) < 20:
            got.append(await anext(happened))
    assert got == [queued(number) for number in range(20)]
