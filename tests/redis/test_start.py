"""Which Redis is taken, and what is said of one that is not."""

from __future__ import annotations

import re
import socket
import time

import anyio
import pytest
import trio
from services import free_port, start_redis

from musicq_async.clock import SystemClock
from musicq_async.errors import BackendError, BackendUnavailable, NotRunning, SettingsError, UsageError
from musicq_async.redis import RedisPublicStore, RedisTaskQueue, open_redis
from musicq_async.redis.address import read_address
from musicq_async.redis.check import check_answer

pytestmark = pytest.mark.anyio
SECRET = "p4ss-w0rd!"


async def check(url: str, **given) -> None:
    async with open_redis(url, clock=SystemClock(), **given) as server:
        await server.check()


async def test_a_redis_with_an_append_only_file_is_taken(server) -> None:
    await check(server.url)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"appendonly": "no"}, "appendonly yes"),
        ({"maxmemory_policy": "allkeys-lru"}, "maxmemory-policy noeviction"),
        ({"maxmemory_policy": "volatile-ttl"}, "volatile-ttl"),
    ],
)
async def test_a_redis_that_may_drop_tasks_is_refused_unless_told_otherwise(config, word) -> None:
    volatile = start_redis(**config)
    try:
        with pytest.raises(BackendError, match=re.escape(word)) as caught:
            await check(volatile.url)
        assert "MUSICQ_REDIS__ALLOW_VOLATILE" in str(caught.value)
        assert not isinstance(caught.value, BackendUnavailable)
        await check(volatile.url, allow_volatile=True)
    finally:
        volatile.remove()


async def test_a_user_without_the_right_to_configure_is_enough(server) -> None:
    from redis.asyncio import Redis

    async with Redis.from_url(server.url) as admin:
        await admin.execute_command("ACL", "SETUSER", "musicq", "on", f">{SECRET}", "~*", "+@all", "-config")
        url = f"redis://musicq:{SECRET}@127.0.0.1:{server.port}"
        await check(url)
        with pytest.raises(BackendError, match="password") as caught:
            await check(url.replace("w0rd", "word"))
        assert SECRET not in str(caught.value)
        await admin.execute_command("ACL", "DELUSER", "musicq")


INFO = "redis_version:7.2.4\r\nredis_mode:standalone\r\nrole:master\r\naof_enabled:1\r\nmaxmemory_policy:noeviction\r\n"


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("7.2.4", "6.0.16", "6.2 or newer"),
        ("mode:standalone", "mode:cluster", "Cluster"),
        ("mode:standalone", "mode:sentinel", "sentinel"),
        ("role:master", "role:slave", "replica"),
        ("role:master", "loading:1", "loading"),
        ("redis_version", "other_version", "not say that it is a Redis"),
    ],
)
def test_a_server_that_will_not_do_is_named(old, new, word) -> None:
    address = read_address("redis://localhost")
    assert check_answer(INFO.encode(), address, allow_volatile=False) is None
    refused = check_answer(INFO.replace(old, new).encode(), address, allow_volatile=True)
    assert refused is not None
    assert word in str(refused)


async def test_a_real_cluster_node_is_refused() -> None:
    node = start_redis(cluster_enabled="yes", cluster_port=str(free_port()))
    try:
        with pytest.raises(BackendError, match="Cluster"):
            await check(node.url)
    finally:
        node.remove()


@pytest.mark.parametrize(
    "url",
    [
        f"http://u:{SECRET}@host/0",
        f"redis://u:{SECRET}@host/music",
        f"redis://u:{SECRET}@host:port/0",
        f"redis://u:{SECRET}@host:99999/0",
        f"unix://:{SECRET}@",
        f"redis://u:{SECRET}@host/0?socket_timeout=soon",
    ],
)
def test_a_bad_address_is_refused_without_being_shown(url) -> None:
    with pytest.raises(SettingsError) as caught:
        open_redis(url, clock=SystemClock())
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "url", [f"redis://u:{SECRET}@h:1/2", f"rediss://:{SECRET}@h", f"unix://u:{SECRET}@/run/r?db=1"]
)
def test_an_address_is_shown_without_its_secret(url) -> None:
    server = open_redis(url, clock=SystemClock())
    assert SECRET not in f"{server.address} {server.address!r} {server!r}"


@pytest.mark.parametrize("namespace", ["", "a b", "{a}"])
def test_a_namespace_that_is_no_word_is_refused(namespace) -> None:
    with pytest.raises(SettingsError, match="namespace"):
        open_redis("redis://localhost", clock=SystemClock(), namespace=namespace)


async def test_an_absent_redis_is_told_at_once_by_the_check_and_waited_for_by_calls() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"redis://u:{SECRET}@127.0.0.1:{probe.getsockname()[1]}"
    began = time.monotonic()
    with pytest.raises(BackendUnavailable, match="cannot be reached") as caught:
        await check(url)
    assert time.monotonic() - began < 1
    assert SECRET not in f"{caught.value} {caught.value.__cause__}"
    async with open_redis(url, clock=SystemClock(), patience=0.3) as server:
        queue = RedisTaskQueue(server)
        began = time.monotonic()
        with pytest.raises(BackendUnavailable):
            await queue.counts()
        assert 0.2 < time.monotonic() - began < 2
        began = time.monotonic()
        with pytest.raises(BackendUnavailable):
            await queue.counts()
        assert time.monotonic() - began < 0.2, "it was missed long enough before"


async def test_no_redis_at_all_is_not_waited_for_for_ever() -> None:
    async def greet(client) -> None:
        async with client:
            await client.receive()
            await client.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, greet)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        with pytest.raises(BackendError):
            await check(f"redis://127.0.0.1:{port}")
        group.cancel_scope.cancel()


async def test_a_closed_server_says_so(server) -> None:
    closed = open_redis(server.url, clock=SystemClock())
    with pytest.raises(NotRunning, match="async with"):
        await RedisTaskQueue(closed).counts()
    async with closed:
        await RedisPublicStore(closed).get_public("k")
    with pytest.raises(NotRunning):
        await RedisPublicStore(closed).get_public("k")


async def test_an_error_inside_the_block_is_not_wrapped(server) -> None:
    with pytest.raises(KeyError):
        async with open_redis(server.url, clock=SystemClock()):
            raise KeyError


def test_trio_is_refused_with_a_clear_word(server) -> None:

    async def use() -> None:
        async with open_redis(server.url, clock=SystemClock()):
            pass

    with pytest.raises(UsageError, match="asyncio"):
        trio.run(use)
