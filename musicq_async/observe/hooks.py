"""The subscribers of `musicq_async.observe.fanout`: a plain hook, an async hook, a stream."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import anyio

from musicq_async.model.event import Event
from musicq_async.observe.outbox import Outbox

SLOW: Final = 0.1
"""Seconds after which a plain hook is named in a warning: it holds up everything else."""

Hook = Callable[[Any], Any]

_logger = logging.getLogger(__name__)


class PlainHook:
    """A function that is called at once."""

    def __init__(self, call: Hook, types: tuple[type, ...]) -> None:
        self.call = call
        self.types = types
        self.name = getattr(call, "__qualname__", None) or type(call).__name__
        self.failures = 0

    def wants(self, kind: type) -> bool:
        """Whether events of this class go here; a class counts for its subclasses."""
        return not self.types or issubclass(kind, self.types)

    def deliver(self, event: Event) -> None:
        """Call it; what it raises is logged and forgotten."""
        began = time.monotonic()
        try:
            returned = self.call(event)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a hook must not end a worker, by SystemExit neither
            self.failed(error)
            return
        if inspect.iscoroutine(returned):
            returned.close()
            self.failed(TypeError("a plain hook returned a coroutine; define it with 'async def'"))
        took = time.monotonic() - began
        if took > SLOW:
            _logger.warning("event hook %s took %.2f s and held up everything else; make it async", self.name, took)

    def failed(self, error: BaseException) -> None:
        """Warn once for each hook; later failures go to the debug log."""
        self.failures += 1
        level = logging.WARNING if self.failures == 1 else logging.DEBUG
        message = "event hook %s raised %s; it stays subscribed"
        _logger.log(level, message, self.name, type(error).__name__, exc_info=error)


class AsyncHook(PlainHook):
    """An ``async def`` hook with the events that wait for it; it delays nobody."""

    def __init__(self, call: Hook, types: tuple[type, ...], size: int) -> None:
        super().__init__(call, types)
        self._outbox = Outbox(size)
        self._scope: anyio.CancelScope | None = None
        self._busy = False

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is being worked on."""
        return not self._busy and not self._outbox

    def deliver(self, event: Event) -> None:
        """Let it wait for its turn."""
        if not self._outbox.put(event) and self._outbox.dropped == 1:
            _logger.warning("event hook %s is too slow: its oldest events are dropped", self.name)

    async def run(self) -> None:
        """Call the hook with one event after the other until cancelled or stopped."""
        with anyio.CancelScope() as self._scope:
            while True:
                event = await self._outbox.take()
                self._busy = True
                try:
                    await self._call(event, self._scope)
                finally:
                    self._busy = False

    def stop(self) -> None:
        """End `run`."""
        if self._scope is not None:
            self._scope.cancel()

    async def _call(self, event: Event, scope: anyio.CancelScope) -> None:
        try:
            await self.call(event)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            task = asyncio.current_task()
            if scope.cancel_called or (task is not None and task.cancelling()):
                raise
            self.failed(error)  # CancelledError too, where the hook made it itself


class StreamHook(PlainHook):
    """An open stream."""

    def __init__(self, outbox: Outbox, types: tuple[type, ...]) -> None:
        super().__init__(outbox.put, types)

    def deliver(self, event: Event) -> None:
        """Let it wait for the reader."""
        self.call(event)


def is_async(callback: Callable[..., Any]) -> bool:
    """Whether a call gives an awaitable: ``async def``, a method or partial of one, an object with such a call."""
    inner: Any = callback
    while isinstance(inner, functools.partial):
        inner = inner.func
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(type(inner).__call__)
