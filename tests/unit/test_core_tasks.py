"""What the threading core does with tasks: which it takes, in what order it gives them, how threads wait."""

from __future__ import annotations

import enum
import threading
import time
import uuid
from collections import OrderedDict, UserDict
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicq_async import core
from musicq_async.core import InvalidTask, MemoryQueue, checked_task

NAN = float("nan")


class Colour(enum.StrEnum):
    RED = "red"


class HandMadeClock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def nested(depth):
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


def in_thread(function, *arguments):
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


def until(condition):
    ends = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < ends, "did not happen"
        time.sleep(0.001)


def test_a_popped_task_has_what_was_pushed_and_what_was_left_out():
    queue = MemoryQueue()
    task = {"type": "x", "own": [1]}
    task_id = queue.push_task(task)
    assert task == {"type": "x", "own": [1]}
    assert uuid.UUID(task_id).version == 4
    assert queue.pop_task(timeout=0) == {"task_id": task_id, "type": "x", "params": {}, "own": [1]}


def test_an_id_that_is_brought_is_kept():
    queue = MemoryQueue()
    assert queue.push_task({"task_id": "my-id", "type": "x", "params": {"a": 1}}) == "my-id"
    assert queue.pop_task() == {"task_id": "my-id", "type": "x", "params": {"a": 1}}


def test_a_popped_task_can_be_pushed_again():
    queue = MemoryQueue()
    queue.push_task({"type": "x"}, priority=3)
    first = queue.pop_task()
    assert queue.push_task(first) == first["task_id"]
    assert queue.pop_task() == first


@pytest.mark.parametrize("size", [0, 1, 300])
def test_later_changes_by_the_caller_do_not_arrive(size):
    task = {
        "task_id": "a",
        "type": "x",
        "params": {"list": [{"deep": (1, [2])}], "text": "é" * size},
        "own": {"s": {1}},
    }
    queue = MemoryQueue()
    queue.push_task(task)
    task["params"]["list"][0]["deep"][1].append(3)
    task["params"]["new"] = 1
    task["own"]["s"].add(2)
    popped = queue.pop_task()
    assert popped["params"] == {"list": [{"deep": (1, [2])}], "text": "é" * size}
    assert popped["own"] == {"s": {1}}


def test_a_flat_task_is_copied_too():
    params = {"a": 1}
    queue = MemoryQueue()
    queue.push_task({"task_id": "a", "type": "x", "params": params})
    params["a"] = 2
    assert queue.pop_task()["params"] == {"a": 1}


def test_objects_that_are_not_json_pass_through_memory_as_they_are():
    thing = object()
    queue = MemoryQueue()
    queue.push_task({"type": "x", "params": {"thing": thing, "when": datetime(2026, 1, 1), "data": b"\xff"}})
    assert queue.pop_task()["params"] == {"thing": thing, "when": datetime(2026, 1, 1), "data": b"\xff"}


