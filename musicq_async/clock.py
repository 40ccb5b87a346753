"""The only module that asks the time and sleeps."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Any

import anyio


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

    def move_on_after(self, seconds: float | None) -> AbstractContextManager[Any]:
        """Open a cancel scope that ends after so many seconds."""
        return anyio.move_on_after(seconds)
