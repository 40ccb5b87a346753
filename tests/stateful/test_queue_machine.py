"""A state machine drives each `TaskQueue` and a plain model side by side, as two processes that share it would."""

from __future__ import annotations

import secrets
import shutil
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from backends import QUEUE_BACKENDS, Bench, MovedClock, empty
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from services import need

from musicq_async.errors import DuplicateTask, LeaseLost
from musicq_async.model import lifecycle
from musicq_async.model.limit import Limit
from musicq_async.model.outcome import Cancellation, Crash, Failure, Interruption, Snooze, Success
from musicq_async.model.task import FINISHED, ErrorRecord, Task, TaskState
from musicq_async.model.unique import REPLACING, is_held
from musicq_async.ports import TaskFilter, Terms

NAMES = [f"t{number}" for number in range(8)]
KEYS = {"k1": "queued", "k2": "unfinished", "k3": "replace", "k4": "debounce", "k5": "30.0"}
"""Unique keys, each always pushed with one mode."""
SECONDS = 10.0
LIMIT = Limit(task_type="work", concurrency=2)
FAULT = ErrorRecord(time=1, attempt=1, type="ValueError", message="坏了", traceback="line")

sides = st.sampled_from([0, 1])
names = st.sampled_from(NAMES)
priorities = st.sampled_from([-1, 0, 0, 0, 5])
delays = st.sampled_from([None, None, 5, 60])
types = st.sampled_from(["work", "mail"])
outcomes = st.sampled_from(
    [
        Success({"r": 1}),
        Success(),
        Failure(error=FAULT, retryable=True),
        Failure(error=FAULT, retryable=False),
        Snooze(20),
        Interruption(),
        Cancellation("enough"),
    ]
)


