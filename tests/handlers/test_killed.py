"""A process that is killed in the middle of a sync: started again, it has each song once and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import anyio
import pytest

from musicq_async.media.audio import probe
from musicq_async.testing.bilibili_catalogue import FAN

pytestmark = pytest.mark.anyio

VICTIM = """
import asyncio, sys, musicq_async

async def main():
    settings = musicq_async.Settings(database_url=sys.argv[1], music_dir=sys.argv[2], scheduler=False, lease=1)
    async with musicq_async.open_musicq(settings) as app:
        await app.queue.push_task({"type": "sync_favourites", "params": {"media_id": 9907}, "task_id": sys.argv[3]})
        await app.run_until_idle()

asyncio.run(main())
"""


def whole(names):
    return [name for name in names if name.endswith(".m4a") and not name.startswith(".")]


@pytest.mark.parametrize("songs", [1, 25])
async def test_a_killed_sync_ends_with_each_song_once(site, opened, run, settings, music, tmp_path, songs):
    site.catalogue.fill_folder(media_id=9907, count=60, owner=FAN)
    given = settings()
    command = [sys.executable, "-c", VICTIM, given.database_url, given.music_dir, "first"]
    victim = subprocess.Popen(command, env=os.environ | site.environment())
    try:
        with anyio.fail_after(60):
            while len(whole(music())) < songs:
                assert victim.poll() is None
                await anyio.sleep(0.005)
    finally:
        victim.kill()
        await anyio.to_thread.run_sync(victim.wait)
    for name in whole(music()):  # whatever has a final name is a whole song
        assert (await probe(tmp_path / "music" / name)).duration > 0.9
    before = time.monotonic()
    async with opened(lease=1) as app:
        with anyio.fail_after(60):
            while (await app.get_task("first"))["status"] != "completed" or len(music()) < 60:
                await anyio.sleep(0.05)
        await app.run_until_idle()
        assert not await app.list_tasks(state="failed")
        assert (await app.get_task("first"))["retry_count"] == 0
        records = [record for _, record in await app.library.archive.page()]
    assert time.monotonic() - before < 60
    names = music()
    assert len(names) == len(set(names)) == 60
    assert all(name.endswith(".m4a") and not name.startswith(".") and "(2)" not in name for name in names)
    assert sorted(record.path for record in records) == sorted(str(tmp_path / "music" / name) for name in names)