BAD = [
    (None, "dict"),
    ([("type", "x")], "dict"),
    (UserDict(type="x", task_id="a", params={}), "dict"),
    ({}, "'type'"),
    ({"type": ""}, "'type'"),
    ({"type": None}, "'type'"),
    ({"type": 5}, "'type'"),
    ({"type": ["x"], "task_id": "a", "params": {}}, "'type'"),
    ({"type": "x" * 101}, "'type'"),
    ({"type": "\ud800"}, "'type'"),
    ({"type": "x", "task_id": ""}, "'task_id'"),
    ({"type": "x", "task_id": None}, "'task_id'"),
    ({"type": "x", "task_id": 7}, "'task_id'"),
    ({"type": "x", "task_id": "i" * 37, "params": {}}, "'task_id'"),
    ({"type": "x", "task_id": " a", "params": {}}, "'task_id'"),
    ({"type": "x", "task_id": "a\n", "params": {}}, "'task_id'"),
    ({"type": "x", "task_id": "\udfff"}, "'task_id'"),
    ({"type": "x", "params": None}, "'params'"),
    ({"type": "x", "params": [1]}, "'params'"),
    ({"type": "x", "task_id": "a", "params": [1]}, "'params'"),
    ({"type": "x", "task_id": "a", "params": UserDict(a=1)}, "'params'"),
    ({"type": "x", "params": {"a": {"b": [0, NAN]}}}, r"'params' at \['a'\]\['b'\]\[1\]"),
    ({"type": "x", "params": {"a": float("inf")}}, r"'params' at \['a'\]"),
    ({"type": "x", "params": {1: 2}}, "'params'"),
    ({"type": "x", "params": {10**5000: 2}}, "'params'"),
    ({"type": "x", "params": {"a": {None: 2}}}, r"'params' at \['a'\]"),
    ({"type": "x", "params": {"a": "\ud800"}}, r"'params' at \['a'\]"),
    ({"type": "x", "params": {"\ud800": 1}}, "'params'"),
    ({"type": "x", "params": {"a": nested(64)}}, "'params'"),
    ({"type": "x", "params": {"a": nested(5000)}}, "'params'"),
    ({"type": "x", "params": {"a": "x" * (4 * 2**20)}}, "4 MiB"),
    ({"type": "x", "params": {"a": "é" * (3 * 2**20)}}, "4 MiB"),
    ({"type": "x", "params": {"a": list(range(300_000))}}, "4 MiB"),
    ({"type": "x", "own": {"a": -float("inf")}}, "'own'"),
    ({"type": "x", 5: "y"}, "strings"),
    ({"type": "x", "priority": True}, "'priority'"),
    ({"type": "x", "priority": 1.0}, "'priority'"),
    ({"type": "x", "priority": 2**31}, "'priority'"),
    ({"type": "x", "max_retries": -1}, "'max_retries'"),
    ({"type": "x", "max_retries": "3"}, "'max_retries'"),
    ({"type": "x", "timeout": 0}, "'timeout'"),
    ({"type": "x", "timeout": NAN}, "'timeout'"),
    ({"type": "x", "timeout": 10**400}, "'timeout'"),
    ({"type": "x", "timeout": False}, "'timeout'"),
    ({"type": "x", "delay": -0.001}, "'delay'"),
    ({"type": "x", "delay": float("inf")}, "'delay'"),
    ({"type": "x", "delay": "5"}, "'delay'"),
    ({"type": "x", "run_at": NAN}, "'run_at'"),
    ({"type": "x", "run_at": time.time() * 1000}, "'run_at'"),
    ({"type": "x", "run_at": 10**400}, "'run_at'"),
    ({"type": "x", "run_at": 1, "delay": 1}, "'delay' and 'run_at'"),
    ({"type": "x", "unique_key": ""}, "'unique_key'"),
    ({"type": "x", "unique_key": "k" * 256}, "'unique_key'"),
]


@pytest.mark.parametrize(("task", "named"), BAD, ids=range(len(BAD)))
def test_a_wrong_task_is_refused_by_name_and_not_queued(task, named):
    queue = MemoryQueue()
    began = time.perf_counter()
    with pytest.raises(InvalidTask, match=named):
        queue.push_task(task)
    assert time.perf_counter() - began < 1
    with pytest.raises(InvalidTask):
        checked_task(task, json_only=True)
    assert queue.get_queue_size() == 0
    assert queue.join(timeout=0)


def test_a_refusal_is_a_value_error_and_keeps_the_value_to_itself():
    with pytest.raises(ValueError) as refused:
        MemoryQueue().push_task({"type": "x", "params": {"cookie": {"secret-value"}, "a": NAN}})
    assert "secret-value" not in str(refused.value)


@pytest.mark.parametrize("priority", ["high", 1.5, None, False, 2**31, -(2**31) - 1, []])
def test_a_wrong_priority_argument_is_refused(priority):
    queue = MemoryQueue()
    with pytest.raises(InvalidTask, match="'priority'"):
        queue.push_task({"type": "x", "task_id": "a", "params": {}}, priority)
    assert queue.is_empty()


def test_a_container_inside_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(InvalidTask, match="nested"):
        MemoryQueue().push_task({"type": "x", "params": {"loop": loop}})


def test_a_container_met_over_and_over_is_refused_before_it_grows_without_bound():
    tree = []
    for _ in range(50):
        tree = [tree, tree]
    with pytest.raises(InvalidTask, match="4 MiB"):
        MemoryQueue().push_task({"type": "x", "params": {"tree": tree}})


