"""One place for connections to Redis and calls of scripts: `RedisServer`, opened by `open_redis`."""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

import anyio
import msgspec
from anyio.abc import TaskGroup

from musicq_async.errors import BackendError, NotRunning, SettingsError, UsageError
from musicq_async.lane import Call, Lane
from musicq_async.ports import Clock
from musicq_async.redis.address import Address, read_address
from musicq_async.redis.check import check_answer
from musicq_async.redis.connection import Command, ScriptConnection
from musicq_async.redis.faults import Fault, fault_of, renamed
from musicq_async.redis.operation import Operation
from musicq_async.settings import Settings

NAMESPACE: Final = "musicq"
LAST_WAIT: Final = 1.0
SCRIPT_TRIES: Final = 3

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder().decode


def open_redis(
    url: str, *, clock: Clock, patience: float = 10.0, namespace: str = NAMESPACE, allow_volatile: bool = False
) -> RedisServer:
    """Prepare a Redis for ``async with``; nothing is connected before the first call or `RedisServer.check`.

    ``url`` is ``redis://``, ``rediss://`` or ``unix://``. Every key begins with ``{namespace}``. While the server is
    away, calls wait up to ``patience`` seconds from the moment it was first missed, then raise `BackendUnavailable` at
    once. Raises `SettingsError` for a bad address or namespace, without showing the address.
    """
    if not namespace or any(letter in "{}\x00" or letter.isspace() for letter in namespace):
        raise SettingsError(f"a namespace is a word without braces and blanks, not {namespace!r}")
    return RedisServer(
        read_address(url), clock=clock, patience=patience, namespace=namespace, allow_volatile=allow_volatile
    )


def redis_of(settings: Settings, *, clock: Clock, patience: float = 10.0) -> RedisServer:
    """Prepare the Redis of ``queue_url``; see `open_redis`."""
    wanted = settings.redis
    return open_redis(
        settings.queue_url,
        clock=clock,
        patience=patience,
        namespace=wanted.namespace,
        allow_volatile=wanted.allow_volatile,
    )


