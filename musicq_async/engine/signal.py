"""How those who wait for work learn of it: `WorkSignal`, the `musicq_async.ports.Wakeup` of one event loop."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable

from musicq_async.ports import Clock


class WaitingLine:
    """Waiters of one kind, woken first come, first served.

    The order of work is: read `generation`, look for work, and if there was none ``await wait(generation)``. A notice
    that came between the look and the wait ends the wait at once, so none is missed.
    """

    def __init__(self) -> None:
        self.generation = 0
        """Rises with every notice."""
        self.waiting: deque[asyncio.Future[bool]] = deque()
        """Who waits now; some may have been cancelled."""

    def __len__(self) -> int:
        return len(self.waiting)

    def notify(self, count: int = 1, *, more: bool = False) -> None:
        """Wake up to ``count`` waiters. ``more`` says that there may be work for others as well."""
        self.generation += 1
        while count > 0 and self.waiting:
            waiter = self.waiting.popleft()
            if not waiter.done():
                waiter.set_result(more)
                count -= 1

    async def wait(self, generation: int) -> bool:
        """Wait until a notice is newer than ``generation``; return its ``more``.

        A waiter that is woken and cancelled at once passes its notice on.
        """
        if generation != self.generation:
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.waiting.append(waiter)
        try:
            return await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():
                self.notify(more=waiter.result())
            else:
                waiter.cancel()
            raise


class WorkSignal:
    """Wakes workers and manual consumers when there may be work, and the janitor when a time was set.

    Belongs to one event loop. Notices may come from other threads through ``loop.call_soon_threadsafe``.
    """

    def __init__(self) -> None:
        self.workers = WaitingLine()
        self.consumers = WaitingLine()
        """Those who pop tasks by hand."""
        self._lines = (self.workers, self.consumers)
        self.opens_at_ms: int | None = None
        """When a rate lets another task begin; whoever looks then sets it to ``None``."""
        self.barred = asyncio.Event()
        """Set with `opens_at_ms`."""
        self._next_due_ms: int | None = None
        self._on_due: Callable[[], None] | None = None

    def notify(self, count: int = 1) -> None:
        """Say that so many tasks became pending. Whoever can run them takes them; the others look and wait again."""
        for line in self._lines:
            if line.waiting:
                line.notify(count)
            else:
                line.generation += 1

    def look(self) -> None:
        """Say that there may be work that nobody gave notice of: another process's, or a backend that was away."""
        self.workers.notify(more=True)
        self.consumers.notify(more=True)

    def due(self, run_at_ms: int) -> None:
        """Say that a task will become pending at this time."""
        if self._next_due_ms is None or run_at_ms < self._next_due_ms:
            self._next_due_ms = run_at_ms
            if self._on_due is not None:
                self._on_due()

    def opens(self, at_ms: int) -> None:
        """Say that a rate lets another task begin at this time."""
        if self.opens_at_ms is None or at_ms < self.opens_at_ms:
            self.opens_at_ms = at_ms
            self.barred.set()

    def take_due(self) -> int | None:
        """Return the earliest time that `due` was told of since the last call."""
        taken, self._next_due_ms = self._next_due_ms, None
        return taken

    def on_due(self, call: Callable[[], None] | None) -> None:
        """Have ``call`` called when an earlier time than the known ones was set."""
        self._on_due = call


async def sleep_until_notified(clock: Clock, seconds: float, notified: asyncio.Event) -> None:
    """Sleep so many seconds, or until ``notified`` is set; then clear it."""
    if not notified.is_set():
        with clock.move_on_after(None if seconds == math.inf else max(seconds, 0.0)):
            await notified.wait()
    notified.clear()
