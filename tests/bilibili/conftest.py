"""What the tests of this room share: a clock that jumps, a store in memory, the stand-in site, its client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio.lowlevel
import pytest

from musicq_async.bilibili.client import BilibiliClient
from musicq_async.settings import Settings
from musicq_async.testing.bilibili import StandInBilibili

START = 1_764_576_000.0


class JumpingClock:
    """Sleeping costs no time: the clock jumps, and remembers how far."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.slept: list[float] = []

    def time(self) -> float:
        return START + self.passed

    def time_ms(self) -> int:
        return int(self.time() * 1000)

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.passed += max(seconds, 0.0)
        await anyio.lowlevel.checkpoint()

    def move_on_after(self, seconds: float | None) -> Any:
        return anyio.move_on_after(seconds)


class DictStore:
    """A public store whose values expire by the jumping clock."""

    def __init__(self, clock: JumpingClock) -> None:
        self.values: dict[str, tuple[Any, float | None]] = {}
        self._clock = clock

    async def get_public(self, key: str) -> Any:
        value, dies_at = self.values.get(key, (None, None))
        return None if dies_at is not None and dies_at <= self._clock.time() else value

    async def set_public(self, key: str, value: Any, ttl: float | None = None) -> None:
        self.values[key] = (value, None if ttl is None else self._clock.time() + ttl)

    async def delete_public(self, key: str) -> bool:
        return self.values.pop(key, None) is not None


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
def store(clock: JumpingClock) -> DictStore:
    return DictStore(clock)


@pytest.fixture
async def server(clock: JumpingClock) -> AsyncIterator[StandInBilibili]:
    async with StandInBilibili(now=clock.time) as running:
        yield running


Connect = Callable[..., AbstractAsyncContextManager[BilibiliClient]]


@pytest.fixture
def connect(server: StandInBilibili, clock: JumpingClock, store: DictStore) -> Connect:
    """Open a client: ``connect(cookie, patience=0, **settings)``."""

    @asynccontextmanager
    async def opened(cookie: str = "", /, patience: int = 0, **changes: Any) -> AsyncIterator[BilibiliClient]:
        settings = Settings(**server.settings(**changes))

        async def current() -> str:
            return cookie

        async with BilibiliClient(
            settings.bilibili,
            settings.http,
            clock=clock,
            cookie=current,
            store=store,
            draw=lambda: 0.5,
            patience=patience,
        ) as client:
            yield client

    return opened


@pytest.fixture
async def guest(connect: Connect) -> AsyncIterator[BilibiliClient]:
    async with connect() as client:
        yield client


@pytest.fixture
async def member(connect: Connect, server: StandInBilibili) -> AsyncIterator[BilibiliClient]:
    async with connect(server.cookie("member")) as client:
        yield client
