"""Every way in which the site refuses, from the answer to the state of the task."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import anyio
import pytest
from backends import MovedClock

from musicq_async.testing import Fault
from musicq_async.testing.bilibili_catalogue import FAN
from musicq_async.testing.bilibili_faults import REFUSALS

pytestmark = pytest.mark.anyio
PLAY = "/x/player/playurl"
ENDS = {
    "not logged in": "LoginRequired",
    "forged": "LoginRequired",
    "no right": "NotPermitted",
    "account banned": "NotPermitted",
    "region or membership": "NotPermitted",
    "paying fans": "NotPermitted",
    "paying fans only": "NotPermitted",
    "song moved": "NotPermitted",
    "song cannot be played": "NotPermitted",
    "gone": "WorkGone",
    "hidden": "WorkGone",
    "private": "WorkGone",
    "list gone": "WorkGone",
    "song removed": "WorkGone",
    "bad request": "InvalidParams",
    "bad song request": "InvalidParams",
    "unknown code": "AnswerNotUnderstood",
    "no envelope": "AnswerNotUnderstood",
}
SNOOZES = {
    "banned": 300,
    "banned page": 300,
    "banned by code": 300,
    "risk check": 300,
    "silent risk check": 300,
    "risk check by header": 300,
    "taken for a crawler": 300,
    "in review": 86_400,
}
WAITS = {"too often": (10, 13), "over the limit": (10, 13), "too many requests": (40, 41)}
PASSES = {"server error", "overloaded", "server timeout", "server busy", "bad gateway", "unavailable", "no answer"}


def test_every_refusal_is_tried():
    assert {*ENDS, *SNOOZES, *WAITS, *PASSES} == set(REFUSALS)


@pytest.fixture
def link(site):
    return f"av{next(iter(site.catalogue.videos))}"


async def settled(app, link, **wishes):
    """Push a download and wait until its first attempt is over."""
    task_id = await app.queue.push_task({"type": "download_bilibili_audio", "params": {"bv_id": link}, **wishes})
    with anyio.fail_after(10):
        while True:
            task = await app.get_task(task_id)
            if task["status"] not in {"pending", "running"}:
                return task
            await anyio.sleep(0.01)


def seconds_left(task):
    return task["run_at_ms"] / 1000 - time.time()


@pytest.mark.parametrize(("name", "kind"), ENDS.items())
async def test_what_waiting_cannot_cure_fails_at_once(site, opened, link, name, kind):
    site.fail(PLAY, with_=REFUSALS[name], times=None)
    async with opened(bilibili={"cookie": site.cookie("member")}) as app:
        task = await settled(app, link)
    assert (task["status"], task["retry_count"]) == ("failed", 0)
    assert task["error_message"].startswith(f"{kind}: ")
    assert len(site.asked(path=PLAY)) == 1


@pytest.mark.parametrize(("name", "seconds"), SNOOZES.items())
async def test_risk_control_snoozes_the_task_and_spends_no_attempt(site, opened, link, name, seconds):
    site.fail(PLAY, with_=REFUSALS[name], times=None)
    async with opened() as app:
        task = await settled(app, link, max_retries=0)
    assert (task["status"], task["retry_count"], task["errors"]) == ("scheduled", 0, [])
    assert seconds - 5 < seconds_left(task) < seconds * 1.1 + 1


@pytest.mark.parametrize(("name", "seconds"), WAITS.items())
async def test_too_many_requests_wait_as_long_as_the_site_says(site, opened, link, name, seconds):
    site.fail(PLAY, with_=REFUSALS[name], times=None)
    async with opened() as app:
        task = await settled(app, link)
    assert (task["status"], task["retry_count"]) == ("scheduled", 1)
    assert task["error_message"].startswith("RateLimited: ")
    assert seconds[0] - 2 < seconds_left(task) < seconds[1] * 1.25


@pytest.mark.parametrize("name", sorted(PASSES))
async def test_an_ill_server_is_asked_again_within_the_attempt(site, opened, link, name):
    site.fail(PLAY, with_=REFUSALS[name])
    async with opened() as app:
        task = await settled(app, link)
    assert (task["status"], task["retry_count"]) == ("completed", 0)
    assert len(site.asked(path=PLAY)) == 2


async def test_a_pause_stops_all_tasks_of_the_account_and_is_told_once(site, opened, run, caplog, link):
    site.catalogue.fill_folder(media_id=9907, count=30, owner=FAN)
    site.fail(PLAY, with_=REFUSALS["banned"], times=None, after=3)
    with caplog.at_level(logging.WARNING, logger="musicq_async"):
        async with opened() as app:
            await run(app, "sync_favourites", media_id=9907)
            site.heal()
            asked = len(site.requests)
            task = await settled(app, link)  # one that comes during the pause
            assert task["status"] == "scheduled"
            assert len(site.requests) == asked
            assert len(await app.list_tasks(state="completed")) == 1 + 3
            assert len(await app.list_tasks(state="scheduled")) == 27 + 1
            assert not await app.list_tasks(state="failed")
    assert len(site.asked(path=PLAY)) <= 3 + 4  # no more than were under way together
    assert [record.message for record in caplog.records if "Pausing" in record.message] != []
    assert sum("Pausing" in record.message for record in caplog.records) == 1


async def test_a_pause_outlives_the_process(site, opened, link):
    site.fail(PLAY, with_=REFUSALS["banned"])
    async with opened() as app:
        await settled(app, link)
    async with opened() as app:
        asked = len(site.requests)
        assert (await settled(app, link))["status"] == "scheduled"
        assert len(site.requests) == asked


async def test_after_the_pause_the_task_goes_on(site, opened, link, music):
    clock = MovedClock()
    site.fail(PLAY, with_=REFUSALS["banned"])
    async with opened(clock=clock, poll_interval=0.05) as app:
        task = await settled(app, link)
        clock.advance(340)
        with anyio.fail_after(10):
            while (task := await app.get_task(task["task_id"]))["status"] != "completed":
                await anyio.sleep(0.02)
    assert (task["retry_count"], len(music())) == (0, 1)


async def test_a_batch_goes_on_past_what_is_gone(site, opened, run, music):
    site.catalogue.fill_folder(media_id=9907, count=10, owner=FAN)
    entries = site.catalogue.folders[9907].entries
    for place, code in enumerate((-404, 62002, -403)):
        site.catalogue.add(replace(site.catalogue.videos[entries[place].number], play_code=code))
    entries[5] = replace(entries[5], attr=9)
    async with opened() as app:
        task = await run(app, "download_bilibili_audio", url="ml9907")
        assert (len(task["result"]["tasks"]), task["result"]["gone"]) == (9, 1)
        assert len(await app.list_tasks(state="failed")) == 3
    assert len(music()) == 6


async def test_a_signed_call_gets_new_keys_once_before_it_counts_as_risk(site, opened, run):
    async with opened() as app:
        await run(app, "sync_uploader", mid=20200)
        site.site.rotate_wbi_keys()
        site.requests.clear()
        task = await run(app, "sync_uploader", mid=20200)
        assert task["status"] == "completed"
        assert [request.path for request in site.asked("api")].count("/x/web-interface/nav") == 1
        site.fail("/x/space/wbi/arc/search", with_=Fault(code=-352), times=None)
        site.requests.clear()
        task_id = await app.queue.push_task({"type": "sync_uploader", "params": {"mid": 20200}})
        with anyio.fail_after(5):
            while (await app.get_task(task_id))["status"] != "scheduled":
                await anyio.sleep(0.01)
        assert len(site.asked(path="/x/space/wbi")) == 2
