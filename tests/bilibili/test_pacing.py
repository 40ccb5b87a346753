"""The pace of calls, and the pause after a refusal."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from musicq_async.bilibili.breaker import Breaker, risk_key
from musicq_async.bilibili.pacing import Pace
from musicq_async.errors import RiskControl

pytestmark = pytest.mark.anyio


async def test_a_burst_is_free_and_then_the_rate_holds(clock: Any) -> None:
    pace = Pace(rate=2.0, clock=clock)
    moments = []
    for _ in range(7):
        await pace.turn()
        moments.append(clock.monotonic())
    assert moments == pytest.approx([0, 0, 0, 0.5, 1.0, 1.5, 2.0])


async def test_rest_earns_no_more_than_one_burst(clock: Any) -> None:
    pace = Pace(rate=1.0, clock=clock)
    await pace.turn()
    clock.passed += 1000
    for _ in range(3):
        await pace.turn()
    assert clock.monotonic() == 1000
    await pace.turn()
    assert clock.monotonic() == pytest.approx(1001)


async def test_callers_go_in_the_order_in_which_they_came(clock: Any) -> None:
    pace, order = Pace(rate=1.0, clock=clock), []

    async def caller(number: int) -> None:
        await pace.turn()
        order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(caller, number)
            await anyio.lowlevel.checkpoint()
    assert order == list(range(10))
    assert clock.monotonic() == pytest.approx(7)


async def test_a_cancelled_caller_has_used_no_turn() -> None:
    from musicq_async.clock import SystemClock

    pace = Pace(rate=20.0, burst=1, clock=SystemClock())
    await pace.turn()
    for _ in range(50):
        with anyio.move_on_after(0):
            await pace.turn()
    start = anyio.current_time()
    await pace.turn()
    assert anyio.current_time() - start < 0.2


async def test_a_hold_stops_everybody(clock: Any) -> None:
    pace = Pace(rate=100.0, clock=clock)
    pace.hold(30)
    await pace.turn()
    assert clock.monotonic() == pytest.approx(30)


async def test_pauses_grow_and_are_forgiven(clock: Any, store: Any) -> None:
    breaker = Breaker(store=store, clock=clock)
    pauses = []
    for _ in range(4):
        error = await breaker.trip("7", "banned")
        pauses.append(error.retry_after)
        clock.passed += error.retry_after or 0
    assert pauses == [300, 900, 3600, 3600]
    clock.passed += 3601
    assert (await breaker.trip("7", "banned")).retry_after == 300


async def test_a_pause_stops_the_account_everywhere_and_no_other(clock: Any, store: Any) -> None:
    await Breaker(store=store, clock=clock).trip("7", "banned")
    other_process = Breaker(store=store, clock=clock)
    clock.passed += 100
    with pytest.raises(RiskControl) as caught:
        async with other_process.passage("7"):
            pytest.fail("paused calls must not pass")
    assert caught.value.retry_after == pytest.approx(200)
    with pytest.raises(RiskControl):
        other_process.refuse_if_paused("7")
    async with other_process.passage("guest"):
        pass
    clock.passed += 200
    async with other_process.passage("7"):
        pass


async def test_refusals_that_come_together_are_one(clock: Any, store: Any) -> None:
    breaker = Breaker(store=store, clock=clock)
    for _ in range(5):
        await breaker.trip("7", "banned")
    assert (await store.get_public(risk_key("7")))["level"] == 1


async def test_after_a_pause_one_goes_first(clock: Any, store: Any) -> None:
    breaker = Breaker(store=store, clock=clock)
    await breaker.trip("7", "banned")
    clock.passed += 300
    together, most, passed = 0, 0, 0

    async def call() -> None:
        nonlocal together, most, passed
        async with breaker.passage("7"):
            together += 1
            if not passed:
                most = max(most, together)
            await anyio.sleep(0.001)
            together -= 1
            passed += 1

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(call)
    assert (most, passed) == (1, 5)


async def test_a_pause_that_a_wrong_clock_wrote_does_not_last_for_ever(clock: Any, store: Any) -> None:
    await store.set_public(risk_key("7"), {"until": clock.time() + 10**9, "level": 1})
    with pytest.raises(RiskControl) as caught:
        async with Breaker(store=store, clock=clock).passage("7"):
            pass
    assert caught.value.retry_after == 3600


@pytest.mark.parametrize("spoilt", ["x", 7, {}, {"until": "soon"}, {"until": None, "level": "x"}, []])
async def test_a_spoilt_record_is_no_pause(clock: Any, store: Any, spoilt: object) -> None:
    await store.set_public(risk_key("7"), spoilt)
    async with Breaker(store=store, clock=clock).passage("7"):
        pass


async def test_processes_that_share_an_account_share_its_rate(clock: Any) -> None:
    sharers = 4
    pace = Pace(rate=2.0, burst=1, sharers=lambda: sharers, clock=clock)
    moments = []
    for _ in range(3):
        await pace.turn()
        moments.append(clock.monotonic())
    sharers = 1
    await pace.turn()
    await pace.turn()
    assert moments == pytest.approx([0, 2.0, 4.0])
    assert clock.monotonic() == pytest.approx(6.5)
