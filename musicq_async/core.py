"""The threading core: `MemoryQueue`, a task queue beside a store of shared values, on the standard library alone.

The file works when it is copied alone into another project. Threads call it directly; `musicq_async.memory.facade`
puts the same calls behind ``await`` and waits in the same lines.

After ``os.fork`` the child's queues are empty and their locks fresh: the tasks stay with the parent, which still has
them. Shared values are copied with the process. The clean-up thread exists in the parent only; the child calls
`MemoryQueue.start_cleanup` again if it wants one.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import logging
import math
import operator
import os
import queue
import sys
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar
from uuid import uuid4

try:
    from musicq_async.errors import InvalidTask
except ImportError:  # copied alone

    class InvalidTask(ValueError):  # type: ignore[no-redef]
        """A task cannot be queued as it is. The message names the field."""


__all__ = [
    "InvalidTask",
    "MemoryQueue",
    "TaskLine",
    "ValueStore",
    "Waiter",
    "WaitingLine",
    "checked_task",
    "plain_task",
]

MAX_NESTING: Final = 64
"""Containers inside containers; ``params`` itself is the first."""
MAX_BYTES: Final = 4 * 1024 * 1024
"""Text of one task in UTF-8, with `VALUE_BYTES` more for every value: a push may run on an event loop."""
VALUE_BYTES: Final = 16
SHOWN_STEPS: Final = 4
"""Steps into ``params`` that a message names at either end of a long way."""
MAX_AHEAD: Final = 10 * 366 * 86_400
"""Seconds that ``delay`` and ``run_at`` may reach into the future: ten years."""
PROMISE_SECONDS: Final = 1.0
"""How long a task is kept for a waiter that was overtaken once; its event loop may hang or be gone."""
SLICE: Final = 2048
"""Keys dropped from the store in one hold of its lock: about a millisecond."""

Item: TypeAlias = tuple[dict[str, Any], int, "float | None"]
"""A checked task, its priority, and the time of the queue's clock when it is due; ``None`` is now."""
_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)
_copy = dict.copy  # makes a plain dict even of a subclass, and raises TypeError for anything else
_PLAIN: Final = frozenset({int, bool, type(None)})
_INT32: Final = 2**31
ZERO: Final = 0  # what is this very object needs no look at its type; another zero is checked like any value


