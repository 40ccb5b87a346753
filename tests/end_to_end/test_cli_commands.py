"""The commands on a real database, called in this process."""

from __future__ import annotations

import sqlite3
import wave

import pytest


def test_a_task_from_push_to_its_result(musicq):
    first = musicq("push", "test_task", "--params", '{"message": "玉盘"}', "--priority", "5").line
    assert musicq("push", "test_task", "--id", "mine", "--max-retries", "0", "--timeout", "1m").line == "mine"
    musicq("push", "test_task", "--id", "later", "--delay", "1h")
    listed = musicq("tasks", "--json").json
    assert [task["task_id"] for task in listed] == ["later", "mine", first]
    assert listed[1]["timeout_seconds"] == 60
    assert listed[1]["max_retries"] == 0
    assert [task["task_id"] for task in musicq("tasks", "--json", "--state", "scheduled").json] == ["later"]
    assert [task["task_id"] for task in musicq("tasks", "--json", "--limit", "1", "--after", "later").json] == ["mine"]
    assert musicq("tasks", "--json", "--type", "other").json == []
    assert musicq("cancel", "later", "--reason", "enough").line == "later is cancelled"
    assert musicq("cancel", "later").line == "later is cancelled already"
    musicq("run", "--drain", "--no-scheduler", "--concurrency", "2")
    assert musicq("task", first, "--json").json["result"] == "玉盘"
    shown = musicq("task", first).out
    assert "completed" in shown
    assert "玉盘" in shown
    assert musicq("tasks").out.splitlines()[0].split("\t")[:3] == ["later", "test_task", "cancelled"]


def test_a_failed_task_shows_why_and_runs_again(musicq, home):
    (home / "flaky_handlers.py").write_text(
        "import os, musicq_async\n"
        "handlers = musicq_async.Handlers()\n"
        "@handlers.register('flaky', max_retries=0)\n"
        "def flaky(params):\n"
        "    if not os.path.exists('mended'):\n"
        "        raise ValueError('broken {braces}')\n"
    )
    musicq("push", "flaky", "--id", "a", "--max-retries", "0")
    musicq("push", "flaky", "--id", "b", "--max-retries", "0")
    log = musicq("run", "--drain", "--handlers", "flaky_handlers:handlers").err
    assert log.count("failed: ValueError: broken {braces}") == 2
    shown = musicq("task", "a").out
    assert "failed" in shown
    assert "attempt 1" in shown
    assert "broken {braces}" in shown
    (home / "mended").touch()
    assert musicq("retry", "a").line == "a is pending again"
    assert "only failed and cancelled" in musicq("retry", "a", code=1).err
    assert musicq("retry", "--all", "--type", "other").line == "0 retried"
    assert musicq("retry", "--all").line == "1 retried"
    musicq("run", "--drain", "--handlers", "flaky_handlers")
    assert {task["status"] for task in musicq("tasks", "--json").json} == {"completed"}
    text = (home / "musicq.log").read_text("utf-8")
    assert "task_id=a" in text
    assert "attempt=1" in text


def test_a_drain_says_what_it_leaves_for_later(musicq):
    assert "nothing is left to do" in musicq("run", "--drain").err
    musicq("push", "test_task", "--delay", "3600")
    musicq("push", "nobodys")
    assert "2 unfinished" in musicq("run", "--drain").err


