"""Leases kept while their tasks run: renewed from a thread of its own, so that a blocked event loop loses none."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from pathlib import Path
from typing import Final, Protocol

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from musicq_async.engine.outage import Outage
from musicq_async.model.event import Warned
from musicq_async.model.task import Lease
from musicq_async.ports import Clock, EventSink, Heartbeat, TaskQueue

LONGEST_BEAT: Final = 0.5
"""Seconds between two renewals at most: a cancellation from elsewhere comes with the renewal's answer."""

Connect = Callable[[], AbstractAsyncContextManager[TaskQueue]]

_logger = logging.getLogger(__name__)


class Holder(Protocol):
    """Who runs a task under a lease."""

    lease: Lease

    def lost(self) -> None:
        """Learn, on the event loop, that the task is another worker's."""

    def cancel_requested(self, reason: str | None) -> None:
        """Learn, on the event loop, that somebody asked to cancel the task."""


class LeaseKeeper:
    """Renews the lease of every holder in the dicts that it was given to `keep`, while the holder is in it.

    With ``connect``, a function that opens a connection to the queue of its own, renewals are made in a daemon thread
    with its own event loop. Without, they are made on this event loop: right for a queue that lives in this process.
    In both cases the thread watches this event loop, and warns when a handler has blocked it for two heartbeats.
    """

    def __init__(
        self, queue: TaskQueue, *, clock: Clock, sink: EventSink, seconds: float = 10.0, connect: Connect | None = None
    ) -> None:
        self._kept: tuple[Mapping[str, Holder], ...] = ()
        self.is_idle = False
        """Whether renewals sleep because nothing is held: who holds something then calls `wake`."""
        self.seconds = seconds
        """For how long a lease is taken and renewed."""
        self.beat = min(seconds / 4, LONGEST_BEAT)
        self._queue = queue
        self._clock = clock
        self._sink = sink
        self._connect = connect
        self._outage = Outage(sink=sink, what="renewing leases")
        self._watchdog: _Watchdog | None = None
        self._woken = asyncio.Event()
        self._end_thread: Callable[[], None] | None = None
        """Wakes the thread from its sleep, so that it sees that it should end."""

    def keep(self, holders: Mapping[str, Holder]) -> None:
        """Renew the leases of these holders, by task id. Only the event loop may change the dict."""
        self._kept = (*self._kept, holders)

    def wake(self) -> None:
        """Begin to renew again."""
        self.is_idle = False
        self._woken.set()

    @property
    def holders(self) -> list[Holder]:
        """Everybody who holds a lease now; may be called in any thread."""
        return [holder for kept in self._kept for holder in list(kept.values())]

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Renew until cancelled. The leases that are held then run out by themselves."""
        stopped = threading.Event()
        self._watchdog = _Watchdog(self, asyncio.get_running_loop(), self._sink)
        work = self._run_thread if self._connect is not None else self._watch_only
        thread = threading.Thread(target=work, args=(stopped,), name="musicq lease keeper", daemon=True)
        thread.start()
        task_status.started()
        try:
            if self._connect is None:
                await self._renew_here()
            await anyio.sleep_forever()
        finally:
            stopped.set()
            if self._end_thread is not None:
                self._end_thread()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(thread.join, 1.0)

    async def _renew_here(self) -> None:
        while True:
            if not any(self._kept):
                self._woken.clear()
                self.is_idle = True
                await self._woken.wait()
            await self._clock.sleep(self.beat)
            if leases := self._leases():
                with suppress(Exception):  # the outage has told of it
                    self._tell(leases, await self._renewed(self._queue, leases))

    async def _renewed(self, queue: TaskQueue, leases: Mapping[str, Lease]) -> Heartbeat:
        try:
            answer = await queue.heartbeat(list(leases.values()), seconds=self.seconds)
        except Exception as error:
            self._outage.failed(error)
            raise
        self._outage.over()
        return answer

    def _leases(self) -> dict[str, Lease]:
        return {holder.lease.task.task_id: holder.lease for holder in self.holders}

    def _tell(self, leases: Mapping[str, Lease], answer: Heartbeat) -> None:
        """Pass on what a renewal brought, to those who still hold the very same lease."""
        for task_id in answer.lost:
            if (holder := self._holder(task_id, leases)) is not None:
                holder.lost()
        for task_id, reason in answer.cancelled.items():
            if (holder := self._holder(task_id, leases)) is not None:
                holder.cancel_requested(reason)

    def _holder(self, task_id: str, leases: Mapping[str, Lease]) -> Holder | None:
        for kept in self._kept:
            holder = kept.get(task_id)
            if holder is not None and holder.lease.token == leases[task_id].token:
                return holder
        return None

    # In the thread

    def _watch_only(self, stopped: threading.Event) -> None:
        watchdog = self._watchdog
        while watchdog is not None and not stopped.wait(self.beat):
            watchdog.look()

    def _run_thread(self, stopped: threading.Event) -> None:
        try:
            anyio.run(self._renew_in_thread, stopped)
        except Exception:
            _logger.exception("the lease keeper's thread ended; leases are no longer renewed")

    async def _renew_in_thread(self, stopped: threading.Event) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            with suppress(RuntimeError):  # the thread has ended by itself
                loop.call_soon_threadsafe(ended.set)

        self._end_thread = end
        async with AsyncExitStack() as connections:
            queue: TaskQueue | None = None
            while not stopped.is_set():
                with anyio.move_on_after(self.beat):
                    await ended.wait()
                if stopped.is_set():
                    break
                if self._watchdog is not None:
                    self._watchdog.look()
                leases = self._leases()
                if not leases or self._connect is None:
                    continue
                try:
                    if queue is None:
                        queue = await connections.enter_async_context(self._connect())
                    answer = await self._renewed(queue, leases)
                except Exception as error:  # noqa: BLE001 - whatever it is, the next beat tries again
                    _logger.debug("leases could not be renewed: %r", error)
                    continue
                if answer.lost or answer.cancelled:
                    self._post(leases, answer)

    def _post(self, leases: Mapping[str, Lease], answer: Heartbeat) -> None:
        with suppress(RuntimeError):  # the event loop has ended
            if self._watchdog is not None:
                self._watchdog.loop.call_soon_threadsafe(self._tell, leases, answer)


class _Watchdog:
    """Asks the event loop for a sign of life while leases are held. `look` is called in the keeper's thread."""

    def __init__(self, keeper: LeaseKeeper, loop: asyncio.AbstractEventLoop, sink: EventSink) -> None:
        self.loop = loop
        self._keeper = keeper
        self._sink = sink
        self._loop_thread = threading.get_ident()
        self._is_asking = False
        self._unanswered = 0

    def look(self) -> None:
        """Ask, or count how long the answer has been outstanding."""
        if self._is_asking:
            self._unanswered += 1
            if self._unanswered == 1:
                self._warn()
        elif self._keeper.holders:
            self._is_asking = True
            with suppress(RuntimeError):  # the event loop has ended
                self.loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._unanswered = 0
        self._is_asking = False

    def _warn(self) -> None:
        tasks = [holder.lease.task for holder in self._keeper.holders]
        running = ", ".join(f"{task.task_id} ({task.task_type})" for task in tasks)
        message = (
            f"the event loop has been blocked for {self._keeper.beat:.2g} s by {self._place()}; running: {running}. "
            "Make the handler a plain function, which runs in a thread, or await what takes long"
        )
        _logger.warning(message)
        self._sink.emit(Warned(message=message))

    def _place(self) -> str:
        """Return where the loop's thread stands: file and line, no values."""
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - there is no other way to see it
        if frame is None:
            return "an unknown place"
        where = traceback.extract_stack(frame, limit=1)[-1]
        return f"{Path(where.filename).name}:{where.lineno} in {where.name}"
