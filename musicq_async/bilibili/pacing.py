"""How often the site is asked: a rate with a short burst, callers in order of arrival."""

from __future__ import annotations

from typing import Final

import anyio

from musicq_async.ports import Clock

BURST: Final = 3


class Pace:
    """At most ``rate`` turns a second after a burst. A caller that is cancelled while waiting has used no turn."""

    def __init__(self, *, rate: float, burst: int = BURST, clock: Clock) -> None:
        self._interval = 1 / rate
        self._slack = (burst - 1) * self._interval
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

    def _wait(self, now: float) -> float:
        return max(self._due - self._slack, self._held_until) - now
