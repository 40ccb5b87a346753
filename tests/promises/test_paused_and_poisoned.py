"""Workers that are paused, blocked or poisoned: nobody overwrites another's answer, nobody else is hurt."""

from __future__ import annotations

import os
import signal

import pytest
from promises.fleet import Fleet

pytestmark = pytest.mark.anyio

SERVERS = [pytest.param("mysql", marks=pytest.mark.soak), "postgresql", "redis"]


@pytest.mark.parametrize("kind", ["sqlite", *SERVERS])
async def test_a_worker_that_is_paused_longer_than_its_lease_cannot_complete_what_another_ran(
    kind, fresh_url, tmp_path
):
    with Fleet(fresh_url(kind), tmp_path, lease=1.0, concurrency=8) as fleet:
        async with fleet.application() as app:
            ids = await fleet.push(app, 8)
            paused = fleet.start(name="paused", work=(0.7, 0.8))
            await fleet.until(lambda: len(fleet.history.ids("start")) == 8)
            os.kill(paused, signal.SIGSTOP)
            other = fleet.start(name="other")
            await fleet.until(lambda: len(fleet.history.ids("done")) == 8)
            os.kill(paused, signal.SIGCONT)
            fleet.history.write("up", note="continued")
            await fleet.push(app, 8, prefix="later")
            fleet.kill(other)
            await fleet.until(lambda: len(fleet.history.ids("done")) == 16)
            rows = await fleet.rows(app)
            fleet.history.verdict(rows).check()
            results = {row["task_id"]: row["result"] for row in rows}
            assert {results[task_id] for task_id in ids} == {"other"}
            assert "paused" in results.values()


@pytest.mark.parametrize(
    "kind", ["sqlite", "postgresql", *(pytest.param(kind, marks=pytest.mark.soak) for kind in ("mysql", "redis"))]
)
async def test_a_blocked_loop_is_reported_within_two_heartbeats_and_keeps_its_lease(kind, fresh_url, tmp_path):
    lease, heartbeat = 1.0, 0.25
    with Fleet(fresh_url(kind), tmp_path, lease=lease) as fleet:
        async with fleet.application() as app:
            fleet.start(name="blocked")
            await fleet.until(lambda: fleet.history.ids("up"))
            fleet.history.write("push", "blocks")
            await app.queue.push_task({"type": "block", "task_id": "blocks", "params": {"seconds": 3.5}})
            fleet.history.write("pushed", "blocks")
            await fleet.until(lambda: fleet.history.ids("start"))
            fleet.start(name="thief")
            await fleet.until(lambda: fleet.history.ids("done"))
            verdict = fleet.history.verdict(await fleet.rows(app)).check()
            assert (verdict.duplicates, verdict.crashes) == (0, 0)
            started = fleet.history.lines("start")[0]["at"]
            warnings = [line for line in fleet.history.lines("warned") if "has been blocked" in line["text"]]
            assert warnings[0]["at"] - started <= 2 * heartbeat + 0.5
            assert "in block" in warnings[0]["text"]
            assert (await app.get_task("blocks"))["result"] == "blocked"


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_poison_kills_its_process_a_few_times_and_hurts_no_other_task(kind, fresh_url, tmp_path):
    max_crashes = 3
    with Fleet(fresh_url(kind), tmp_path, concurrency=8) as fleet:
        async with fleet.application() as app:
            innocents = await fleet.push(app, 40, prefix="a")
            poison = await fleet.push(app, 3, prefix="poison", task_type="poison")
            innocents += await fleet.push(app, 40, prefix="b")
            deaths = 0
            while len(fleet.history.ids("done")) < len(innocents) or await app.list_tasks(
                type="poison", state="pending"
            ):
                node = fleet.start(work=(0.0, 0.02), ahead=20.0 * deaths)
                await fleet.until(
                    lambda node=node: not fleet.lives(node) or len(fleet.history.ids("done")) == len(innocents)
                )
                if fleet.lives(node):
                    break
                deaths += 1
                assert deaths <= max_crashes * len(poison), fleet.history.verdict()
        async with fleet.application(workers=1, ahead=20.0 * (deaths + 1)) as app:
            await app.run_until_idle()
            rows = {row["task_id"]: row for row in await fleet.rows(app)}
    verdict = fleet.history.verdict(rows.values())
    assert verdict.failed == sorted(poison), str(verdict)
    assert all(rows[task_id]["status"] == "completed" for task_id in innocents)
    assert all("Crash" in rows[task_id]["error_message"] for task_id in poison)
    assert deaths <= max_crashes * len(poison)
