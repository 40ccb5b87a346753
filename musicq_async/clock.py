"""The only module that asks the time and sleeps."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractContextManager
from typing import Any, Final

import anyio

LONGEST_WAIT: Final = 1.0
"""Seconds between two looks at the wall clock: it may be set, and the machine may sleep."""
JUMP: Final = 0.5
"""Seconds by which the wall clock must leave the monotonic one to count as set."""


class SystemClock:
    """The `musicq_async.ports.Clock` of this machine."""

    def time(self) -> float:
        """Return epoch seconds."""
        return time.time()

    def time_ms(self) -> int:
        """Return epoch milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait. anyio refuses negative values and NaN; a late caller is not at fault, so both count as 0."""
        await anyio.sleep(seconds if seconds > 0 else 0)  # noqa: FURB136 - max() would pass NaN on

    def move_on_after(self, seconds: float | None) -> AbstractContextManager[Any, bool]:
        """Open a cancel scope that ends after so many seconds."""
        return anyio.move_on_after(seconds)

    async def wait_until(self, at: float, notified: asyncio.Event) -> None:
        """Wait until the wall clock shows ``at``, ``notified`` is set, or the wall clock was set."""
        offset = time.time() - time.monotonic()
        while not notified.is_set() and (left := at - time.time()) > 0:
            with anyio.move_on_after(min(left, LONGEST_WAIT)):
                await notified.wait()
            if abs(time.time() - time.monotonic() - offset) > JUMP:
                return
