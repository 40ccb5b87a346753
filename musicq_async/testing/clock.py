"""A clock that drives the event loop: `FakeClock` lets a month pass in seconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import anyio

NEW_YEAR: Final = 1_767_225_600.0
"""2026-01-01 00:00:00 UTC: where time begins unless the test says otherwise."""
PAST: Final = 1e-6
"""Seconds by which time jumps past a deadline: large times are so rounded that one just reached is not yet over."""


class FakeClock:
    """The `musicq_async.ports.Clock` of a test. Nothing waits: when all tasks sleep, time jumps to the next deadline.

    ::

        with FakeClock(start=1_774_600_000).running() as clock:
            await clock.sleep(30 * 86_400)

    While it is `running`, the time of this event loop is the clock's, so that every deadline follows it, also those of
    plain ``asyncio.sleep`` and ``anyio.move_on_after``. Threads are given ``patience`` real seconds to answer before
    time goes on. Needs asyncio's own event loop; uvloop keeps its time to itself.
    """

    def __init__(self, start: float = NEW_YEAR, *, patience: float = 0.0) -> None:
        self.patience = patience
        self._wall_offset = start
        self._skipped = 0.0
        self._real: Callable[[], float] | None = None
        self._began = 0.0
        self._waited_for: dict[asyncio.Event, int] = {}

    def time(self) -> float:
        """Return the wall clock, in epoch seconds."""
        return self._wall_offset + self._skipped

    def time_ms(self) -> int:
        """Return the wall clock, in epoch milliseconds."""
        return int(self.time() * 1000 + 1e-3)

    def monotonic(self) -> float:
        """Return the seconds that have passed since the clock was made."""
        return self._skipped

    async def sleep(self, seconds: float) -> None:
        """Let so many seconds pass."""
        await anyio.sleep(seconds if seconds > 0 else 0)  # noqa: FURB136 - max() would pass NaN on

    def move_on_after(self, seconds: float | None) -> AbstractContextManager[Any, bool]:
        """Open a cancel scope that ends after so many seconds."""
        return anyio.move_on_after(seconds)

    async def wait_until(self, at: float, notified: asyncio.Event) -> None:
        """Wait until the wall clock shows ``at`` or ``notified`` is set, which `jump` does as well."""
        left = at - self.time()
        if notified.is_set() or not left > 0:
            return
        self._waited_for[notified] = self._waited_for.get(notified, 0) + 1
        try:
            with anyio.move_on_after(left):
                await notified.wait()
        finally:
            self._waited_for[notified] -= 1
            if not self._waited_for[notified]:
                del self._waited_for[notified]

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back; no time passes."""
        self._wall_offset += seconds
        for notified in list(self._waited_for):
            notified.set()

    @contextmanager
    def running(self) -> Iterator[FakeClock]:
        """Drive the running event loop."""
        loop = asyncio.get_running_loop()
        selector = getattr(loop, "_selector", None)
        if not isinstance(selector, selectors.BaseSelector):
            raise TypeError("FakeClock needs an asyncio event loop with a selector; uvloop has none")
        began, real_time, real_select = loop.time(), loop.time, selector.select

        def select(timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is None:
                return real_select(None)
            ready = real_select(min(self.patience, timeout) if timeout > 0 else 0)
            if not ready and timeout > 0:
                self._skipped += timeout + PAST
            return ready

        first = self._skipped
        loop.time = lambda: began + self._skipped - first  # type: ignore[method-assign]
        selector.select = select  # type: ignore[method-assign]
        try:
            yield self
        finally:
            selector.select = real_select  # type: ignore[method-assign]
            ahead = loop.time() - real_time()
            loop.time = lambda: real_time() + ahead  # type: ignore[method-assign]  # never goes back