class RedisServer:
    """Calls scripts on one Redis, each atomic.

    Belongs to the event loop it was opened in; another thread's loop opens its own. Calls whose connection broke are
    repeated: a script knows by the call's token what it did before. Callers see errors of `musicq_async.errors` only.

    Cancelling a caller never touches a connection: what has not gone is withdrawn, what has gone is finished, and the
    cancelled caller waits for that up to five seconds. Leaving ``async with`` waits for what has gone.
    """

    def __init__(
        self,
        address: Address,
        *,
        clock: Clock,
        patience: float = 10.0,
        namespace: str = NAMESPACE,
        allow_volatile: bool = False,
    ) -> None:
        self.address = address
        self.clock = clock
        self._prefix = f"{{{namespace}}}:"
        self._allow_volatile = allow_volatile
        self._node = secrets.token_hex(5)
        self._tokens = itertools.count(1)
        self._patience = patience
        self._away_since: float | None = None
        self._group: TaskGroup | None = None
        self._is_open = False
        self._lanes: dict[str, Lane] = {}
        self._connections: dict[str, ScriptConnection] = {}

    def token(self) -> str:
        """Return a text that no other call, in no process, returns."""
        return f"{self._node}-{next(self._tokens):x}"

    async def __aenter__(self) -> Self:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError("the Redis driver runs on asyncio only, not on trio; use asyncio.run()") from None
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        group = self._group
        if group is None:
            return
        try:
            # The group is not told of the caller's error, which it would wrap. Its tasks are shielded and end.
            await group.__aexit__(None, None, None)
        finally:
            self._group = None
            with anyio.CancelScope(shield=True):
                for connection in self._connections.values():
                    await connection.close()

    async def check(self) -> None:
        """See that the server keeps what it is given. Any number of processes may call it at once.

        Raises `BackendUnavailable` at once where the server cannot be reached or is loading its data, `BackendError`
        where it may drop data (unless ``allow_volatile``), is too old, a cluster's node, a replica, or no Redis.
        """
        await self._lane(INFO).answer(Call((INFO, b""), None))

    async def submit(
        self,
        operation: Operation,
        item: Any,
        *,
        head: bytes = b"",
        size: int = 0,
        on_abandoned: Callable[[Any], None] | None = None,
    ) -> Any:
        """Have ``operation`` done for ``item``, in one call with others that arrive about now; return its result.

        Items with the same ``head`` share calls. ``item`` is what MessagePack takes, ``size`` its bytes where they are
        many. ``on_abandoned`` is told the result where it came after the caller was cancelled.
        """
        if not self._is_open:
            raise self._closed()
        call = Call((operation, head), item, size=size, on_abandoned=on_abandoned)
        return await self._lane(operation).answer(call)

    def post(self, operation: Operation, item: Any) -> None:
        """Have ``operation`` done for ``item`` some time soon; nobody waits, and a failure is dropped."""
        if self._group is not None:
            self._lane(operation).post(Call((operation, b""), item))

    def _lane(self, operation: Operation) -> Lane:
        lane = self._lanes.get(operation.lane)
        if lane is None:
            if self._group is None:
                raise self._closed()
            connection = self._connections[operation.lane] = ScriptConnection(self.address, clock=self.clock)

            async def run(batch: list[Call]) -> None:
                await self._run(connection, batch)

            lane = self._lanes[operation.lane] = Lane(run, group=self._group, clock=self.clock)
        return lane

    def _closed(self) -> NotRunning:
        return NotRunning(f"{self.address} is not open; use it inside 'async with open_redis(...)'")

    async def _run(self, connection: ScriptConnection, batch: list[Call]) -> None:
        """Resolve every call of a batch."""
        calls: dict[tuple[Operation, bytes], _ScriptCall] = {}
        for call in batch:
            if call.kind not in calls:
                operation, head = call.kind
                calls[call.kind] = _ScriptCall(operation, head, self.token())
            calls[call.kind].callers.append(call)
        left = list(calls.values())
        tries = 0
        while left:
            tries += 1
            left = await self._tried(connection, left, tries)
            if left:
                await self.clock.sleep(min(LAST_WAIT, 0.005 * 4 ** min(tries - 1, 5)) * (0.5 + random.random()))

    async def _tried(self, connection: ScriptConnection, calls: list[_ScriptCall], tries: int) -> list[_ScriptCall]:
        """Try the calls; return those to be tried again."""
        now_ms = self.clock.time_ms()
        answers: Sequence[Any]
        try:
            answers = await connection.run([call.command(self._prefix, now_ms) for call in calls])
        except Exception as error:  # noqa: BLE001 - it is handed to whoever waits
            answers = [error] * len(calls)
            for call in calls:
                call.maybe_done = True
        again: list[_ScriptCall] = []
        for call, answer in zip(calls, answers, strict=True):
            if not isinstance(answer, Exception):
                self._away_since = None
                call.resolve(answer, self)
            elif await self._worth_another(connection, call, answer, tries):
                again.append(call)
            else:
                call.fail(answer if fault_of(answer) is None else renamed(answer, self.address), answer)
        return again

    async def _worth_another(
        self, connection: ScriptConnection, call: _ScriptCall, error: Exception, tries: int
    ) -> bool:
        fault = fault_of(error)
        if fault is Fault.UNKNOWN_SCRIPT:
            await connection.drop()  # the scripts are sent again with the next connection
            return tries <= SCRIPT_TRIES
        if fault is not Fault.AWAY:
            return False
        now = self.clock.monotonic()
        if self._away_since is None:
            self._away_since = now
        return call.operation is not INFO and now - self._away_since < self._patience

    def check_info(self, answer: bytes) -> Exception | None:
        """Return what is wrong with a server by its INFO."""
        return check_answer(answer, self.address, allow_volatile=self._allow_volatile)


class _ScriptCall:
    """One call of a script for some callers."""

    __slots__ = ("callers", "head", "maybe_done", "operation", "token")

    def __init__(self, operation: Operation, head: bytes, token: str) -> None:
        self.operation = operation
        self.head = head
        self.token = token
        self.callers: list[Call] = []
        self.maybe_done = False
        """Whether it was sent before and its answer lost."""

    def command(self, prefix: str, now_ms: int) -> Command:
        operation = self.operation
        if operation is INFO:
            return ("INFO",)
        items = _pack([caller.item for caller in self.callers])
        again = b"1" if self.maybe_done else b"0"
        return ("EVALSHA", operation.script, 1, prefix, operation.name, now_ms, again, self.token, self.head, items)

    def resolve(self, answer: bytes, server: RedisServer) -> None:
        if self.operation is INFO:
            for caller in self.callers:
                caller.resolve(server.check_info(answer))
            return
        try:
            results = self.operation.spread(_unpack(answer), [caller.item for caller in self.callers])
        except Exception as error:  # noqa: BLE001 - it is handed to whoever waits
            broken = BackendError(f"{server.address} answered what is no answer ({type(error).__name__})")
            self.fail(broken, error)
            return
        for caller, result in zip(self.callers, results, strict=True):
            caller.resolve(result)

    def fail(self, error: Exception, cause: Exception) -> None:
        if error is not cause:
            error.__cause__ = cause
        for caller in self.callers:
            caller.resolve(error)


INFO: Final = Operation("info", b"", "look")
