"""Blocking media work in threads: bounded in number, stopped between two packets when its caller is cancelled."""

from __future__ import annotations

import inspect
import math
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
from anyio.lowlevel import RunVar

from musicq_async.clock import SystemClock
from musicq_async.errors import ConvertFailed, TagsRejected

T = TypeVar("T")

_threads: RunVar[anyio.CapacityLimiter] = RunVar("musicq media threads")


class Stopped(Exception):
    """The work was told to stop. Never seen by callers: their own cancellation is what they get."""


class Stop(Protocol):
    """Asked between two packets."""

    def check(self) -> None:
        """Raise to end the work here."""


class Stopper:
    """A `Stop` that ends the work when its event is set, or the task that waits for its thread is cancelled."""

    def __init__(self, event: threading.Event | None = None) -> None:
        self._event = event or threading.Event()

    def set(self) -> None:
        """End the work at the next packet."""
        self._event.set()

    def check(self) -> None:
        """Raise `Stopped`, or the cancellation of the waiting task."""
        if self._event.is_set():
            raise Stopped
        try:
            anyio.from_thread.check_cancelled()
        except RuntimeError:  # a thread that no task waits for
            return


class Unstoppable:
    """A `Stop` for work that is over in a moment."""

    def check(self) -> None:
        """Never end the work."""


async def in_thread(work: Callable[[], T], *, stopper: Stopper | None = None) -> T:
    """Run blocking work in one of a few threads of the media's own, so that it starves nobody else.

    Cancelled, it is told to stop and waited for; what it began is cleaned up by the work itself.
    """
    try:
        limiter = _threads.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(max(2, os.cpu_count() or 2))
        _threads.set(limiter)
    try:
        return await anyio.to_thread.run_sync(work, limiter=limiter)
    except anyio.get_cancelled_exc_class():
        if stopper is not None:
            stopper.set()  # asyncio's own cancellation does not wait for the thread
        raise
    except Stopped:
        await anyio.lowlevel.checkpoint_if_cancelled()  # then it was a neighbour's cancellation, and is ours too
        raise


Progress = Callable[[int, int | None], Awaitable[None] | None]
"""Told what is done and what there is in all (``None`` while unknown); may be a coroutine function."""


class Teller:
    """Tells a progress callback of the event loop from a thread, a few times a second."""

    def __init__(self, progress: Progress | None, *, interval: float = 0.2) -> None:
        self._progress = progress
        self._interval = interval
        self._clock = SystemClock()
        self._told_at = -math.inf

    def tell(self, done: int, total: int | None, *, last: bool = False) -> None:
        """Say how far the work is, unless that was said a moment ago and this is not the end."""
        now = self._clock.monotonic()
        if self._progress is not None and (last or now - self._told_at >= self._interval):
            self._told_at = now
            anyio.from_thread.run(tell, self._progress, done, total)


async def tell(progress: Progress | None, done: int, total: int | None) -> None:
    """Call a progress callback of either kind."""
    if progress is not None:
        told = progress(done, total)
        if inspect.isawaitable(told):
            await told


def first_error(group: ExceptionGroup[Exception]) -> Exception:
    """Return the error that ended a task group, out of the groups it is wrapped in."""
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def need_av() -> None:
    """Raise `ConvertFailed` with the cure when PyAV is not installed."""
    try:
        import av  # noqa: F401, PLC0415 - 80 ms, and an extra
    except ImportError as error:
        raise ConvertFailed("sound needs the media extra: pip install 'musicq_async[media]'") from error


def need_mutagen() -> None:
    """Raise `TagsRejected` with the cure when mutagen is not installed."""
    try:
        import mutagen  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise TagsRejected("tags need the media extra: pip install 'musicq_async[media]'") from error
