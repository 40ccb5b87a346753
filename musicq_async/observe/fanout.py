"""Who is told what happened: `Events` hands every event to hooks and streams, and is never held up by one of them."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar

import anyio
from anyio.abc import TaskGroup, TaskStatus

from musicq_async.model.event import Event
from musicq_async.observe.hooks import AsyncHook, Hook, PlainHook, StreamHook, is_async
from musicq_async.observe.outbox import Outbox

BUFFER: Final = 1024
"""Events that wait for an async hook or a stream before the oldest are dropped."""
DRAIN: Final = 1.0
"""Seconds that async hooks have, at the end, for what is still waiting."""

HookType = TypeVar("HookType", bound=Hook)


class EventStream:
    """The events of one ``async with events.stream()``, as an endless asynchronous iterator."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    @property
    def dropped(self) -> int:
        """How many events were lost because the reader was more than the buffer behind."""
        return self._outbox.dropped

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event:
        return await self._outbox.take()


class Events:
    """The `musicq_async.ports.EventSink` of an application: every event goes to all who asked for its type, in order.

    A plain hook is called at once, on the application's event loop, and should return at once. An ``async def`` hook
    has a buffer of its own: it is called with one event after the other and delays nobody; when it falls more than
    ``buffer`` events behind, the oldest are dropped, with a warning. What a hook raises is logged, and it stays
    subscribed. Events may come from any thread.
    """

    def __init__(self, *, buffer: int = BUFFER) -> None:
        self._buffer = buffer
        self._hooks: tuple[PlainHook, ...] = ()
        self._routes: dict[type, tuple[PlainHook, ...]] = {}
        self._waiting: deque[Event] = deque()
        self._turn = threading.Lock()
        self._changing = threading.Lock()
        self._home: tuple[asyncio.AbstractEventLoop, int] | None = None
        self._group: TaskGroup | None = None

    @property
    def listening(self) -> bool:
        """Whether anybody listens: lets hot paths skip building events."""
        return bool(self._hooks)

    def subscribe(self, callback: Hook, *types: type) -> Callable[[], None]:
        """Call ``callback`` with every event of these types (none: all); return the function that ends it.

        A class counts for its subclasses: ``TaskEvent`` is every event about a task.
        """
        if not is_async(callback):
            plain = PlainHook(callback, types)
            self._add(plain)
            return lambda: self._remove(plain)
        hook = AsyncHook(callback, types, self._buffer)
        self._add(hook)
        if self._group is not None:
            self._group.start_soon(hook.run)

        def unsubscribe() -> None:
            self._remove(hook)
            hook.stop()

        return unsubscribe

    def on(self, *types: type) -> Callable[[HookType], HookType]:
        """Subscribe the decorated function: ``@app.events.on(Completed)``."""

        def subscribed(callback: HookType) -> HookType:
            self.subscribe(callback, *types)
            return callback

        return subscribed

    @asynccontextmanager
    async def stream(self, *types: type, buffer: int | None = None) -> AsyncIterator[EventStream]:
        """Listen for a while: ``async with events.stream(Completed) as happened: async for event in happened: ...``.

        A reader that falls more than ``buffer`` events behind loses the oldest; ``dropped`` counts them.
        """
        outbox = Outbox(self._buffer if buffer is None else buffer)
        hook = StreamHook(outbox, types)
        self._add(hook)
        try:
            yield EventStream(outbox)
        finally:
            self._remove(hook)

    def emit(self, event: Event) -> None:
        """Take one event, from any thread; neither blocks nor raises."""
        if not self._hooks:
            return
        self._waiting.append(event)
        home = self._home
        if home is None or home[1] == threading.get_ident():
            self._deliver()
            return
        with suppress(RuntimeError):  # the loop has just ended: nobody is left to tell
            home[0].call_soon_threadsafe(self._deliver)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Events]:
        """Call async hooks while this is open; plain hooks are then always called on this event loop.

        On leaving, what waits for async hooks is delivered for at most a second; on cancellation too.
        """
        if self._group is not None:
            raise RuntimeError("these events are running already")
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            self._started(group)
            try:
                yield self
            except Exception as error:  # noqa: BLE001 - raised again below, not wrapped in a group
                failure = error
            finally:
                with anyio.CancelScope(shield=True):
                    await self._drained()
                self._group = self._home = None
                group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Be `running` until cancelled: for the ``start`` of a task group."""
        async with self.running():
            task_status.started()
            await anyio.sleep_forever()

    def _started(self, group: TaskGroup) -> None:
        self._group, self._home = group, (asyncio.get_running_loop(), threading.get_ident())
        for hook in self._hooks:
            if isinstance(hook, AsyncHook):
                group.start_soon(hook.run)

    async def _drained(self) -> None:
        with anyio.move_on_after(DRAIN):
            while self._busy():  # noqa: ASYNC110 - several tasks are looked at, for a second at most
                await anyio.sleep(0.002)

    def _busy(self) -> bool:
        return bool(self._waiting) or any(isinstance(hook, AsyncHook) and not hook.idle for hook in self._hooks)

    def _deliver(self) -> None:
        """Hand out what waits, one thread at a time. A hook that emits is not entered again before its turn ends."""
        while self._waiting and self._turn.acquire(blocking=False):
            try:
                while self._waiting:
                    event = self._waiting.popleft()
                    for hook in self._route(type(event)):
                        hook.deliver(event)
            finally:
                self._turn.release()

    def _route(self, kind: type) -> tuple[PlainHook, ...]:
        routes = self._routes
        found = routes.get(kind)
        if found is None:
            found = routes[kind] = tuple(hook for hook in self._hooks if hook.wants(kind))
        return found

    def _add(self, hook: PlainHook) -> None:
        with self._changing:
            self._hooks = (*self._hooks, hook)
            self._routes = {}

    def _remove(self, hook: PlainHook) -> None:
        with self._changing:
            self._hooks = tuple(each for each in self._hooks if each is not hook)
            self._routes = {}
