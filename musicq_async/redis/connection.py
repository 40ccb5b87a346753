"""One connection to Redis that runs scripts in a pipeline: `ScriptConnection`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import anyio
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from musicq_async.ports import Clock
from musicq_async.redis.address import Address

ANSWER_PATIENCE: Final = 10.0
"""Seconds after which an answer counts as lost: a Redis that forks or waits for its disk takes one or two."""
CONNECT_PATIENCE: Final = 5.0


class Script:
    """A Lua script, known to the server by its hash."""

    def __init__(self, name: str) -> None:
        self.text = (Path(__file__).parent / f"{name}.lua").read_bytes()
        self.hash = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()


TASKS: Final = Script("tasks")
STORE: Final = Script("store")

Command = tuple[Any, ...]


class NoAnswer(OSError):
    """No answer in time."""


class ScriptConnection:
    """A connection that is made when needed, and dropped when anything about it is in doubt."""

    def __init__(self, address: Address, *, clock: Clock) -> None:
        self._address = address
        self._clock = clock
        self._connection: AbstractConnection | None = None

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Send the commands at once and return their answers; an error that the server answers stands in its place.

        Raises the driver's errors where the connection fails: any of the commands may have been done then.
        """
        answers: list[Any] | None = None
        try:
            with self._clock.move_on_after(ANSWER_PATIENCE):
                connection = self._connection or await self._connected()
                await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
                answers = [await self._answer(connection) for _ in commands]
        finally:
            if answers is None:
                await self.drop()
        if answers is None:
            raise NoAnswer(None, f"no answer within {ANSWER_PATIENCE:g} s")
        return answers

    async def _answer(self, connection: AbstractConnection) -> Any:
        try:
            return await connection.read_response(disable_decoding=True)
        except ResponseError as error:
            return error

    async def _connected(self) -> AbstractConnection:
        """Connect. The driver neither repeats what it sent nor measures time: we do."""
        forced = {"retry": Retry(NoBackoff(), 0), "protocol": 2, "decode_responses": False, "health_check_interval": 0}
        given = {"socket_timeout": None, "socket_connect_timeout": CONNECT_PATIENCE, "client_name": "musicq"}
        connection = self._address.kind(**{**given, **self._address.options, **forced})
        self._connection = connection
        await connection.connect()  # type: ignore[no-untyped-call]  # the driver's gap
        for script in (TASKS, STORE):
            await connection.send_command("SCRIPT", "LOAD", script.text)
            await connection.read_response(disable_decoding=True)
        return connection

    async def drop(self) -> None:
        """Close at once, without waiting for the other side."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with anyio.CancelScope(shield=True), suppress(Exception):
                await connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Close in order."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with self._clock.move_on_after(1.0), suppress(Exception):
                await connection.disconnect()
