"""The archive on SQL: `SqlArchive`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from typing import Any, Final

from sqlalchemy import BindParameter, ColumnElement, Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from musicq_async.ports import Archived
from musicq_async.sql.database import Database
from musicq_async.sql.tables import download_archive

_a = download_archive.c
_PART: Final = re.compile(r"(BV[0-9A-Za-z]{10}):([0-9]{1,18})", re.ASCII)
_LONGEST_ID: Final = 64
AT_ONCE: Final = 500
"""Keys in one statement."""


class SqlArchive:
    """The `musicq_async.ports.Archive` in ``download_archive``.

    A part of a video is found by ``bvid`` and ``cid``; all else by ``url_key``, the SHA-256 of its key.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def known(self, keys: Collection[str]) -> set[str]:
        """Return those of the keys that are archived."""
        parts = {found: key for key in keys if (found := _part(key))}
        others = {_digest(key): key for key in keys if not _part(key)}
        cids = await self.cids({bvid for bvid, _ in parts})
        known = {key for (bvid, cid), key in parts.items() if cid in cids.get(bvid, ())}

        def unit(connection: Connection) -> set[str]:
            found: set[str] = set()
            for some in _slices(sorted(others)):
                found |= {others[row.url_key] for row in connection.execute(_BY_DIGEST, {"wanted": some})}
            return found

        return known | await self._database.read(unit) if others else known

    async def cids(self, bvids: Collection[str]) -> dict[str, set[int]]:
        """Return the archived parts (cids) of each of these videos that has any."""

        def unit(connection: Connection) -> dict[str, set[int]]:
            found: dict[str, set[int]] = {}
            for some in _slices(sorted(bvids)):
                for row in connection.execute(_BY_VIDEO, {"wanted": some}):
                    found.setdefault(row.bvid, set()).add(row.cid)
            return found

        return await self._database.read(unit) if bvids else {}

    async def get(self, *keys: str) -> Archived | None:
        """Return the record of the first of the keys that has one."""

        def unit(connection: Connection) -> Archived | None:
            for key in keys:
                row = connection.execute(select(download_archive).where(_is(key))).one_or_none()
                if row is not None:
                    return _record(row)
            return None

        return await self._database.read(unit)

    async def at(self, path: str) -> list[Archived]:
        """Return the records whose file has this very path. Looks at every record."""
        statement = select(download_archive).where(_a.path == path).order_by(_a.id)
        return await self._database.read(lambda connection: [_record(row) for row in connection.execute(statement)])

    async def add(self, record: Archived) -> None:
        """Store a record; one with the same key is replaced. ``created_ms`` 0 is now."""
        part = _part(record.key)
        row: dict[str, Any] = {
            "bvid": part[0] if part else None,
            "cid": part[1] if part else None,
            "url": record.url or (record.key if "://" in record.key else None),
            "url_key": None if part else _digest(record.key),
            "song_id": None if part or "://" in record.key else record.key[:_LONGEST_ID],
            "path": record.path,
            "size": record.size,
            "codec": " ".join(filter(None, (record.codec, record.quality)))[:20] or None,
            "created_ms": record.created_ms or self._database.clock.time_ms(),
        }
        same = _is(record.key)

        def unit(connection: Connection) -> None:
            if connection.execute(update(download_archive).where(same).values(row)).rowcount:
                return
            try:
                with connection.begin_nested():
                    connection.execute(insert(download_archive).values(row))
            except IntegrityError:  # another process was a moment faster
                connection.execute(update(download_archive).where(same).values(row))

        await self._database.write(unit)

    async def forget(self, key: str) -> bool:
        """Drop a record; return whether it was there."""
        statement = delete(download_archive).where(_is(key))
        return bool(await self._database.write(lambda connection: connection.execute(statement).rowcount))

    async def page(self, *, limit: int = 1000, after: int = 0) -> list[tuple[int, Archived]]:
        """Return records in the order in which they were first stored, each with a number to go on ``after``."""
        statement = select(download_archive).where(_a.id > after).order_by(_a.id).limit(limit)
        return await self._database.read(
            lambda connection: [(row.id, _record(row)) for row in connection.execute(statement)]
        )


def _part(key: str) -> tuple[str, int] | None:
    found = _PART.fullmatch(key)
    return (found[1], int(found[2])) if found else None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _is(key: str) -> ColumnElement[bool]:
    part = _part(key)
    if part is None:
        return _a.url_key == _digest(key)
    return (_a.bvid == part[0]) & (_a.cid == part[1])


def _record(row: Any) -> Archived:
    part = f"{row.bvid}:{row.cid}" if row.bvid is not None and row.cid is not None else None
    codec, _, quality = (row.codec or "").partition(" ")
    return Archived(
        key=part or row.song_id or row.url or "",
        path=row.path,
        url=row.url,
        size=row.size,
        codec=codec or None,
        quality=quality or None,
        created_ms=row.created_ms,
    )


def _slices(values: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE]


_WANTED: Final[BindParameter[Any]] = bindparam("wanted", expanding=True)
_BY_VIDEO: Final = select(_a.bvid, _a.cid).where(_a.bvid.in_(_WANTED), _a.cid.is_not(None))
_BY_DIGEST: Final = select(_a.url_key).where(_a.url_key.in_(_WANTED))
