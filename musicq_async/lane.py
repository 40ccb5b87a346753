"""Calls that arrive about now go together: `Lane`, where a durable backend gathers its commits and round trips."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from musicq_async.ports import Clock

LARGEST_BATCH: Final = 256
"""Calls in one batch."""
MOST_BYTES: Final = 8 * 1024 * 1024
"""Bytes after which a batch takes no more calls."""
CANCEL_PATIENCE: Final = 5.0
"""Seconds that a cancelled caller waits for a batch that has gone."""


class Call:
    """One caller's item on its way."""

    __slots__ = ("finished", "item", "kind", "on_abandoned", "resolved", "size", "started", "waiter")

    def __init__(
        self, kind: Any, item: Any, *, size: int = 0, on_abandoned: Callable[[Any], None] | None = None
    ) -> None:
        self.kind = kind
        """Hashable: calls of one kind are done in one go."""
        self.item = item
        self.size = size
        """Bytes, where they are many."""
        self.on_abandoned = on_abandoned
        """Told the result when the caller has gone."""
        self.waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.started = False
        self.resolved = False
        self.finished: asyncio.Future[None] | None = None

    def resolve(self, result: Any) -> None:
        """Hand the result, or an exception to be raised, to whoever waits for it."""
        self.resolved = True
        if self.waiter.done():
            self._tell_abandoned(result)
        elif isinstance(result, Exception):
            self.waiter.set_exception(result)
        else:
            self.waiter.set_result(result)
        if self.finished is not None and not self.finished.done():
            self.finished.set_result(None)

    def abandon(self) -> bool:
        """Learn that the caller was cancelled; return whether nothing is under way."""
        if self.waiter.done() and not self.waiter.cancelled():  # the result came in the moment of the cancellation
            error = self.waiter.exception()
            self._tell_abandoned(error if error is not None else self.waiter.result())
            return True
        self.waiter.cancel()
        return self.resolved or not self.started

    def _tell_abandoned(self, result: Any) -> None:
        if self.on_abandoned is not None and not isinstance(result, Exception):
            self.on_abandoned(result)


class Lane:
    """Calls that go batch after batch; the next batch gathers while one is under way. Belongs to one event loop.

    ``run`` resolves every call of a batch and raises nothing. It is never cancelled.
    """

    def __init__(self, run: Callable[[list[Call]], Awaitable[None]], *, group: TaskGroup, clock: Clock) -> None:
        self._run = run
        self._group = group
        self._clock = clock
        self._waiting: deque[Call] = deque()
        self._busy = False

    async def answer(self, call: Call) -> Any:
        """Send a call and return its result.

        When the caller is cancelled, a call that has not gone is withdrawn; one that has gone is waited for a while.
        """
        self.put(call)
        try:
            return await call.waiter
        except asyncio.CancelledError:
            if not call.abandon():
                await self._until_finished(call)
            elif not call.started and call in self._waiting:
                self._waiting.remove(call)
            raise

    def post(self, call: Call) -> None:
        """Send a call; nobody waits for it, and a failure is dropped."""
        call.waiter.cancel()
        self.put(call)

    def put(self, call: Call) -> None:
        """Accept a call; its batch goes after the loop's next turn, or after the one under way."""
        self._waiting.append(call)
        if not self._busy:
            self._busy = True
            self._group.start_soon(self._drain)

    async def _until_finished(self, call: Call) -> None:
        call.finished = asyncio.get_running_loop().create_future()
        with anyio.CancelScope(shield=True), self._clock.move_on_after(CANCEL_PATIENCE):
            await call.finished

    async def _drain(self) -> None:
        with anyio.CancelScope(shield=True):
            try:
                while self._waiting:
                    await asyncio.sleep(0)  # whoever this turn wakes may have a call too
                    if batch := self._batch():
                        await self._run(batch)
            finally:
                self._busy = False

    def _batch(self) -> list[Call]:
        batch: list[Call] = []
        size = 0
        while self._waiting and len(batch) < LARGEST_BATCH and size < MOST_BYTES:
            call = self._waiting.popleft()
            call.started = True
            size += call.size
            batch.append(call)
        return batch
