"""`Host`: one task that owns a task group, for objects that are started in one task and stopped in another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import anyio
from anyio.abc import TaskGroup

from musicq_async.errors import NotRunning


class Host:
    """A home for background work. ``await open()``, then `start` and `run` things in it, then ``await close()``.

    This is the only place of the package that makes a task by hand. A task group must be left by the task that entered
    it, while ``start()`` and ``stop()`` of a scheduler may be called from any two tasks; so the group is entered
    and left by a task of its own. It ends when `close` is called, when the work in it breaks down, or with the loop.
    """

    def __init__(self, name: str = "musicq host") -> None:
        self._name = name
        self._task: asyncio.Task[None] | None = None
        self._group: TaskGroup | None = None
        self._closing = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether work can be started and goes on."""
        return self._task is not None and not self._task.done() and not self._closing.is_set()

    async def open(self) -> None:
        """Make the task. If this is cancelled, there is none."""
        if self._task is not None:
            raise NotRunning("a host opens only once; make another one")
        ready = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._live(ready), name=self._name)
        try:
            await ready.wait()
        except BaseException:
            await self.close()
            raise

    async def start(self, work: Callable[..., Coroutine[Any, Any, Any]], *args: object) -> Any:
        """Start work that tells by ``task_status`` when it is ready, and wait for that. Raises what it raises."""
        return await self._opened().start(work, *args)

    def run(self, work: Callable[..., Coroutine[Any, Any, Any]], *args: object) -> None:
        """Start work without waiting for it."""
        self._opened().start_soon(work, *args)

    async def close(self) -> None:
        """Cancel what still runs and wait for its end, even if this is cancelled. Raises what broke the work down."""
        task = self._task
        if task is None:
            return
        self._closing.set()
        interrupted: asyncio.CancelledError | None = None
        while not task.done():
            try:
                with anyio.CancelScope(shield=True):
                    await asyncio.wait({task})
            except asyncio.CancelledError as error:  # a native one: it is passed on when the work has ended
                interrupted = error
        if interrupted is not None:
            raise interrupted
        if not task.cancelled():
            task.result()

    async def _live(self, ready: asyncio.Event) -> None:
        try:
            async with anyio.create_task_group() as self._group:
                ready.set()
                await self._closing.wait()
                self._group.cancel_scope.cancel()
        finally:
            self._closing.set()

    def _opened(self) -> TaskGroup:
        if self._group is None or not self.is_open:
            raise NotRunning("the background work has ended or was never started")
        return self._group


async def close_quietly(host: Host) -> None:
    """Close a host while another error is on its way out."""
    with suppress(Exception):
        await host.close()
