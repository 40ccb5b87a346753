"""The stores of the fault tests: an address of a fresh, migrated database for each kind, or of a Redis of its own."""

from __future__ import annotations

import shutil

import pytest
from backends import bench, blank_sqlite, clock, kind, server_urls
from services import apart, fresh_database, start_redis

__all__ = ["bench", "blank_sqlite", "clock", "kind", "server_urls"]


@pytest.fixture
def fresh_url(tmp_path, request):
    """Make a database of a kind, or a Redis that keeps what it is given: ``url = fresh_url("mysql")``.

    It goes with the test.
    """
    opened = []
    private = []

    def make(kind: str) -> str:
        if kind == "sqlite":
            path = tmp_path / "queue.db"
            shutil.copy(request.getfixturevalue("blank_sqlite"), path)
            return f"sqlite+aiosqlite:///{path}"
        if kind == "redis":
            private.append(start_redis())
            return private[-1].url
        database = fresh_database(kind)
        opened.append(database)
        url = database.__enter__()
        migrate(url)
        return url

    yield make
    for database in opened:
        database.__exit__(None, None, None)
    for server in private:
        server.remove()


def migrate(url: str) -> None:
    from musicq_async.clock import SystemClock
    from musicq_async.sql import open_database

    async def upgrade() -> None:
        async with open_database(url, clock=SystemClock()) as database:
            await database.upgrade()

    apart(upgrade())