class QueueMachine(RuleBasedStateMachine):
    """Two queues over one backend: whatever is done through one is seen through the other."""

    portal: BlockingPortal
    bench: Bench
    queues: tuple[Any, Any]

    def __init__(self) -> None:
        super().__init__()
        self.tasks: dict[str, Task] = {}
        """By id, in the order of their pushes; ``position`` is left out."""
        self.keys: dict[str, tuple[str, int]] = {}
        self.leases: list[tuple[Any, Task]] = []
        """Every lease that was ever given, with the task as it stood then."""
        self.seen: list[Task] = []
        """Tasks as somebody saw them, to decide on later."""
        self.run(self.clear())

    @classmethod
    def run(cls, work):
        return cls.portal.call(lambda: work)

    async def clear(self):
        self.bench.clock.stop()
        if self.bench.kind == "memory":
            await self.bench.open()
            type(self).queues = (self.bench.queue, self.bench.queue)
        await empty(self.bench)

    @property
    def now_ms(self) -> int:
        return self.bench.clock.time_ms()

    # The model

    def in_state(self, *states: TaskState) -> list[Task]:
        return [task for task in self.tasks.values() if task.status in states]

    def apply(self, task_id, change):
        lease = {"lease_owner": None, "lease_token": None, "lease_until_ms": None}
        written = {name: getattr(change, name) for name in change.__struct_fields__}
        self.tasks[task_id] = msgspec.structs.replace(self.tasks[task_id], **(written | lease))

    def holder(self, key):
        task_id, pushed_ms = self.keys.get(key, (None, 0))
        if task_id is None:
            return None
        state = self.tasks[task_id].status if task_id in self.tasks else None
        return task_id if is_held(KEYS[key], state=state, pushed_ms=pushed_ms, now_ms=self.now_ms) else None

    def status_at_push(self, task):
        later = task.waits is not None or (task.run_at_ms is not None and task.run_at_ms > self.now_ms)
        return TaskState.SCHEDULED if later else TaskState.PENDING

    def store(self, task):
        values = {name: getattr(task, name) for name in task.__struct_fields__}
        self.tasks[task.task_id] = Task(
            **values, status=self.status_at_push(task), position=0, created_at=self.now_ms // 1000
        )
        if task.unique_key is not None:
            self.keys[task.unique_key] = task.task_id, self.now_ms

    def replace(self, task_id, task):
        if task.unique_mode not in REPLACING:
            return
        values = {"params": task.params, "extra": task.extra}
        if task.unique_mode == "debounce":
            values |= {"run_at_ms": task.run_at_ms, "status": self.status_at_push(task)}
        self.tasks[task_id] = msgspec.structs.replace(self.tasks[task_id], **values)

    def members(self, task_id):
        return dict(Counter(task.status for task in self.tasks.values() if task.then_id == task_id))

    def held(self, lease) -> bool:
        task = self.tasks.get(lease.task.task_id)
        return task is not None and task.status is TaskState.RUNNING and task.lease_token == lease.token

    # Push

    def pushed(self, tasks, side, ignore_known=False):
        """Push; the model is brought up to what was answered."""
        self.bench.clock.advance(0.001)  # the places of two processes differ by their clocks alone
        before, keys_before = dict(self.tasks), dict(self.keys)
        expected = []
        for task in tasks:
            known = self.holder(task.unique_key) if task.unique_key else None
            if known is not None:
                self.replace(known, task)
            elif task.task_id in self.tasks:
                known = task.task_id
            else:
                self.store(task)
            expected.append(known)
        if not ignore_known and any(known == task.task_id for known, task in zip(expected, tasks, strict=True)):
            self.tasks, self.keys = before, keys_before
            with pytest.raises(DuplicateTask):
                self.run(self.queues[side].push(tasks))
            return
        assert self.run(self.queues[side].push(tasks, ignore_known=ignore_known)) == expected

    @rule(
        ids=st.lists(names, min_size=1, max_size=3),
        side=sides,
        kind=types,
        priority=priorities,
        delay=delays,
        ignore=st.booleans(),
    )
    def push(self, ids, side, kind, priority, delay, ignore):
        run_at_ms = None if delay is None else self.now_ms + delay * 1000
        made = [
            self.bench.task(
                name, task_type=kind, priority=priority, run_at_ms=run_at_ms, params={"n": name}, max_retries=1
            )
            for name in ids
        ]
        self.pushed(made, side, ignore)

    @rule(key=st.sampled_from(sorted(KEYS)), side=sides, delay=delays, number=st.integers(0, 99))
    def push_unique(self, key, side, delay, number):
        run_at_ms = None if delay is None else self.now_ms + delay * 1000
        fields = {"unique_key": key, "unique_mode": KEYS[key], "run_at_ms": run_at_ms}
        name = f"u{len(self.tasks)}-{number}"
        if name not in self.tasks:
            self.pushed([self.bench.task(name, params={"n": number}, extra={"e": number}, **fields)], side)

    @rule(side=sides, count=st.integers(0, 2), waits=st.sampled_from(["finished", "completed"]))
    def push_group(self, side, count, waits):
        after = f"after{len(self.tasks)}"
        if after not in self.tasks:
            group = [self.bench.task(f"{after}-{number}", then_id=after) for number in range(count)]
            self.pushed([self.bench.task(after, waits=waits), *group], side)

    # Claim and settle

    def lent(self, leases, limit, wanted, limits):
        """See that exactly the first that may begin were lent, and bring the model up to it."""
        room = 2 - sum(task.task_type == "work" for task in self.in_state(TaskState.RUNNING)) if limits else 99
        order = {task_id: place for place, task_id in enumerate(self.tasks)}
        expected = []
        for task in sorted(self.in_state(TaskState.PENDING), key=lambda each: (each.priority, order[each.task_id])):
            if len(expected) == limit or (wanted is not None and task.task_type not in wanted):
                continue
            if task.task_type == "work":
                if room <= 0:
                    continue
                room -= 1
            expected.append(task.task_id)
        assert [lease.task.task_id for lease in leases] == expected
        for lease in leases:
            task = msgspec.structs.replace(
                self.tasks[lease.task.task_id],
                status=TaskState.RUNNING,
                started_at=self.now_ms // 1000,
                lease_owner="w1",
                lease_token=lease.token,
                lease_until_ms=self.now_ms + round(SECONDS * 1000),
            )
            self.tasks[task.task_id] = task
            self.leases.append((lease, task))

    @rule(
        limit=st.integers(1, 4),
        side=sides,
        wanted=st.sampled_from([None, None, frozenset({"work"}), frozenset({"mail"})]),
        limited=st.booleans(),
    )
    def claim(self, limit, side, wanted, limited):
        limits = (LIMIT,) if limited else ()
        terms = Terms(owner="w1", seconds=SECONDS, types=wanted, limits=limits)
        self.lent(self.run(self.queues[side].claim(terms, limit)), limit, wanted, limits)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), outcome=outcomes, side=sides)
    def settle(self, data, outcome, side):
        lease, change = self.answer(data, outcome)
        if not self.held(lease):
            with pytest.raises(LeaseLost):
                self.run(self.queues[side].settle(lease, change))
            return
        self.run(self.queues[side].settle(lease, change))
        self.apply(lease.task.task_id, change)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), outcome=outcomes, side=sides, limit=st.integers(1, 2))
    def exchange(self, data, outcome, side, limit):
        lease, change = self.answer(data, outcome)
        held = self.held(lease)
        terms = Terms(owner="w1", seconds=SECONDS)
        settled, leases = self.run(self.queues[side].exchange(lease, change, terms, limit))
        assert settled is held
        if held:
            self.apply(lease.task.task_id, change)
        self.lent(leases, limit, None, ())

    def answer(self, data, outcome):
        lease, task = self.leases[data.draw(st.integers(0, len(self.leases) - 1))]
        return lease, lifecycle.settle(task, outcome, now_ms=self.now_ms, draw=0.5, max_crashes=2)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), side=sides)
    def report(self, data, side):
        lease, _ = self.leases[data.draw(st.integers(0, len(self.leases) - 1))]
        progress = {"done": len(self.leases), "total": None, "message": "进"}
        if not self.held(lease):
            with pytest.raises(LeaseLost):
                self.run(self.queues[side].report(lease, progress))
            return
        self.run(self.queues[side].report(lease, progress))
        name = lease.task.task_id
        self.tasks[name] = msgspec.structs.replace(self.tasks[name], progress=progress)

    @precondition(lambda self: self.leases)
    @rule(side=sides)
    def heartbeat(self, side):
        newest = {lease.task.task_id: lease for lease, _ in self.leases}  # a worker holds each task at most once
        beat = self.run(self.queues[side].heartbeat(list(newest.values()), seconds=SECONDS))
        held = {name: self.tasks[name] for name, lease in newest.items() if self.held(lease)}
        assert beat.lost == newest.keys() - held.keys()
        asked = {name: task.cancel_reason for name, task in held.items() if task.cancel_requested_ms is not None}
        assert dict(beat.cancelled) == asked
        for name, task in held.items():
            self.tasks[name] = msgspec.structs.replace(task, lease_until_ms=self.now_ms + round(SECONDS * 1000))

    # Time

    @rule(seconds=st.sampled_from([1, 4, 11, 40, 100]))
    def advance(self, seconds):
        self.bench.clock.advance(seconds)

    @rule(side=sides)
    def advance_to_the_next_moment(self, side):
        """Go to the very millisecond at which the next task is due or the next lease runs out, and look."""
        moments = [at for task in self.tasks.values() for at in (task.run_at_ms, task.lease_until_ms) if at is not None]
        ahead = min((at for at in moments if at > self.now_ms), default=self.now_ms)
        self.bench.clock.advance((ahead - self.now_ms) / 1000)
        self.reclaim(side)
        self.promote(side)

    @rule(side=sides)
    def promote(self, side):
        next_ms = self.run(self.queues[side].promote())
        waiting = []
        for task in self.in_state(TaskState.SCHEDULED):
            if task.run_at_ms is not None and task.run_at_ms <= self.now_ms:
                self.tasks[task.task_id] = msgspec.structs.replace(task, status=TaskState.PENDING)
            elif task.run_at_ms is not None:
                waiting.append(task.run_at_ms)
        assert next_ms == min(waiting, default=None)

    @rule(side=sides)
    def reclaim(self, side):
        """Take back what dead workers held, as a janitor does."""
        gone = self.run(self.queues[side].expired())
        running = self.in_state(TaskState.RUNNING)
        assert {task.task_id for task in gone} == {
            task.task_id for task in running if (task.lease_until_ms or 0) <= self.now_ms
        }
        for task in gone:
            change = lifecycle.settle(task, Crash(), now_ms=self.now_ms, draw=0.5, max_crashes=2)
            assert self.run(self.queues[1 - side].change(task, change))
            assert not self.run(self.queues[side].change(task, change))
            self.apply(task.task_id, change)

    @rule(age=st.sampled_from([0, 30]), side=sides)
    def purge(self, age, side):
        before = self.now_ms // 1000 - age + 1
        old = [task.task_id for task in self.in_state(*FINISHED) if (task.completed_at or 0) < before]
        assert self.run(self.queues[side].purge(states=dict.fromkeys(FINISHED, before))) == len(old)
        for name in old:
            del self.tasks[name]

    # By hand

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), side=sides)
    def look(self, data, side):
        name = data.draw(st.sampled_from(sorted(self.tasks)))
        self.seen.append(self.run(self.queues[side].get(name)))

    @precondition(lambda self: self.seen)
    @rule(data=st.data(), side=sides, again=st.booleans())
    def cancel_or_retry(self, data, side, again):
        """Decide from what was seen, which may not be so any more."""
        seen = self.seen[data.draw(st.integers(0, len(self.seen) - 1))]
        if again:
            change = lifecycle.retry(seen, now_ms=self.now_ms)
        else:
            change = lifecycle.cancel(seen, now_ms=self.now_ms, reason="不要了")
        if change is None:
            self.ask_to_stop(seen.task_id, side)
            return
        stands = self.tasks.get(seen.task_id)
        as_seen = stands is not None and stands.status is seen.status and stands.lease_token == seen.lease_token
        assert self.run(self.queues[side].change(seen, change)) is as_seen
        if as_seen:
            self.apply(seen.task_id, change)

    def ask_to_stop(self, name, side):
        task = self.tasks.get(name)
        runs = task is not None and task.status is TaskState.RUNNING
        assert self.run(self.queues[side].request_cancel(name, "stop")) is runs
        if runs:
            asked = {"cancel_requested_ms": self.now_ms, "cancel_reason": "stop"}
            self.tasks[name] = msgspec.structs.replace(task, **asked)

    @rule(side=sides)
    def release(self, side):
        waiting = [task for task in self.in_state(TaskState.SCHEDULED) if task.waits and task.run_at_ms is None]
        ready = {task.task_id for task in waiting if self.members(task.task_id).keys() <= FINISHED}
        assert set(self.run(self.queues[side].releasable())) == ready
        for task in waiting:
            assert self.run(self.queues[side].members(task.task_id)) == self.members(task.task_id)
            change = lifecycle.release(task, self.members(task.task_id), now_ms=self.now_ms)
            released = self.run(self.queues[side].release(task.task_id))
            assert released == (None if change is None else change.status)
            if change is not None:
                self.apply(task.task_id, change)

    @invariant()
    def agrees(self):
        side = len(self.leases) % 2
        stored = self.run(self.queues[side].find(TaskFilter(limit=1000)))
        expected = list(reversed(self.tasks.values()))
        assert [msgspec.structs.replace(task, position=0) for task in stored] == expected
        counts = Counter((task.task_type, task.status) for task in expected)
        assert self.run(self.queues[side].counts()) == counts


@asynccontextmanager
async def opened(kind, url):
    async with AsyncExitStack() as stack:
        bench = Bench(kind, url, stack, MovedClock())
        await bench.open()
        try:
            yield bench, (bench.queue, await bench.another())
        finally:
            await empty(bench)


@pytest.mark.parametrize("kind", QUEUE_BACKENDS)
@pytest.mark.parametrize("times", [1, pytest.param(15, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
def test_a_queue_agrees_with_a_plain_model(kind, times, tmp_path, request):
    if kind == "memory":
        url, examples = "memory://", 60
    elif kind == "sqlite":
        shutil.copy(request.getfixturevalue("blank_sqlite"), tmp_path / "queue.db")
        url, examples = f"sqlite+aiosqlite:///{tmp_path / 'queue.db'}", 20
    elif kind == "redis":
        url, examples = f"{need('redis')}#musicq-test-{secrets.token_hex(6)}", 30
    else:
        url, examples = request.getfixturevalue("server_urls")[kind], 8
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(opened(kind, url)) as (bench, queues):
        machine = type("Machine", (QueueMachine,), {"portal": portal, "bench": bench, "queues": queues})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples * times,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