def test_a_schedule_from_add_to_delete(musicq):
    number = musicq("schedule", "add", "new songs", "--type", "test_task", "--every", "1h", "--params", '{"a": 1}').line
    cron = ("--cron", "0 2 * * *", "--timezone", "Asia/Shanghai", "--max-runs", "3", "--paused")
    more = ("--overlap", "skip", "--coalesce", "all", "--misfire-window", "1h", "--jitter", "5s", "--priority", "2")
    rest = ("--max-retries", "1", "--timeout", "90", "--start-at", "+1d", "--end-at", "+2d", "--description", "d")
    musicq("schedule", "add", "nightly", "--type", "test_task", *cron, *more, *rest)
    musicq("schedule", "add", "then", "--type", "test_task", "--at", "2030-12-31T20:00Z")
    listed = {each["name"]: each for each in musicq("schedule", "list", "--json").json}
    hourly, nightly, once = listed["new songs"], listed["nightly"], listed["then"]
    assert hourly["params"] == {"a": 1}
    assert hourly["interval_seconds"] == 3600
    wanted = {"overlap": "skip", "coalesce": "all", "misfire_window": 3600, "jitter": 5, "priority": 2}
    wanted |= {"max_retries": 1, "timeout_seconds": 90, "max_runs": 3, "description": "d", "timezone": "Asia/Shanghai"}
    assert {name: nightly[name] for name in wanted} == wanted
    assert not nightly["enabled"]
    assert once["execute_at"] == 1_924_977_600
    assert {each["name"] for each in musicq("schedule", "list", "--json", "--enabled").json} == {"new songs", "then"}
    assert musicq("schedule", "show", number, "--json").json["name"] == "new songs"
    assert "every 1 h" in musicq("schedule", "show", "new songs").out
    soon, later = musicq("schedule", "next", "new songs", "--count", "2", "--json").json
    assert later - soon == 3600
    assert len(musicq("schedule", "next", number).out.splitlines()) == 5
    assert "is paused" in musicq("schedule", "pause", "new songs").line
    assert "runs again" in musicq("schedule", "resume", number).line
    pushed = musicq("schedule", "run-now", number).line
    assert musicq("task", pushed, "--json").json["scheduler_task_id"] == number
    assert "is deleted" in musicq("schedule", "delete", "new songs").line
    assert musicq("schedule", "show", number, code=3).err.count("\n") == 1
    assert {row.split("\t")[3] for row in musicq("schedule", "list").out.splitlines()} == {"paused", "enabled"}


def test_two_schedules_of_one_name_are_told_apart_by_id(musicq):
    for _ in range(2):
        musicq("schedule", "add", "same", "--type", "t", "--every", "1h")
    assert "use an id" in musicq("schedule", "pause", "same", code=2).err


