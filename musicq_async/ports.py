"""What the parts ask of each other: the Protocols between the engine and whatever stores, tells time or listens.

Every method that writes is atomic: when it raises, nothing was written, except that `BackendUnavailable` may follow a
commit whose answer was lost. All of them may be cancelled at any moment; a write that had begun is finished first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

from musicq_async.model.event import Event
from musicq_async.model.lifecycle import Change
from musicq_async.model.limit import Limit
from musicq_async.model.schedule import Firing, Schedule
from musicq_async.model.task import Lease, NewTask, Task, TaskState


class Clock(Protocol):
    """The only source of time and the only sleeper."""

    def time(self) -> float:
        """Return epoch seconds, UTC; may jump."""

    def time_ms(self) -> int:
        """Return epoch milliseconds, UTC; may jump."""

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences mean anything."""

    async def sleep(self, seconds: float) -> None:
        """Wait; nothing and NaN are taken as 0. Cancellable."""

    def move_on_after(self, seconds: float | None) -> AbstractContextManager[Any, bool]:
        """Open an anyio cancel scope that ends after so many seconds; ``None`` never."""

    async def wait_until(self, at: float, notified: asyncio.Event) -> None:
        """Wait until `time` is ``at`` (infinite: for ever) or ``notified`` is set, and return early if `time` jumps."""


class TaskFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which tasks to list, newest first."""

    state: TaskState | None = None
    type: str | None = None
    limit: int = 100
    after: str | None = None
    """Id of the last task of the page before."""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker learns when it renews its leases. Keys are task ids."""

    lost: frozenset[str] = frozenset()
    """Tasks that are no longer this worker's."""
    cancelled: Mapping[str, str | None] = {}
    """Tasks that somebody asked to cancel, with the reason."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The terms on which a worker borrows tasks."""

    owner: str
    """Who asks: becomes ``lease_owner``."""
    seconds: float
    """How long a lease lasts unless it is renewed."""
    types: frozenset[str] | None = None
    """Types that it can run; ``None`` is any."""
    but: frozenset[str] = frozenset()
    """Types that are left out."""
    limits: tuple[Limit, ...] = ()
    """They hold for the tasks of all owners together, counted by their leases."""


