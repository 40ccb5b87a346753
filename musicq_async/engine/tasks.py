"""`Tasks`, the face of a queue (``app.queue``): the names of `AsyncQueue` over any backend, and looks at tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from musicq_async.core import checked_task
from musicq_async.engine.batches import release_after
from musicq_async.engine.ids import new_task_id
from musicq_async.engine.keeper import LeaseKeeper
from musicq_async.engine.registry import LONGEST_TYPE, Handlers
from musicq_async.engine.signal import WorkSignal
from musicq_async.errors import BackendError, InvalidTask, LeaseLost, NotRunning, TaskNotFound, UsageError
from musicq_async.model import lifecycle
from musicq_async.model.event import Cancelled, Completed, Queued, Warned
from musicq_async.model.outcome import Interruption, Outcome, Success
from musicq_async.model.task import DEFAULT_MAX_RETRIES, FINISHED, Lease, NewTask, Task, TaskState
from musicq_async.model.unique import checked_mode
from musicq_async.ports import Clock, EventSink, PublicStore, TaskFilter, TaskQueue, Terms

LARGEST_PAGE: Final = 1000
POLL: Final = 1.0
"""Seconds within which a waiting `Tasks.pop_task` or `Tasks.join` sees what other processes did."""
OWN_KEYS: Final = frozenset(
    {
        *("task_id", "type", "params", "priority", "max_retries", "timeout", "delay", "run_at"),
        *("unique_key", "unique_mode", "group_key"),
    }
)
"""Keys of a pushed dict that the queue acts on; all others are the caller's."""


class _Popped:
    """A task that a manual consumer works on."""

    __slots__ = ("is_lost", "lease")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.is_lost = False

    def lost(self) -> None:
        """Leave it to `Tasks.task_done` to tell the consumer."""
        self.is_lost = True

    def cancel_requested(self, reason: str | None) -> None:
        """Nothing can be done: the consumer is not ours to cancel."""


