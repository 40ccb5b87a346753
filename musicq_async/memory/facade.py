"""`AsyncQueue`: the calls of `MemoryQueue` behind ``await``, for any number of event loops beside threads.

Waiting costs no thread. A coroutine stands in the same line as the threads; the push that wakes it resolves its
future, and it takes the task itself, in one step, with no ``await`` between taking and returning. So whatever cancels
it finds it either without a task, and then the wake-up goes to the next in line, or already returned.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import math
from asyncio.events import _get_running_loop  # None, where get_running_loop takes the time to raise
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, NoReturn, Self, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint

from musicq_async.core import ZERO, MemoryQueue, Waiter, WaitingLine, check_timeout, plain_task
from musicq_async.errors import NotRunning, UsageError

_Result = TypeVar("_Result")

_CLOSED_MESSAGE: Final = "This AsyncQueue was closed; make another one over the same core to go on."

TURNS: Final = 255
"""Tasks taken in a row (all bits are 1); then the others on the loop get a turn, and cancellation a chance."""
LARGE_STORE: Final = 4096
"""Keys from which on a walk over the store, a millisecond, goes to a thread."""
COLLECTOR_WAIT: Final = 0.05
"""Seconds that a coroutine collected as garbage waits for the mutex, which this very thread may hold."""
LONGEST_WAIT: Final = 1e9
"""Seconds, some thirty years; event loops differ in what they make of more."""
THREADS: Final = 4
"""Threads that one queue may use on one event loop."""


class _Station:
    """What a queue keeps on one event loop: the way into the loop, an alarm for delayed tasks, a limiter of threads."""

    def __init__(self, core: MemoryQueue, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.limiter = anyio.CapacityLimiter(THREADS)
        self.waiting = 0
        self._tasks = core.tasks
        self.arrivals: deque[asyncio.Future[None]] = deque()
        self.called = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf

    def arm(self, due: float) -> None:
        """See to it that somebody looks again when the next delayed task is due. Called under the mutex."""
        if due >= self._alarm_at:
            return
        self._alarm_at = due
        try:
            if _get_running_loop() is self.loop:
                self._set_alarm()
            else:
                self.loop.call_soon_threadsafe(self._set_alarm)
        except RuntimeError:  # the loop is closed
            self._alarm_at = math.inf

    def let_in(self) -> None:
        """Resolve the futures that other threads left."""
        self.called = False
        while self.arrivals:
            _resolve(self.arrivals.popleft())

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self.loop.call_later(max(0, self._alarm_at - self._tasks.clock()), self._ring)

    def _ring(self) -> None:
        self._tasks.ring(self._rearm)

    def _rearm(self, due: float) -> None:
        self._alarm_at = math.inf
        if self.waiting:
            self.arm(due)


class _LoopWaiter(Waiter):
    """A coroutine in a line. It waits for its ``future``; it is ``late`` when its time is up, ``gone`` if it ended."""

    __slots__ = ("future", "gone", "late", "station")

    def __init__(self, station: _Station, *, late: bool) -> None:
        super().__init__()
        self.station = station
        self.late = late
        self.gone = False
        self.renew()

    def renew(self) -> None:
        """Be ready to wait again."""
        self.future: asyncio.Future[None] = self.station.loop.create_future()

    def wake(self) -> bool:
        """Resolve the future, from any thread; return whether somebody is there to notice.

        Not if it is done already: then the time is up or it was cancelled. A loop that stands still is told as well,
        because it may run again.
        """
        future, station = self.future, self.station
        if self.gone or future.done():
            return False
        loop = station.loop
        try:
            if _get_running_loop() is loop:
                future.set_result(None)
                return True
            station.arrivals.append(future)
            if not station.called:  # one call for all who arrive meanwhile, because each is a system call
                station.called = True
                loop.call_soon_threadsafe(station.let_in)
        except RuntimeError:  # the loop is closed
            return False
        return loop.is_running()

    def plan(self, due: float) -> None:
        """Set the alarm of the loop."""
        self.station.arm(due)

    replan = plan

    def expire(self) -> None:
        """Let the time be up."""
        self.late = True
        _resolve(self.future)


class AsyncQueue:
    """The façade of a `MemoryQueue`, by default a new one, found in ``core``; threads may use that at the same time.

    Cancelling any call, in whatever way, neither loses nor doubles a task: a cancelled `pop_task` has taken nothing,
    a cancelled `push_task` has pushed nothing. Waiting consumers are woken in the order in which they came. Who asks
    while tasks are there may take one at once, but nobody is overtaken twice.
    """

    def __init__(self, core: MemoryQueue | None = None) -> None:
        if core is not None and not isinstance(core, MemoryQueue):
            raise UsageError(f"AsyncQueue stands before a MemoryQueue, not {core!r:.60}; leave core out for a new one")
        self._owns_core = core is None
        self.core = MemoryQueue() if core is None else core
        self._core, self._tasks = self.core, self.core.tasks
        self._usual = None if self.core.verbose else ZERO  # a priority with which a push may be short
        self._next_turn = itertools.cycle([False] * TURNS + [True]).__next__
        self._closed = False
        self._waiters: set[_LoopWaiter] = set()
        self._stations: dict[asyncio.AbstractEventLoop, _Station] = {}

    async def push_task(self, task: dict[str, Any], priority: int = 0) -> str:
        """Queue a copy of a task and return its id; waits while the queue is full. See `MemoryQueue.push_task`.

        Raises `InvalidTask`. If cancelled while it waits, nothing was pushed.
        """
        plain = plain_task(task) if priority is self._usual else None
        if plain is None or not self._tasks.put_now(plain):
            return await self._push_when_room(task, priority)
        return plain["task_id"]  # type: ignore[no-any-return]

    async def pop_task(self, timeout: float | None = None) -> dict[str, Any] | None:
        """Return the next task, or ``None`` after ``timeout`` seconds; ``None`` waits for ever, 0 not at all.

        If cancelled, nothing was taken.
        """
        if timeout is not None:
            check_timeout(timeout)
        tasks = self._tasks
        head = tasks.head
        if len(head) & TURNS and not tasks.careful:
            try:
                return head.popleft()
            except IndexError:
                pass  # a thread was quicker
        if head and (not tasks.careful or self._next_turn()):
            await checkpoint()
        task = self._tasks.get_now()
        if task is not None:
            return task
        return await self._until(tasks.getters, tasks.get_for, timeout, woken=tasks.get_now)

    async def task_done(self) -> None:
        """Say that one popped task is finished. Raises ValueError if called more often than tasks were pushed."""
        self._core.task_done()

    async def join(self, timeout: float | None = None) -> bool:
        """Wait until every pushed task is done; return False if ``timeout`` seconds pass before."""
        if timeout is not None:
            check_timeout(timeout)
        return await self._until(self._tasks.joiners, self._tasks.done_for, timeout) is True

    async def get_queue_size(self) -> int:
        """Return how many tasks wait, delayed ones included."""
        return self._core.get_queue_size()

    async def is_empty(self) -> bool:
        """Return whether no task waits."""
        return self._core.is_empty()

    async def set_public(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Keep a value for ``ttl`` seconds, or for good. Raises ValueError unless ``ttl`` is above 0."""
        self._core.set_public(key, value, ttl)

    async def get_public(self, key: str) -> Any | None:
        """Return the value, or ``None`` if there is none; a value is gone from its deadline on."""
        return self._core.get_public(key)

    async def delete_public(self, key: str) -> bool:
        """Delete a value; return whether there was one."""
        return self._core.delete_public(key)

    async def cleanup(self) -> int:
        """Drop expired values; return how many. Goes on in its thread if cancelled."""
        return await self._walk(self._core.cleanup)

    async def get_store_size(self) -> int:
        """Return the number of live keys."""
        return await self._walk(self._core.get_store_size)

    async def list_keys(self) -> list[str]:
        """Return the live keys, in the order in which they were first set."""
        return await self._walk(self._core.list_keys)

    async def clear_store(self) -> None:
        """Drop every value. Goes on in its thread if cancelled."""
        await self._walk(self._core.clear_store)

    async def start_cleanup(self) -> None:
        """Clean up in a background thread every ``cleanup_interval`` seconds; does nothing if it runs already."""
        self._core.start_cleanup()

    async def stop_cleanup(self) -> None:
        """End that thread; does nothing if none runs. It ends even if this call is cancelled."""
        await self._in_thread(self._core.stop_cleanup)

    async def close(self) -> None:
        """Refuse further calls and end those that wait with `NotRunning`, on every loop; the core goes on.

        A core that the façade made itself stops its clean-up. Idempotent, and waits for nobody.
        """
        self._closed = True
        self._core = self._tasks = _CLOSED
        for waiter in list(self._waiters):
            waiter.wake()
        if self._owns_core:
            self.core.stop_cleanup(wait=False)

    aclose = close

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _push_when_room(self, task: dict[str, Any], priority: int) -> str:
        item = self._core.item(task, priority)
        if not self._tasks.put_now(*item):
            await self._until(self._tasks.putters, functools.partial(self._tasks.put_for, item), None)
        return item[0]["task_id"]  # type: ignore[no-any-return]

    async def _until(
        self,
        line: WaitingLine,
        attempt: Callable[..., _Result | None],
        timeout: float | None,
        *,
        woken: Callable[[], _Result | None] | None = None,
    ) -> _Result | None:
        """Try, wait in line and try again, until the time is up. ``woken`` is a short way for who left the line so."""
        station = self._station()
        waiter = _LoopWaiter(station, late=timeout is not None and not timeout > 0)
        if waiter.late:
            await checkpoint()  # a caller that polls must not keep the loop to itself
        timer = None
        if timeout is not None and not waiter.late:
            timer = station.loop.call_later(min(timeout, LONGEST_WAIT), waiter.expire)
        self._waiters.add(waiter)
        station.waiting += 1
        try:
            while True:
                if self._closed:
                    _refuse()
                result = attempt(waiter, stay=not waiter.late)
                if result is not None or waiter.late:
                    return result
                await waiter.future
                if woken is not None and waiter.woken and not (waiter.overtaken or self._closed):
                    result = woken()
                    if result is not None:
                        return result
                waiter.renew()
        except BaseException as error:
            waiter.gone = True
            self.core.tasks.leave(line, waiter, patience=COLLECTOR_WAIT if isinstance(error, GeneratorExit) else -1)
            raise
        finally:
            station.waiting -= 1
            self._waiters.discard(waiter)
            if timer is not None:
                timer.cancel()

    async def _walk(self, function: Callable[[], _Result]) -> _Result:
        """Call what looks at the whole store: here if that is short, in a thread if it is not."""
        return function() if len(self.core.values) < LARGE_STORE else await self._in_thread(function)

    async def _in_thread(self, function: Callable[[], _Result]) -> _Result:
        return await anyio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=self._station().limiter)

    def _station(self) -> _Station:
        loop = asyncio.get_running_loop()
        station = self._stations.get(loop)
        if station is None:
            for closed in [other for other in list(self._stations) if other.is_closed()]:
                self._stations.pop(closed, None)
            station = self._stations[loop] = _Station(self.core, loop)
        return station


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _refuse() -> NoReturn:
    raise NotRunning(_CLOSED_MESSAGE)


class _Closed:
    """Stands in for the core of a closed façade."""

    def __getattr__(self, name: str) -> NoReturn:
        _refuse()


_CLOSED: Final[Any] = _Closed()
