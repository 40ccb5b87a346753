"""The application as its users open it: tasks, schedules and songs, on a SQLite file and in memory."""

from __future__ import annotations

import itertools
import secrets
from contextlib import AsyncExitStack

import anyio
import pytest
from redis import Redis
from services import need

import musicq_async
from musicq_async.media.tags import read_tags
from musicq_async.testing import StandInBilibili

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["sqlite", "memory://", "redis"])
def settings(request, tmp_path):
    queue = {"memory://": {"queue_url": "memory://"}, "sqlite": {}}.get(request.param)
    if queue is None:
        queue = request.getfixturevalue("on_redis")()
    return musicq_async.Settings(
        database_url=f"sqlite+aiosqlite:///{tmp_path}/app.db", music_dir=str(tmp_path), **queue
    )


@pytest.fixture
def on_redis():
    """Give settings of a queue on Redis; each call those of another application, all of it gone in the end."""
    url = need("redis")
    word = f"musicq-test-{secrets.token_hex(6)}"
    numbers = itertools.count()
    yield lambda: {"queue_url": url, "redis": {"namespace": f"{word}-{next(numbers)}", "allow_volatile": True}}
    with Redis.from_url(url) as server:
        for key in server.scan_iter(f"*{word}*"):
            server.delete(key)


async def test_applications_with_different_namespaces_share_a_redis_and_nothing_else(on_redis, tmp_path, handlers):
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(
                musicq_async.open_musicq(
                    musicq_async.Settings(database_url=f"sqlite+aiosqlite:///{tmp_path}/{name}.db", **on_redis()),
                    handlers=handlers,
                )
            )
            for name in ("one", "two")
        ]
        task_id = await one.queue.push_task({"type": "double", "params": {"number": 1}})
        await one.queue.set_public("key", 1)
        await one.run_until_idle()
        assert (await one.get_task(task_id))["result"] == 2
        assert await two.get_task(task_id) is None
        assert await two.queue.get_public("key") is None


@pytest.fixture
def handlers():
    handlers = musicq_async.Handlers()

    @handlers.register("double")
    async def double(params):
        return params["number"] * 2

    @handlers.register("stumble", max_retries=0)
    def stumble(params):
        raise RuntimeError("no luck")

    return handlers


async def test_a_pushed_task_runs_and_its_result_is_kept(settings, handlers):
    async with musicq_async.open_musicq(settings, handlers=handlers) as app:
        task_id = await app.queue.push_task({"type": "double", "params": {"number": 21}, "note": "mine"})
        await app.run_until_idle()
        task = await app.get_task(task_id)
        assert (task["status"], task["result"], task["extra"]) == ("completed", 42, {"note": "mine"})
        assert await app.queue.get_public(f"task_{task_id}_status") == "completed"


async def test_a_failed_task_is_a_dead_letter_that_can_be_run_again(settings, handlers):
    async with musicq_async.open_musicq(settings, handlers=handlers) as app:
        task_id = await app.queue.push_task({"type": "stumble"})
        await app.run_until_idle()
        task = await app.get_task(task_id)
        assert (task["status"], task["error_message"]) == ("failed", "RuntimeError: no luck")
        assert await app.retry_task(task_id)
        await app.run_until_idle()
        assert len((await app.get_task(task_id))["errors"]) == 2


async def test_a_schedule_pushes_tasks_until_max_runs(settings, handlers):
    async with musicq_async.open_musicq(settings, handlers=handlers) as app:
        schedule = await app.scheduler.add_scheduler_task(
            name="n", task_type="double", schedule_type="interval", interval_seconds=1, params={"number": 1}, max_runs=1
        )
        with anyio.fail_after(10):
            while (await app.scheduler.get_task(schedule))["run_count"] < 1:
                await anyio.sleep(0.02)
        await app.run_until_idle()
        (task,) = await app.list_tasks()
        assert (task["scheduler_task_id"], task["result"]) == (schedule, 2)
        assert (await app.scheduler.get_task(schedule))["enabled"] is False


async def test_an_error_of_the_caller_comes_out_as_it_was_raised(settings):
    with pytest.raises(KeyError, match="mine"):
        async with musicq_async.open_musicq(settings):
            raise KeyError("mine")