class _Refused(Exception):
    """A value that no task may hold; ``steps`` lead to it, the innermost first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.steps: list[str] = []


def checked_task(task: dict[str, Any], priority: int = 0, *, json_only: bool = False) -> dict[str, Any]:
    """Check a task and return it as a fresh dict with ``task_id``, ``type``, ``params`` and the caller's further keys.

    Dicts, lists, tuples and sets are copied at every depth, so that later changes by the caller do not arrive. Other
    objects are kept as they are. ``json_only``, for queues that write tasks down, refuses what JSON cannot hold, turns
    tuples into lists and limits integers to 64 bits. A ``priority`` other than 0 replaces the task's own.

    Raises `InvalidTask`, a ValueError whose message names the field.
    """
    checked = plain_task(task)
    if checked is None or (json_only and not _can_be_written(checked)):
        checked = _checked_at_length(task, _Copier(json_only=json_only))
    if priority is not ZERO:
        checked["priority"] = checked_priority(priority)
    return checked


def checked_priority(priority: object) -> int:
    """Return a priority that fits in 32 bits, or raise `InvalidTask`."""
    return _checked_field("priority", priority, _Copier(json_only=False))  # type: ignore[no-any-return]


def plain_task(task: dict[str, Any]) -> dict[str, Any] | None:
    """Copy a task of the common form, an id, a type and a few short ASCII values; ``None`` leaves it to the long way.

    All text is joined and looked at once: looking at each value would double the price of a push.
    """
    try:
        checked = _copy(task)
        kind = checked["type"]
        task_id = checked["task_id"]
        params = checked["params"] = _copy(checked["params"])
        words = [kind, task_id, *params]
        for value in params.values():
            if type(value) is str:
                words.append(value)
            elif type(value) not in _PLAIN:
                return None
        text = "".join(words)
        if (
            text.isascii()
            and len(text) <= 4096
            and len(checked) == 3
            and kind
            and kind[0] > " "
            and len(kind) <= 100
            and len(task_id) <= 36
            and task_id >= "!"
            and task_id[-1] > " "
        ):
            return checked
    except (KeyError, TypeError):
        pass
    return None


def _can_be_written(task: dict[str, Any]) -> bool:
    """Whether a database can hold a task of the common form."""
    if "\x00" in task["type"] or "\x00" in task["task_id"]:
        return False
    for value in task["params"].values():  # noqa: SIM110 - all() of a generator takes five times as long
        if value.__class__ is int and not -(2**63) <= value < 2**64:
            return False
    return True


def _checked_at_length(task: dict[str, Any], copier: _Copier) -> dict[str, Any]:
    """Check and copy any task."""
    if not isinstance(task, dict):
        raise InvalidTask(f"A task must be a dict, not {_kind(task)}.")
    checked = dict.copy(task)  # a plain dict even from a subclass; safe from threads that change the task just now
    if "type" not in checked:
        raise InvalidTask("Task field 'type' is missing; it names the handler.")
    for name, value in checked.items():
        checked[name] = _checked_field(name, value, copier)
    if checked.get("delay") is not None and checked.get("run_at") is not None:
        raise InvalidTask("Task fields 'delay' and 'run_at' exclude each other; give one.")
    if "task_id" not in checked:
        checked["task_id"] = str(uuid4())
    checked.setdefault("params", {})
    return checked


def _checked_field(name: object, value: Any, copier: _Copier) -> Any:
    try:
        return copier.field(name, value)
    except _Refused as refused:
        steps = refused.steps[::-1]
        way = "".join(steps if len(steps) <= 2 * SHOWN_STEPS else [*steps[:SHOWN_STEPS], "…", *steps[-SHOWN_STEPS:]])
        raise InvalidTask(f"Task field {_shown(name)}{way and f' at {way}'} {refused}") from None


class _Copier:
    """Copies one task, counting what it holds."""

    __slots__ = ("json_only", "left")

    def __init__(self, *, json_only: bool) -> None:
        self.json_only = json_only
        self.left = MAX_BYTES

    def field(self, name: object, value: Any) -> Any:
        """Check one entry of the task; those the queue knows have their own rule."""
        if not isinstance(name, str):
            raise _Refused(f"is {_kind(name)}; names must be strings.")
        self.text(name)
        rule = _RULES.get(name)
        return self.copied(value, 1) if rule is None else rule(self, value)

    def copied(self, value: Any, nesting: int) -> Any:
        """Copy a value, whose containers stand at this depth."""
        self.spend(VALUE_BYTES)
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return self.integer(value) if self.json_only else value
        if isinstance(value, float):
            if not math.isfinite(value):
                raise _Refused(f"is {value}, which JSON does not have; use None.")
            return float(value) if self.json_only else value
        if isinstance(value, dict):
            return self.mapping(value, nesting)
        if isinstance(value, list) or value.__class__ is tuple or (self.json_only and isinstance(value, tuple)):
            return self.sequence(value, nesting)
        if self.json_only:
            raise _Refused(f"is {_kind(value)}, which JSON cannot hold; pass text, numbers, lists or dicts.")
        return value.copy() if isinstance(value, (set, bytearray)) else value

    def text(self, value: str) -> str:
        """Count text; return a plain string where it will be written down."""
        try:
            self.spend(len(value) if len(value) > self.left or value.isascii() else len(value.encode()))
        except UnicodeEncodeError:
            raise _Refused("holds half of a surrogate pair, which no encoding can write.") from None
        return str.__str__(value) if self.json_only else value

    def integer(self, value: int) -> int:
        """Refuse what databases and other languages cannot hold."""
        if not -(2**63) <= value < 2**64:
            raise _Refused("is an integer of more than 64 bits; pass it as text.")
        return int(value)

    def mapping(self, value: dict[Any, Any], nesting: int) -> dict[str, Any]:
        """Copy a dict."""
        self.descend(nesting, len(value))
        fresh = {}
        for name, item in dict.copy(value).items():  # of the copy, because another thread may change it now
            if not isinstance(name, str):
                raise _Refused(f"has a key {_kind(name)}; keys must be strings.")
            try:
                fresh[self.text(name)] = self.copied(item, nesting + 1)
            except _Refused as refused:
                refused.steps.append(f"[{_shown(name)}]")
                raise
        return fresh

    def sequence(self, value: Any, nesting: int) -> list[Any] | tuple[Any, ...]:
        """Copy a list or a tuple."""
        self.descend(nesting, len(value))
        fresh: list[Any] = []
        try:
            for item in value:
                fresh.append(self.copied(item, nesting + 1))  # noqa: PERF401 - its length names the one refused
        except _Refused as refused:
            refused.steps.append(f"[{len(fresh)}]")
            raise
        return tuple(fresh) if value.__class__ is tuple and not self.json_only else fresh

    def descend(self, nesting: int, length: int) -> None:
        """Enter a container. One that stands inside itself ends here too."""
        if nesting > MAX_NESTING:
            raise _Refused(f"is nested deeper than {MAX_NESTING} containers.")
        self.afford(length * VALUE_BYTES)

    def spend(self, count: int) -> None:
        """Count towards the size of the whole task."""
        self.afford(count)
        self.left -= count

    def afford(self, count: int) -> None:
        """Refuse what would be too much."""
        if count > self.left:
            raise _Refused(f"makes the task larger than {MAX_BYTES >> 20} MiB; pass the name of a file instead.")


def _params(copier: _Copier, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Refused(f"must be a dict, not {_kind(value)}.")
    return copier.mapping(value, 1)


def _text_of(longest: int, *, blanks: bool = True) -> Callable[[_Copier, Any], str]:
    def rule(copier: _Copier, value: Any) -> str:
        if not isinstance(value, str):
            raise _Refused(f"must be a string, not {_kind(value)}.")
        if not 0 < len(value) <= longest:
            raise _Refused(f"has {len(value)} characters; it must have 1 to {longest}.")
        if value.isspace():
            raise _Refused("is blank.")
        if not blanks and value != value.strip():  # some databases do not tell "song" from "song "
            raise _Refused("begins or ends with a blank.")
        if copier.json_only and "\x00" in value:
            raise _Refused("holds NUL, which no database keeps.")
        return copier.text(value)

    return rule


def _integer_of(least: int, most: int) -> Callable[[_Copier, Any], int]:
    def rule(_: _Copier, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _Refused(f"must be an integer, not {_kind(value)}.")
        if not least <= value <= most:
            raise _Refused(f"must be from {least} to {most}.")
        return int(value)

    return rule


def _seconds_of(least: float, most: float, wanted: str) -> Callable[[_Copier, Any], float]:
    def rule(_: _Copier, value: Any) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise _Refused(f"must be a number of seconds, not {_kind(value)}.")
        if not least <= value <= most:  # also refuses NaN
            raise _Refused(f"must be {wanted}.")
        return value

    return rule


def _run_at(copier: _Copier, value: Any) -> float:
    latest = time.time() + MAX_AHEAD
    return _seconds_of(-MAX_AHEAD * 10, latest, "in epoch seconds and at most ten years ahead")(copier, value)


def _optional(rule: Callable[[_Copier, Any], Any]) -> Callable[[_Copier, Any], Any]:
    return lambda copier, value: None if value is None else rule(copier, value)


_RULES: Final[dict[str, Callable[[_Copier, Any], Any]]] = {
    "task_id": _text_of(36, blanks=False),
    "type": _text_of(100),
    "params": _params,
    "priority": _integer_of(-_INT32, _INT32 - 1),
    "max_retries": _optional(_integer_of(0, _INT32 - 1)),
    "timeout": _optional(_seconds_of(math.ulp(0.0), sys.float_info.max, "above 0 and finite")),
    "delay": _optional(_seconds_of(0, MAX_AHEAD, "from 0 to ten years")),
    "run_at": _optional(_run_at),
    "unique_key": _optional(_text_of(255)),
}


def _kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


def _shown(name: object) -> str:
    """Name a key in a message: enough to find it, too little to fill a log."""
    return repr(name[:40]) if isinstance(name, str) else f"<{type(name).__name__}>"


class Waiter:
    """One who waits in a line: a thread here, a coroutine in the façade. All calls hold the line's mutex."""

    __slots__ = ("overtaken", "ticket", "woken")

    def __init__(self) -> None:
        self.ticket = 0
        self.woken = False
        self.overtaken = False

    def wake(self) -> bool:
        """Have it look again; return whether it is sure to. If not, the next one is woken as well."""
        raise NotImplementedError

    def plan(self, due: float) -> None:
        """Have it look again when the earliest delayed task is due, at this time of the queue's clock."""
        raise NotImplementedError

    def replan(self, due: float) -> None:
        """Do as `plan`, while it is asleep already."""
        raise NotImplementedError


