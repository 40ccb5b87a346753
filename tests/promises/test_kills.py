"""Processes that are killed with SIGKILL at any moment lose nothing and complete nothing twice."""

from __future__ import annotations

import sqlite3
import sys
import time

import anyio
import pytest
from promises.fleet import Fleet

pytestmark = pytest.mark.anyio

RECOVERY = 15.0
"""Seconds after the last kill within which everything has run."""


async def storm(
    fleet: Fleet, *, count: int, every: float, kills: int, work: float = 0.04, nodes: int = 2
) -> tuple[int, float]:
    """Run ``count`` tasks on nodes that are killed in turn; return the number of kills and how long recovery took.

    A third process pushes half of the tasks one by one, and is killed as well.
    """
    options = {"work": (0.0, work)}
    async with fleet.application() as app:
        await fleet.push(app, count // 2)
        running = [fleet.start(**options, name=f"n{number}") for number in range(nodes)]
        left = [f"p{number:05}" for number in range(count // 2)]
        pusher = fleet.start(settings={"concurrency": 0}, push=left)
        done = 0
        while done < kills and (done < 3 or await app.list_tasks(state="pending", limit=1)):
            await anyio.sleep(every * fleet.draw.uniform(0.6, 1.4))
            if done % 3 == 2:
                fleet.kill(pusher)
                asked = fleet.history.ids("push")
                left = [task_id for task_id in left if task_id not in asked]
                pusher = fleet.start(settings={"concurrency": 0}, push=left)
            else:
                victim = running.pop(0)
                fleet.kill(victim)
                running.append(fleet.start(**options, name=f"k{done}"))
            done += 1
        await fleet.until(lambda: not set(left) - fleet.history.ids("pushed"), 60)
        last = time.monotonic()
        await fleet.finished(app, seconds=90)
        took = time.monotonic() - last
        verdict = fleet.history.verdict(await fleet.rows(app)).check()
        sys.stdout.write(f"\n{done} kills, rest took {took:.1f} s: {verdict}\n")
    return done, took


KINDS = ["sqlite", "mysql", "postgresql", "redis"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_storm_of_kills_loses_nothing(kind, fresh_url, tmp_path):
    url = fresh_url(kind)
    settings = {"lease": 2.0, "max_crashes": 20}
    count, kills = (2_400, 8) if kind == "sqlite" else (1_000, 4)
    with Fleet(url, tmp_path, **settings) as fleet:
        _, took = await storm(fleet, count=count, every=0.9, kills=kills)
    assert took <= RECOVERY
    assert_whole(url)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_long_storm_of_kills_loses_nothing(kind, fresh_url, tmp_path):
    url = fresh_url(kind)
    with Fleet(url, tmp_path, max_crashes=20) as fleet:
        kills, took = await storm(fleet, count=10_000, every=0.9, kills=45, work=0.06)
    assert kills >= 35
    assert took <= 45
    assert_whole(url)


def assert_whole(url: str) -> None:
    if url.startswith("sqlite"):
        with sqlite3.connect(url.partition(":///")[2]) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