@pytest.mark.parametrize(
    "fields",
    [
        {"task_id": "é" * 36},
        {"task_id": "a b"},
        {"type": "音" * 100},
        {"params": {"a": nested(63)}},
        {"params": {"a": "x" * (4 * 2**20 - 1000)}},
        {"params": {"🎵": 2**63, "b": [None, True, -1.5, "\x00"]}},
        {"priority": -(2**31)},
        {"max_retries": 0, "timeout": 1e-9, "delay": 0, "unique_key": "k" * 255},
        {"timeout": None, "delay": None, "run_at": None, "max_retries": None, "unique_key": None},
        {"run_at": 0},
    ],
)
def test_what_is_just_allowed_is_taken(fields):
    task = {"type": "x", "task_id": "a", "params": {}, **fields}
    queue = MemoryQueue()
    queue.push_task(task)
    assert queue.pop_task(timeout=0) == task
    assert checked_task(task, json_only=True) == task


def test_a_priority_argument_goes_before_the_task_s_own():
    queue = MemoryQueue()
    queue.push_task({"type": "own 1", "priority": 1})
    queue.push_task({"type": "argument 2, own 0", "priority": 0}, priority=2)
    queue.push_task({"type": "argument -1, own 5", "priority": 5}, priority=-1)
    assert [queue.pop_task()["type"] for _ in range(3)] == ["argument -1, own 5", "own 1", "argument 2, own 0"]
    assert checked_task({"type": "x"}, 4)["priority"] == 4


@pytest.mark.parametrize("field", ["type", "task_id", "unique_key"])
def test_json_only_refuses_nul_in_what_a_database_looks_up(field):
    task = {"type": "x", "task_id": "t", "params": {}, field: "a\x00b"}
    with pytest.raises(InvalidTask, match=f"'{field}' holds NUL"):
        checked_task(task, json_only=True)
    assert checked_task({"type": "x", "params": {"text": "a\x00b"}}, json_only=True)["params"] == {"text": "a\x00b"}


def test_a_long_way_into_params_is_named_shortly():
    params = leaf = {}
    for _ in range(500):
        leaf["deeper"] = leaf = {}
    with pytest.raises(InvalidTask, match="nested deeper") as refused:
        checked_task({"type": "x", "params": params})
    assert "…" in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("value", [{1}, b"x", datetime(2026, 1, 1), object(), 2**64, -(2**63) - 1, 1j, range(3)])
def test_json_only_refuses_what_json_cannot_hold(value):
    with pytest.raises(InvalidTask, match=r"'params' at \['a'\]"):
        checked_task({"type": "x", "task_id": "a", "params": {"a": value}}, json_only=True)


def test_json_only_makes_plain_values():
    class Number(enum.IntEnum):
        ONE = 1

    checked = checked_task(
        {"type": "x", "params": OrderedDict(a=(1, [2, (3,)]), b=Colour.RED, c=Number.ONE)}, json_only=True
    )["params"]
    assert checked == {"a": [1, [2, [3]]], "b": "red", "c": 1}
    assert [type(value) for value in checked.values()] == [list, str, int]
    assert type(checked) is dict


plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
trees = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    params=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), trees, max_size=5),
    json_only=st.booleans(),
)
def test_what_json_can_hold_comes_out_equal_and_fresh(params, json_only):
    checked = checked_task({"task_id": "a", "type": "x", "params": params}, json_only=json_only)["params"]
    assert checked == params
    assert checked is not params


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), max_size=60))
def test_order_is_priority_then_first_in_first_out(steps):
    queue, waiting = MemoryQueue(), []
    for number, (priority, pops) in enumerate(steps):
        queue.push_task({"type": "x", "task_id": f"{number}", "params": {}}, priority)
        waiting.append((priority, number))
        waiting.sort()
        if pops:
            assert queue.pop_task(0)["task_id"] == str(waiting.pop(0)[1])
        assert queue.get_queue_size() == len(waiting)
    assert [queue.pop_task(0)["task_id"] for _ in waiting] == [str(number) for _, number in waiting]
    assert queue.is_empty()
    assert queue.pop_task(0) is None