class Tasks:
    """Push, pop, look at and change tasks; share values. Every call may be cancelled and then has lost nothing."""

    def __init__(
        self,
        queue: TaskQueue,
        store: PublicStore,
        handlers: Handlers,
        *,
        clock: Clock,
        sink: EventSink,
        signal: WorkSignal,
        keeper: LeaseKeeper,
        owner: str,
        cancel_here: Callable[[str, str | None], bool] = lambda _task_id, _reason: False,
        pause_here: Callable[[str, bool], None] = lambda _task_type, _paused: None,
    ) -> None:
        self._queue = queue
        self._store = store
        self._handlers = handlers.by_type
        self._clock = clock
        self._sink = sink
        self._line = signal.consumers
        self._keeper = keeper
        self._terms = Terms(owner=owner, seconds=keeper.seconds)
        self._cancel_here = cancel_here
        self._pause_here = pause_here
        self._popped: dict[str, _Popped] = {}
        """By task id, in the order in which they were popped."""
        keeper.keep(self._popped)
        self._is_closed = False

    # Tasks in and out

    async def push_task(self, task: dict[str, Any], priority: int = 0) -> str:
        """Queue a task and return its id; when this returns, the backend has it.

        ``task`` is a dict with ``type`` and, if need be, ``task_id``, ``params``, ``priority`` (lower is sooner),
        ``max_retries``, ``timeout`` (seconds), ``delay`` (seconds) or ``run_at`` (epoch seconds), ``group_key`` and
        keys of your own. While another task holds its ``unique_key``, the task is not queued, and that one's id is
        returned; ``unique_mode`` says how long that is (`musicq_async.model.unique`).
        Raises `InvalidTask`, `DuplicateTask` or `BackendUnavailable`; then nothing was queued, except that the
        answer of a database that went away may be lost.
        """
        new = self.accepted(task, priority)
        if self._is_closed:
            raise NotRunning("the queue is closed; push inside 'async with open_musicq(...)'")
        known = (await self._queue.push((new,)))[0]
        if known is not None:
            return known
        if self._sink.listening:
            self._sink.emit(Queued(task_id=new.task_id, task_type=new.task_type))
        return new.task_id

    async def push_many(self, tasks: Iterable[dict[str, Any]], priority: int = 0) -> list[str]:
        """Queue many tasks in one go, all or none, and return their ids. Raises what `push_task` does."""
        if isinstance(tasks, dict | str | bytes) or not isinstance(tasks, Iterable):
            raise UsageError(f"push_many takes a list of tasks, not {type(tasks).__name__}")
        return await self._push([self.accepted(task, priority) for task in tasks])

    async def push_group(self, tasks: Iterable[dict[str, Any]], callback: dict[str, Any]) -> str:
        """Queue tasks, and one more that runs when all of them have finished; return the id of that last one.

        Failed and cancelled ones count as finished; the callback's handler learns of them by
        ``await context.queue.group_counts(context.task_id)``. All are queued or none. Raises what `push_task` does.
        """
        last = self.accepted(callback, 0)
        if last.run_at_ms is not None:
            raise InvalidTask("the callback of a group takes neither 'delay' nor 'run_at': it runs when the others end")
        members = [self.accepted(task, 0) for task in tasks]
        await self._push(
            [
                msgspec.structs.replace(last, waits="finished"),
                *(msgspec.structs.replace(member, then_id=last.task_id) for member in members),
            ]
        )
        if not members:
            await self._queue.release(last.task_id)
        return last.task_id

    async def push_chain(self, tasks: Iterable[dict[str, Any]]) -> list[str]:
        """Queue tasks that run one after the other, and return their ids.

        When one fails or is cancelled, those after it are cancelled. All are queued or none. Raises what `push_task`
        does.
        """
        links = [self.accepted(task, 0) for task in tasks]
        if any(link.run_at_ms is not None for link in links[1:]):
            raise InvalidTask("only the first task of a chain takes 'delay' or 'run_at': the others follow it")
        chained = [
            msgspec.structs.replace(
                link,
                waits="completed" if place else None,
                then_id=links[place + 1].task_id if place + 1 < len(links) else None,
            )
            for place, link in enumerate(links)
        ]
        return await self._push(chained)

    async def group_counts(self, task_id: str) -> dict[str, int]:
        """Return how many of the tasks that a callback (or a link of a chain) waits for are in each state."""
        return {state.value: count for state, count in (await self._queue.members(task_id)).items()}

    async def _push(self, new: list[NewTask]) -> list[str]:
        self._check_open()
        known = await self._queue.push(new) if new else []
        if self._sink.listening:
            for task, there in zip(new, known, strict=True):
                if there is None:
                    self._sink.emit(Queued(task_id=task.task_id, task_type=task.task_type))
        return [there or task.task_id for task, there in zip(new, known, strict=True)]

    async def pop_task(self, timeout: float | None = None) -> dict[str, Any] | None:
        """Take the next task of any type to work on it by hand; `task_done` says that it is done.

        ``None`` waits for ever, 0 does not wait; ``None`` is returned when the time is up. The task stays this
        process's until `task_done`; if the process dies, it runs again.
        """
        seconds = _checked_timeout(timeout)
        end = self._clock.monotonic() + seconds
        while True:
            self._check_open()
            leases = await self._queue.claim(self._terms)
            if leases:
                self._line.took()
                return self._pop(leases[0])
            left = end - self._clock.monotonic()
            if left <= 0:
                return None
            with self._clock.move_on_after(min(left, POLL)):
                await self._line.wait()

    async def task_done(self, task_id: str | None = None) -> None:
        """Say that a popped task is done: this one, or the one that was popped first.

        Raises ValueError if no (such) task was popped and not yet done, `LeaseLost` if it was given to another.
        """
        if task_id is None:
            task_id = next(iter(self._popped), None)
        popped = self._popped.get(task_id) if task_id is not None else None
        if popped is None:
            raise ValueError("task_done() was called more often than tasks were popped")
        await self._settle_popped(popped, Success())
        task = popped.lease.task
        self._sink.emit(Completed(task_id=task.task_id, task_type=task.task_type, seconds=0.0))
        await release_after(self._queue, task.then_id, sink=self._sink)

    async def join(self, timeout: float | None = None) -> bool:
        """Wait until every task is finished, also those that wait for a later time; return whether they are."""
        end = self._clock.monotonic() + _checked_timeout(timeout)
        wait = 0.001
        while await self._queue.counts(finished=False):
            left = end - self._clock.monotonic()
            if left <= 0:
                return False
            await self._clock.sleep(min(left, wait))
            wait = min(wait * 1.5, 0.1)
        return True

    async def get_queue_size(self) -> int:
        """Return how many tasks wait to be run now."""
        counts = await self._queue.counts(finished=False)
        return sum(count for (_, state), count in counts.items() if state is TaskState.PENDING)

    async def is_empty(self) -> bool:
        """Return whether no task waits to be run now."""
        return await self.get_queue_size() == 0

    # What is known of tasks

    async def get_task(self, task_id: str) -> dict[str, Any] | None:
        """Return a task as a dict whose keys are the columns of ``task_queue``, or ``None``."""
        task = await self._queue.get(task_id)
        return None if task is None else task.row()

    async def list_tasks(
        self,
        state: str | None = None,
        type: str | None = None,  # noqa: A002 - the contract's name
        limit: int = 100,
        after: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return a page of tasks, newest first. ``after`` is the id of the last task of the page before."""
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= LARGEST_PAGE:
            raise UsageError(f"limit must be a whole number from 1 to {LARGEST_PAGE}, not {limit!r}")
        which = TaskFilter(state=None if state is None else _state(state), type=type, limit=limit, after=after)
        return [task.row() for task in await self._queue.find(which)]

    async def cancel_task(self, task_id: str, reason: str | None = None) -> bool:
        """Cancel a task; return False if it had finished already.

        A waiting task is cancelled at once, a running one within a second. Raises `TaskNotFound`.
        """
        while True:
            task = await self._existing(task_id)
            if task.is_finished:
                return False
            change = lifecycle.cancel(task, now_ms=self._clock.time_ms(), reason=reason)
            if change is None:
                if self._cancel_here(task_id, reason) or await self._queue.request_cancel(task_id, reason):
                    return True
            elif await self._queue.change(task, change):
                self._sink.emit(Cancelled(task_id=task_id, task_type=task.task_type, reason=reason))
                await release_after(self._queue, task.then_id, sink=self._sink)
                return True

    async def retry_task(self, task_id: str) -> bool:
        """Run a failed or cancelled task again with the same params; return False if it is neither.

        Raises `TaskNotFound`.
        """
        return await self._retry(await self._existing(task_id))

    async def retry_failed(self, type: str | None = None, *, rate: float | None = None) -> int:  # noqa: A002 - the contract's name
        """Run all failed tasks (of one type) again with the same params; return how many.

        ``rate`` spreads them: so many a second, the first at once.
        """
        if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or not rate > 0):
            raise UsageError(f"rate must be tasks a second above 0, or None, not {rate!r}")
        count = 0
        after: str | None = None
        begin_ms = self._clock.time_ms()
        while page := await self._queue.find(TaskFilter(state=TaskState.FAILED, type=type, limit=500, after=after)):
            for task in page:
                run_at_ms = None if rate is None else begin_ms + round(count * 1000 / rate)
                count += await self._retry(task, run_at_ms)
            after = page[-1].task_id
        return count

    async def pause_type(self, task_type: str) -> None:
        """Have no task of this type begin any more, on any node, until `resume_type`; running ones go on.

        Other processes learn it within their ``poll_interval``. `pop_task` does not ask.
        """
        await self._pause(task_type, paused=True)

    async def resume_type(self, task_type: str) -> None:
        """Undo `pause_type`."""
        await self._pause(task_type, paused=False)

    async def paused_types(self) -> list[str]:
        """Return the types that are paused."""
        return sorted(await self._queue.paused())

    async def _pause(self, task_type: str, *, paused: bool) -> None:
        if not isinstance(task_type, str) or not 0 < len(task_type) <= LONGEST_TYPE:
            raise UsageError(f"a type is a text of 1 to {LONGEST_TYPE} characters, not {task_type!r}")
        await self._queue.pause(task_type, paused=paused)
        self._pause_here(task_type, paused)

    async def purge(self, state: str | None = None, older_than: float = 0.0) -> int:
        """Delete finished tasks that ended over ``older_than`` seconds ago; return how many.

        ``state`` is completed, failed or cancelled. Without it, completed and cancelled ones go and failed ones stay.
        """
        states = [TaskState.COMPLETED, TaskState.CANCELLED] if state is None else [_state(state)]
        if not set(states) <= FINISHED:
            raise UsageError(f"only finished tasks can be purged: completed, failed or cancelled, not {state!r}")
        if isinstance(older_than, bool) or not isinstance(older_than, int | float) or not older_than >= 0:
            raise UsageError(f"older_than must be seconds from 0 on, not {older_than!r}")
        before = int(self._clock.time() - min(older_than, 1e10)) + 1
        return await self._queue.purge(states=dict.fromkeys(states, before))

    # Shared values

    async def set_public(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Share a JSON value; ``ttl`` is in seconds, above 0. Setting again replaces both."""
        await self._store.set_public(key, value, ttl)

    async def get_public(self, key: str) -> Any | None:
        """Return a shared value or ``None``. ``task_{id}_status`` is the state of that task as it stands."""
        task_id = _task_of_status_key(key)
        if task_id is not None and (task := await self._queue.get(task_id)) is not None:
            return task.status.value
        return await self._store.get_public(key)

    async def delete_public(self, key: str) -> bool:
        """Delete a shared value; return whether it was there."""
        return await self._store.delete_public(key)

    async def cleanup(self) -> int:
        """Drop expired values; return how many. Nobody has to call it."""
        return await self._store.cleanup()

    async def get_store_size(self) -> int:
        """Return the number of shared values."""
        return await self._store.get_store_size()

    async def list_keys(self) -> list[str]:
        """Return the keys of the shared values."""
        return await self._store.list_keys()

    async def clear_store(self) -> None:
        """Drop all shared values."""
        await self._store.clear_store()

    # For the application

    async def close(self) -> None:
        """Put back what was popped and not done, and refuse further calls."""
        self._is_closed = True
        self._line.notify(len(self._line))
        for popped in list(self._popped.values()):
            try:
                await self._settle_popped(popped, Interruption())
            except BackendError as error:
                self._sink.emit(Warned(message=f"task {popped.lease.task.task_id} could not be put back: {error}"))

    def accepted(self, task: dict[str, Any], priority: int = 0) -> NewTask:
        """Check a task and return it as it would be queued. Raises `InvalidTask`."""
        if task.__class__ is dict and "task_id" not in task:
            task = {**task, "task_id": new_task_id()}
        checked = checked_task(task, priority, json_only=True)
        task_type = checked["type"]
        handler = self._handlers.get(task_type)
        retries = DEFAULT_MAX_RETRIES if handler is None else handler.max_retries
        if len(checked) == 3:
            return NewTask(
                task_id=checked["task_id"], task_type=task_type, params=checked["params"], max_retries=retries
            )
        return NewTask(
            task_id=checked["task_id"],
            task_type=task_type,
            params=checked["params"],
            priority=checked.get("priority") or 0,
            max_retries=retries if checked.get("max_retries") is None else checked["max_retries"],
            timeout_seconds=checked.get("timeout"),
            run_at_ms=self._run_at_ms(checked),
            unique_key=checked.get("unique_key"),
            unique_mode=_unique_mode(checked),
            group_key=checked.get("group_key"),
            extra={key: value for key, value in checked.items() if key not in OWN_KEYS},
        )

    # Inside

    def _run_at_ms(self, checked: dict[str, Any]) -> int | None:
        delay: float | None = checked.get("delay")
        if delay is not None:
            return self._clock.time_ms() + round(delay * 1000)
        run_at: float | None = checked.get("run_at")
        return None if run_at is None else round(run_at * 1000)

    def _pop(self, lease: Lease) -> dict[str, Any]:
        popped = _Popped(lease)
        self._popped[lease.task.task_id] = popped
        if self._keeper.is_idle:
            self._keeper.wake()
        return _as_pushed(lease.task)

    async def _settle_popped(self, popped: _Popped, outcome: Outcome) -> None:
        task = popped.lease.task
        change = lifecycle.settle(task, outcome, now_ms=self._clock.time_ms(), draw=0.0, max_crashes=1)
        try:
            await self._queue.settle(popped.lease, change)
        except LeaseLost:
            self._popped.pop(task.task_id, None)
            raise
        self._popped.pop(task.task_id, None)

    async def _existing(self, task_id: str) -> Task:
        task = await self._queue.get(task_id)
        if task is None:
            raise TaskNotFound(f"there is no task with the id {task_id!r}")
        return task

    async def _retry(self, task: Task, run_at_ms: int | None = None) -> bool:
        change = lifecycle.retry(task, now_ms=self._clock.time_ms(), run_at_ms=run_at_ms)
        if change is None or not await self._queue.change(task, change):
            return False
        self._sink.emit(Queued(task_id=task.task_id, task_type=task.task_type))
        return True

    def _check_open(self) -> None:
        if self._is_closed:
            raise NotRunning("the queue is closed; use it inside 'async with open_musicq(...)'")


def _as_pushed(task: Task) -> dict[str, Any]:
    """Return a task as the dict that a consumer expects."""
    values: dict[str, Any] = {"task_id": task.task_id, "type": task.task_type, "params": task.params, **task.extra}
    own = {
        "priority": task.priority or None,
        "max_retries": task.max_retries,
        "timeout": task.timeout_seconds,
        "unique_key": task.unique_key,
        "group_key": task.group_key,
        "scheduler_task_id": task.scheduler_task_id,
        "fire_at": task.fire_at,
    }
    return values | {key: value for key, value in own.items() if value is not None}


def _unique_mode(checked: dict[str, Any]) -> str:
    """Return how long a task's unique key is held."""
    mode = checked.get("unique_mode")
    if mode is None:
        return "queued"
    if checked.get("unique_key") is None:
        raise InvalidTask("Task field 'unique_mode' needs a 'unique_key'.")
    return checked_mode(mode)


def _state(state: str) -> TaskState:
    try:
        return TaskState(state)
    except ValueError:
        raise UsageError(f"state must be one of {', '.join(TaskState)}, not {state!r}") from None


def _checked_timeout(timeout: float | None) -> float:
    if timeout is None:
        return math.inf
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or math.isnan(timeout):
        raise UsageError(f"timeout must be seconds or None, not {timeout!r}")
    return max(float(timeout), 0.0)


def _task_of_status_key(key: Any) -> str | None:
    """Return the id in ``task_{id}_status``."""
    if not isinstance(key, str) or not key.startswith("task_") or not key.endswith("_status"):
        return None
    return key[len("task_") : -len("_status")] or None
