"""One attempt: a lease and a handler go in, an `Outcome` comes out, whatever the handler does."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import math
import types
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec
from anyio import CapacityLimiter, to_thread

from musicq_async.engine.context import CancelToken, SnoozeRequest, TaskContext
from musicq_async.engine.registry import Handler
from musicq_async.engine.result import NotJson, failure, json_copy
from musicq_async.errors import TaskCancelled, TaskTimedOut, UnknownTaskType
from musicq_async.model.event import Warned
from musicq_async.model.outcome import Cancellation, Failure, Interruption, Outcome, Snooze, Success
from musicq_async.model.task import Lease
from musicq_async.ports import Clock, EventSink

if TYPE_CHECKING:
    from musicq_async.engine.tasks import Tasks

DONE: Final = Success()
"""What most handlers say."""


class Run:
    """One lease in this process, from claim to settle."""

    # Most runs end without any of these ever being set, and setting them all would cost as much as settling.
    scope: anyio.CancelScope | None = None
    """The executor's scope while the handler runs."""
    limit: anyio.CancelScope | None = None
    """The scope of the timeout, if there is one."""
    thread: anyio.CancelScope | None = None
    """Shields the wait for a handler's thread; cancelled only to give the thread up."""
    ending: Cancellation | Interruption | None = None
    """Why the run was told to end."""
    is_abandoned = False
    """Whether the handler's thread was given up."""
    is_lost = False
    """Whether the task is another worker's by now, so that nobody wants the outcome."""
    deadline = math.inf
    began = 0.0
    token: CancelToken | None = None
    context: TaskContext | None = None
    progress: dict[str, Any] | None = None
    """A report that is still to be stored."""
    reported_at = -math.inf

    def __init__(self, lease: Lease, handler: Handler | None) -> None:
        self.lease = lease
        self.handler = handler

    def end(self, ending: Cancellation | Interruption) -> bool:
        """Tell the handler to end; return whether it still runs."""
        if self.scope is None:
            return False
        if self.ending is None:
            self.ending = ending
        self.scope.cancel()
        return True

    def lost(self) -> None:
        """Learn that the task is another worker's: the handler is cancelled, and its outcome dropped."""
        self.is_lost = True
        self.end(Interruption())

    def cancel_requested(self, reason: str | None) -> None:
        """Learn that somebody asked to cancel the task."""
        self.end(Cancellation(reason))

    def abandon(self) -> None:
        """Stop waiting for the handler's thread, which goes on by itself."""
        if self.thread is not None:
            self.is_abandoned = True
            self.thread.cancel()

    @property
    def timeout(self) -> float | None:
        """Seconds that this attempt may take: the task's own word, else the handler's."""
        seconds = self.lease.task.timeout_seconds
        if seconds is not None or self.handler is None:
            return seconds
        return self.handler.timeout


