"""Where a node dies: `arm` wraps the methods of the ports, so that the product knows nothing of it.

A point is ``NAME`` or ``NAME:N`` (at the N-th time). Points ``before ... commit`` are inside the transaction, when all
its statements are done; ``after ... commit`` when it is committed and its caller does not know yet. A script of Redis
has no inside: there only the latter exist.
"""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Callable
from typing import Any

from musicq_async.model.task import TaskState
from musicq_async.redis import RedisTaskQueue
from musicq_async.sql import SqlScheduleStore, SqlTaskQueue, tasks

CRASHED = 77
QUEUES = (SqlTaskQueue, RedisTaskQueue)
BEFORE = (
    "before push commit",
    "before claim commit",
    "before settle commit",
    "before retry commit",
    "before slot commit",
)
AFTER = ("after push commit", "after claim commit", "after settle commit", "after retry commit", "after slot commit")
POINTS = (*BEFORE, *AFTER, "before effect", "after effect")

_armed: dict[str, int] = {}


def at(point: str) -> None:
    """Die here, if this is the point and its turn."""
    if point in _armed:
        _armed[point] -= 1
        if _armed[point] == 0:
            os._exit(CRASHED)


def arm(text: str) -> None:
    """Have this process die at a point; none if the text is empty."""
    if not text:
        return
    point, _, turn = text.partition(":")
    assert point in POINTS, point
    _armed[point] = int(turn or 1)
    for queue in QUEUES:
        _wrap_async(queue, "push", lambda result, *_: at("after push commit"))
        _wrap_async(queue, "claim", lambda leases, *_: leases and at("after claim commit"))
        _wrap_async(queue, "settle", lambda _, __, lease, change: at(f"after {_kind(change)} commit"))
        _wrap_async(queue, "exchange", _exchanged)
    _wrap_async(SqlScheduleStore, "record", lambda written, *_: written and at("after slot commit"))
    _wrap(tasks, "push", lambda *_: at("before push commit"))
    _wrap(tasks, "settle", lambda _, __, settles: [at(f"before {_kind_of(each)} commit") for each in settles])
    _wrap(tasks, "claim", lambda claimed, *_: any(each.leases for each in claimed) and at("before claim commit"))
    _wrap(SqlScheduleStore, "_record", lambda written, *_: written and at("before slot commit"))


def _exchanged(result: Any, _: object, __: object, change: Any) -> None:
    at(f"after {_kind(change)} commit")
    if result[1]:
        at("after claim commit")


def _kind(change: Any) -> str:
    return "retry" if change.status is TaskState.SCHEDULED else "settle"


def _kind_of(settle: Any) -> str:
    return "retry" if settle.row[settle.names.index("status")] == "scheduled" else "settle"


def time_claims(history: Any) -> None:
    """Write down how long each claim took, those that come with a settle included."""
    for queue, name in itertools.product(QUEUES, ("claim", "exchange")):
        method = getattr(queue, name)

        @functools.wraps(method)
        async def timed(*args: Any, _method: Any = method, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return await _method(*args, **kwargs)
            finally:
                history.write("took", ms=(time.perf_counter() - began) * 1000)

        setattr(queue, name, timed)


def _wrap(owner: Any, name: str, then: Callable[..., Any]) -> None:
    function = getattr(owner, name)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        then(result, *args)
        return result

    setattr(owner, name, wrapped)


def _wrap_async(owner: Any, name: str, then: Callable[..., Any]) -> None:
    function = getattr(owner, name)

    @functools.wraps(function)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = await function(*args, **kwargs)
        then(result, *args)
        return result

    setattr(owner, name, wrapped)
