"""Events that wait for one reader, whichever thread they come from."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress

from musicq_async.model.event import Event


class Outbox:
    """A bounded buffer with one reader. The newest are kept: when it is full, the oldest is dropped and counted."""

    def __init__(self, size: int) -> None:
        self._waiting: deque[Event] = deque(maxlen=size)
        self._reader: tuple[asyncio.AbstractEventLoop, int, asyncio.Event] | None = None
        self.dropped = 0
        """Events that the reader never saw, because it was too slow."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, event: Event) -> bool:
        """Add an event; return whether nothing had to be dropped for it."""
        full = len(self._waiting) == self._waiting.maxlen
        self.dropped += full
        self._waiting.append(event)
        self._wake()
        return not full

    async def take(self) -> Event:
        """Wait for the next event. Cancelling loses none."""
        while not self._waiting:
            arrived = asyncio.Event()
            self._reader = (asyncio.get_running_loop(), threading.get_ident(), arrived)
            try:
                if not self._waiting:  # one may have come from a thread before it could know us
                    await arrived.wait()
            finally:
                self._reader = None
        return self._waiting.popleft()

    def _wake(self) -> None:
        reader = self._reader
        if reader is None:
            return
        loop, thread, arrived = reader
        if thread == threading.get_ident():
            arrived.set()
            return
        with suppress(RuntimeError):  # the reader's loop has ended, and the reader with it
            loop.call_soon_threadsafe(arrived.set)
