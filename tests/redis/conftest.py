"""A private Redis that keeps what it is given, a name of its own for each test, and a proxy that loses answers."""

from __future__ import annotations

import random
import secrets
from contextlib import AsyncExitStack, suppress

import anyio
import pytest
from backends import Bench, MovedClock
from services import start_redis

__all__ = ["MovedClock"]


@pytest.fixture(scope="module")
def server():
    """A Redis of this module's own, with an append-only file."""
    server = start_redis()
    yield server
    server.remove()


@pytest.fixture
async def bench(server):
    """A bench on the private Redis."""
    async with AsyncExitStack() as stack:
        bench = Bench("redis", f"{server.url}#test-{secrets.token_hex(6)}", stack, MovedClock())
        await bench.open()
        yield bench


class LossyProxy:
    """Passes bytes to a Redis; of some answers it loses all, by closing the connection in their place."""

    def __init__(self, port: int, *, lost: float, seed: int) -> None:
        self.port = port
        self.lost = lost
        self.random = random.Random(seed)
        self.losses = 0
        self.own_port = 0

    async def run(self, *, task_status=anyio.TASK_STATUS_IGNORED) -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener:
            self.own_port = listener.extra(anyio.abc.SocketAttribute.local_port)
            task_status.started()
            await listener.serve(self._serve)

    async def _serve(self, client) -> None:
        async with (
            client,
            await anyio.connect_tcp("127.0.0.1", self.port) as server,
            anyio.create_task_group() as group,
        ):

            async def forward() -> None:
                with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    async for data in client:
                        await server.send(data)
                group.cancel_scope.cancel()

            group.start_soon(forward)
            answers = 0
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                async for data in server:
                    answers += 1
                    # the first ones are those of connecting
                    if answers > 6 and self.random.random() < self.lost:
                        self.losses += 1
                        break
                    await client.send(data)
            group.cancel_scope.cancel()


@pytest.fixture
async def lossy(server):
    """Start a proxy before the private Redis: ``proxy = await lossy(lost=0.1, seed=1)``."""
    async with anyio.create_task_group() as group:

        async def start(*, lost: float, seed: int) -> LossyProxy:
            proxy = LossyProxy(server.port, lost=lost, seed=seed)
            await group.start(proxy.run)
            return proxy

        yield start
        group.cancel_scope.cancel()
