"""A process that dies at the worst places: inside each transaction and right after it, before and after the effect."""

from __future__ import annotations

import pytest
from promises import crash
from promises.fleet import Fleet
from promises.node import push

pytestmark = pytest.mark.anyio

MAY_REPEAT = {"after effect", "before settle commit"}
"""Where the effect has happened and its completion is not stored: nobody can know that it need not run again."""
ONE_LATER = 60.0
"""Seconds that the clock of whoever comes after is ahead, so that no test waits for leases to run out."""

KINDS = ("sqlite", "mysql", "postgresql", "redis")


def cases(points, redis_points):
    """Each point on each store that has it; on the servers they are left to the soak, where nothing else is new."""
    marks = {"mysql": pytest.mark.soak, "postgresql": pytest.mark.soak}
    return [
        pytest.param(point, kind, marks=marks.get(kind, ()))
        for kind in KINDS
        for point in (redis_points if kind == "redis" else points)
    ]


NO_SLOT = [point for point in crash.POINTS if "slot" not in point]
SLOT = ["before slot commit", "after slot commit"]


@pytest.mark.parametrize(("point", "kind"), cases(NO_SLOT, [point for point in NO_SLOT if point not in crash.BEFORE]))
@pytest.mark.parametrize("turn", [1, pytest.param(3, marks=pytest.mark.soak)])
async def test_a_crash_loses_nothing_and_repeats_only_what_had_its_effect(point, turn, kind, fresh_url, tmp_path):
    task_type = "fragile" if "retry" in point else "work"
    ids = [f"task {number}" for number in range(5)]
    pushes = "push" in point
    with Fleet(fresh_url(kind), tmp_path, seed=turn, concurrency=0 if pushes else 1) as fleet:
        if not pushes:
            async with fleet.application() as app:
                await push(app.queue, fleet.history, ids, task_type)
        node = fleet.start(crash=f"{point}:{turn}", push=ids if pushes else [])
        await fleet.until(lambda: not fleet.lives(node), 20)
        assert not fleet.history.lines("broke"), fleet.troubles()
        async with fleet.application(workers=2, ahead=ONE_LATER) as app:
            left = [task_id for task_id in ids if task_id not in fleet.history.ids("pushed")]
            await push(app.queue, fleet.history, left)
            await app.run_until_idle()
            verdict = fleet.history.verdict(await fleet.rows(app)).check()
    assert verdict.pushed == len(ids)
    settled_too = point == "before claim commit" and turn > 1  # a claim shares the last task's transaction
    assert verdict.duplicates == (point in MAY_REPEAT or settled_too)


@pytest.mark.parametrize(("point", "kind"), cases(SLOT, [*SLOT, "after push commit"]))
@pytest.mark.parametrize("turn", [1, 2])
async def test_a_crash_at_a_slot_leaves_no_slot_out_and_fills_none_twice(point, turn, kind, fresh_url, tmp_path):
    with Fleet(fresh_url(kind), tmp_path, scheduler=True) as fleet:
        async with fleet.application(scheduler=False) as app:
            schedule = await app.scheduler.add_scheduler_task(
                name="each second", task_type="work", schedule_type="interval", interval_seconds=1, coalesce="all"
            )
            node = fleet.start(crash=f"{point}:{turn}")
            await fleet.until(lambda: not fleet.lives(node), 20)
        async with fleet.application(workers=2, ahead=5.0, scheduler=True) as app:
            await fleet.until(lambda: len(fleet.history.ids("effect")) >= 5, 20)
            assert await app.scheduler.pause_task(schedule)
            await app.run_until_idle()
            row = await app.scheduler.get_task(schedule)
            slots = sorted(each["fire_at"] for each in await fleet.rows(app))
    assert slots == list(range(slots[0], slots[0] + len(slots)))
    assert row["run_count"] == len(slots)
