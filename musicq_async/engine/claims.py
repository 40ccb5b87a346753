"""What this process asks for, and when it looks: `Claims`."""

from __future__ import annotations

from musicq_async.engine.outage import Outage
from musicq_async.engine.registry import Handlers
from musicq_async.engine.signal import WorkSignal, sleep_until_notified
from musicq_async.ports import Clock, TaskQueue, Terms


class Claims:
    """The terms of every claim of a process: the types it handles, their limits, less what is paused."""

    def __init__(
        self,
        queue: TaskQueue,
        handlers: Handlers,
        *,
        clock: Clock,
        signal: WorkSignal,
        outage: Outage,
        owner: str,
        seconds: float,
        poll_interval: float,
        any_type: bool,
    ) -> None:
        self._queue = queue
        self._handlers = handlers
        self._clock = clock
        self._signal = signal
        self._outage = outage
        self._owner = owner
        self._seconds = seconds
        self._poll_interval = poll_interval
        self._any_type = any_type
        """Whether tasks that nobody here handles are claimed as well, so that they fail."""
        self._known = -1
        """Version of the handlers that ``_terms`` was made from."""
        self._paused: frozenset[str] = frozenset()
        self._terms: Terms | None = None
        self.limited: frozenset[str] = frozenset()
        """Types with limits: the end of such a task may let another one begin."""

    @property
    def terms(self) -> Terms | None:
        """What to claim; ``None`` where there is nothing to claim."""
        if self._handlers.version != self._known:
            self._learn()
        return self._terms

    def _learn(self) -> None:
        self._known = self._handlers.version
        types = None if self._any_type else self._handlers.types - self._paused
        but = self._paused if types is None else frozenset()
        limits = self._handlers.limits
        self.limited = frozenset(limit.task_type for limit in limits)
        terms = Terms(owner=self._owner, seconds=self._seconds, types=types, but=but, limits=limits)
        self._terms = terms if types is None or types else None

    def pause(self, task_type: str, *, paused: bool) -> None:
        """Claim no more of a type, or claim it again, as the queue was just told."""
        self._set_paused(self._paused | {task_type} if paused else self._paused - {task_type})

    def _set_paused(self, paused: frozenset[str]) -> None:
        if paused != self._paused:
            self._paused = paused
            self._known = -1

    async def learn_paused(self) -> None:
        """Ask the queue which types are paused. Where it cannot say, what was known holds."""
        try:
            self._set_paused(await self._queue.paused())
        except Exception as error:  # noqa: BLE001 - a worker outlives whatever its backend does
            self._outage.failed(error)

    async def keep_looking(self) -> None:
        """Wake the workers for work that nobody gave notice of, and when a rate lets a task begin, until cancelled."""
        signal, line = self._signal, self._signal.workers
        poll_at = self._clock.monotonic() + self._poll_interval
        while True:
            wait = self._outage.wait if self._outage.is_on else poll_at - self._clock.monotonic()
            if signal.opens_at_ms is not None:
                wait = min(wait, (signal.opens_at_ms - self._clock.time_ms()) / 1000)
            if wait > 0:
                await sleep_until_notified(self._clock, max(wait, 0.001), signal.barred)
            look = self._outage.is_on
            if signal.opens_at_ms is not None and signal.opens_at_ms <= self._clock.time_ms():
                signal.opens_at_ms = None
                look = True
            if self._clock.monotonic() >= poll_at:
                poll_at = self._clock.monotonic() + self._poll_interval
                await self.learn_paused()
                look = True
            if look and line:
                line.notify(more=True)
