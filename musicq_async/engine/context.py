"""What a handler is given beside its params: `TaskContext`."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, NoReturn

from anyio import from_thread

from musicq_async.errors import UsageError
from musicq_async.model.lifecycle import LONGEST_SNOOZE
from musicq_async.model.task import Task

if TYPE_CHECKING:
    from musicq_async.engine.tasks import Tasks


class CancelToken:
    """Whether a run should end early. Threads may look at it at any time."""

    __slots__ = ("_is_cancelled", "was_seen")

    def __init__(self, is_cancelled: Callable[[], bool]) -> None:
        self._is_cancelled = is_cancelled
        self.was_seen = False
        """Whether the handler has learnt that it should end."""

    @property
    def is_set(self) -> bool:
        """Whether the run should end; asking and hearing yes is remembered."""
        if self._is_cancelled():
            self.was_seen = True
            return True
        return False


class SnoozeRequest(Exception):
    """The wish to be called again later: ``return context.snooze(60)``; raising or awaiting it does the same."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"again in {seconds} s")
        self.seconds = seconds

    def __await__(self) -> Generator[Any, None, NoReturn]:
        yield from ()
        raise self


class TaskContext:
    """One attempt, as its handler sees it."""

    __slots__ = ("_report", "_task", "_token", "params", "queue", "snoozed")

    def __init__(
        self,
        task: Task,
        *,
        params: dict[str, Any],
        queue: Tasks | None,
        token: CancelToken,
        report: Callable[[dict[str, Any]], Coroutine[Any, Any, None]],
    ) -> None:
        self._task = task
        self._token = token
        self._report = report
        self.params = params
        """The same dict that the handler gets as its first argument."""
        self.queue: Any = queue
        """The application's queue: ``await context.queue.push_task({...})``."""
        self.snoozed: SnoozeRequest | None = None

    def __repr__(self) -> str:
        return f"TaskContext(task_id={self.task_id!r}, task_type={self.task_type!r}, attempt={self.attempt})"

    @property
    def task_id(self) -> str:
        """Id of the task."""
        return self._task.task_id

    @property
    def task_type(self) -> str:
        """Type of the task."""
        return self._task.task_type

    @property
    def attempt(self) -> int:
        """1 for the first; a retry counts up, while snoozes, shutdowns and crashes do not."""
        return self._task.attempt

    @property
    def max_retries(self) -> int:
        """Attempts that may follow the first."""
        return self._task.max_retries

    @property
    def extra(self) -> dict[str, Any]:
        """The caller's own keys of the task, as they were pushed."""
        return self._task.extra

    @property
    def scheduler_task_id(self) -> str | None:
        """Id of the schedule that pushed the task, if one did."""
        return self._task.scheduler_task_id

    @property
    def fire_at(self) -> int | None:
        """Nominal time, in epoch seconds, of the schedule's slot."""
        return self._task.fire_at

    @property
    def cancelled(self) -> bool:
        """Whether this run should end: it was cancelled, its time is up, or the process shuts down.

        An ``async def`` handler is cancelled at its next ``await`` anyway. A plain function in a thread cannot be:
        it should look here now and then and return.
        """
        return self._token.is_set

    async def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Report how far the work is; the last report is kept with the task. Never fails a healthy handler.

        Raises `UsageError` if ``done`` or ``total`` is no finite number or ``message`` is no text.
        """
        await self._report(_progress(done, total, message))

    def progress_sync(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Do what `progress` does, from a plain handler's thread."""
        from_thread.run(self._report, _progress(done, total, message))

    def snooze(self, seconds: float) -> SnoozeRequest:
        """Ask to be called again in so many seconds; no attempt is spent: ``return context.snooze(60)``.

        Calling it and returning nothing does the same. Raises `UsageError` for anything but a number from 0 on.
        """
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST_SNOOZE:
            raise UsageError(f"snooze: seconds must be a number from 0 to {LONGEST_SNOOZE:.0f}, not {seconds!r}")
        self.snoozed = SnoozeRequest(float(seconds))
        return self.snoozed


def _progress(done: float, total: float | None, message: str | None) -> dict[str, Any]:
    for name, value in (("done", done), ("total", total)):
        if name == "total" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(f"progress: {name} must be a finite number, not {value!r}")
    if message is not None and not isinstance(message, str):
        raise UsageError(f"progress: message must be text, not {type(message).__name__}")
    return {"done": done, "total": total, "message": message}
