"""Schedulers that are killed at random: every slot is enqueued once, whoever is alive."""

from __future__ import annotations

import sys
import time

import anyio
import pytest
from promises.fleet import Fleet

pytestmark = pytest.mark.anyio


async def scheduled(fleet: Fleet, *, nodes: int, seconds: float, schedules: int, every: float) -> None:
    async with fleet.application(scheduler=False) as app:
        ids = [
            await app.scheduler.add_scheduler_task(
                name=f"s{number}", task_type="work", schedule_type="interval", interval_seconds=1, coalesce="all"
            )
            for number in range(schedules)
        ]
        running = [fleet.start(name=f"n{number}") for number in range(nodes)]
        end = time.monotonic() + seconds
        kills = 0
        while time.monotonic() < end:
            await anyio.sleep(every * fleet.draw.uniform(0.5, 1.5))
            fleet.kill(running.pop(fleet.draw.randrange(nodes)))
            running.append(fleet.start(name=f"k{kills}"))
            kills += 1
        for schedule in ids:
            await app.scheduler.pause_task(schedule)
        await fleet.finished(app)
        rows = await fleet.rows(app)
        for row in rows:
            fleet.history.write("push", row["task_id"])
            fleet.history.write("pushed", row["task_id"])
        verdict = fleet.history.verdict(rows).check()
        sys.stdout.write(f"\n{kills} kills: {verdict}\n")
        for schedule in ids:
            slots = sorted(row["fire_at"] for row in rows if row["scheduler_task_id"] == schedule)
            assert len(slots) >= seconds - 2, f"seed {fleet.seed}"
            assert slots == list(range(slots[0], slots[0] + len(slots))), f"seed {fleet.seed}"
            assert (await app.scheduler.get_task(schedule))["run_count"] == len(slots), f"seed {fleet.seed}"


async def test_three_schedulers_killed_at_random_enqueue_each_slot_once(fresh_url, tmp_path):
    settings = {"scheduler": True, "lease": 1.0, "max_crashes": 20, "check_interval": 1.0}
    with Fleet(fresh_url("sqlite"), tmp_path, **settings) as fleet:
        await scheduled(fleet, nodes=3, seconds=10, schedules=40, every=0.3)


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
async def test_four_nodes_killed_at_random_enqueue_each_slot_once_and_lose_no_task(kind, fresh_url, tmp_path):
    settings = {"scheduler": True, "lease": 1.0, "max_crashes": 20, "check_interval": 1.0}
    with Fleet(fresh_url(kind), tmp_path, **settings) as fleet:
        await scheduled(fleet, nodes=4, seconds=8, schedules=20, every=0.8)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["sqlite", "mysql", "postgresql", "redis"])
async def test_four_nodes_killed_for_a_minute_enqueue_each_slot_once(kind, fresh_url, tmp_path):
    with Fleet(fresh_url(kind), tmp_path, scheduler=True, max_crashes=20) as fleet:
        await scheduled(fleet, nodes=4, seconds=60, schedules=70, every=0.5)