class Attempts:
    """Runs handlers. One for all workers of a process."""

    def __init__(
        self,
        *,
        clock: Clock,
        sink: EventSink,
        threads: int,
        report: Callable[[Run, dict[str, Any]], Coroutine[Any, Any, None]],
        redact: Callable[[str], str],
    ) -> None:
        self.tasks: Tasks | None = None
        """What handlers get as ``context.queue``."""
        self._clock = clock
        self._sink = sink
        self._threads = threads
        self._limiter: CapacityLimiter | None = None
        self._report = report
        self._redact = redact

    async def outcome(self, run: Run, scope: anyio.CancelScope) -> Outcome:
        """Run the handler inside ``scope``, which the caller has open, and say how it ended.

        Raises only `KeyboardInterrupt`, and the cancellation of a scope around ``scope``.
        """
        handler = run.handler
        if handler is None:
            return self._failure(run, UnknownTaskType(_unknown(run.lease.task.task_type)))
        run.scope = scope
        try:
            if handler.is_plain and run.lease.task.timeout_seconds is None:
                params = msgspec.to_builtins(run.lease.task.params)  # a copy: a retry gets what was pushed
                result = await in_context(contextvars.copy_context(), handler.function(params))
            else:
                result = await self._called(run, handler)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if run.ending is None and isinstance(error, asyncio.CancelledError) and _is_cancelled_from_outside():
                raise
            result = _Raised(error)
        finally:
            run.scope = run.thread = None
        executor = asyncio.current_task()
        if executor is not None and executor.cancelling() and not scope.cancel_called:
            await _forgive(executor)
        if result is None and run.context is None and run.ending is None and run.limit is None:
            return DONE
        return self._raised(run, result.error) if type(result) is _Raised else self._returned(run, handler, result)

    async def _called(self, run: Run, handler: Handler) -> Any:
        params: dict[str, Any] = msgspec.to_builtins(run.lease.task.params)
        seconds = run.timeout
        if seconds is None:
            return await self._invoked(run, handler, params)
        run.deadline = self._clock.monotonic() + seconds
        with self._clock.move_on_after(seconds) as run.limit:
            return await self._invoked(run, handler, params)
        return None  # `run.limit` says the rest

    async def _invoked(self, run: Run, handler: Handler, params: dict[str, Any]) -> Any:
        function = handler.function
        if not handler.takes_context:
            if handler.is_async:
                return await in_context(contextvars.copy_context(), function(params))
            return await self._in_thread(run, function, (params,), {})
        context = self._context(run, params)
        places = (params,) if handler.context_keyword else (params, context)
        names = {handler.context_keyword: context} if handler.context_keyword else {}
        if handler.is_async:
            return await in_context(contextvars.copy_context(), function(*places, **names))
        return await self._in_thread(run, function, places, names)

    async def _in_thread(
        self, run: Run, function: Callable[..., Any], places: tuple[Any, ...], names: dict[str, Any]
    ) -> Any:
        """Call a plain function in a thread and wait for it to end.

        A thread cannot be cancelled and must not run beside its own retry, so the wait is shielded: a run that was
        told to end stays in its place until the function returns, and `TaskContext.cancelled` tells it to.
        """
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._threads)
        with anyio.CancelScope(shield=True) as run.thread:
            result = await to_thread.run_sync(
                _caught, function, places, names, abandon_on_cancel=True, limiter=self._limiter
            )
            return await result if inspect.isawaitable(result) else result
        return None  # abandoned at shutdown: `run.ending` says the rest

    def _context(self, run: Run, params: dict[str, Any]) -> TaskContext:
        async def report(progress: dict[str, Any]) -> None:
            if message := progress["message"]:
                progress["message"] = self._redact(message)
            await self._report(run, progress)

        clock = self._clock
        run.token = CancelToken(lambda: run.ending is not None or run.is_lost or clock.monotonic() >= run.deadline)
        run.context = TaskContext(run.lease.task, params=params, queue=self.tasks, token=run.token, report=report)
        return run.context

    def _returned(self, run: Run, handler: Handler, result: Any) -> Outcome:
        if isinstance(result, SnoozeRequest):
            return Snooze(result.seconds)
        if result is None and run.context is not None and run.context.snoozed is not None:
            return Snooze(run.context.snoozed.seconds)
        ended = self._ended(run)
        if ended is not None and not _finished_anyway(run, handler, result, ended):
            return ended
        if result is None:
            return DONE
        try:
            return Success(json_copy(result))
        except NotJson as error:
            task = run.lease.task
            self._sink.emit(
                Warned(message=f"task {task.task_id} ({task.task_type}) is completed without its result: {error}")
            )
            return DONE

    def _raised(self, run: Run, error: BaseException) -> Outcome:
        if (ended := self._ended(run)) is not None:
            return ended
        if isinstance(error, SnoozeRequest):
            return Snooze(error.seconds)
        if isinstance(error, TaskCancelled):
            return Cancellation(self._redact(str(error)) or None)
        return self._failure(run, error)

    def _ended(self, run: Run) -> Outcome | None:
        """Return the outcome that was decided for the handler, if it was told to end."""
        if run.ending is not None:
            return run.ending
        if run.limit is not None and run.limit.cancel_called:
            return self._failure(run, TaskTimedOut(f"the handler was stopped after its timeout of {run.timeout:g} s"))
        return None

    def _failure(self, run: Run, error: BaseException) -> Failure:
        now_ms = self._clock.time_ms()
        return failure(error, now_ms=now_ms, attempt=run.lease.task.attempt, redact=self._redact)


class _Raised:
    """What a function raised in its thread. Some exceptions must not pass through a future or a coroutine."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _caught(function: Callable[..., Any], places: tuple[Any, ...], names: dict[str, Any]) -> Any:
    try:
        return function(*places, **names)
    except BaseException as error:  # noqa: BLE001 - it is looked at on the event loop
        return _Raised(error)


@types.coroutine
def in_context(context: contextvars.Context, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Await ``work`` with context variables of its own: what one handler sets, the next one does not see.

    A task for each handler would do the same at five times the price.
    """
    step = context.run
    try:
        waits_for = step(work.send, None)
        while True:
            try:
                answer = yield waits_for
            except BaseException as error:  # noqa: BLE001 - the handler has the first word on it
                waits_for = step(work.throw, error)
            else:
                waits_for = step(work.send, answer)
    except StopIteration as finished:
        return finished.value


def _finished_anyway(run: Run, handler: Handler, result: Any, ended: Outcome) -> bool:
    """Whether a handler that was told to end has done all its work nevertheless.

    One that has heard of it ended early. One that returns a value is through; so is a thread that knew nothing of a
    shutdown. A thread that overran its timeout has failed, whatever it returns.
    """
    if run.token is not None and run.token.was_seen:
        return False
    if handler.is_async:
        return result is not None
    if isinstance(ended, Failure):
        return False
    return result is not None or (isinstance(ended, Interruption) and not run.is_abandoned)


def _is_cancelled_from_outside() -> bool:
    """Whether a scope around this task was cancelled; a handler that raises CancelledError itself changes no scope."""
    return anyio.current_effective_deadline() == -math.inf


async def _forgive(executor: asyncio.Task[Any]) -> None:
    """Take back what a handler did that called ``cancel()`` on the task it runs in: that task is a worker's."""
    if _is_cancelled_from_outside():
        return
    while executor.uncancel():
        pass
    try:
        await asyncio.sleep(0)  # before Python 3.13 the error itself is still on its way
    except asyncio.CancelledError:
        while executor.uncancel():
            pass


def _unknown(task_type: str) -> str:
    return f"no handler is registered for the type {task_type!r}; register one with @handlers.register({task_type!r})"
