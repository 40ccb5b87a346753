"""A disk without room, and a database that takes no writes: nothing crashes, nothing is lost, work goes on with room."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest
from promises.conftest import migrate
from promises.fleet import Fleet
from services import execute

import musicq_async

pytestmark = pytest.mark.anyio

RESUMES = 5.0
"""Seconds after there is room within which work goes on."""


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MiB, where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system may not be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    return ballast


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def test_a_disk_that_fills_up_stops_the_claims_and_loses_nothing(small_disk, tmp_path):
    url = f"sqlite+aiosqlite:///{small_disk / 'queue.db'}"
    migrate(url)
    with Fleet(url, tmp_path, lease=2.0, max_crashes=20) as fleet:
        async with fleet.application() as app:
            await fleet.push(app, 500)
            node = fleet.start(work=(0.0, 0.03))
            await fleet.until(lambda: len(fleet.history.ids("done")) > 50)
            ballast = fill(small_disk)
            await fleet.until(lambda: fleet.history.lines("warned"))
            await anyio.sleep(0.5)
            starts, busy = len(fleet.history.lines("start")), cpu_seconds(node)
            await anyio.sleep(2)
            assert fleet.lives(node)
            assert len(fleet.history.lines("start")) == starts < 500
            assert cpu_seconds(node) - busy < 1.0
            ballast.unlink()
            began = time.monotonic()
            await fleet.until(lambda: len(fleet.history.lines("start")) > starts, RESUMES)
            resumed = time.monotonic() - began
            await fleet.finished(app)
            verdict = fleet.history.verdict(await fleet.rows(app)).check()
        sys.stdout.write(f"\nresumed after {resumed:.1f} s: {verdict}\n")
        told = Counter(line["text"] for line in fleet.history.lines("warned"))
        assert not [text for text in told if "broke" in text]
        assert [count for text, count in told.items() if "free space" in text] == [1] * len(told - stale(told)), told


def stale(told: Counter) -> Counter:
    """What is said of tasks that ended while nothing could be written, and were given to another worker."""
    return Counter({text: count for text, count in told.items() if "another worker" in text})


async def test_a_file_that_may_take_no_more_pages_refuses_pushes_and_takes_them_again(fresh_url, tmp_path):
    with Fleet(fresh_url("sqlite"), tmp_path) as fleet:
        async with fleet.application(workers=2) as app:
            ids = await fleet.push(app, 20)
            await app._database.write(
                lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1") and None
            )
            with pytest.raises(musicq_async.BackendUnavailable, match="free space"):
                for number in range(1000):
                    await app.queue.push_task({"type": "work", "params": {"n": "x" * 4000}, "task_id": f"p{number}"})
                    ids.append(f"p{number}")
            await app._database.write(
                lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 99999") and None
            )
            await app.queue.push_task({"type": "work", "task_id": "later"})
            await app.run_until_idle()
            rows = {row["task_id"]: row["status"] for row in await fleet.rows(app)}
    assert rows == dict.fromkeys([*ids, "later"], "completed")


async def test_a_server_that_turns_read_only_is_waited_for_and_its_old_connections_are_not_kept(fresh_url, tmp_path):
    url = fresh_url("postgresql")
    name = urlsplit(url).path.strip("/")
    with Fleet(url, tmp_path, lease=2.0, max_crashes=20) as fleet:
        async with fleet.application() as app:
            await fleet.push(app, 400)
            node = fleet.start(work=(0.0, 0.03))
            await fleet.until(lambda: len(fleet.history.ids("done")) > 50)
            execute(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on", END_THE_OTHERS)
            await fleet.until(lambda: [line for line in fleet.history.lines("warned") if "read-only" in line["text"]])
            starts = len(fleet.history.lines("start"))
            await anyio.sleep(1)
            assert fleet.lives(node)
            assert len(fleet.history.lines("start")) == starts < 400
            execute(
                url,
                "SET default_transaction_read_only = off",
                f"ALTER DATABASE {name} RESET default_transaction_read_only",
            )
            await fleet.until(lambda: len(fleet.history.lines("start")) > starts, RESUMES)
            await fleet.finished(app)
            fleet.history.verdict(await fleet.rows(app)).check()


END_THE_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
