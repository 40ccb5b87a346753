"""A database server that is killed, stopped and killed again while tasks are pushed and run: nothing is lost."""

from __future__ import annotations

import signal
import sys
import time

import anyio
import pytest
from promises.conftest import migrate
from promises.fleet import Fleet
from services import Missing, start_mysql, start_postgres, start_redis

pytestmark = pytest.mark.anyio

RECOVERS = 5.0
"""Seconds after the server is up within which tasks run again."""
START = {"mysql": start_mysql, "postgresql": start_postgres, "redis": start_redis}


@pytest.fixture
def server(kind):
    try:
        server = START[kind]()
    except Missing as missing:
        pytest.skip(f"{kind}: {missing}")
    yield server
    server.remove()


def database_of(kind: str, server) -> str:
    if kind == "redis":
        return server.url
    url = f"{server.url}/{'mysql' if kind == 'mysql' else 'postgres'}"
    migrate(url)
    return url


async def restarted(kind, server, tmp_path, *, count: int, away: float) -> None:
    with Fleet(database_of(kind, server), tmp_path, lease=2.0, max_crashes=20) as fleet:
        async with fleet.application() as app:
            await fleet.push(app, count // 2)
            for number in range(2):
                fleet.start(name=f"n{number}", work=(0.0, 0.03))
            pushed_later = [f"p{number:05}" for number in range(count // 2)]
            fleet.start(settings={"concurrency": 0}, push=pushed_later)
            recoveries = []
            stop = signal.SIGINT if kind == "postgresql" else signal.SIGTERM  # SIGTERM would wait for its clients
            for how in (signal.SIGKILL, stop, signal.SIGKILL):
                done = len(fleet.history.ids("done"))
                await fleet.until(lambda done=done: len(fleet.history.ids("done")) >= done + count // 8)
                await anyio.to_thread.run_sync(server.stop, how)
                await anyio.sleep(away)
                await anyio.to_thread.run_sync(server.start)
                up, starts = time.monotonic(), len(fleet.history.lines("start"))
                await fleet.until(lambda starts=starts: len(fleet.history.lines("start")) > starts, RECOVERS)
                recoveries.append(time.monotonic() - up)
            await fleet.until(lambda: set(pushed_later) <= fleet.history.ids("pushed"), 60)
            await fleet.finished(app)
            verdict = fleet.history.verdict(await fleet.rows(app)).check()
        assert not [line for line in fleet.history.lines("warned") if "broke" in line["text"]]
        assert not fleet.history.lines("broke")
        seconds = ", ".join(f"{each:.1f}" for each in recoveries)
        sys.stdout.write(f"\n{kind} recovered after {seconds} s: {verdict}\n")


@pytest.mark.parametrize("kind", START)
async def test_a_server_that_is_killed_and_stopped_loses_nothing(kind, server, tmp_path):
    await restarted(kind, server, tmp_path, count=800, away=0.3)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", START)
async def test_a_server_that_is_away_longer_than_anybody_waits_loses_nothing(kind, server, tmp_path):
    """Calls wait ten seconds for a server; then they fail, and are made again."""
    await restarted(kind, server, tmp_path, count=5_000, away=15)