class _ThreadWaiter(Waiter):
    __slots__ = ("due", "gate")

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Lock()
        self.gate.acquire()
        self.due = math.inf

    def wake(self) -> bool:
        if self.gate.locked():
            self.gate.release()
        return True

    def plan(self, due: float) -> None:
        self.due = due

    def replan(self, due: float) -> None:
        self.due = due
        self.wake()


class WaitingLine:
    """Those who wait for the same thing, in the order in which they came. All calls hold the mutex.

    A woken waiter takes its thing by itself, so whoever asks meanwhile may be quicker. It then goes back to its place
    and the next thing is promised to it: nobody is overtaken twice, and a waiter that is cancelled loses nothing.
    """

    __slots__ = ("_returned", "_tickets", "promised", "waiting")

    def __init__(self) -> None:
        self.waiting: OrderedDict[Waiter, None] = OrderedDict()
        self.promised: dict[Waiter, float] = {}
        self._returned: list[tuple[int, Waiter]] = []  # a heap of those with an old place, some of them gone
        self._tickets = itertools.count(1)

    def admits(self, waiter: Waiter | None, available: int) -> bool:
        """Say whether one of the available things is for this waiter, or for a newcomer; if so it waits no longer."""
        if available <= 0:
            return False
        if available <= len(self.promised) and waiter not in self.promised:
            self._drop_old_promises()
            if available <= len(self.promised):
                return False
        if waiter is not None:
            self._forget(waiter)
        return True

    def join(self, waiter: Waiter) -> None:
        """Take a place at the end, or the old place again."""
        if waiter in self.waiting:
            return
        self.waiting[waiter] = None
        self.promised.pop(waiter, None)
        if not waiter.ticket:
            waiter.ticket = next(self._tickets)
            return
        waiter.overtaken, waiter.woken = True, False
        if len(self._returned) > 2 * len(self.waiting):
            self._returned = [place for place in self._returned if place[1] in self.waiting]
            heapq.heapify(self._returned)
        heapq.heappush(self._returned, (waiter.ticket, waiter))

    def settle(self, waiter: Waiter, *, stay: bool) -> None:
        """Join, or go because the time is up and there is nothing."""
        if stay:
            self.join(waiter)
        else:
            self._forget(waiter)

    def leave(self, waiter: Waiter, available: int) -> None:
        """Give up; if it was woken for something, wake the next one for that."""
        self._forget(waiter)
        if waiter.woken and available > len(self.promised):
            self.wake_one()

    def wake_one(self) -> None:
        """Wake the first; those who have an old place came before all who have not."""
        while self.waiting:
            if self._returned:
                _, waiter = heapq.heappop(self._returned)
                if waiter not in self.waiting:
                    continue
                del self.waiting[waiter]
            else:
                waiter, _ = self.waiting.popitem(last=False)
            waiter.woken = True
            if waiter.wake():
                if waiter.overtaken:
                    self.promised[waiter] = time.monotonic()
                return

    def wake_all(self) -> None:
        """Wake everyone."""
        while self.waiting:
            self.wake_one()

    def _forget(self, waiter: Waiter) -> None:
        self.waiting.pop(waiter, None)
        self.promised.pop(waiter, None)

    def _drop_old_promises(self) -> None:
        before = time.monotonic() - PROMISE_SECONDS
        for waiter in [waiter for waiter, since in self.promised.items() if since <= before]:
            del self.promised[waiter]
            self.wake_one()  # what was kept for it is free now


