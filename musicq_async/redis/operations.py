"""The operations of the tasks' script: which connection each takes, and how its answer falls to the callers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from musicq_async.model.task import Lease
from musicq_async.redis.connection import TASKS
from musicq_async.redis.operation import Operation, Spread, each
from musicq_async.redis.rows import lease_of


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a caller gets."""

    leases: list[Lease]
    opens_at_ms: int | None = None
    """When to look again, where a rate barred a type."""


def _shared(answer: Sequence[Any], limits: Sequence[int]) -> list[Claimed]:
    """Give what was lent to the callers in their order."""
    opens_at_ms = int(answer[0]) if answer[0] else None
    leases = sorted((lease_of(row) for row in answer[1]), key=_place)
    shares = []
    for limit in limits:
        shares.append(Claimed(leases[:limit], opens_at_ms))
        leases = leases[limit:]
    return shares


def _place(lease: Lease) -> tuple[int, int]:
    return lease.task.priority, lease.task.position


def _claimed(answer: Any, items: Sequence[Any]) -> list[Claimed]:
    return _shared(answer, items)


def _exchanged(answer: Any, items: Sequence[Any]) -> list[tuple[bool, Claimed]]:
    return list(zip(answer[2], _shared(answer, [limit for _, limit in items]), strict=True))


def _same(answer: Any, items: Sequence[Any]) -> list[Any]:
    """Give every caller the one answer."""
    return [answer[0]] * len(items)


def _operation(name: str, lane: str, spread: Spread = each) -> Operation:
    return Operation(name, TASKS.hash.encode(), lane, spread)


PUSH: Final = _operation("push", "push")
CLAIM: Final = _operation("claim", "work", _claimed)
EXCHANGE: Final = _operation("exchange", "work", _exchanged)
SETTLE: Final = _operation("settle", "work")
CHANGE: Final = _operation("change", "work")
PUT_BACK: Final = _operation("put_back", "work")
HEARTBEAT: Final = _operation("heartbeat", "work")
REPORT: Final = _operation("report", "work")
REQUEST_CANCEL: Final = _operation("request_cancel", "work")
PROMOTE: Final = _operation("promote", "work")
EXPIRED: Final = _operation("expired", "work")
RELEASABLE: Final = _operation("releasable", "work")
PAUSE: Final = _operation("pause", "work")
PURGE: Final = _operation("purge", "work")
FORGET_KEYS: Final = _operation("forget_keys", "work", _same)
RESTORE: Final = _operation("restore", "push")
GET: Final = _operation("get", "look")
FIND: Final = _operation("find", "look")
UNFINISHED: Final = _operation("unfinished", "look")
COUNTS: Final = _operation("counts", "look")
MEMBERS: Final = _operation("members", "look")
PAUSED: Final = _operation("paused", "look", _same)