class TaskQueue(Protocol):
    """Where tasks wait, are lent to workers, and are remembered."""

    async def push(self, tasks: Sequence[NewTask], *, ignore_known: bool = False) -> list[str | None]:
        """Store all the tasks or none; return ``None`` for each that is new, else the id of the task that is there.

        A known ``task_id`` raises `DuplicateTask`, or with ``ignore_known`` is left as it stands. A task whose
        ``unique_key`` is held (see `musicq_async.model.unique`) is not stored; with the modes replace and debounce its
        params go to the task that is there. A task with ``waits`` is scheduled without a time until `release`.
        """

    async def claim(self, terms: Terms, limit: int = 1) -> list[Lease]:
        """Lend up to ``limit`` pending tasks; do not wait for any.

        A cancelled claim lends nothing: what it had taken is pending again, and nothing is counted.

        One atomic state change a task: pending to running, with ``lease_owner``, ``lease_token``, ``lease_until_ms``
        and ``started_at``. Order: priority, then position. A task that its type's or group's limit bars is passed
        over. Where only a rate bars, the wakeup is told when it opens.
        """

    async def exchange(self, lease: Lease, change: Change, terms: Terms, limit: int = 1) -> tuple[bool, list[Lease]]:
        """Settle, then claim, in one go; return whether the settle was accepted (False: the lease was lost).

        When it raises, nothing was claimed, and the settle may or may not have been written: settle again.
        """

    async def heartbeat(self, leases: Iterable[Lease], *, seconds: float) -> Heartbeat:
        """Renew leases that are still held to ``seconds`` from now."""

    async def settle(self, lease: Lease, change: Change) -> None:
        """Write how a run ended and end the lease. Raises `LeaseLost` if the lease is no longer held."""

    async def report(self, lease: Lease, progress: dict[str, Any]) -> None:
        """Store progress. Raises `LeaseLost`."""

    async def change(self, task: Task, change: Change) -> bool:
        """Write a change decided from ``task`` if its status and lease are still the same; return whether it was."""

    async def request_cancel(self, task_id: str, reason: str | None) -> bool:
        """Mark a running task as to be cancelled; return whether it was running."""

    async def get(self, task_id: str) -> Task | None:
        """Return one task as it stands."""

    async def find(self, which: TaskFilter) -> list[Task]:
        """Return a page of tasks, newest first."""

    async def unfinished(self, scheduler_task_id: str) -> list[Task]:
        """Return the tasks of one schedule that are scheduled, pending or running, oldest first."""

    async def counts(self, *, finished: bool = True) -> dict[tuple[str, TaskState], int]:
        """Return how many tasks there are of each type in each state; ``finished=False`` leaves those states out.

        Without the finished ones the cost does not grow with what was done.
        """

    async def members(self, then_id: str) -> dict[TaskState, int]:
        """Return how many of the tasks that a task waits for are in each state."""

    async def release(self, task_id: str) -> TaskState | None:
        """Let a task that waits for others go on, if all have finished; return its new state, ``None`` if it waits on.

        It becomes pending, or cancelled where it waits for success and one of the others failed or was cancelled.
        Returns ``None`` also where the task does not wait.
        """

    async def releasable(self, limit: int = 100) -> list[str]:
        """Return the ids of tasks that wait for others which have all finished."""

    async def pause(self, task_type: str, *, paused: bool = True) -> None:
        """Have no task of this type claimed by workers, or (``paused=False``) have them claimed again."""

    async def paused(self) -> frozenset[str]:
        """Return the types that are paused. Workers leave them out of their claims (``types``, ``but``)."""

    async def restore(self, tasks: Sequence[Task]) -> int:
        """Store tasks as they stood elsewhere, history included; return how many. Known ids are left alone.

        A running one is stored as pending: its lease stayed behind.
        """

    async def promote(self) -> int | None:
        """Make scheduled tasks whose time has come pending; return the next ``run_at_ms``, if there is one."""

    async def expired(self, limit: int = 100) -> list[Task]:
        """Return running tasks whose lease has run out."""

    async def purge(self, *, states: Mapping[TaskState, int]) -> int:
        """Delete finished tasks that ended before the given epoch second of their state; return how many."""


class ScheduleStore(Protocol):
    """Where schedules are kept, with the ledger of their slots."""

    enqueues: bool
    """Whether `record` also stores the tasks, in the same transaction; otherwise the scheduler pushes them itself."""

    async def add(self, schedule: Schedule) -> None:
        """Store a new schedule."""

    async def get(self, task_id: str) -> Schedule | None:
        """Return one schedule."""

    async def all(self, *, enabled_only: bool = False) -> list[Schedule]:
        """Return all, oldest first."""

    async def replace(self, schedule: Schedule) -> bool:
        """Write an edited schedule whose ``version`` is one above the stored; return False if it is not."""

    async def delete(self, task_id: str) -> bool:
        """Delete a schedule and its ledger; return whether it was there."""

    async def due(self, before_ms: int, *, limit: int = 1000) -> list[Schedule]:
        """Return enabled schedules with ``due_at_ms <= before_ms``, the earliest first.

        The cost does not grow with the number stored.
        """

    async def unplanned(self) -> list[Schedule]:
        """Return enabled schedules without ``due_at_ms``: rows that another program wrote."""

    async def next_due_ms(self) -> int | None:
        """Return the earliest ``due_at_ms`` of the enabled schedules."""

    async def record(self, firings: Sequence[Firing]) -> list[Firing]:
        """Write the firings whose version is still current; return those.

        Slots that the ledger knows are dropped together with their tasks.
        """

    async def unsent(self) -> list[NewTask]:
        """Return tasks that `record` kept and `sent` has not confirmed (only where ``enqueues`` is False)."""

    async def sent(self, task_ids: Sequence[str]) -> None:
        """Confirm that the tasks are in the queue."""

    async def prune(self, before: int) -> int:
        """Delete ledger rows older than this epoch second; return how many."""