def test_priorities_that_come_and_go_leave_nothing_behind():
    queue = MemoryQueue()
    for priority in range(2000, 0, -1):
        queue.push_task({"type": "x"}, priority)
        queue.pop_task(0)
    assert len(queue.tasks._rest) + len(queue.tasks._rest_priorities) <= 2


def test_a_pop_that_may_not_wait_does_not():
    queue = MemoryQueue()
    began = time.monotonic()
    assert queue.pop_task(timeout=0) is None
    assert queue.pop_task(timeout=-1) is None
    assert time.monotonic() - began < 0.05


@pytest.mark.parametrize(
    ("timeout", "error"), [("1", TypeError), ([], TypeError), (True, TypeError), (NAN, ValueError)]
)
@pytest.mark.parametrize("call", ["pop_task", "join"])
def test_a_timeout_that_is_no_number_is_refused_and_takes_nothing(call, timeout, error):
    queue = MemoryQueue()
    queue.push_task({"type": "x"})
    with pytest.raises(error, match="timeout must be a number of seconds"):
        getattr(queue, call)(timeout=timeout)
    assert queue.get_queue_size() == 1


def test_a_pop_gives_up_in_time():
    began = time.monotonic()
    assert MemoryQueue().pop_task(timeout=0.03) is None
    assert 0.03 <= time.monotonic() - began < 0.5


def test_a_waiting_thread_gets_a_task_pushed_by_another():
    queue, got = MemoryQueue(), []
    thread = in_thread(lambda: got.append(queue.pop_task()))
    until(lambda: len(queue.tasks.getters.waiting) == 1)
    queue.push_task({"type": "x", "task_id": "a"})
    thread.join(2)
    assert got[0]["task_id"] == "a"


def test_waiting_threads_are_served_in_the_order_in_which_they_came():
    queue, got = MemoryQueue(), []
    for number in range(8):
        in_thread(lambda number=number: got.append((number, queue.pop_task()["params"]["n"])))
        until(lambda number=number: len(queue.tasks.getters.waiting) == number + 1)
    for n in range(8):
        queue.push_task({"type": "x", "params": {"n": n}})
        until(lambda n=n: len(got) == n + 1)
    assert got == [(n, n) for n in range(8)]


def test_a_waiting_thread_is_not_starved_by_one_that_never_waits():
    queue, stop, got = MemoryQueue(), threading.Event(), []

    def greedy():
        while not stop.is_set():
            if queue.pop_task(timeout=0) is None:
                time.sleep(0)

    threads = [in_thread(greedy) for _ in range(2)]
    waiting = in_thread(lambda: got.append(queue.pop_task()))
    ends = time.monotonic() + 3
    while not got and time.monotonic() < ends:
        queue.push_task({"type": "x", "task_id": "a", "params": {}})
        time.sleep(0.0005)
    stop.set()
    for thread in (*threads, waiting):
        thread.join(2)
    assert got


def test_delayed_tasks_are_counted_and_come_when_they_are_due():
    clock = HandMadeClock()
    queue = MemoryQueue(clock=clock, wall_clock=lambda: clock.now + 1e9)
    queue.push_task({"type": "late", "delay": 10})
    queue.push_task({"type": "by the clock", "run_at": 1e9 + 1005})
    queue.push_task({"type": "past", "run_at": 5})
    queue.push_task({"type": "at once", "delay": 0})
    assert queue.get_queue_size() == 4
    assert [queue.pop_task(0)["type"], queue.pop_task(0)["type"], queue.pop_task(0)] == ["past", "at once", None]
    clock.now += 5
    assert queue.pop_task(0)["type"] == "by the clock"
    assert queue.pop_task(0) is None
    clock.now += 5
    assert queue.pop_task(0)["type"] == "late"
    assert queue.is_empty()


def test_due_tasks_keep_their_priority():
    clock = HandMadeClock()
    queue = MemoryQueue(clock=clock)
    queue.push_task({"type": "b", "delay": 1})
    queue.push_task({"type": "a", "delay": 2, "priority": -1})
    clock.now += 3
    assert [queue.pop_task(0)["type"] for _ in range(2)] == ["a", "b"]


