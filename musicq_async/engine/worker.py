"""The workers of a process: executors that claim, run and settle one task after the other."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import anyio
import msgspec
from anyio import TASK_STATUS_IGNORED, lowlevel
from anyio.abc import TaskGroup, TaskStatus

from musicq_async.engine.attempt import Attempts, Run
from musicq_async.engine.batches import release_after
from musicq_async.engine.claims import Claims
from musicq_async.engine.keeper import LeaseKeeper
from musicq_async.engine.outage import Outage
from musicq_async.engine.registry import Handlers
from musicq_async.engine.reports import Reports
from musicq_async.engine.signal import WorkSignal, sleep_until_notified
from musicq_async.engine.telling import settled
from musicq_async.errors import LeaseLost
from musicq_async.model.event import Started, Warned
from musicq_async.model.lifecycle import Change, completed, settle
from musicq_async.model.outcome import Cancellation, Interruption, Outcome, Success
from musicq_async.model.task import FINISHED, Lease, Task
from musicq_async.ports import Clock, EventSink, TaskQueue

if TYPE_CHECKING:
    from musicq_async.engine.tasks import Tasks

TURN: Final = 0.004
"""Seconds that all executors together may keep the event loop before others have a turn."""
LEAST_TURN: Final = 0.0001
"""Seconds that one executor has at least: changing turns costs a few microseconds too."""
CANCEL_TIME: Final = 1.0
"""Seconds that cancelled handlers have to clean up at shutdown before their threads are given up."""
SETTLE_TIME: Final = 5.0
"""Seconds that settling may take at shutdown."""
ALONE_TIME: Final = 10.0
"""Seconds that a task under suspicion waits for its neighbours to end."""

Unsettled = tuple[Run, Outcome]
Ended = tuple[Unsettled | None, Lease | None, bool]
"""What is left to settle after a run; the next task, if settling brought one along; whether that looked for one."""
NOTHING: Final[Ended] = (None, None, False)


class Workers:
    """Runs the tasks of a queue: ``concurrency`` executors in one task group.

    Nothing is claimed ahead: an executor claims one task when it is free to run it, so that priorities are exact.
    ``fails_unknown`` makes tasks without a handler fail (a queue in memory has no other process that could run them);
    otherwise only types with a handler are claimed. ``poll_interval`` may be infinite where ``signal`` hears of every
    task. ``redact`` takes secrets out of error texts before they are stored.
    """

    def __init__(
        self,
        queue: TaskQueue,
        handlers: Handlers,
        *,
        clock: Clock,
        sink: EventSink,
        signal: WorkSignal,
        keeper: LeaseKeeper,
        owner: str,
        concurrency: int = 4,
        poll_interval: float = 1.0,
        max_crashes: int = 3,
        grace: float = 10.0,
        fails_unknown: bool = False,
        draw: Callable[[], float] = random.random,
        redact: Callable[[str], str] = str,
    ) -> None:
        self.concurrency = concurrency
        self._queue = queue
        self._handlers = handlers
        self._clock = clock
        self._sink = sink
        self._line = signal.workers
        self._look = signal.look
        self._keeper = keeper
        self._max_crashes = max_crashes
        self._grace = grace
        self._draw = draw
        self._outage = Outage(sink=sink, what="the task queue", redact=redact)
        self._claims = Claims(
            queue, handlers, clock=clock, signal=signal, outage=self._outage, owner=owner, seconds=keeper.seconds,
            poll_interval=poll_interval, any_type=fails_unknown,
        )  # fmt: skip
        self._runs: dict[str, Run] = {}
        keeper.keep(self._runs)
        self._reports = Reports(queue, self._runs, clock=clock, sink=sink, outage=self._outage)
        self._attempts = Attempts(
            clock=clock, sink=sink, threads=max(concurrency, 1), report=self._reports.take, redact=redact
        )
        self._executors = 0
        self.is_stopping = False
        """Whether `stop` was called: nothing more is claimed."""
        self._stop_at = math.inf
        """Monotonic time at which running tasks are cancelled; infinite until `stop`."""
        self._nudge = asyncio.Event()
        self._is_careful = True
        self._careful = anyio.Lock()
        self._group: TaskGroup | None = None
        self._watchers = 0

    @property
    def running(self) -> int:
        """How many tasks run in this process now."""
        return len(self._runs)

    @property
    def tasks(self) -> Tasks | None:
        """What handlers get as ``context.queue``."""
        return self._attempts.tasks

    @tasks.setter
    def tasks(self, tasks: Tasks) -> None:
        self._attempts.tasks = tasks

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Work until `stop`, then return when every running task has ended or was put back.

        Cancelling this stops at once: running handlers are cancelled, their tasks put back, and no attempt counted.
        That takes a few seconds at most, and is done before the cancellation goes on.
        """
        done = asyncio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(self._work_shielded, done, task_status)
            try:
                await done.wait()
            except BaseException:
                self.stop(grace=0)
                raise

    def stop(self, grace: float | None = None) -> None:
        """Claim nothing more. What still runs after ``grace`` seconds is cancelled and put back, not counted.

        Calling it again with a shorter grace shortens it.
        """
        seconds = self._grace if grace is None else max(grace, 0.0)
        self.is_stopping = True
        self._stop_at = min(self._stop_at, self._clock.monotonic() + seconds)
        self._line.notify(len(self._line))
        self._nudge.set()

    def cancel(self, task_id: str, reason: str | None = None) -> bool:
        """Cancel a task that runs in this process; return whether it did."""
        run = self._runs.get(task_id)
        return run is not None and run.end(Cancellation(reason))

    def pause(self, task_type: str, *, paused: bool) -> None:
        """Learn at once that a type was paused or resumed; other processes learn it at their next poll."""
        self._claims.pause(task_type, paused=paused)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Have `changed` return whenever a run ends, while this is open."""
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1

    async def changed(self, seconds: float) -> None:
        """Wait until a run has ended, or for so many seconds; call it inside `watched`."""
        await sleep_until_notified(self._clock, seconds, self._nudge)

    async def _work_shielded(self, done: asyncio.Event, task_status: TaskStatus[None]) -> None:
        """Do the work where no cancellation from outside reaches: claims and settles are never cut in the middle."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as self._group:
                await self._claims.learn_paused()
                for _ in range(self.concurrency):
                    self._add_executor(self._group)
                self._group.start_soon(self._claims.keep_looking)
                self._group.start_soon(self._reports.run)
                task_status.started()
                await self._until(lambda: self.is_stopping, end=lambda: math.inf)
                await self._wind_down()
                self._group.cancel_scope.cancel()
        done.set()

    async def _wind_down(self) -> None:
        """Wait, then cancel, then give up: the three steps of `stop`."""
        await self._until(self._all_left, end=lambda: self._stop_at)
        for run in list(self._runs.values()):
            run.end(Interruption())
        await self._until_left(CANCEL_TIME)
        for run in list(self._runs.values()):
            run.abandon()
        await self._until_left(SETTLE_TIME)

    def _all_left(self) -> bool:
        return self._executors == 0

    async def _until_left(self, seconds: float) -> None:
        end = self._clock.monotonic() + seconds
        await self._until(self._all_left, end=lambda: end)

    async def _until(self, is_so: Callable[[], bool], *, end: Callable[[], float]) -> None:
        """Wait for a condition that is looked at when `_nudge` is set, until a time that may change meanwhile."""
        while not is_so() and (left := end() - self._clock.monotonic()) > 0:
            await sleep_until_notified(self._clock, left, self._nudge)

    # One executor

    def _add_executor(self, group: TaskGroup) -> None:
        self._executors += 1
        group.start_soon(self._execute, group)

    async def _execute(self, group: TaskGroup) -> None:
        """Be one executor. Whatever goes wrong here, another one takes its place."""
        try:
            while not self.is_stopping:
                with anyio.CancelScope() as scope:
                    unsettled = await self._work(scope)
                if unsettled is not None:
                    await self._finish(*unsettled)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if group.cancel_scope.cancel_called:
                raise
            self._sink.emit(Warned(message=f"a worker broke down and was replaced: {error!r}"))
            if not self.is_stopping:
                self._add_executor(group)
        finally:
            self._executors -= 1
            self._nudge.set()

    async def _work(self, scope: anyio.CancelScope) -> Unsettled | None:
        """Claim, run and settle until the end, or until ``scope`` was cancelled: that run is settled outside of it.

        The scope is one for all runs, because opening one costs as much as all the rest.
        """
        turn = max(TURN / self.concurrency, LEAST_TURN)
        turn_ends = self._clock.monotonic() + turn
        more = looked = False
        lease: Lease | None = None
        while lease is not None or not self.is_stopping:
            if lease is None:
                if self._is_careful:
                    unsettled, lease, looked = await self._run_carefully(scope)
                    if unsettled is not None:
                        return unsettled
                    continue
                lease = None if looked else await self._claim()
                if lease is None:
                    more = await self._line.wait()
                    looked = False
                    continue
                if more:
                    more = False
                    self._line.notify(more=True)
            if lease.task.crash_count:
                self._is_careful = True
                await self._put_back(lease)
                lease = None
                continue
            unsettled, lease, looked = await self._run(lease, scope)
            if unsettled is not None:
                return unsettled
            if self._clock.monotonic() >= turn_ends:
                await lowlevel.checkpoint()
                turn_ends = self._clock.monotonic() + turn
        return None

    async def _run_carefully(self, scope: anyio.CancelScope) -> Ended:
        """Claim one at a time, and run a task alone that was there when a process died.

        It may have been the cause, and must not take its neighbours along again; nor may they be blamed for it.
        """
        async with self._careful:
            if not self._is_careful or self.is_stopping:
                return NOTHING
            lease = await self._claim()
            if lease is not None and lease.task.crash_count:
                return await self._run(lease, scope, alone=True)
            self._is_careful = False
        return NOTHING if lease is None else await self._run(lease, scope)

    async def _claim(self) -> Lease | None:
        """Claim one task that may begin now. A backend that fails gives none; `Claims.keep_looking` tries again."""
        terms = self._claims.terms
        if self.is_stopping or terms is None:
            return None
        try:
            leases = await self._queue.claim(terms)
        except Exception as error:  # noqa: BLE001 - a worker outlives whatever its backend does
            self._outage.failed(error)
            return None
        self._is_reached()
        return await self._begun(leases)

    def _is_reached(self) -> None:
        """Note that the backend answers."""
        if self._outage.is_on and self._outage.over():
            self._look()

    async def _begun(self, leases: list[Lease]) -> Lease | None:
        """Return the task that a claim brought, if it may still begin."""
        if not leases:
            return None
        self._line.took()
        if self._stop_at < math.inf:  # it was on its way at `stop`: nobody would tell its handler to end
            await self._put_back(leases[0])
            return None
        return leases[0]

    async def _run(self, lease: Lease, scope: anyio.CancelScope, *, alone: bool = False) -> Ended:
        """Run one task and settle it, or leave the settling to the caller if ``scope`` was cancelled.

        What settling it brought along is the next task.
        """
        task = lease.task
        run = Run(lease, self._handlers.by_type.get(task.task_type))
        self._runs[task.task_id] = run
        if self._keeper.is_idle:
            self._keeper.wake()
        if alone and not await self._is_alone():
            await self._finish(run, Interruption())
            return NOTHING
        if self._sink.listening:
            run.began = self._clock.monotonic()
            self._sink.emit(Started(task_id=task.task_id, task_type=task.task_type, attempt=task.attempt))
        try:
            outcome = await self._attempts.outcome(run, scope)
        except BaseException:
            await self._finish(run, Interruption())
            raise
        if scope.cancel_called:
            return (run, outcome), None, False
        return await self._finish(run, outcome, goes_on=not alone)

    async def _is_alone(self) -> bool:
        """Wait a while for the neighbours to end; return whether there is still time to run."""
        end = self._clock.monotonic() + ALONE_TIME
        with self.watched():
            await self._until(lambda: len(self._runs) == 1, end=lambda: min(end, self._stop_at))
        return not self.is_stopping

    async def _put_back(self, lease: Lease) -> None:
        run = Run(lease, None)
        self._runs[lease.task.task_id] = run
        await self._finish(run, Interruption())

    # The end of a run

    async def _finish(self, run: Run, outcome: Outcome, *, goes_on: bool = False) -> Ended:
        """Settle a run and tell of it. Who ``goes_on`` gets the next task with the answer, if there is one."""
        lease = run.lease
        task = lease.task
        attempt = task.attempt
        following: list[Lease] | None = None
        try:
            if run.progress is not None:
                await self._reports.store(run)
            now_ms = self._clock.time_ms()
            if isinstance(outcome, Success):
                change = completed(task, outcome.result, now_ms=now_ms)
            else:
                task = await self._with_cancel_request(task, lease)
                change = settle(task, outcome, now_ms=now_ms, draw=self._draw(), max_crashes=self._max_crashes)
            if not run.is_lost:
                following = await self._settle(run, change, goes_on=goes_on)
        finally:
            if self._runs.get(task.task_id) is run:  # it may have been lost, and run here again by now
                del self._runs[task.task_id]
            if task.task_type in self._claims.limited:
                self._line.notify(more=True)
            if self._watchers:
                self._nudge.set()
        if not run.is_lost:
            if self._sink.listening:
                seconds = self._clock.monotonic() - run.began
                self._sink.emit(settled(task, outcome, change, attempt=attempt, seconds=seconds, now_ms=now_ms))
            if task.then_id is not None and change.status in FINISHED:
                await self._release(task.then_id)
        return NOTHING if following is None else (None, await self._begun(following), True)

    async def _settle(self, run: Run, change: Change, *, goes_on: bool) -> list[Lease] | None:
        """Write how a run ended; return what was claimed in the same step, ``None`` where it did not look."""
        terms = self._claims.terms if goes_on and not self.is_stopping and not self._is_careful else None
        try:
            if terms is not None:
                accepted, following = await self._queue.exchange(run.lease, change, terms)
                if not accepted:
                    self._was_lost(run)
                return following
            await self._queue.settle(run.lease, change)
        except Exception as error:  # noqa: BLE001 - looked at there
            await self._settle_later(run, change, error)
        return None

    async def _release(self, then_id: str) -> None:
        try:
            await release_after(self._queue, then_id, sink=self._sink)
        except Exception as error:  # noqa: BLE001 - the janitor does it later
            self._outage.failed(error)

    async def _settle_later(self, run: Run, change: Change, error: Exception) -> None:
        """Go on trying, however long the backend is away: only the backend knows whether the lease is lost."""
        while not isinstance(error, LeaseLost):
            await self._clock.sleep(self._outage.failed(error, doing=run))
            try:
                await self._queue.settle(run.lease, change)
            except Exception as another:  # noqa: BLE001 - a worker outlives whatever its backend does
                error = another
            else:
                if self._outage.over(doing=run):
                    self._look()
                return
        self._outage.over(doing=run)
        self._was_lost(run)

    def _was_lost(self, run: Run) -> None:
        run.is_lost = True
        task = run.lease.task
        self._sink.emit(Warned(message=f"task {task.task_id} ended here after it was given to another worker"))

    async def _with_cancel_request(self, task: Task, lease: Lease) -> Task:
        """Look once more whether a cancellation was asked for before a task is put back to run again."""
        try:
            answer = await self._queue.heartbeat([lease], seconds=self._keeper.seconds)
        except Exception:  # noqa: BLE001 - settling will tell of it
            return task
        if task.task_id not in answer.cancelled:
            return task
        reason = answer.cancelled[task.task_id]
        return msgspec.structs.replace(task, cancel_requested_ms=self._clock.time_ms(), cancel_reason=reason)
