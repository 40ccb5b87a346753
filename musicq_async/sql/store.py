"""The public store on SQL: `SqlPublicStore`."""

from __future__ import annotations

import math
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update

from musicq_async.errors import UsageError
from musicq_async.model.json_text import finite_json_text, json_value
from musicq_async.sql.database import Database
from musicq_async.sql.tables import LONGEST_KEY, public_store

_p = public_store.c
LONGEST_TTL: Final = 1e11
"""Seconds, three thousand years."""


class SqlPublicStore:
    """The `musicq_async.ports.PublicStore` in ``public_store``, shared by every process on the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._clock = database.clock

    async def set_public(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Set a JSON value; see `musicq_async.ports.PublicStore`.

        Raises ValueError for a bad ``ttl`` and TypeError for a key that is no text, as `MemoryQueue` does, and
        `UsageError` where the value is not JSON, or key or value are too large.
        """
        row = {"key": _checked_key(key), "value": finite_json_text(value, "value"), "expires_at_ms": self._end(ttl)}

        def unit(connection: Connection) -> None:
            if not connection.execute(_REPLACE, {**row, "old": key}).rowcount:
                connection.execute(insert(public_store), row)

        await self._database.write(unit)

    def _end(self, ttl: float | None) -> int | None:
        if ttl is None:
            return None
        if not (isinstance(ttl, (int, float)) and ttl > 0):
            raise ValueError(f"ttl must be a number of seconds above 0, or None to keep the value, not {ttl!r}.")
        return self._clock.time_ms() + math.ceil(min(ttl, LONGEST_TTL) * 1000)

    async def get_public(self, key: str) -> Any | None:
        """Return the value, or ``None``."""
        values = {"key": key, "now": self._clock.time_ms()}
        if not isinstance(key, str) or len(key) > LONGEST_KEY:
            return None
        text = await self._database.read(lambda connection: connection.execute(_GET, values).scalar())
        return None if text is None else json_value(text)

    async def delete_public(self, key: str) -> bool:
        """Delete; return whether it was there."""
        now_ms = self._clock.time_ms()

        def unit(connection: Connection) -> bool:
            end = connection.execute(select(_p.expires_at_ms).where(_p.key == key)).one_or_none()
            connection.execute(delete(public_store).where(_p.key == key))
            return end is not None and (end.expires_at_ms is None or end.expires_at_ms > now_ms)

        if not isinstance(key, str) or len(key) > LONGEST_KEY:
            return False
        return await self._database.write(unit)

    async def cleanup(self) -> int:
        """Drop what has expired; return how many."""
        statement = delete(public_store).where(_p.expires_at_ms <= self._clock.time_ms())
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)

    async def get_store_size(self) -> int:
        """Return the number of live keys."""
        values = {"now": self._clock.time_ms()}
        size: int | None = await self._database.read(lambda connection: connection.execute(_SIZE, values).scalar())
        return size or 0

    async def list_keys(self) -> list[str]:
        """Return the live keys."""
        values = {"now": self._clock.time_ms()}
        return await self._database.read(lambda connection: list(connection.execute(_KEYS, values).scalars()))

    async def clear_store(self) -> None:
        """Drop everything."""
        await self._database.write(lambda connection: connection.execute(delete(public_store)))


def _checked_key(key: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"key must be a text, not {type(key).__name__}.")
    if len(key) > LONGEST_KEY:
        raise UsageError(f"key has {len(key)} characters, over the limit of {LONGEST_KEY}")
    if "\x00" in key or any("\ud800" <= each <= "\udfff" for each in key):
        raise UsageError("key must hold neither NUL nor half a surrogate pair")
    return key


_LIVE: Final = or_(_p.expires_at_ms.is_(None), _p.expires_at_ms > bindparam("now"))
_REPLACE: Final = (
    update(public_store)
    .where(_p.key == bindparam("old"))
    .values(value=bindparam("value"), expires_at_ms=bindparam("expires_at_ms"))
)
_GET: Final = select(_p.value).where(_p.key == bindparam("key"), _LIVE)
_SIZE: Final = select(func.count()).select_from(public_store).where(_LIVE)
_KEYS: Final = select(_p.key).where(_LIVE).order_by(_p.key)
