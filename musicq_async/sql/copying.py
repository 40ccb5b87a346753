"""Taking rows out of a database and into another: `SqlTables`, table by table; `copy_file`, a whole SQLite file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Table, insert, select, tuple_

from musicq_async.errors import BackendError, UsageError
from musicq_async.sql import tables
from musicq_async.sql.database import Database
from musicq_async.sql.transactions import sqlite_of

COPIED: Final[dict[str, tuple[Table, tuple[str, ...]]]] = {
    "schedule": (tables.scheduler_task, ("task_id",)),
    "fire": (tables.schedule_fire, ("schedule_id", "nominal")),
    "value": (tables.public_store, ("key",)),
    "download": (tables.download_archive, ("id",)),
    "unique": (tables.unique_task, ("unique_key",)),
}
"""Kinds of rows with tables and keys. Tasks go through the queue's own port; nodes and limits belong to a place."""
PAGE: Final = 500


class SqlTables:
    """The rows of every table but the tasks'."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pages(self, kind: str) -> AsyncIterator[list[dict[str, Any]]]:
        """Give all rows of a kind, as dicts of plain values."""
        table, key = COPIED[kind]
        columns = [table.c[name] for name in key]
        after: list[Any] | None = None
        while True:
            statement = select(table).order_by(*columns).limit(PAGE)
            if after is not None:
                statement = statement.where(tuple_(*columns) > tuple_(*after))

            def unit(connection: Connection, statement: Any = statement) -> list[dict[str, Any]]:
                return [dict(row) for row in connection.execute(statement).mappings()]

            page = await self._database.read(unit)
            if not page:
                return
            yield page
            after = [page[-1][name] for name in key]

    async def add(self, kind: str, rows: Sequence[dict[str, Any]]) -> int:
        """Store rows whose key is not there; return how many. Columns that this version does not know are left out."""
        table, key = COPIED[kind]
        names = {column.name for column in table.columns}
        known_rows = [{name: value for name, value in row.items() if name in names} for row in rows]
        if any(row.get(name) is None for row in known_rows for name in key):
            raise UsageError(f"a row of kind {kind!r} lacks its key {key}")

        def unit(connection: Connection) -> int:
            missing = [row for row in known_rows if not _is_there(connection, table, key, row)]
            for row in missing:
                connection.execute(insert(table), row)
            return len(missing)

        return await self._database.write(unit)


def _is_there(connection: Connection, table: Table, key: Sequence[str], row: dict[str, Any]) -> bool:
    found = select(table.c[key[0]]).where(*(table.c[name] == row[name] for name in key))
    if table is tables.download_archive:  # its number means nothing elsewhere: the page or the address does
        row.pop("id", None)
        page = select(table.c.id).where(table.c.bvid == row.get("bvid"), table.c.cid == row.get("cid"))
        address = select(table.c.id).where(table.c.url_key == row.get("url_key"))
        found = page if row.get("bvid") is not None else address
    return connection.execute(found.limit(1)).first() is not None


async def copy_file(database: Database, target: Path) -> None:
    """Write a consistent copy of a live SQLite database to a new file that only its owner may read.

    Raises `UsageError` where the database is not a SQLite file or the target exists, `BackendError` where the copy
    cannot be written or is not sound.
    """
    if database.kind != "sqlite":
        raise UsageError(f"a backup is a copy of a SQLite file, and {database.address} is none; use its own tools")

    def unit(connection: Connection) -> None:
        if target.exists():
            raise UsageError(f"{target} exists already; name another file, or remove it first")
        _copy(sqlite_of(connection), target)

    await database.read(unit)


def _copy(source: sqlite3.Connection, target: Path) -> None:
    draft = target.with_name(f"{target.name}.part")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(sqlite3.connect(draft)) as copy:
            source.backup(copy)
            verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            raise BackendError(f"the copy is not sound: {verdict}; the database itself may be damaged")
        draft.replace(target)
    except (OSError, sqlite3.Error) as error:
        raise BackendError(
            f"the backup {target} could not be written: {error}; check the folder and its space"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