def test_a_waiting_thread_wakes_for_a_delayed_task():
    queue = MemoryQueue()
    queue.push_task({"type": "x", "delay": 0.03})
    began = time.monotonic()
    assert queue.pop_task(timeout=5)["type"] == "x"
    assert 0.03 <= time.monotonic() - began < 0.3


def test_threads_that_wait_already_hear_of_an_earlier_delayed_task():
    queue, got = MemoryQueue(), []
    for _ in range(3):
        in_thread(lambda: got.append((queue.pop_task()["type"], time.monotonic())))
    until(lambda: len(queue.tasks.getters.waiting) == 3)
    began = time.monotonic()
    queue.push_task({"type": "second", "delay": 0.08})
    queue.push_task({"type": "first", "delay": 0.02})
    until(lambda: len(got) == 2)
    assert [kind for kind, _ in got] == ["first", "second"]
    assert 0.02 <= got[0][1] - began < 0.08 <= got[1][1] - began
    queue.push_task({"type": "third"})
    until(lambda: len(got) == 3)


def test_a_full_queue_makes_a_push_wait_until_there_is_room():
    queue, pushed = MemoryQueue(maxsize=2), []
    for number in range(2):
        queue.push_task({"type": f"{number}"})
    thread = in_thread(lambda: pushed.append(queue.push_task({"type": "2", "task_id": "waited"})))
    until(lambda: len(queue.tasks.putters.waiting) == 1)
    assert pushed == []
    assert queue.pop_task()["type"] == "0"
    thread.join(2)
    assert pushed == ["waited"]
    assert [queue.pop_task()["type"] for _ in range(2)] == ["1", "2"]


def test_a_bounded_queue_between_many_threads_loses_nothing():
    queue, got = MemoryQueue(maxsize=3), []

    def push(first):
        for number in range(first, first + 200):
            queue.push_task({"type": "x", "params": {"n": number}}, priority=number % 3)

    def pop():
        while (task := queue.pop_task(timeout=2)) and task["type"] == "x":
            got.append(task["params"]["n"])
            queue.task_done()

    pushers = [in_thread(push, first) for first in range(0, 800, 200)]
    poppers = [in_thread(pop) for _ in range(3)]
    for thread in pushers:
        thread.join(10)
    assert queue.join(timeout=5)
    for _ in poppers:
        queue.push_task({"type": "stop"})
    for thread in poppers:
        thread.join(5)
    assert sorted(got) == list(range(800))


def test_join_waits_for_the_last_task_done():
    queue = MemoryQueue()
    assert queue.join()
    for _ in range(2):
        queue.push_task({"type": "x"})
        queue.pop_task()
    queue.task_done()
    assert queue.join(timeout=0.01) is False
    threading.Timer(0.02, queue.task_done).start()
    assert queue.join(timeout=5) is True


def test_task_done_called_too_often_is_an_error():
    queue = MemoryQueue()
    queue.push_task({"type": "x"})
    queue.pop_task()
    queue.task_done()
    with pytest.raises(ValueError, match="too many"):
        queue.task_done()


@pytest.mark.parametrize(
    "settings",
    [
        *({"cleanup_interval": each} for each in (0, -1, NAN, "60", None)),
        *({"maxsize": each} for each in ("4", None, 1.5)),
    ],
)
def test_an_impossible_argument_is_refused_by_name(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        MemoryQueue(**settings)


def test_the_inner_queue_keeps_the_manners_of_queue_queue():
    line = core.TaskLine(1)
    line.put(({"type": "a"}, 0, None))
    with pytest.raises(core.queue.Full):
        line.put_nowait(({"type": "b"}, 0, None))
    with pytest.raises(core.queue.Full):
        line.put(({"type": "b"}, 0, None), timeout=0.01)
    assert line.full()
    assert line.get_nowait() == {"type": "a"}
    with pytest.raises(core.queue.Empty):
        line.get(timeout=0.01)
    line.task_done()
    line.join()


def test_debug_messages_go_to_the_standard_log_when_somebody_wants_them(caplog):
    with caplog.at_level("DEBUG", logger="musicq_async.core"):
        queue = MemoryQueue()
        queue.push_task({"type": "x", "task_id": "a"})
        queue.pop_task()
    assert [record.getMessage() for record in caplog.records] == ["pushing task a (x)", "popped task a (x)"]
