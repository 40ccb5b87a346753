"""The process-wide shortcuts: one queue and one scheduler for programs that want no object of their own."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from musicq_async.app import Scheduler
from musicq_async.core import MemoryQueue
from musicq_async.memory.facade import AsyncQueue

_queue: AsyncQueue | None = None
_scheduler: Scheduler | None = None
_scheduler_loop: asyncio.AbstractEventLoop | None = None


def get_queue() -> AsyncQueue:
    """Return the queue of this process, made on first use; its clean-up thread runs. Threads may use ``.core``."""
    global _queue  # noqa: PLW0603 - the one queue of the process is what this module is for
    if _queue is None:
        core = MemoryQueue()
        core.start_cleanup()
        _queue = AsyncQueue(core)
    return _queue


async def get_scheduler() -> Scheduler:
    """Return the scheduler of this process, started.

    Its schedules are rows in the database of the default settings; what is due is pushed to `get_queue`. It belongs to
    the event loop that started it: on another loop, or after ``stop()``, a fresh one is made. Raises
    `BackendUnavailable` if the database cannot be opened.
    """
    global _scheduler, _scheduler_loop
    loop = asyncio.get_running_loop()
    if _scheduler is None or _scheduler_loop is not loop:
        _scheduler, _scheduler_loop = Scheduler(queue=get_queue()), loop
    await _scheduler.start()
    return _scheduler


async def push_task(task: dict[str, Any], priority: int = 0) -> str:
    """Push to the queue of this process; see `AsyncQueue.push_task`."""
    return await get_queue().push_task(task, priority)


async def pop_task(timeout: float | None = None) -> dict[str, Any] | None:
    """Pop from the queue of this process; see `AsyncQueue.pop_task`."""
    return await get_queue().pop_task(timeout)


async def set_public(key: str, value: Any, ttl: float | None = None) -> None:
    """Set a shared value; see `AsyncQueue.set_public`."""
    await get_queue().set_public(key, value, ttl)


async def get_public(key: str) -> Any | None:
    """Return a shared value; see `AsyncQueue.get_public`."""
    return await get_queue().get_public(key)


async def delete_public(key: str) -> bool:
    """Delete a shared value; see `AsyncQueue.delete_public`."""
    return await get_queue().delete_public(key)


def _forget() -> None:
    global _scheduler  # noqa: PLW0603
    _scheduler = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)  # the child has neither the loop nor the tasks of the scheduler
