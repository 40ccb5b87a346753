"""Bringing a database's schema up to date: `check_writable`, then `upgrade` where that says so. Both are units."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, column, inspect, select, table, text, update

from musicq_async.errors import BackendError, BackendUnavailable

HEAD: Final = "0002"
"""The newest revision in ``migrations/versions``; a test compares the two."""
KNOWN: Final = frozenset({"0001", "0002"})
VERSION_TABLE: Final = "musicq_version"
"""Not alembic's default name: the database may be an application's own, with its own migrations."""
_VERSION_TABLE: Final = table(VERSION_TABLE, column("version_num"))
LOCK: Final = "musicq upgrade "
LOCK_NUMBER: Final = 0x6D757371
LOCK_SECONDS: Final = 60


def version_of(connection: Connection) -> str | None:
    """Return the schema version, or ``None`` where there is none yet."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version: str | None = connection.execute(select(_VERSION_TABLE.c.version_num)).scalar()
    return version


def check_writable(connection: Connection) -> bool:
    """Return whether the schema is the newest, having shown that the database takes writes.

    Raises `BackendError` where it comes from a newer version of this package.
    """
    version = version_of(connection)
    if version is None:
        return False
    if version not in KNOWN:
        raise BackendError(
            f"the database is at schema version {version}, newer than this musicq_async knows ({HEAD});"
            " install the newer version, or name another database"
        )
    connection.execute(update(_VERSION_TABLE).values(version_num=_VERSION_TABLE.c.version_num))
    return version == HEAD


def upgrade(connection: Connection) -> None:
    """Run the migrations that are missing. Waits while another process does."""
    with _only_one(connection):
        if not check_writable(connection):
            _migrate(connection)


def _migrate(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - 150 ms that only a database to be upgraded needs
    from alembic.config import Config  # noqa: PLC0415

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(connection=connection, version_table=VERSION_TABLE)
    command.upgrade(config, "head")


@contextmanager
def _only_one(connection: Connection) -> Iterator[None]:
    """Hold the database's own lock, so that processes that start together do not migrate together.

    SQLite needs none: the transaction that this runs in holds the write lock from its first moment.
    """
    match connection.dialect.name:
        case "mysql":
            held = connection.execute(
                text("SELECT GET_LOCK(CONCAT(:name, MD5(DATABASE())), :seconds)"),
                {"name": LOCK, "seconds": LOCK_SECONDS},
            )
            if not held.scalar():
                raise BackendUnavailable(f"another process has been upgrading the database for {LOCK_SECONDS} seconds")
            try:
                yield
            finally:
                connection.execute(text("SELECT RELEASE_LOCK(CONCAT(:name, MD5(DATABASE())))"), {"name": LOCK})
        case "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": LOCK_NUMBER})
            yield
        case _:
            yield
