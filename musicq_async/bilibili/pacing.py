"""How often the site is asked: a rate with a short burst, callers in order of arrival."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio

from musicq_async.ports import Clock

BURST: Final = 3


def alone() -> int:
    """Say that nobody else uses the account."""
    return 1


class Pace:
    """At most ``rate`` turns a second after a burst. A caller that is cancelled while waiting has used no turn.

    ``sharers`` tells how many processes have the rate together; each takes its part.
    """

    def __init__(self, *, rate: float, burst: int = BURST, sharers: Callable[[], int] = alone, clock: Clock) -> None:
        self._rate = rate
        self._burst = burst
        self._sharers = sharers
        self._clock = clock
        self._lock = anyio.Lock()
        self._due = clock.monotonic()
        self._held_until = clock.monotonic()

    async def turn(self) -> None:
        """Wait for a turn."""
        async with self._lock:
            while (wait := self._wait(self._clock.monotonic())) > 0:
                await self._clock.sleep(wait)
            self._due = max(self._due, self._clock.monotonic()) + self._interval

    @property
    def held(self) -> bool:
        """Whether no turn is given for now."""
        return self._held_until > self._clock.monotonic()

    def hold(self, seconds: float) -> None:
        """Give no turn for so long."""
        self._held_until = max(self._held_until, self._clock.monotonic() + seconds)

    @property
    def _interval(self) -> float:
        return max(self._sharers(), 1) / self._rate

    def _wait(self, now: float) -> float:
        return max(self._due - (self._burst - 1) / self._rate, self._held_until) - now
