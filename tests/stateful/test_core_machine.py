"""A state machine drives the threading core and a plain model side by side, tasks and values alike."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from musicq_async.core import InvalidTask, MemoryQueue


class CoreMachine(RuleBasedStateMachine):
    keys = Bundle("keys")

    @initialize(maxsize=st.sampled_from([0, 0, 1, 4]))
    def make(self, maxsize):
        self.now = 100.0
        self.queue = MemoryQueue(maxsize=maxsize, clock=lambda: self.now, wall_clock=lambda: self.now + 5000)
        self.maxsize = maxsize
        self.turn = 0
        self.ready = []  # (priority, turn)
        self.delayed = []  # (due, turn, priority)
        self.unfinished = 0
        self.values = {}  # key -> (value, deadline)

    def has_room(self):
        return not self.maxsize or len(self.ready) + len(self.delayed) < self.maxsize

    def promote(self):
        for due in sorted(entry for entry in self.delayed if entry[0] <= self.now):
            self.delayed.remove(due)
            self.turn += 1
            self.ready.append((due[2], self.turn, due[1]))

    @precondition(lambda self: self.has_room())
    @rule(priority=st.integers(-2, 2), wait=st.none() | st.sampled_from([0, 1, 5]), by_clock=st.booleans())
    def push(self, priority, wait, by_clock):
        self.promote()
        self.turn += 1
        name = f"{self.turn}"
        task = {"type": "x", "task_id": name, "params": {"n": self.turn}}
        if wait is not None:
            task |= {"run_at": self.now + 5000 + wait} if by_clock else {"delay": wait}
        assert self.queue.push_task(task, priority) == name
        if wait:
            self.delayed.append((self.now + wait, self.turn, priority))
        else:
            self.ready.append((priority, self.turn, self.turn))
        self.unfinished += 1

    @rule(task=st.sampled_from([None, {}, {"type": ""}, {"type": "x", "params": 1}, {"type": "x", "delay": -1}]))
    def push_something_wrong(self, task):
        with pytest.raises(InvalidTask):
            self.queue.push_task(task)

    @rule()
    def pop(self):
        self.promote()
        self.ready.sort(key=lambda entry: entry[:2])
        task = self.queue.pop_task(timeout=0)
        if not self.ready:
            assert task is None
            return
        assert task["params"]["n"] == self.ready.pop(0)[2]

    @rule()
    def finish_one(self):
        if self.unfinished:
            self.queue.task_done()
            self.unfinished -= 1
        else:
            with pytest.raises(ValueError):
                self.queue.task_done()

    @rule(seconds=st.sampled_from([0.001, 0.25, 1, 5, 20, 3000]))
    def let_time_pass(self, seconds):
        self.now += seconds
        self.queue.tasks.ring(lambda _: None)
        self.promote()

    @rule(target=keys, key=st.sampled_from("abcd"), ttl=st.none() | st.sampled_from([0.001, 0.3, 1, 16, 5000]))
    def set_value(self, key, ttl):
        self.turn += 1
        self.queue.set_public(key, self.turn, ttl)
        self.values[key] = (self.turn, float("inf") if ttl is None else self.now + ttl)
        return key

    @rule(key=keys)
    def delete_value(self, key):
        _, deadline = self.values.pop(key, (None, 0))
        assert self.queue.delete_public(key) is (deadline > self.now)

    @rule()
    def clean_up(self):
        live = {key: entry for key, entry in self.values.items() if entry[1] > self.now}
        assert self.queue.cleanup() == len(self.values) - len(live)
        self.values = live

    @rule()
    def clear(self):
        self.queue.clear_store()
        self.values = {}

    @invariant()
    def agrees(self):
        if not hasattr(self, "queue"):
            return
        assert self.queue.get_queue_size() == len(self.ready) + len(self.delayed)
        assert self.queue.is_empty() is not bool(self.ready or self.delayed)
        assert self.queue.join(timeout=0) is (self.unfinished == 0)
        live = {key: value for key, (value, deadline) in self.values.items() if deadline > self.now}
        assert set(self.queue.list_keys()) == set(live)
        assert self.queue.get_store_size() == len(live)
        for key in "abcd":
            assert self.queue.get_public(key) == live.get(key)


TestCore = CoreMachine.TestCase
TestCore.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
