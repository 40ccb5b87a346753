"""One SQLite file: torn by a power cut it holds a prefix of the commits; shared by processes it is never locked."""

from __future__ import annotations

import random
import shutil
import sqlite3
import sys

import pytest
from promises.fleet import Fleet

from musicq_async.clock import SystemClock
from musicq_async.model.lifecycle import completed
from musicq_async.model.task import NewTask
from musicq_async.ports import Terms
from musicq_async.sql import SqlTaskQueue, open_database

pytestmark = pytest.mark.anyio

P99_MS = 150.0
"""Milliseconds that 99 of 100 claims may take at most on a machine with nothing else to do."""
SLACK = 4
"""How much slower a busy machine may be."""


def state_of(path):
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = connection.execute("SELECT task_id, status, lease_token FROM task_queue ORDER BY task_id").fetchall()
    connection.close()
    return rows


async def written(path):
    """Push, claim and complete, and return the state after each commit."""
    states = [state_of(path)]
    async with open_database(f"sqlite+aiosqlite:///{path}", clock=SystemClock()) as database:
        queue = SqlTaskQueue(database)
        for number in range(40):
            await queue.push([NewTask(task_id=f"t{number:02}", task_type="work", params={"n": "x" * number * 50})])
            states.append(state_of(path))
            [lease] = await queue.claim(Terms(owner="w", seconds=10))
            states.append(state_of(path))
            if number % 2:
                await queue.settle(lease, completed(lease.task, number, now_ms=SystemClock().time_ms()))
                states.append(state_of(path))
        for end in ("", "-wal"):
            shutil.copy(f"{path}{end}", f"{path}.cut{end}")
    return states


@pytest.mark.parametrize("count", [200, pytest.param(5_000, marks=pytest.mark.soak)])
async def test_a_power_cut_leaves_a_prefix_of_the_commits(count, fresh_url, tmp_path):
    """The end of the journal is missing, is garbage, or was written in part; what was synced before is whole."""
    path = fresh_url("sqlite").partition(":///")[2]
    states = await written(path)
    seed = random.randrange(10**6)
    draw = random.Random(seed)
    journal = (tmp_path / "queue.db.cut-wal").read_bytes()
    torn = tmp_path / "torn.db"
    found = []
    for _ in range(count):
        at = draw.randrange(len(journal))
        ends = (b"", draw.randbytes(draw.randrange(20_000)), bytes(len(journal) - at))
        shutil.copy(tmp_path / "queue.db.cut", torn)
        (tmp_path / "torn.db-wal").write_bytes(journal[:at] + draw.choice(ends))
        (tmp_path / "torn.db-shm").unlink(missing_ok=True)
        state = state_of(torn)
        assert state in states, f"no state that ever was (seed {seed}, byte {at})"
        found.append((at, states.index(state)))
    places = [place for _, place in sorted(found)]
    assert places == sorted(places), f"a longer journal holds less (seed {seed})"
    assert len(set(places)) > 50, "cuts between most commits were tried"


@pytest.mark.parametrize("count", [1_500, pytest.param(20_000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
async def test_three_processes_with_six_workers_share_a_file_without_locked_or_double_claims(
    count, fresh_url, tmp_path
):
    with Fleet(fresh_url("sqlite"), tmp_path, concurrency=6) as fleet:
        async with fleet.application() as app:
            await fleet.push(app, count // 2)
            for number in range(3):
                fleet.start(name=f"n{number}", work=(0.0, 0.01), timed=True)
            await fleet.push(app, count // 2, prefix="u")
            await fleet.finished(app, 300)
            verdict = fleet.history.verdict(await fleet.rows(app)).check()
    took = sorted(line["ms"] for line in fleet.history.lines("took"))
    sys.stdout.write(f"\np99 {took[len(took) * 99 // 100]:.0f} ms of {len(took)} claims: {verdict}\n")
    assert (verdict.duplicates, verdict.crashes) == (0, 0), str(verdict)
    assert not fleet.history.lines("warned", "broke")
    assert took[len(took) * 99 // 100] <= P99_MS * SLACK
