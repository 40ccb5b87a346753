"""How those who wait for work learn of it: `WorkSignal`, the `musicq_async.ports.Wakeup` of one event loop."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Final

from musicq_async.ports import Clock

MOST_NOTICES: Final = 1_000
"""Notices that are kept for those who do not wait just now."""


class WaitingLine:
    """Waiters of one kind, woken first come, first served.

    A notice is for one waiter, and is kept while there is none: look for work, and if there was none ``await wait()``,
    which ends at once if a notice came meanwhile. Who found work calls `took`, so that its notice sends nobody else.
    """

    def __init__(self) -> None:
        self.waiting: deque[asyncio.Future[bool]] = deque()
        """Who waits now; some may have been cancelled."""
        self._notices = 0
        self._more = False

    def __len__(self) -> int:
        return len(self.waiting)

    def notify(self, count: int = 1, *, more: bool = False) -> None:
        """Wake up to ``count`` waiters; keep the other notices. ``more``: there may be work for others as well."""
        while count > 0 and self.waiting:
            waiter = self.waiting.popleft()
            if not waiter.done():
                waiter.set_result(more)
                count -= 1
        if count > 0:
            self._more |= more
            if self._notices < MOST_NOTICES:
                self._notices += count

    def took(self) -> None:
        """Say that work was found, so that one notice less is kept."""
        if self._notices:
            self._notices -= 1

    async def wait(self) -> bool:
        """Wait for a notice; return its ``more``.

        A waiter that is woken and cancelled at once passes its notice on.
        """
        if self._notices:
            self._notices -= 1
            more, self._more = self._more, False
            return more
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
            line.notify(count)

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
