"""Backups, exports and imports: what was on one database goes on on another."""

from __future__ import annotations

import json
import secrets
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import time_machine
from redis import Redis
from services import fresh_database, need

import musicq_async
from musicq_async.cli import exit_code
from musicq_async.errors import BackendError, UsageError

pytestmark = pytest.mark.anyio

SONG = "どうして… - 葫芦童声 🎵"


@pytest.fixture
def here(tmp_path):
    return f"sqlite+aiosqlite:///{tmp_path / 'here.db'}"


@pytest.fixture(params=["sqlite", "mysql", "postgresql", "memory", "another sqlite", "redis"])
def there(request: pytest.FixtureRequest, tmp_path) -> Iterator[dict[str, Any]]:
    """Settings of the database and the queue that things move to."""
    file = f"sqlite+aiosqlite:///{tmp_path / 'there.db'}"
    match request.param:
        case "sqlite":
            yield {"url": file}
        case "memory":
            yield {"url": file, "queue_url": "memory://"}
        case "another sqlite":
            yield {"url": file, "queue_url": f"sqlite+aiosqlite:///{tmp_path / 'queue.db'}"}
        case "redis":
            namespace = f"musicq-test-{secrets.token_hex(6)}"
            yield {
                "url": file, "queue_url": need("redis"), "redis": {"namespace": namespace, "allow_volatile": True},
            }  # fmt: skip
            with Redis.from_url(need("redis")) as server:
                server.delete(*server.keys(f"*{namespace}*"))
        case server:
            with fresh_database(server) as url:
                yield {"url": url}


def opened(url: str, tmp_path, *, queue_url: str = "", **given):
    settings = musicq_async.Settings(
        database_url=url, queue_url=queue_url, music_dir=tmp_path / "music", **{"scheduler": False, **given}
    )
    handlers = musicq_async.Handlers()
    handlers.register("sing", lambda params: params["song"], max_retries=0)

    @handlers.register("fails", max_retries=0)
    def fails(params):
        raise ValueError("no")

    return musicq_async.open_musicq(settings, handlers=handlers)


async def fill(app) -> dict[str, str]:
    ids = {
        "done": await app.queue.push_task({"type": "sing", "params": {"song": SONG}}),
        "dead": await app.queue.push_task({"type": "fails", "params": {"song": SONG}}),
    }
    await app.run_until_idle()
    await app.queue.pause_type("sing")
    ids["waiting"] = await app.queue.push_task(
        {"type": "sing", "params": {"song": SONG}, "delay": 0.01, "unique_key": "k", "why": "later"}
    )
    ids["schedule"] = await app.scheduler.add_scheduler_task(
        name=SONG, task_type="sing", schedule_type="interval", interval_seconds=3600, params={"song": SONG}
    )
    await app.queue.set_public("for ever", {"song": SONG})
    await app.queue.set_public("an hour", 1, ttl=3600)
    return ids


async def test_everything_moves_to_another_database_and_goes_on_there(here, there, tmp_path) -> None:
    file = tmp_path / "all.jsonl"
    async with opened(here, tmp_path) as app:
        ids = await fill(app)
        before = [await app.get_task(ids[name]) for name in ("done", "dead")]
        counts = await app.export(file)
        schedule = await app.scheduler.get_task(ids["schedule"])
    assert counts["task"] == 3
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    async with opened(tmp_path=tmp_path, **there) as app:
        assert (await app.restore(file))["task"] == 3
        again = await app.restore(file)
        assert {kind: count for kind, count in again.items() if kind != "paused"} == dict.fromkeys(
            set(again) - {"paused"}, 0
        )
        assert [await app.get_task(ids[name]) for name in ("done", "dead")] == before
        assert await app.scheduler.get_task(ids["schedule"]) == schedule
        assert await app.queue.get_public("for ever") == {"song": SONG}
        assert await app.queue.get_public("an hour") == 1
        assert await app.queue.paused_types() == ["sing"]
        assert await app.queue.push_task({"type": "sing", "unique_key": "k"}) == ids["waiting"]
        await app.queue.resume_type("sing")
        assert await app.queue.retry_failed() == 1
        await app.run_until_idle()
        waiting = await app.get_task(ids["waiting"])
        assert (waiting["status"], waiting["result"], waiting["extra"]) == ("completed", SONG, {"why": "later"})
        assert (await app.get_task(ids["dead"]))["status"] == "failed"
        back = await app.export(tmp_path / "back.jsonl")
        assert back["value"] >= 2
    async with opened(f"sqlite+aiosqlite:///{tmp_path / 'home.db'}", tmp_path) as app:
        assert (await app.restore(tmp_path / "back.jsonl"))["value"] == back["value"]
        assert await app.queue.get_public("for ever") == {"song": SONG}
        with time_machine.travel(time.time() + 3601):
            assert await app.queue.get_public("an hour") is None
            assert await app.queue.get_public("for ever") == {"song": SONG}


