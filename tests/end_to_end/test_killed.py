"""A process that is killed loses nothing: what it ran, runs again within the time that the README states."""

from __future__ import annotations

import subprocess
import sys
import time

import anyio
import pytest

import musicq_async

pytestmark = pytest.mark.anyio

VICTIM = """
import asyncio, sys, musicq_async
handlers = musicq_async.Handlers()

@handlers.register("job")
async def job(params):
    print("running", flush=True)
    await asyncio.sleep(60)

async def main():
    settings = musicq_async.Settings(database_url=sys.argv[1], scheduler=False)
    async with musicq_async.open_musicq(settings, handlers=handlers) as app:
        await app.queue.push_task({"type": "other", "task_id": "untouched"})
        for number in range(3):
            await app.queue.push_task({"type": "job", "task_id": f"job-{number}"})
        await app.run()

asyncio.run(main())
"""


async def test_tasks_of_a_killed_worker_run_again_within_15_seconds_and_count_no_attempt(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path}/app.db"
    with subprocess.Popen([sys.executable, "-c", VICTIM, url], stdout=subprocess.PIPE, text=True) as victim:
        for _ in range(3):
            assert victim.stdout.readline() == "running\n"
        victim.kill()
    killed = time.monotonic()
    ran = []
    handlers = musicq_async.Handlers()

    @handlers.register("job")
    async def job(params, context):
        ran.append(context.task_id)

    settings = musicq_async.Settings(database_url=url, scheduler=False)
    async with musicq_async.open_musicq(settings, handlers=handlers) as app:
        with anyio.fail_after(20):
            while len(ran) < 3:
                await anyio.sleep(0.05)
        assert time.monotonic() - killed < 15
        await app.run_until_idle()
        for task_id in ("job-0", "job-1", "job-2"):
            task = await app.get_task(task_id)
            assert (task["status"], task["retry_count"], task["crash_count"]) == ("completed", 0, 1)
        assert (await app.get_task("untouched"))["status"] == "pending"
    assert sorted(ran) == ["job-0", "job-1", "job-2"]