async def test_tasks_outlive_the_application_on_sqlite(tmp_path, handlers):
    settings = musicq_async.Settings(database_url=f"sqlite+aiosqlite:///{tmp_path}/app.db", concurrency=0)
    async with musicq_async.open_musicq(settings) as app:
        task_id = await app.queue.push_task({"type": "double", "params": {"number": 4}})
    settings = musicq_async.Settings(database_url=f"sqlite+aiosqlite:///{tmp_path}/app.db")
    async with musicq_async.open_musicq(settings, handlers=handlers) as app:
        await app.run_until_idle()
        assert (await app.get_task(task_id))["result"] == 8


async def test_a_link_becomes_a_tagged_song_and_is_not_fetched_twice(tmp_path):
    async with StandInBilibili() as site:
        settings = musicq_async.Settings(
            database_url=f"sqlite+aiosqlite:///{tmp_path}/app.db", music_dir=str(tmp_path / "music"), **site.settings()
        )
        aid = next(iter(site.site.catalogue.videos))
        async with musicq_async.open_musicq(settings) as app:
            await app.queue.set_public("bilibili_cookie", site.cookie("member"))
            for status in ("ok", "skipped"):
                task_id = await app.queue.push_task(
                    {"type": "download_bilibili_audio", "params": {"bv_id": f"av{aid}"}}
                )
                await app.run_until_idle()
                task = await app.get_task(task_id)
                assert task["status"] == "completed", task["error_message"]
                assert task["result"]["status"] == status
        tagged = await read_tags(task["result"]["path"])
        assert (tagged.tags.title, tagged.tags.artists) == ("月光邮局", ("林小满",))
        assert tagged.cover is not None
        assert (tmp_path / "music" / "月光邮局 - 林小满.m4a").is_file()


async def test_a_scheduler_that_was_not_started_says_how_to_start_it(tmp_path):
    settings = musicq_async.Settings(database_url=f"sqlite+aiosqlite:///{(tmp_path / 'musicq.db').as_posix()}")
    with pytest.raises(musicq_async.NotRunning, match=r"await start\(\)"):
        await musicq_async.Scheduler(settings=settings).list_tasks()


async def test_the_process_wide_scheduler_pushes_to_the_process_wide_queue():
    scheduler = await musicq_async.get_scheduler()
    try:
        schedule = await scheduler.add_scheduler_task(
            name="n", task_type="ping", schedule_type="interval", interval_seconds=1, max_runs=1
        )
        task = await musicq_async.pop_task(timeout=5)
        assert (task["type"], task["scheduler_task_id"]) == ("ping", schedule)
    finally:
        await scheduler.stop()


@pytest.mark.parametrize("given", [{"settings": 5}, {"handlers": 5}, {"settings": {"concurrency": 1}}])
async def test_only_settings_and_handlers_open_an_application(given):
    with pytest.raises(musicq_async.UsageError, match="Settings"):
        async with musicq_async.open_musicq(**given):
            pass


async def test_a_wrong_queue_address_is_called_by_its_name(tmp_path):
    settings = musicq_async.Settings(database_url=f"sqlite+aiosqlite:///{tmp_path / 'a.db'}", queue_url="amqp://x")
    with pytest.raises(musicq_async.SettingsError, match="queue_url"):
        async with musicq_async.open_musicq(settings):
            pass


async def test_nodes_that_download_share_the_pace_of_the_account(tmp_path, monkeypatch):
    monkeypatch.setattr("musicq_async.engine.presence.BEAT", 0.05)
    url = f"sqlite+aiosqlite:///{tmp_path}/app.db"
    async with AsyncExitStack() as stack:
        one, two, _ = [
            await stack.enter_async_context(
                musicq_async.open_musicq(musicq_async.Settings(database_url=url, concurrency=concurrency))
            )
            for concurrency in (1, 1, 0)
        ]
        with anyio.fail_after(10):
            while (one.library.sharers, two.library.sharers) != (2, 2):
                await anyio.sleep(0.02)
    async with musicq_async.open_musicq(musicq_async.Settings(database_url=url)) as app:
        await anyio.sleep(0.2)
        assert app.library.sharers == 1
