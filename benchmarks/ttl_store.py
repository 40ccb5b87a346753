"""The TTL store of `MemoryQueue` at a million keys beside cachetools' TLRUCache with a lock, in one run.

    python benchmarks/ttl_store.py [--rounds 5] [--json]

Set and get are operations a second on keys that exist, with a TTL of an hour. Clean-ups are milliseconds: with nothing
expired, and with 10,000 of the keys expired, while a thread reads one key after the other; its longest wait for one
read is the last figure.
"""

from __future__ import annotations

import sys
import threading
import time

import cachetools
from _report import arguments, case, report, take_turns

from musicq_async import MemoryQueue

KEYS = 1_000_000
EXPIRED = 10_000
OPERATIONS = 50_000
HOUR = 3600.0


class Ours:
    def __init__(self, names: list[str]) -> None:
        self.queue = MemoryQueue()
        for name in names:
            self.set(name, 1)

    def set(self, name: str, value: int) -> None:
        self.queue.set_public(name, value, ttl=HOUR)

    def get(self, name: str) -> object:
        return self.queue.get_public(name)


class Peer:
    def __init__(self, names: list[str]) -> None:
        self.lock = threading.Lock()
        self.cache: cachetools.TLRUCache[str, int] = cachetools.TLRUCache(
            maxsize=2 * KEYS, ttu=lambda _name, _value, now: now + HOUR
        )
        for name in names:
            self.set(name, 1)

    def set(self, name: str, value: int) -> None:
        with self.lock:
            self.cache[name] = value

    def get(self, name: str) -> object:
        with self.lock:
            return self.cache.get(name)


def setting(store: Ours | Peer, names: list[str]) -> float:
    began = time.perf_counter()
    for name in names:
        store.set(name, 2)
    return len(names) / (time.perf_counter() - began)


def getting(store: Ours | Peer, names: list[str]) -> float:
    began = time.perf_counter()
    for name in names:
        store.get(name)
    return len(names) / (time.perf_counter() - began)


def idle_cleanup(queue: MemoryQueue) -> float:
    began = time.perf_counter()
    queue.cleanup()
    return (time.perf_counter() - began) * 1e3


def expire(queue: MemoryQueue) -> None:
    for number in range(EXPIRED):
        queue.set_public(f"short {number}", number, ttl=0.2)
    time.sleep(0.25)


def busy_cleanup(queue: MemoryQueue) -> float:
    expire(queue)
    began = time.perf_counter()
    dropped = queue.cleanup()
    took = (time.perf_counter() - began) * 1e3
    assert dropped == EXPIRED, dropped
    return took


def longest_read(queue: MemoryQueue, names: list[str]) -> float:
    """Return the longest single read, in milliseconds, among those of a thread that reads while the clean-up runs."""
    expire(queue)
    worst = 0.0
    started, stop = threading.Event(), threading.Event()

    def read() -> None:  # without a pause, so that every wait for the interpreter falls into some read
        nonlocal worst
        started.set()
        while not stop.is_set():
            for name in names[:200]:
                began = time.perf_counter()
                queue.get_public(name)
                worst = max(worst, time.perf_counter() - began)

    reader = threading.Thread(target=read)
    reader.start()
    started.wait()
    worst = 0.0
    queue.cleanup()
    stop.set()
    reader.join()
    return worst * 1e3


def main() -> int:
    options = arguments(__doc__ or "", rounds=5)
    names = [f"task_{number}_status" for number in range(KEYS)]
    some = names[:: KEYS // OPERATIONS]
    ours, peer = Ours(names), Peer(names)
    stores = {"musicq_async": ours, "TLRUCache + lock": peer}
    fast = [("TLRUCache + lock", "at least", 3.0)]
    cases = [
        case(
            f"{what} at {KEYS:,} keys",
            take_turns({name: lambda s=store, w=work: w(s, some) for name, store in stores.items()}, options.rounds),
            unit="operations/s",
            targets=fast,
        )
        for what, work in (("set", setting), ("get", getting))
    ]
    del peer, stores
    only = {
        "clean-up, nothing expired": (lambda: idle_cleanup(ours.queue), 0.1),
        f"clean-up, {EXPIRED:,} of {KEYS:,} expired": (lambda: busy_cleanup(ours.queue), 40.0),
        "longest read during that clean-up": (lambda: longest_read(ours.queue, some), 5.0),
    }
    for what, (work, limit) in only.items():
        figures = take_turns({"musicq_async": work}, options.rounds)
        cases.append(case(what, figures, unit="ms", targets=[("", "at most", limit)]))
    return report("ttl_store", cases, packages=["musicq_async", "cachetools"], json_only=options.json)


if __name__ == "__main__":
    sys.exit(main())
