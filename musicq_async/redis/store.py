"""The public store on Redis: `RedisPublicStore`."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from musicq_async.errors import UsageError
from musicq_async.model.json_text import finite_json_text, json_value
from musicq_async.redis.connection import STORE
from musicq_async.redis.operation import Operation
from musicq_async.redis.server import RedisServer

LONGEST_KEY: Final = 255
LONGEST_TTL: Final = 1e11
"""Seconds, three thousand years."""
AT_ONCE: Final = 1000
PAGE: Final = 200
_ALL: Final = "all"
"""The item of an operation that is about every key."""


def _operation(name: str) -> Operation:
    return Operation(name, STORE.hash.encode(), "look")


_SET, _GET, _DELETE, _CLEANUP, _SIZE, _KEYS, _CLEAR, _ENTRIES, _ADD = map(
    _operation, ("set", "get", "delete", "cleanup", "size", "keys", "clear", "entries", "add")
)


class RedisPublicStore:
    """Shared values, seen by every process on the Redis. Their ends are kept by our clock, to the millisecond."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._clock = server.clock

    async def set_public(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Set a JSON value; see `musicq_async.ports.PublicStore`.

        Raises ValueError for a bad ``ttl`` and TypeError for a key that is no text, as `MemoryQueue` does, and
        `UsageError` where the value is not JSON, or key or value are too large.
        """
        text = finite_json_text(value, "value")
        await self._server.submit(_SET, (_checked_key(key), text, self._end(ttl)), size=len(text))

    def _end(self, ttl: float | None) -> int | bool:
        if ttl is None:
            return False
        if not (isinstance(ttl, (int, float)) and ttl > 0):
            raise ValueError(f"ttl must be a number of seconds above 0, or None to keep the value, not {ttl!r}.")
        return self._clock.time_ms() + math.ceil(min(ttl, LONGEST_TTL) * 1000)

    async def get_public(self, key: str) -> Any | None:
        """Return the value, or ``None``."""
        text: str | bool = await self._server.submit(_GET, key) if _is_key(key) else False
        return json_value(text) if isinstance(text, str) else None

    async def delete_public(self, key: str) -> bool:
        """Delete; return whether it was there."""
        return bool(await self._server.submit(_DELETE, key)) if _is_key(key) else False

    async def cleanup(self) -> int:
        """Drop what has expired; return how many."""
        dropped = 0
        last = AT_ONCE
        while last == AT_ONCE:
            last = await self._server.submit(_CLEANUP, _ALL)
            dropped += last
        return dropped

    async def get_store_size(self) -> int:
        """Return the number of live keys."""
        size: int = await self._server.submit(_SIZE, _ALL)
        return size

    async def list_keys(self) -> list[str]:
        """Return the live keys."""
        keys: list[str] = await self._server.submit(_KEYS, _ALL)
        return keys

    async def pages(self, kind: str) -> AsyncIterator[list[dict[str, Any]]]:
        """Give the live values as rows; see `musicq_async.ports.Rows`. Unique keys are the tasks' own here."""
        keys = await self.list_keys() if kind == "value" else []
        for start in range(0, len(keys), PAGE):
            found = await self._server.submit(_ENTRIES, keys[start : start + PAGE])
            yield [{"key": key, "value": text, "expires_at_ms": ends_at or None} for key, text, ends_at in found]

    async def add(self, kind: str, rows: Sequence[dict[str, Any]]) -> int:
        """Store values whose key is not there; see `musicq_async.ports.Rows`."""
        if kind != "value":
            return 0
        try:
            items = [(_checked_key(row["key"]), str(row["value"]), row.get("expires_at_ms") or False) for row in rows]
        except (KeyError, TypeError) as error:
            raise UsageError(f"a row of kind 'value' lacks its key or its value: {error}") from None
        return sum([await self._server.submit(_ADD, item, size=len(item[1])) for item in items])

    async def clear_store(self) -> None:
        """Drop everything."""
        await self._server.submit(_CLEAR, _ALL)


def _is_key(key: object) -> bool:
    """Whether a key can be there."""
    return isinstance(key, str) and len(key) <= LONGEST_KEY and not _has_half_characters(key)


def _has_half_characters(text: str) -> bool:
    return any("\ud800" <= each <= "\udfff" for each in text)


def _checked_key(key: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"key must be a text, not {type(key).__name__}.")
    if len(key) > LONGEST_KEY:
        raise UsageError(f"key has {len(key)} characters, over the limit of {LONGEST_KEY}")
    if "\x00" in key or _has_half_characters(key):
        raise UsageError("key must hold neither NUL nor half a surrogate pair")
    return key
