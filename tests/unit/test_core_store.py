"""What the threading core does with shared values: exact expiry, and a clean-up that looks only at what is due."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicq_async.core import SLICE, MemoryQueue, ValueStore


class HandMadeClock:
    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return HandMadeClock()


@pytest.fixture
def queue(clock):
    return MemoryQueue(clock=clock)


def filed(store):
    return sum(len(keys) for slots in store._slots for keys in slots.values())


def slots(store):
    return sum(map(len, store._slots))


def test_a_value_without_ttl_stays(queue, clock):
    queue.set_public("key", {"any": "thing"})
    clock.now += 1e9
    assert queue.get_public("key") == {"any": "thing"}
    assert queue.cleanup() == 0


@pytest.mark.parametrize("ttl", [0.001, 0.5, 1, 60, 3600, 1e6, 1e9])
def test_a_value_is_gone_exactly_at_its_deadline_without_any_clean_up(queue, clock, ttl):
    queue.set_public("key", "value", ttl)
    clock.now += ttl * 0.999
    assert queue.get_public("key") == "value"
    assert queue.list_keys() == ["key"]
    clock.now = 1000.0 + ttl
    assert queue.get_public("key") is None
    assert queue.list_keys() == []
    assert queue.get_store_size() == 0
    assert queue.delete_public("key") is False


@pytest.mark.parametrize("ttl", [0, -1, -0.5, float("nan"), "5", [1]])
def test_a_wrong_ttl_is_an_error_and_stores_nothing(queue, ttl):
    queue.set_public("key", "before")
    with pytest.raises(ValueError, match="ttl"):
        queue.set_public("key", "value", ttl)
    assert queue.get_public("key") == "before"


def test_a_key_must_be_a_string(queue):
    with pytest.raises(TypeError, match="key"):
        queue.set_public(5, "value")


@pytest.mark.parametrize("ttl", [float("inf"), 10**400])
def test_a_ttl_without_end_is_for_good(queue, clock, ttl):
    queue.set_public("key", "value", ttl)
    clock.now += 1e9
    assert queue.get_public("key") == "value"


def test_setting_again_replaces_value_and_ttl(queue, clock):
    queue.set_public("longer", 1, ttl=1)
    queue.set_public("longer", 2, ttl=10)
    queue.set_public("shorter", 1, ttl=10)
    queue.set_public("shorter", 2, ttl=1)
    queue.set_public("kept", 1, ttl=1)
    queue.set_public("kept", 2)
    queue.set_public("ends", 1)
    queue.set_public("ends", 2, ttl=1)
    clock.now += 2
    assert [queue.get_public(key) for key in ("longer", "shorter", "kept", "ends")] == [2, None, 2, None]
    assert queue.cleanup() == 2
    assert sorted(queue.list_keys()) == ["kept", "longer"]


def test_delete_says_whether_there_was_something(queue):
    queue.set_public("key", None, ttl=5)
    assert queue.delete_public("key") is True
    assert queue.delete_public("key") is False
    assert filed(queue.values) == slots(queue.values) == 0


def test_clear_drops_everything(queue, clock):
    for number in range(3 * SLICE):
        queue.set_public(f"{number}", number, ttl=number + 1 if number % 2 else None)
    queue.clear_store()
    assert queue.get_store_size() == 0
    assert queue.list_keys() == []
    clock.now += 1e6
    assert queue.cleanup() == 0


def test_clean_up_counts_what_it_dropped_even_if_it_was_read_or_counted_before(queue, clock):
    for number in range(10):
        queue.set_public(f"{number}", number, ttl=1 + number % 2)
    clock.now += 1
    assert queue.get_public("0") is None
    assert queue.get_store_size() == 5
    assert queue.cleanup() == 5
    assert queue.cleanup() == 0
    clock.now += 1
    assert queue.cleanup() == 5
    assert len(queue.values) == filed(queue.values) == slots(queue.values) == 0


def test_a_clean_up_of_many_goes_slice_by_slice(queue, clock):
    for number in range(3 * SLICE + 7):
        queue.set_public(f"{number}", number, ttl=100 + number / 1000)
    clock.now += 150
    assert queue.cleanup() == 3 * SLICE + 7


def test_a_clean_up_touches_only_what_is_due(queue, clock):
    for number in range(20_000):
        queue.set_public(f"kept {number}", number, ttl=3600)
    for number in range(5):
        queue.set_public(f"due {number}", number, ttl=1)
    clock.now += 1
    touched = []
    queue.values._entries = Watched(queue.values._entries, touched)
    assert queue.cleanup() == 5
    assert len(touched) <= 20


class Watched(dict):
    """A dict that tells which keys were looked at."""

    def __init__(self, content, touched):
        super().__init__(content)
        self.touched = touched

    def __getitem__(self, key):
        self.touched.append(key)
        return super().__getitem__(key)

    def pop(self, key, *default):
        self.touched.append(key)
        return super().pop(key, *default)


def test_setting_a_key_over_and_over_leaves_no_garbage(queue, clock):
    for number in range(5000):
        queue.set_public("key", number, ttl=86_400 - number % 7)
        clock.now += 0.01
    assert filed(queue.values) == slots(queue.values) == 1


def test_setting_and_deleting_many_keys_leaves_no_garbage(queue):
    for number in range(5000):
        queue.set_public(f"{number}", number, ttl=86_400)
        queue.delete_public(f"{number}")
    assert filed(queue.values) == slots(queue.values) == len(queue.values) == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["set", "keep", "delete", "clean", "pass"]),
            st.sampled_from("abcdef"),
            st.floats(0.001, 1e5) | st.sampled_from([0.25, 16, 1024, 1 / 256]),
        ),
        max_size=50,
    )
)
def test_the_store_agrees_with_a_plain_model(steps):
    clock = HandMadeClock(5.0)
    store, model = ValueStore(clock), {}
    for number, (action, key, seconds) in enumerate(steps):
        live = {name for name, (_, ends) in model.items() if ends > clock.now}
        if action == "set":
            store.set(key, number, seconds)
            model[key] = (number, clock.now + seconds)
        elif action == "keep":
            store.set(key, number, None)
            model[key] = (number, float("inf"))
        elif action == "delete":
            assert store.delete(key) == (key in live)
            model.pop(key, None)
        elif action == "clean":
            assert store.clean() == len(model) - len(live)
            model = {name: model[name] for name in live}
        else:
            clock.now += seconds
        for name in "abcdef":
            value, ends = model.get(name, (None, 0))
            assert store.get(name) == (value if ends > clock.now else None)
        live = {name for name, (_, ends) in model.items() if ends > clock.now}
        assert set(store.live()) == live
        assert store.count() == len(live)
        assert filed(store) == sum(ends != float("inf") for _, ends in model.values())


def test_the_background_thread_drops_what_has_expired():
    queue = MemoryQueue(cleanup_interval=0.01)
    queue.start_cleanup()
    queue.set_public("key", "value", ttl=0.005)
    ends = time.monotonic() + 5
    while len(queue.values) and time.monotonic() < ends:
        time.sleep(0.005)
    assert len(queue.values) == 0
    queue.stop_cleanup()


def test_starting_and_stopping_the_background_thread_is_idempotent():
    queue = MemoryQueue(cleanup_interval=60)
    queue.stop_cleanup()
    before = threading.active_count()
    for _ in range(3):
        queue.start_cleanup()
    assert threading.active_count() == before + 1
    for _ in range(3):
        queue.stop_cleanup()
    assert threading.active_count() == before
    queue.start_cleanup()
    assert threading.active_count() == before + 1
    queue.stop_cleanup()


def test_the_background_thread_does_not_keep_a_forgotten_queue():
    queue = MemoryQueue(cleanup_interval=0.01)
    queue.start_cleanup()
    thread = queue._cleaner
    forgotten = weakref.ref(queue)
    del queue
    gc.collect()
    thread.join(5)
    assert forgotten() is None
    assert not thread.is_alive()


def test_threads_that_set_read_and_clean_at_once_see_whole_values():
    queue, errors, stop = MemoryQueue(), [], threading.Event()

    def work(number):
        try:
            for turn in range(1500):
                key = f"{turn % 50}"
                queue.set_public(key, (turn, turn), ttl=0.001 if number % 2 else 5)
                pair = queue.get_public(key)
                assert pair is None or pair[0] == pair[1]
                queue.delete_public(f"{(turn + number) % 50}")
        except Exception as error:
            errors.append(error)

    def tidy():
        while not stop.is_set():
            queue.cleanup()
            queue.get_store_size()
            queue.list_keys()

    tidier = threading.Thread(target=tidy)
    tidier.start()
    workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    stop.set()
    tidier.join()
    assert errors == []
    time.sleep(0.002)
    queue.clear_store()
    assert filed(queue.values) == 0
