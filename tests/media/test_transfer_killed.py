"""A process that is killed in the middle of downloads leaves nothing under a final name that is not whole."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
import time

import anyio
import pytest

from musicq_async.media.transfer import download

pytestmark = pytest.mark.anyio

SCRIPT = textwrap.dedent(
    """
    import sys, anyio
    from pathlib import Path
    from musicq_async.media.sources import Source
    from musicq_async.media.transfer import TransferRules, download
    from musicq_async.settings import HttpSettings

    async def main(base, folder):
        async with anyio.create_task_group() as tasks:
            for number in range(6):
                async def one(number=number):
                    source = Source(url=f"{base}/{number}")
                    await download(
                        [source], Path(folder, f"{number}.bin"), http=HttpSettings(allow_private=True),
                        rules=TransferRules(cool_down=0.002, spare=0),
                    )
                tasks.start_soon(one)

    anyio.run(main, *sys.argv[1:])
    """
)


async def test_killed_again_and_again_it_goes_on_and_every_file_is_whole(site, noise, tmp_path, http, rules):
    dice = random.Random(3)
    wanted = {f"{number}.bin": noise(400_000, number) for number in range(6)}
    for name, data in wanted.items():
        site.put(f"/{name[0]}", data, chunk=20_000, pause=0.01)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, site.url(""), str(tmp_path)])
        begun = len(site.requests)
        started = time.monotonic()
        while len(site.requests) == begun and time.monotonic() - started < 20:
            await anyio.sleep(0.01)
        await anyio.sleep(dice.uniform(0.02, 0.15))
        process.kill()
        await anyio.to_thread.run_sync(process.wait)
        for path in tmp_path.glob("*.bin"):
            assert path.read_bytes() == wanted[path.name]
    for name, data in wanted.items():
        site.routes[f"/{name[0]}"].pause = 0
        await download([site.source(f"/{name[0]}")], tmp_path / name, http=http, rules=rules)
        assert (tmp_path / name).read_bytes() == data
    assert {path.name for path in tmp_path.iterdir()} == set(wanted)
    assert any(request.start for request in site.requests)