class PublicStore(Protocol):
    """Shared values with an optional time to live. An expired value is gone at its deadline."""

    async def set_public(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Set a JSON value; ``ttl`` in seconds, above 0; setting again replaces value and TTL."""

    async def get_public(self, key: str) -> Any | None:
        """Return the value, or ``None``."""

    async def delete_public(self, key: str) -> bool:
        """Delete; return whether it was there."""

    async def cleanup(self) -> int:
        """Drop what has expired; return how many."""

    async def get_store_size(self) -> int:
        """Return the number of live keys."""

    async def list_keys(self) -> list[str]:
        """Return the live keys."""

    async def clear_store(self) -> None:
        """Drop everything."""


class Rows(Protocol):
    """What a place keeps beside its tasks, to be taken out or put in: rows by kind, dicts of plain values.

    Kinds are ``schedule``, ``fire``, ``value``, ``download`` and ``unique``; a place need not have all of them.
    """

    def pages(self, kind: str) -> AsyncIterator[list[dict[str, Any]]]:
        """Give all rows of a kind."""

    async def add(self, kind: str, rows: Sequence[dict[str, Any]]) -> int:
        """Store rows whose key is not there; return how many. Raises `UsageError` for a row that is none."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One process that works on the queue or fires schedules."""

    node: str
    """Its name, which is also the ``lease_owner`` of its tasks."""
    started_ms: int
    heartbeat_ms: int
    host: str = ""
    pid: int = 0
    version: str = ""
    concurrency: int = 0
    running: int = 0
    scheduler: bool = False
    types: list[str] = []
    """Types that it has handlers for."""


class NodeStore(Protocol):
    """Who is there. A row lives as long as its process beats, and a while longer."""

    async def beat(self, node: Node) -> None:
        """Write a node's row."""

    async def leave(self, node: str) -> None:
        """Delete a node's row."""

    async def nodes(self) -> list[Node]:
        """Return every row, the longest-running first."""

    async def forget(self, before_ms: int) -> int:
        """Delete rows whose last beat is older; return how many."""


class EventSink(Protocol):
    """Who is told what happened. Must neither block nor raise."""

    def emit(self, event: Event) -> None:
        """Take one event."""

    @property
    def listening(self) -> bool:
        """Whether anybody listens: lets hot paths skip building events."""


class Wakeup(Protocol):
    """Told when there may be work, so that nobody has to wait for the next poll."""

    def notify(self, count: int = 1) -> None:
        """Say that so many tasks became pending."""

    def due(self, run_at_ms: int) -> None:
        """Say that a task will become pending at this time."""

    def opens(self, at_ms: int) -> None:
        """Say that a rate lets another task begin at this time."""


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """One song that was fetched, or found on the disk."""

    key: str
    """What it is: ``BV…:cid`` for a part of a video, ``au…`` for a song of the audio zone, else an address."""
    path: str
    """Absolute path of its file, which may be gone by now."""
    url: str | None = None
    """Its page."""
    size: int | None = None
    """Bytes."""
    codec: str | None = None
    quality: str | None = None
    """hires, dolby, 320k and so on, where it is known."""
    created_ms: int = 0


class Archive(Protocol):
    """What was fetched already. Keys are those of `Archived`; upper and lower case differ."""

    async def known(self, keys: Collection[str]) -> set[str]:
        """Return those of the keys that are archived."""

    async def cids(self, bvids: Collection[str]) -> dict[str, set[int]]:
        """Return the archived parts (cids) of each of these videos that has any."""

    async def get(self, *keys: str) -> Archived | None:
        """Return the record of the first of the keys that has one."""

    async def at(self, path: str) -> list[Archived]:
        """Return the records whose file has this very path."""

    async def add(self, record: Archived) -> None:
        """Store a record; one with the same key is replaced. ``created_ms`` 0 is now."""

    async def forget(self, key: str) -> bool:
        """Drop a record; return whether it was there."""

    async def page(self, *, limit: int = 1000, after: int = 0) -> list[tuple[int, Archived]]:
        """Return records in the order in which they were first stored, each with a number to go on ``after``."""