async def test_a_backup_of_a_database_in_use_is_a_database(here, tmp_path) -> None:
    copy = tmp_path / "copy.db"
    async with opened(here, tmp_path) as app:
        ids = await fill(app)
        await app.backup(copy)
        with pytest.raises(UsageError, match="exists already"):
            await app.backup(copy)
    if sys.platform != "win32":
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    async with opened(f"sqlite+aiosqlite:///{copy}", tmp_path) as app:
        assert (await app.get_task(ids["done"]))["result"] == SONG
        await app.queue.push_task({"type": "sing", "params": {"song": "new"}})
    assert not list(tmp_path.glob("*.part"))


async def test_a_backup_that_cannot_be_written_says_so_and_leaves_nothing(here, tmp_path) -> None:
    async with opened(here, tmp_path) as app:
        with pytest.raises(BackendError, match="could not be written"):
            await app.backup(tmp_path / "no folder" / "copy.db")


async def test_only_a_sqlite_file_is_backed_up(tmp_path) -> None:
    with fresh_database("postgresql") as url:
        async with opened(url, tmp_path) as app:
            with pytest.raises(UsageError, match="own tools"):
                await app.backup(tmp_path / "copy.db")


WRONG = {
    "nothing": b"",
    "another file": b"hello\n",
    "another JSON": b"[1]\n",
    "a newer format": b'{"musicq_export": 99}\n',
    "no JSON in line 2": b'{"musicq_export": 1}\n{"kind": "ta\n',
    "an unknown kind": b'{"musicq_export": 1}\n{"kind": "song", "row": {}}\n',
    "a task without an id": b'{"musicq_export": 1}\n{"kind": "task", "row": {"task_type": "x"}}\n',
    "a row that is none": b'{"musicq_export": 1}\n{"kind": "value", "row": 5}\n',
    "a row without its key": b'{"musicq_export": 1}\n{"kind": "value", "row": {"value": "1"}}\n',
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG.keys())
async def test_a_wrong_file_is_refused(here, tmp_path, content) -> None:
    file = tmp_path / "wrong"
    file.write_bytes(content)
    async with opened(here, tmp_path) as app:
        with pytest.raises(UsageError):
            await app.restore(file)


def test_the_command_line_moves_a_database(here, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUSICQ_MUSIC_DIR", str(tmp_path / "music"))
    other = f"sqlite+aiosqlite:///{tmp_path / 'other.db'}"
    assert exit_code(["push", "sing", "--database-url", here]) == 0
    assert exit_code(["db", "backup", "copy.db", "--database-url", here]) == 0
    with sqlite3.connect("copy.db") as connection:
        assert connection.execute("SELECT count(*) FROM task_queue").fetchone() == (1,)
    connection.close()
    assert exit_code(["db", "export", "all.jsonl", "--database-url", here]) == 0
    assert exit_code(["db", "export", "all.jsonl", "--database-url", here]) == 2
    assert exit_code(["db", "import", "all.jsonl", "--database-url", other]) == 0
    capsys.readouterr()
    assert exit_code(["tasks", "--json", "--database-url", other]) == 0
    (task,) = json.loads(capsys.readouterr().out)
    assert (task["task_type"], task["status"]) == ("sing", "pending")
    assert exit_code(["db", "import", "nothing.jsonl", "--database-url", other]) == 2
    assert exit_code(["pause", "sing", "--database-url", other]) == 0
    assert exit_code(["nodes", "--json", "--database-url", other]) == 0
    assert msgspec.json.decode(capsys.readouterr().out.strip().splitlines()[-1]) == []
