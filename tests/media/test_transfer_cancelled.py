"""Cancelled at any moment in any way, a download leaks nothing and the next one goes on."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import anyio
import pytest

from musicq_async.media.transfer import download

pytestmark = pytest.mark.anyio


async def test_two_hundred_cancellations_leave_no_descriptor_and_no_stray_file(site, noise, tmp_path, http, rules):
    dice = random.Random(5)
    wanted = {str(number): noise(200_000, number) for number in range(10)}
    for name, data in wanted.items():
        site.put(f"/{name}", data, chunk=10_000, pause=0.001)

    def fetch(name):
        return download([site.source(f"/{name}")], tmp_path / name, http=http, rules=rules)

    async def cancelled(number: int, way: int) -> None:
        name, moment = str(number % 10), dice.uniform(0, 0.06)
        if way == 0:
            with anyio.move_on_after(moment):
                await fetch(name)
            return
        try:
            if way == 1:
                task = asyncio.get_running_loop().create_task(fetch(name))
                await asyncio.sleep(moment)
                task.cancel()
                await task
            elif way == 2:
                await asyncio.wait_for(fetch(name), moment)
            else:
                async with asyncio.timeout(moment):
                    await fetch(name)
        except (asyncio.CancelledError, TimeoutError):
            assert not asyncio.current_task().cancelling()

    descriptors = []
    for batch in range(8):
        await asyncio.gather(*(cancelled(batch * 25 + number, (batch + number) % 4) for number in range(25)))
        for name, data in wanted.items():
            if (tmp_path / name).exists():
                assert (tmp_path / name).read_bytes() == data
        await anyio.sleep(0.05)
        descriptors.append(len(list(Path("/proc/self/fd").iterdir())))
    for _ in range(20):  # a cancelled caller's thread may still be at the disk; the next download clears up after it
        for name, data in wanted.items():
            site.routes[f"/{name}"].pause = 0
            await fetch(name)
            assert (tmp_path / name).read_bytes() == data
        if {path.name for path in tmp_path.iterdir()} == set(wanted):
            break
        await anyio.sleep(0.1)
    assert {path.name for path in tmp_path.iterdir()} == set(wanted)
    assert max(descriptors) <= min(descriptors) + 6  # connections that the server has not seen closed yet
    assert len([task for task in asyncio.all_tasks() if not task.done() and "download" in repr(task.get_coro())]) == 0
