"""The risk circuit breaker: when the site suspects a robot, every call of the account pauses."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio

from musicq_async.bilibili.reading import Reader
from musicq_async.errors import RiskControl
from musicq_async.ports import Clock, PublicStore

PAUSES: Final = (300.0, 900.0, 3600.0)
"""Seconds of the first, second and every further pause."""
_FORGIVEN: Final = 3600.0
_log = logging.getLogger(__name__)


def risk_key(account: str) -> str:
    """Return the public store's key for an account's pause: ``{"until": epoch seconds, "level": n}``."""
    return f"bilibili_risk_{account}"


class Breaker:
    """Pauses kept in the public store, so that every process sees them and a restart does not end them.

    A further refusal within an hour after a pause makes the next one longer. After a pause requests go one at a
    time until one has passed.
    """

    def __init__(self, *, store: PublicStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = anyio.Lock()
        self._known: dict[str, float] = {}
        self._proven: dict[str, float] = {}

    def refuse_if_paused(self, account: str) -> None:
        """Raise `RiskControl` if this process knows of a pause."""
        self._refuse(self._known.get(account, 0.0))

    @asynccontextmanager
    async def passage(self, account: str) -> AsyncIterator[None]:
        """Let one request pass, or raise `RiskControl` with the seconds left."""
        until, _ = await self._read(account)
        self._refuse(until)
        if until <= self._proven.get(account, 0.0):
            yield
            return
        async with self._lock:
            until, _ = await self._read(account)
            self._refuse(until)
            yield
            if (await self._read(account))[0] == until:
                self._proven[account] = until

    async def trip(self, account: str, why: str) -> RiskControl:
        """Begin a pause, unless one runs already, and return the error to raise."""
        with anyio.CancelScope(shield=True):
            until, level = await self._read(account)
            now = self._clock.time()
            if until <= now:
                pause = PAUSES[min(level, len(PAUSES) - 1)]
                until = now + pause
                record = {"until": until, "level": level + 1}
                await self._store.set_public(risk_key(account), record, ttl=pause + _FORGIVEN)
                self._known[account] = until
                _log.warning("Bilibili: %s. Pausing for %d minutes (account %s)", why, pause // 60, account)
        return _pause(until - now, why)

    def _refuse(self, until: float) -> None:
        left = until - self._clock.time()
        if left > 0:
            raise _pause(left, "paused after a refusal by the site's risk control")

    async def _read(self, account: str) -> tuple[float, int]:
        record = Reader(await self._store.get_public(risk_key(account)))
        # A clock that was set back must not stretch a pause.
        until = min(record.number("until") or 0.0, self._clock.time() + PAUSES[-1])
        self._known[account] = until
        return until, record.count("level")


def _pause(seconds: float, why: str) -> RiskControl:
    left = max(seconds, 1.0)
    minutes = math.ceil(left / 60)
    return RiskControl(f"{why}; next try in {minutes} min. Logging in may help", retry_after=left)