class TaskLine(queue.Queue[Any]):
    """The queue itself: `queue.Queue` with a line for each priority, delayed tasks, and fair waiting.

    Items are ``(task, priority, due)``; ``due`` is a time of the queue's clock, or ``None``. Threads and event loops
    wait in the same lines: ``getters`` for a task, ``putters`` for room, ``joiners`` for the last `task_done`.

    ``head`` holds the tasks of the first priority. Unless ``careful`` is set, because the queue is bounded or a task is
    delayed or promised, whoever gets one may take it from there by ``popleft``, which is atomic, without the mutex.
    """

    def __init__(self, maxsize: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(maxsize)
        self.clock = clock

    def _init(self, maxsize: int) -> None:
        self.getters = WaitingLine()
        self.putters = WaitingLine()
        self.joiners = WaitingLine()
        self._bounded = maxsize > 0
        self.careful = self._bounded
        self._hungry = self.getters.waiting
        self.head: deque[dict[str, Any]] = deque()
        self._head_priority = 0
        self._rest: dict[int, deque[dict[str, Any]]] = {}
        self._rest_priorities: list[int] = []  # a heap of the keys of _rest; all are behind the head
        self._delayed: list[tuple[float, int, int, dict[str, Any]]] = []  # a heap
        self._pushes = itertools.count()

    def _qsize(self) -> int:
        return self._ready() + len(self._delayed)

    def _ready(self) -> int:
        return len(self.head) + sum(map(len, self._rest.values()))

    def _room(self) -> int:
        return self.maxsize - self._qsize()

    def _put(self, item: Item) -> None:
        task, priority, due = item
        if due is not None:
            self._put_delayed(task, priority, due)
            return
        if priority == self._head_priority:
            self.head.append(task)
        else:
            self._put_elsewhere(task, priority)
        if self._hungry:
            self._wake_getter()

    def _wake_getter(self) -> None:
        self.getters.wake_one()
        if self.getters.promised:
            self.careful = True

    def _put_elsewhere(self, task: dict[str, Any], priority: int) -> None:
        """Put a task of another priority than that of the head line."""
        if priority > self._head_priority and (self.head or self._rest):
            if priority not in self._rest:
                self._rest[priority] = deque()
                heapq.heappush(self._rest_priorities, priority)
            self._rest[priority].append(task)
            return
        if self.head:
            self._rest[self._head_priority] = self.head
            heapq.heappush(self._rest_priorities, self._head_priority)
        self.head, self._head_priority = deque((task,)), priority

    def _put_delayed(self, task: dict[str, Any], priority: int, due: float) -> None:
        heapq.heappush(self._delayed, (due, next(self._pushes), priority, task))
        self.careful = True
        if self._delayed[0][0] == due:
            for waiter in self.getters.waiting:
                waiter.replan(due)

    def _take_care(self) -> None:
        self.careful = self._bounded or bool(self._delayed or self.getters.promised)

    def _promote(self) -> None:
        """Let delayed tasks whose time has come join the line of their priority."""
        while self._delayed and self._delayed[0][0] <= self.clock():
            _, _, priority, task = heapq.heappop(self._delayed)
            self._put((task, priority, None))

    def _get(self) -> dict[str, Any] | None:
        """Take the next task; ``None`` if a thread that needs no mutex for it was quicker."""
        while True:
            try:
                task = self.head.popleft()
            except IndexError:
                if not self._rest:
                    return None
                self._head_priority = heapq.heappop(self._rest_priorities)
                self.head = self._rest.pop(self._head_priority)
            else:
                if self.putters.waiting:
                    self.putters.wake_one()
                return task

    def put_now(self, task: dict[str, Any], priority: int = 0, due: float | None = None) -> bool:
        """Put unless that would have to wait for room; return whether it did."""
        # ``with`` costs twice as much as these calls; a mutex in use is waited for in the usual way
        self.mutex.acquire(False) or self.mutex.__enter__()  # noqa: FBT003 - a keyword costs more than the lock
        try:
            if self._bounded or due is not None or priority != self._head_priority:
                if self._bounded and not self.putters.admits(None, self._room()):
                    return False
                self._put((task, priority, due))
            else:
                self.head.append(task)
                if self._hungry:
                    self._wake_getter()
            self.unfinished_tasks += 1
            return True
        finally:
            self.mutex.release()

    def get_now(self) -> dict[str, Any] | None:
        """Get the next task; ``None`` if there is none for a newcomer."""
        head = self.head
        if head and not self.careful:
            try:
                return head.popleft()  # atomic by itself: the mutex would be a third of the price
            except IndexError:
                pass  # another thread was quicker
        return self._get_carefully()

    def _get_carefully(self) -> dict[str, Any] | None:
        with self.mutex:
            self._promote()
            task = self._get() if self.getters.admits(None, self._ready()) else None
            self._take_care()
            return task

    def get_for(self, waiter: Waiter, *, stay: bool) -> dict[str, Any] | None:
        """Get the next task for a waiter; if there is none, it waits in line (``stay``) or has left it."""
        with self.mutex:
            self._promote()
            task = self._get() if self.getters.admits(waiter, self._ready()) else None
            if task is None:
                self.getters.settle(waiter, stay=stay)
                waiter.plan(self._delayed[0][0] if self._delayed else math.inf)
            self._take_care()
            return task

    def put_for(self, item: Item, waiter: Waiter, *, stay: bool) -> bool | None:
        """Put for a waiter; if there is no room, return ``None``: it waits in line (``stay``) or has left it."""
        with self.mutex:
            if self.putters.admits(waiter, self._room()):
                self._put(item)
                self.unfinished_tasks += 1
                return True
            self.putters.settle(waiter, stay=stay)
            return None

    def done_for(self, waiter: Waiter, *, stay: bool) -> bool | None:
        """Return True if every task was done since the waiter joined, else ``None``, as `get_for`."""
        with self.mutex:
            if waiter.woken or not self.unfinished_tasks:
                return True
            self.joiners.settle(waiter, stay=stay)
            return None

    def leave(self, line: WaitingLine, waiter: Waiter, *, patience: float = -1) -> None:
        """Stop waiting before the time: what the waiter was woken for goes to the next one.

        ``patience`` limits the wait for the mutex, in seconds, where this thread may hold it already.
        """
        if not self.mutex.acquire(timeout=patience):
            return
        try:
            room = self._room() if line is self.putters else 0
            line.leave(waiter, self._ready() if line is self.getters else room)
            self._take_care()
        finally:
            self.mutex.release()

    def ring(self, rearm: Callable[[float], None]) -> None:
        """Let what is due join the lines; tell when the next delayed task will be, infinity if there is none."""
        with self.mutex:
            self._promote()
            rearm(self._delayed[0][0] if self._delayed else math.inf)

    def get(self, block: bool = True, timeout: float | None = None) -> dict[str, Any]:
        """Get as `queue.Queue` does: raises `queue.Empty` when the time is up."""
        task = self.get_now()
        if task is None and block and (timeout is None or timeout > 0):
            task = self.get_within(timeout)
        if task is None:
            raise queue.Empty
        return task

    def get_within(self, timeout: float | None) -> dict[str, Any] | None:
        """Wait for a task; ``None`` if the time is up."""
        return self._waited(self.getters, self.get_for, timeout)

    def put(self, item: Item, block: bool = True, timeout: float | None = None) -> None:
        """Put as `queue.Queue` does: raises `queue.Full` when the time is up."""
        done: bool | None = self.put_now(*item)
        if not done and block and (timeout is None or timeout > 0):
            done = self._waited(self.putters, functools.partial(self.put_for, item), timeout)
        if not done:
            raise queue.Full

    def task_done(self) -> None:
        """Count one task as finished. Raises ValueError if there were not so many."""
        with self.mutex:
            if self.unfinished_tasks <= 0:
                raise ValueError("task_done() called too many times")
            self.unfinished_tasks -= 1
            if not self.unfinished_tasks:
                self.joiners.wake_all()

    def join(self) -> None:
        """Wait until every task is done."""
        self.join_within(None)

    def join_within(self, timeout: float | None) -> bool:
        """Wait until every task is done; return False when the time is up before."""
        return self._waited(self.joiners, self.done_for, timeout) is True

    def _waited(
        self, line: WaitingLine, attempt: Callable[..., _Result | None], timeout: float | None
    ) -> _Result | None:
        """Let this thread try, wait and try again until the time is up."""
        waiter = _ThreadWaiter()
        ends = math.inf if timeout is None else time.monotonic() + timeout
        try:
            while True:
                left = ends - time.monotonic()
                result = attempt(waiter, stay=left > 0)
                if result is not None or not left > 0:
                    return result
                pause = min(left, waiter.due - self.clock(), threading.TIMEOUT_MAX)
                waiter.gate.acquire(timeout=max(pause, 0))
        except BaseException:
            self.leave(line, waiter)
            raise

    def forget(self) -> None:
        """Start anew with fresh locks and no tasks: in a forked child, whose parent keeps them."""
        super().__init__(self.maxsize)


_Entry = tuple[Any, float, float, float, int]
"""Value and deadline; the deadline that the key is filed under and the one from which on it is filed anew; the level of
its slot, -1 if it has none."""


class ValueStore:
    """Values by key, some with a deadline.

    Keys with a deadline are filed by it into slots, the wider the later it is (from 4 ms to centuries), so that a
    clean-up takes whole slots out and never looks at what is not due. Slots that become due are refiled more finely.
    A key whose deadline moves by less than the width of its slot stays where it is filed until then.
    Readers take no lock: they see one entry, whole, and its deadline.
    """

    _RATES: Final = tuple(2.0 ** (8 - 6 * level) for level in range(8))
    """Slots a second at each level; a level holds what is due within 64 of its slots."""
    _WIDTHS: Final = tuple(1 / rate for rate in _RATES)
    _LONGEST: Final = 1e10
    """A longer time to live, some 300 years, counts as this one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._measured = self._measure(60)
        self._reset()

    def _reset(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._slots: list[dict[int, dict[str, None]]] = [{} for _ in self._RATES]

    def __len__(self) -> int:
        """Return how many keys are held, expired ones included."""
        return len(self._entries)

    def set(self, key: str, value: Any, ttl: float | None) -> None:
        """Set a value for ``ttl`` seconds, or for good. Raises TypeError and ValueError as `MemoryQueue.set_public`."""
        if type(key) is not str and not isinstance(key, str):
            raise TypeError(f"key must be a string, not {_kind(key)}.")
        if ttl is None:
            self._file_anew(key, value, math.inf, -1)
            return
        known, seconds = self._measured
        if ttl is not known:  # most programs use few, so that this one is often the one before
            _, seconds = self._measured = self._measure(ttl)
        deadline = self.clock() + seconds
        lock = self._lock
        lock.acquire()  # ``with`` costs twice as much
        try:
            entries = self._entries
            old = entries.get(key)
            if old is not None:
                _, _, filed, until, level = old
                if filed <= deadline < until:
                    entries[key] = (value, deadline, filed, until, level)
                    return
        finally:
            lock.release()
        self._file_anew(key, value, deadline, self._level(seconds))

    def _measure(self, ttl: float) -> tuple[float, float]:
        """Return a checked ``ttl`` with its seconds."""
        if not isinstance(ttl, (int, float)) or not ttl > 0:
            raise ValueError(f"ttl must be a number of seconds above 0, or None to keep the value, not {ttl!r}.")
        return ttl, min(ttl, self._LONGEST)

    def get(self, key: str) -> Any | None:
        """Return the value, or ``None`` from its deadline on."""
        entry = self._entries.get(key)
        if entry is None or entry[1] <= self.clock():
            return None
        return entry[0]

    def delete(self, key: str) -> bool:
        """Delete; return whether it was there and alive."""
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is None:
                return False
            if entry[4] >= 0:
                self._unfile(key, entry)
            return entry[1] > self.clock()

    def live(self) -> list[str]:
        """Return the keys that have not expired, in the order in which they were first set."""
        now, find = self.clock(), self._entries.get
        return [key for key in list(self._entries) if (entry := find(key)) is not None and entry[1] > now]

    def count(self) -> int:
        """Return the number of live keys. The cost grows with the number expired."""
        with self._lock:
            now = self.clock()
            expired = 0
            for level, due in self._due(now):
                for slot in due:
                    keys = self._slots[level][slot]
                    expired += sum(self._entries[key][1] <= now for key in keys)
            return len(self._entries) - expired

    def clean(self, stop: Callable[[], bool] = lambda: False) -> int:
        """Drop what has expired, a slice at a time; return how many."""
        now, dropped = self.clock(), 0
        while not stop():
            with self._lock:
                moved, gone = self._sweep(now)
            dropped += gone
            if moved + gone < SLICE:
                break
            time.sleep(0)  # let the others have the interpreter
        return dropped

    def clear(self) -> None:
        """Drop everything, freeing it a slice at a time."""
        with self._lock:
            entries = self._entries
            self._reset()
        while entries:
            for _ in range(min(SLICE, len(entries))):
                entries.popitem()
            time.sleep(0)

    def forget_lock(self) -> None:
        """Have a fresh lock: in a forked child another thread of the parent may seem to hold the old one."""
        self._lock = threading.Lock()

    @staticmethod
    def _level(seconds: float) -> int:
        """Return the finest level that reaches so far: level ``n`` up to ``2 ** (6 * n - 2)`` seconds."""
        return max(0, (math.frexp(seconds)[1] + 7) // 6)

    def _file_anew(self, key: str, value: Any, deadline: float, level: int) -> None:
        with self._lock:
            old = self._entries.get(key)
            if old is not None and old[4] >= 0:
                self._unfile(key, old)
            self._file(key, value, deadline, level)

    def _file(self, key: str, value: Any, deadline: float, level: int) -> None:
        """Store an entry, and its key in a slot of this level unless it has none."""
        if level < 0:
            self._entries[key] = (value, deadline, deadline, deadline, level)
            return
        self._entries[key] = (value, deadline, deadline, deadline + self._WIDTHS[level], level)
        slot = int(deadline * self._RATES[level])
        slots = self._slots[level]
        if slot in slots:
            slots[slot][key] = None
        else:
            slots[slot] = {key: None}

    def _unfile(self, key: str, entry: _Entry) -> None:
        level = entry[4]
        slot = int(entry[2] * self._RATES[level])
        keys = self._slots[level].get(slot, {})
        keys.pop(key, None)
        if not keys:
            self._slots[level].pop(slot, None)

    def _due(self, now: float) -> list[tuple[int, list[int]]]:
        """Return the slots that hold, or may hold, something expired."""
        lasts = [int(now * rate) for rate in self._RATES]
        return [(level, [slot for slot in slots if slot <= lasts[level]]) for level, slots in enumerate(self._slots)]

    def _sweep(self, now: float) -> tuple[int, int]:
        """Take up to a slice of keys out of due slots; return how many were refiled and how many dropped."""
        moved = gone = 0
        for level, due in self._due(now):
            for slot in due:
                keys = self._slots[level][slot]
                room = SLICE - moved - gone
                if level == 0 and slot == int(now * self._RATES[0]):  # these 4 ms are not over yet
                    gone += self._drop([key for key in keys if self._entries[key][1] <= now][:room])
                    continue
                for key, _ in [keys.popitem() for _ in range(min(room, len(keys)))]:
                    value, deadline, _, _, _ = self._entries[key]
                    if deadline <= now:
                        del self._entries[key]
                        gone += 1
                    else:
                        self._file(key, value, deadline, self._level(deadline - now))
                        moved += 1
                if not keys:
                    del self._slots[level][slot]
        return moved, gone

    def _drop(self, keys: list[str]) -> int:
        for key in keys:
            self._unfile(key, self._entries.pop(key))
        return len(keys)


class _Cleaner(threading.Thread):
    """Cleans one queue at its interval, until told to stop or until nobody else holds the queue."""

    def __init__(self, owner: MemoryQueue) -> None:
        super().__init__(name="MemoryQueue clean-up", daemon=True)
        self._owner = weakref.ref(owner)
        self._interval = owner.cleanup_interval
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(self._interval):
            owner = self._owner()
            if owner is None:
                return
            dropped = owner.values.clean(self._stopping.is_set)
            _log.debug("dropped %d expired values", dropped)
            del owner

    def stop(self, *, wait: bool) -> None:
        """Tell the thread to end."""
        self._stopping.set()
        if wait and threading.current_thread() is not self:
            self.join()


def check_timeout(timeout: object) -> None:
    """Raise TypeError or ValueError where a timeout is no number of seconds."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds, or None to wait for ever, not {type(timeout).__name__}.")
    if timeout != timeout:  # noqa: PLR0124 - NaN
        raise ValueError("timeout must be a number of seconds, or None to wait for ever, not NaN.")