@pytest.mark.parametrize(
    "arguments",
    [
        ("task", "nobody"),
        ("cancel", "nobody"),
        ("retry", "nobody"),
        ("schedule", "show", "nobody"),
        ("schedule", "pause", "nobody"),
        ("schedule", "delete", "nobody"),
        ("schedule", "run-now", "nobody"),
        ("schedule", "next", "nobody"),
    ],
)
def test_what_is_not_there_is_named_with_code_3(musicq, arguments):
    answer = musicq(*arguments, code=3)
    assert "nobody" in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("push", ""),
        ("push", " "),
        ("push", "\u3000\t"),
        ("push", "t", "--id", "x" * 37),
        ("schedule", "add", "n", "--type", "t", "--every", "0"),
        ("schedule", "add", "n", "--type", "t", "--cron", "0 0 31 2 *"),
        ("schedule", "add", "n", "--type", "t", "--cron", "every day"),
        ("schedule", "add", "n", "--type", "t", "--every", "1h", "--timezone", "Moon/Base"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_code_2(musicq, arguments):
    assert musicq(*arguments, code=2).err.count("\n") == 1
    assert musicq("tasks", "--json").json == musicq("schedule", "list", "--json").json == []


def test_a_task_id_is_used_once(musicq):
    musicq("push", "t", "--id", "same")
    assert "same" in musicq("push", "t", "--id", "same", code=1).err


def test_a_task_is_not_pushed_into_a_memory_that_ends_with_the_command(musicq):
    assert "memory://" in musicq("push", "t", "--queue-url", "memory://", code=2).err


def test_the_database_can_be_named_on_the_command_line(musicq, home):
    other = f"sqlite+aiosqlite:///{(home / 'other.db').as_posix()}"
    assert "is up to date" in musicq("db", "upgrade", "--database-url", other).line
    musicq("push", "t", "--database-url", other, "--id", "there")
    assert musicq("tasks", "--json").json == []
    assert musicq("tasks", "--json", "--database-url", other).json[0]["task_id"] == "there"


@pytest.mark.parametrize(
    "url", ["mysql+aiomysql://me:cli-canary-91@127.0.0.1:9/db", "nonsense", "sqlite+aiosqlite:///{}/"]
)
def test_a_database_that_cannot_be_used_is_one_line_without_the_password(musicq, home, url):
    answer = musicq("tasks", "--database-url", url.format(home), code=2 if url == "nonsense" else 1)
    assert answer.err.count("\n") == 1
    assert "canary" not in answer.err


def test_doctor_finds_what_is_wrong(musicq, home, monkeypatch):
    monkeypatch.setenv("MUSICQ_BILIBILI__COOKIE", "SESSDATA=doctor-canary-12")
    well = musicq("doctor")
    assert "BAD" not in well.out
    assert "canary" not in well.out
    musicq("push", "nobody_handles_this")
    findings = musicq("doctor", "--json", code=1).json
    assert all(set(each) == {"name", "ok", "message", "cure", "optional"} for each in findings)
    (bad,) = [each for each in findings if not each["ok"] and not each["optional"]]
    assert "nobody_handles_this" in bad["message"]
    assert bad["cure"]


def test_doctor_names_what_cannot_be_written_or_opened(musicq, home, monkeypatch):
    (home / "taken").write_text("")
    monkeypatch.setenv("MUSICQ_MUSIC_DIR", str(home / "taken" / "music"))
    monkeypatch.setenv("MUSICQ_DATABASE_URL", "mysql+aiomysql://me:cli-canary-92@127.0.0.1:9/db")
    answer = musicq("doctor", code=1)
    assert answer.out.count("BAD") == 2
    assert "canary" not in answer.out + answer.err
    assert "could not be opened" not in answer.err


def test_a_newer_database_is_refused_at_once(musicq, home):
    musicq("db", "upgrade")
    with sqlite3.connect(home / "musicq.db") as database:
        database.execute("UPDATE musicq_version SET version_num = 'from_the_future'")
    database.close()
    assert "newer" in musicq("tasks", code=1).err


def test_files_are_converted(musicq, home):
    pytest.importorskip("av")
    with wave.open(str(home / "tone.wav"), "wb") as tone:
        tone.setparams((1, 2, 8000, 0, "NONE", ""))
        tone.writeframes(b"\x00\x10" * 8000)
    (home / "noise.wav").write_bytes(b"no sound at all")
    assert musicq("convert", "tone.wav", "--to", "flac").line == str(home / "tone.flac")
    answer = musicq(
        "convert", "tone.wav", "noise.wav", "missing.wav", "--to", "mp3", "--bitrate", "64k", "--json", code=4
    )
    assert [item["status"] for item in answer.json["items"]] == ["ok", "failed", "failed"]
    assert "missing.wav" in answer.err
    assert musicq("convert", "missing.wav", "--to", "mp3", code=1).out == ""
    assert "bitrate" in musicq("convert", "tone.wav", "--to", "mp3", "--bitrate", "loud", code=2).err
    assert "tape" in musicq("convert", "tone.wav", "--to", "tape", code=2).err
    assert musicq("convert", "tone.wav", "--to", "small", "--output", "out/").line == str(home / "out" / "tone.opus")
    both = musicq("convert", "tone.wav", "tone.flac", "--to", "mp3", "--output", "both", "--replace").out
    assert both.splitlines() == [str(home / "both" / "tone.mp3"), str(home / "both" / "tone (2).mp3")]
    assert not (home / "tone.wav").exists()
    assert not (home / "tone.flac").exists()
