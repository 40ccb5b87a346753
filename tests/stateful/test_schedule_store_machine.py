"""A state machine drives each `ScheduleStore` and a plain model side by side, as two schedulers that share it would."""

from __future__ import annotations

import shutil
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from backends import BACKENDS, Bench, MovedClock, _empty
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from musicq_async.errors import InvalidSchedule
from musicq_async.model.schedule import Firing, Schedule, Slot, SlotOutcome

NAMES = ("a", "b", "c")
START = 1_767_225_600
names = st.sampled_from(NAMES)
sides = st.sampled_from([0, 1])
steps = st.integers(-3, 3)


class StoreMachine(RuleBasedStateMachine):
    """Two stores over one backend: whatever is done through one is seen through the other."""

    portal: BlockingPortal
    bench: Bench
    stores: tuple[Any, Any]

    def __init__(self) -> None:
        super().__init__()
        self.schedules: dict[str, Schedule] = {}
        self.ledger: dict[str, set[int]] = {}
        self.pushed: set[str] = set()
        self.held: list[Firing] = []
        self.run(self.clear())

    @classmethod
    def run(cls, work):
        return cls.portal.call(lambda: work)

    async def clear(self):
        if self.bench.kind == "memory":
            await self.bench.open()
            vars(self.bench).pop("_schedules", None)
            type(self).stores = (self.bench.schedules, self.bench.schedules)
        else:
            await self.bench.database.write(_empty)

    def made(self, name, **fields):
        now = {"created_at": START, "updated_at": START, "next_run_at": START, "due_at_ms": START * 1000}
        return self.bench.schedule(name, **(now | fields))

    @rule(name=names, side=sides, due=st.none() | st.integers(-2, 2), enabled=st.booleans())
    def add(self, name, side, due, enabled):
        schedule = self.made(name, due_at_ms=None if due is None else (START + due) * 1000, enabled=enabled)
        if name in self.schedules:
            with pytest.raises(InvalidSchedule):
                self.run(self.stores[side].add(schedule))
            return
        self.run(self.stores[side].add(schedule))
        self.schedules[name] = schedule
        self.ledger[name] = set()

    @precondition(lambda self: self.schedules)
    @rule(data=st.data(), side=sides, ahead=st.integers(0, 2), due=st.none() | st.integers(-2, 5), on=st.booleans())
    def edit(self, data, side, ahead, due, on):
        name = data.draw(st.sampled_from(sorted(self.schedules)))
        stored = self.schedules[name]
        edit = msgspec.structs.replace(
            stored,
            name=f"edit {stored.version}",
            enabled=on,
            due_at_ms=None if due is None else (START + due) * 1000,
            version=stored.version + ahead,
        )
        assert self.run(self.stores[side].replace(edit)) is (ahead == 1)
        if ahead == 1:
            self.schedules[name] = edit

    @rule(name=names, side=sides)
    def delete(self, name, side):
        assert self.run(self.stores[side].delete(name)) is (name in self.schedules)
        self.schedules.pop(name, None)
        self.ledger.pop(name, None)

    @precondition(lambda self: self.schedules)
    @rule(data=st.data(), slots=st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True))
    def decide(self, data, slots):
        """Decide about a schedule as it stands now; the firing is written later, if others have not been quicker."""
        name = data.draw(st.sampled_from(sorted(self.schedules)))
        stored = self.schedules[name]
        times = [START + slot for slot in sorted(slots)]
        tasks = tuple(self.bench.task(f"{name}:{at}", scheduler_task_id=name, fire_at=at) for at in times)
        rows = [Slot(nominal=at, outcome=SlotOutcome.ENQUEUED, task_id=f"{name}:{at}") for at in times]
        advanced = msgspec.structs.replace(
            stored,
            last_run_at=times[-1],
            next_run_at=times[-1] + 60,
            due_at_ms=(times[-1] + 60) * 1000,
            run_count=stored.run_count + len(times),
            version=stored.version + 1,
        )
        self.held.append(Firing(schedule=stored, advanced=advanced, slots=tuple(rows), tasks=tasks))

    @precondition(lambda self: self.held)
    @rule(side=sides, count=st.integers(1, 3))
    def write(self, side, count):
        firings = {firing.schedule.task_id: firing for firing in self.held[:count]}  # a store gets each schedule once
        del self.held[:count]
        expected = []
        for firing in firings.values():
            name = firing.schedule.task_id
            stored = self.schedules.get(name)
            if stored is None or stored.version != firing.schedule.version:
                continue
            fresh = [slot for slot in firing.slots if slot.nominal not in self.ledger[name]]
            expected.append((name, [slot.nominal for slot in fresh]))
            self.ledger[name] |= {slot.nominal for slot in fresh}
            self.pushed |= {slot.task_id for slot in fresh}
            self.schedules[name] = firing.advanced
        written = self.run(self.bench.record(list(firings.values()), self.stores[side]))
        assert [(each.schedule.task_id, [slot.nominal for slot in each.slots]) for each in written] == expected
        assert [[task.fire_at for task in each.tasks] for each in written] == [slots for _, slots in expected]

    @rule(age=st.integers(0, 7), side=sides)
    def prune(self, age, side):
        self.run(self.stores[side].prune(START + age))
        for slots in self.ledger.values():
            slots -= {slot for slot in slots if slot < START + age}

    @rule(within=steps, limit=st.integers(1, 3), side=sides)
    def look_for_due(self, within, limit, side):
        before = (START + within) * 1000
        found = self.run(self.stores[side].due(before, limit=limit))
        due = sorted(each.due_at_ms for each in self.planned() if each.due_at_ms <= before)
        assert [each.due_at_ms for each in found] == due[:limit]
        assert all(self.schedules[each.task_id] == each for each in found)

    def planned(self):
        return [each for each in self.schedules.values() if each.enabled and each.due_at_ms is not None]

    @invariant()
    def agrees(self):
        for store in self.stores:
            assert {each.task_id: each for each in self.run(store.all())} == self.schedules
            earliest = min((each.due_at_ms for each in self.planned()), default=None)
            assert self.run(store.next_due_ms()) == earliest
        if self.bench.kind != "memory":
            unplanned = {each.task_id for each in self.schedules.values() if each.enabled and each.due_at_ms is None}
            assert {each.task_id for each in self.run(self.stores[0].unplanned())} == unplanned

    def teardown(self):
        stored = {name: self.run(self.bench.queue.get(name)) for name in self.pushed}
        assert all(task is not None for task in stored.values()), "every slot that was written has its task"
        assert sum(self.run(self.bench.queue.counts()).values()) == len(self.pushed), "and no slot has two"


@asynccontextmanager
async def opened(kind, url):
    async with AsyncExitStack() as stack:
        bench = Bench(kind, url, stack, MovedClock())
        await bench.open()
        try:
            yield bench, (bench.schedules, await bench.other_schedules())
        finally:
            if kind in {"mysql", "postgresql"}:
                await bench.database.write(_empty)


@pytest.mark.parametrize("kind", BACKENDS)
def test_a_store_agrees_with_a_plain_model(kind, tmp_path, request):
    if kind == "memory":
        url, examples = "memory://", 100
    elif kind == "sqlite":
        shutil.copy(request.getfixturevalue("blank_sqlite"), tmp_path / "queue.db")
        url, examples = f"sqlite+aiosqlite:///{tmp_path / 'queue.db'}", 15
    else:
        url, examples = request.getfixturevalue("server_urls")[kind], 8
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(opened(kind, url)) as (bench, stores):
        machine = type("Machine", (StoreMachine,), {"portal": portal, "bench": bench, "stores": stores})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
