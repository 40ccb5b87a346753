"""What the tests of the handlers share: the stand-in site, and an application on a database of its own."""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("av")

import musicq_async
from musicq_async.testing import StandInBilibili


@pytest.fixture
async def site():
    async with StandInBilibili() as site:
        yield site


@pytest.fixture(scope="session")
def new_database(tmp_path_factory):
    """An empty, migrated database, to be copied: migrating takes longer than most tests."""
    import anyio

    path = tmp_path_factory.mktemp("database") / "app.db"

    async def migrate():
        settings = musicq_async.Settings(database_url=f"sqlite+aiosqlite:///{path}", concurrency=0, scheduler=False)
        async with musicq_async.open_musicq(settings):
            pass

    anyio.run(migrate)
    return path


@pytest.fixture
def settings(site, tmp_path, new_database):
    """Make settings that lead to the stand-in, and to a database and a music folder of this test."""

    def make(*, bilibili=None, **wishes):
        if not (tmp_path / "app.db").exists():
            shutil.copy(new_database, tmp_path / "app.db")
        given = {
            "database_url": f"sqlite+aiosqlite:///{tmp_path}/app.db",
            "music_dir": str(tmp_path / "music"),
            "scheduler": False,
            **site.settings(**(bilibili or {})),
        }
        return musicq_async.Settings(**(given | wishes))

    return make


@pytest.fixture
def opened(settings):
    """Open the application: ``async with opened() as app``."""

    @asynccontextmanager
    async def open_(*, clock=None, **wishes):
        async with musicq_async.open_musicq(settings(**wishes), clock=clock) as app:
            yield app

    return open_


@pytest.fixture
def music(tmp_path):
    """Name every file in the music folder, hidden ones among them."""

    def names():
        root = tmp_path / "music"
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    return names


async def ran(app, task_type, /, retries=0, **params):
    """Run one task and all that it pushes; return its row."""
    task_id = await app.queue.push_task({"type": task_type, "params": params, "max_retries": retries})
    await app.run_until_idle()
    return await app.get_task(task_id)


@pytest.fixture
def run():
    return ran