class MemoryQueue:
    """A task queue and a store of shared values for the threads of one process. Every method is safe from any thread.

    ``cleanup_interval`` is in seconds. ``maxsize`` 0 is unbounded; otherwise `push_task` waits for room. ``clock`` and
    ``wall_clock`` stand in for `time.monotonic` and `time.time` in tests. Debug messages go to the standard `logging`;
    whether anybody wants them is asked once, when the queue is made.
    """

    def __init__(
        self,
        cleanup_interval: float = 60,
        maxsize: int = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        if not isinstance(cleanup_interval, (int, float)) or not 0 < cleanup_interval <= threading.TIMEOUT_MAX:
            raise ValueError(f"cleanup_interval must be a number of seconds above 0, not {cleanup_interval!r}.")
        if not hasattr(maxsize, "__index__"):
            raise ValueError(f"maxsize must be a whole number, 0 for no limit, not {maxsize!r}.")
        self.cleanup_interval = cleanup_interval
        self.tasks = TaskLine(operator.index(maxsize), clock)
        self.values = ValueStore(clock)
        self._wall_clock = wall_clock
        self._cleaner: _Cleaner | None = None
        self._cleaner_lock = threading.Lock()
        self.verbose = _log.isEnabledFor(logging.DEBUG)
        _living.add(self)

    @property
    def maxsize(self) -> int:
        """How many tasks may wait; 0 is no limit."""
        return self.tasks.maxsize

    def push_task(self, task: dict[str, Any], priority: int = 0) -> str:
        """Queue a copy of a task and return its id, a uuid4 if it brings none; waits while the queue is full.

        Lower ``priority`` is sooner; a value other than 0 goes before the task's own ``priority``. A task with
        ``delay`` (seconds) or ``run_at`` (epoch seconds) waits in the queue until then. Raises `InvalidTask`.
        """
        plain = plain_task(task)
        if plain is None or priority is not ZERO or self.verbose:
            item = self.item(task, priority)
            self.tasks.put(item)
            return item[0]["task_id"]  # type: ignore[no-any-return]
        if not self.tasks.put_now(plain):
            self.tasks.put((plain, 0, None))
        return plain["task_id"]  # type: ignore[no-any-return]

    def item(self, task: dict[str, Any], priority: int = 0) -> Item:
        """Check a task and make the item of it that `TaskLine` takes."""
        checked = checked_task(task)
        if priority is not ZERO:
            priority = checked_priority(priority)
        due = None
        if len(checked) > 3:
            priority = priority or checked.get("priority", 0)
            due = self._due(checked)
        if self.verbose:
            _log.debug("pushing task %s (%s)", checked["task_id"], checked["type"])
        return checked, priority, due

    def _due(self, task: dict[str, Any]) -> float | None:
        delay, run_at = task.get("delay"), task.get("run_at")
        if run_at is not None:
            delay = run_at - self._wall_clock()
        return self.tasks.clock() + delay if delay is not None and delay > 0 else None

    def pop_task(self, timeout: float | None = None) -> dict[str, Any] | None:
        """Return the next task, or ``None`` after ``timeout`` seconds; ``None`` waits for ever, 0 not at all.

        The dict is the caller's own: ``task_id``, ``type``, ``params`` and every further key that was pushed.
        Raises TypeError or ValueError for a timeout that is no number of seconds.
        """
        if timeout is not None:
            check_timeout(timeout)
        task = self.tasks.get_now()
        if task is None and (timeout is None or timeout > 0):
            task = self.tasks.get_within(timeout)
        if self.verbose and task is not None:
            _log.debug("popped task %s (%s)", task["task_id"], task["type"])
        return task

    def task_done(self) -> None:
        """Say that one popped task is finished. Raises ValueError if called more often than tasks were pushed."""
        self.tasks.task_done()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until every pushed task is done; return False if ``timeout`` seconds pass before."""
        if timeout is not None:
            check_timeout(timeout)
        return self.tasks.join_within(timeout)

    def get_queue_size(self) -> int:
        """Return how many tasks wait, delayed ones included."""
        return self.tasks.qsize()

    def is_empty(self) -> bool:
        """Return whether no task waits."""
        return self.tasks.qsize() == 0

    def set_public(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Keep a value for ``ttl`` seconds, or for good; setting again replaces value and ``ttl``.

        Raises ValueError unless ``ttl`` is above 0, TypeError if the key is not a string.
        """
        self.values.set(key, value, ttl)

    def get_public(self, key: str) -> Any | None:
        """Return the value, or ``None`` if there is none; a value is gone from its deadline on."""
        return self.values.get(key)

    def delete_public(self, key: str) -> bool:
        """Delete a value; return whether there was one."""
        return self.values.delete(key)

    def cleanup(self) -> int:
        """Drop expired values; return how many. The cost grows with these, not with what is stored."""
        return self.values.clean()

    def get_store_size(self) -> int:
        """Return the number of live keys."""
        return self.values.count()

    def list_keys(self) -> list[str]:
        """Return the live keys, in the order in which they were first set."""
        return self.values.live()

    def clear_store(self) -> None:
        """Drop every value."""
        self.values.clear()

    def start_cleanup(self) -> None:
        """Clean up in a background thread every ``cleanup_interval`` seconds; does nothing if it runs already.

        The thread keeps neither the interpreter nor the queue alive.
        """
        with self._cleaner_lock:
            if self._cleaner is None or not self._cleaner.is_alive():
                self._cleaner = _Cleaner(self)
                self._cleaner.start()

    def stop_cleanup(self, *, wait: bool = True) -> None:
        """End the background thread, which can be started again; does nothing if none runs.

        Returns when it has ended, or with ``wait=False`` at once.
        """
        with self._cleaner_lock:
            cleaner, self._cleaner = self._cleaner, None
        if cleaner is not None:
            cleaner.stop(wait=wait)

    def forget_parent(self) -> None:
        """Begin anew in a forked child: no tasks, no thread, fresh locks."""
        self.tasks.forget()
        self.values.forget_lock()
        self._cleaner = None
        self._cleaner_lock = threading.Lock()


_living: weakref.WeakSet[MemoryQueue] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for living in list(_living):
        living.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
