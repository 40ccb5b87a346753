"""The database and the public store of the settings, for work outside an application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from musicq_async.errors import BackendError, SettingsError
from musicq_async.handlers.archive import MemoryArchive
from musicq_async.memory.store import MemoryStore
from musicq_async.ports import Archive, Clock, PublicStore
from musicq_async.settings import Settings

if TYPE_CHECKING:
    from musicq_async.sql.database import Database

PATIENCE: Final = 1.0
"""Seconds that a database server is waited for."""
_log = logging.getLogger(__name__)


@asynccontextmanager
async def opened_home(settings: Settings, clock: Clock) -> AsyncIterator[tuple[PublicStore, Archive]]:
    """Give the public store and the archive that an application with these settings has.

    A new SQLite file is made: a pause that the site imposed must outlive the process. What cannot be had is kept in
    memory, and the log says so.
    """
    from musicq_async.sql import SqlArchive  # noqa: PLC0415 - SQLAlchemy, on first use

    async with AsyncExitStack() as stack:
        database = await _opened(settings.database_url, stack, clock)
        store = await _store(settings, database, stack, clock)
        yield store, MemoryArchive() if database is None else SqlArchive(database)


async def _store(settings: Settings, database: Database | None, stack: AsyncExitStack, clock: Clock) -> PublicStore:
    """Give the public store, which an application keeps where its queue is."""
    from musicq_async.sql import SqlPublicStore  # noqa: PLC0415

    url = settings.queue_url
    if settings.queues_in_redis:
        return await _redis_store(settings, stack, clock) or MemoryStore()
    if url not in {settings.database_url, "memory://"}:
        database = await _opened(url, stack, clock)
    return MemoryStore() if database is None else SqlPublicStore(database)


async def _redis_store(settings: Settings, stack: AsyncExitStack, clock: Clock) -> PublicStore | None:
    try:
        from musicq_async.redis import RedisPublicStore, redis_of  # noqa: PLC0415 - an extra

        server = redis_of(settings, clock=clock, patience=PATIENCE)
        await stack.enter_async_context(server)
        await server.check()
    except (BackendError, SettingsError, ImportError) as error:
        _log.warning("Working without the session and the pauses of the queue: %s", error)
        return None
    return RedisPublicStore(server)


async def _opened(url: str, stack: AsyncExitStack, clock: Clock) -> Database | None:
    from musicq_async.sql import open_database  # noqa: PLC0415

    try:
        database = open_database(url, clock=clock, patience=PATIENCE)
        if database.address.path is not None:
            await anyio.Path(Path(database.address.path).parent).mkdir(parents=True, exist_ok=True)
        await stack.enter_async_context(database)
        await database.upgrade()
    except (BackendError, SettingsError, OSError) as error:
        _log.warning("Working without the database: %s", error)
        return None
    return database
