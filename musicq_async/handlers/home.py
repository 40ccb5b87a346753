"""The database of the settings, for work outside an application: used if it is there, never made."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import anyio

from musicq_async.errors import BackendError, SettingsError
from musicq_async.handlers.archive import MemoryArchive
from musicq_async.memory.store import MemoryStore
from musicq_async.ports import Archive, Clock, PublicStore
from musicq_async.settings import Settings

PATIENCE: Final = 1.0
"""Seconds that a database server is waited for."""
_log = logging.getLogger(__name__)


@asynccontextmanager
async def opened_home(settings: Settings, clock: Clock) -> AsyncIterator[tuple[PublicStore, Archive]]:
    """Give the public store and the archive of the settings' database; ones in memory where it cannot be had."""
    from musicq_async.sql import SqlArchive, SqlPublicStore, open_database  # noqa: PLC0415 - SQLAlchemy, on first use

    async with AsyncExitStack() as stack:
        try:
            database = open_database(settings.database_url, clock=clock, patience=PATIENCE)
            path = database.address.path
            there = database.kind != "sqlite" or (path is not None and await anyio.Path(path).is_file())
            if there:
                await stack.enter_async_context(database)
                await database.upgrade()
        except (BackendError, SettingsError) as error:
            _log.warning("Working without the database: %s", error)
            there = False
        if there:
            yield SqlPublicStore(database), SqlArchive(database)
        else:
            yield MemoryStore(), MemoryArchive()
