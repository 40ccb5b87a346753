"""No secret is seen anywhere: a service runs on marked sessions, everything that can go wrong does, and all is scanned.

One session stands in the environment, one in the public store, one in the cookie file: each has a value of its own, with
characters that are written differently quoted and unquoted.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote, unquote

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from musicq_async.bilibili.cookie_file import CookieFile
from musicq_async.bilibili.credentials import parse_cookie
from musicq_async.testing import Fault, StandInBilibili
from musicq_async.testing.bilibili_catalogue import FAN

pytest.importorskip("av")

COMMAND = [sys.executable, "-m", "musicq_async"]
PLACES = ("env", "store", "file")

HANDLERS = """
import logging, os, urllib.parse
import musicq_async
from musicq_async.errors import TaskFailed

handlers = musicq_async.Handlers()

def spelled(value):
    return f"{value} | {urllib.parse.unquote(value)} | {urllib.parse.quote(value)} | {value!r}"

@handlers.register("leak_setting", max_retries=0)
def leak_setting(params):
    cookie = os.environ.get("MUSICQ_BILIBILI__COOKIE", "")
    logging.getLogger("mine").warning("sending %s", spelled(cookie))
    int(cookie or "none")

@handlers.register("leak_session", max_retries=0)
async def leak_session(params, context):
    cookie = await context.queue.get_public("bilibili_cookie") or open(os.environ["MUSICQ_BILIBILI__COOKIE_FILE"]).read()
    await context.progress(1, 2, "with " + cookie)
    raise TaskFailed(spelled(cookie))

@handlers.register("group", max_retries=0)
async def group(params, context):
    raise ExceptionGroup("several", [ValueError(spelled(os.environ.get("MUSICQ_BILIBILI__COOKIE", "")))])
"""


@pytest.fixture(scope="module")
def portal():
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def site(portal):
    with portal.wrap_async_context_manager(StandInBilibili()) as site:
        yield site


def session(site, place: str) -> str:
    """Begin a session whose value is easy to find; return its Cookie header."""
    value = f"canary-{place}-7f3a,1999999999,c0*ffee={place}"
    site.site.sessions[value] = FAN
    site.site.csrf[value] = f"canarycsrf{place}0123456789"
    return site.site.cookie(FAN, value)


def spellings(header: str) -> set[bytes]:
    """Every way in which the values of a Cookie header could be written, the user's public number aside."""
    values = [pair.partition("=")[2] for pair in header.split("; ") if not pair.startswith("DedeUserID=")]
    found = {spelling for value in values for spelling in (value, unquote(value), quote(unquote(value), safe=""))}
    found |= {quote(spelling) for spelling in found} | {spelling.replace("%2C", "%2c") for spelling in found}
    return {spelling.encode() for spelling in found} | {b"canary-", b"canarycsrf", b"canarytoken"}


class ProcessList:
    """Reads the command lines of all processes again and again, as anybody on the machine may."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes())
                except OSError:
                    continue
            time.sleep(0.02)


def run(*arguments: str, environment: dict[str, str]) -> bytes:
    """Run a command to its end; return all that it printed."""
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, env=environment, timeout=90, stdin=subprocess.DEVNULL, check=False
    )
    return done.stdout + done.stderr


def stored(home: Path, *, but: str = "public_store") -> bytes:
    """Return all that the database holds as text, the public store aside: it is where a session may be kept."""
    with sqlite3.connect(home / "musicq.db") as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert but in names
        rows = [row for name in names if name != but for row in database.execute(f'SELECT * FROM "{name}"')]
    database.close()
    return repr(rows).encode()


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
@pytest.mark.parametrize("place", PLACES)
def test_a_session_is_seen_nowhere_whatever_goes_wrong(home, site, musicq, place):
    header = session(site, place)
    (home / "leaky.py").write_text(HANDLERS)
    environment = os.environ | site.environment() | {
        "PYTHONIOENCODING": "utf-8",
        "MUSICQ_LOG__LEVEL": "DEBUG",
        "MUSICQ_TRACEBACK": "1",
        "MUSICQ_BILIBILI__COOKIE_FILE": str(home / "session"),
    }  # fmt: skip
    if place == "env":
        environment["MUSICQ_BILIBILI__COOKIE"] = header
    if place == "file":
        anyio.run(lambda: CookieFile(home / "session").save(parse_cookie(header + "; ac_time_value=canarytoken99")))
    if place == "store":
        keep_in_store(home, header)
    first, *others = site.catalogue.videos.values()
    site.fail("/x/web-interface/view", with_=Fault(body=b"not json " + header.encode()), times=1)
    site.fail(f"*{others[0].parts[0].cid}*", with_=Fault(status=403, body=header.encode()), times=None)
    tasks = [
        ("download_bilibili_audio", f'{{"url": "av{first.aid}"}}'),
        ("download_bilibili_audio", f'{{"url": "av{others[0].aid}"}}'),
        ("download_bilibili_audio", '{"url": "BV1xx411c7mD"}'),
        ("download_bilibili_audio", f'{{"url": "{others[1].bvid}"}}'),
        ("download_audio", '{"url": "http://127.0.0.1:9/x.mp3"}'),
        ("convert_format", '{"input": "none.mp3", "output": "flac"}'),
        ("leak_setting", "{}"),
        ("leak_session", "{}"),
        ("group", "{}"),
    ]
    for number, (kind, params) in enumerate(tasks):
        options = ("--id", f"t{number}", "--max-retries", "0", "--priority", str(number))
        musicq("push", kind, "--params", params, *options)
    with ProcessList() as processes:
        printed = run("run", "--drain", "--handlers", "leaky", "--concurrency", "1", environment=environment)
        site.fail("*", with_=Fault(status=412), times=None, host="api")
        printed += run("download", first.bvid, "BV1nothing11", environment=environment)
        commands = [["whoami"], ["doctor"], ["task", "t7"], ["tasks", "--json"]]
        for command in commands if place == "env" else commands[:1]:
            printed += run(*command, environment=environment)
    assert printed.count(b"Traceback") >= 1
    states = {task["task_id"]: task["status"] for task in musicq("tasks", "--json").json}
    assert states["t3"] == "completed"
    assert set(states.values()) == {"completed", "failed"}
    assert any(b"SESSDATA" in request.headers.get("cookie", "").encode() for request in site.asked("api"))
    assert not any("cookie" in request.headers for request in site.asked("cdn", "backup", "image", "short"))
    logs = b"".join(path.read_bytes() for path in home.glob("*.log*"))
    raw = b"".join(path.read_bytes() for path in home.glob("musicq.db*")) if place != "store" else b""
    music = b"".join(path.read_bytes() for path in (home / "music").rglob("*") if path.is_file())
    names = "\n".join(map(str, home.rglob("*"))).encode()
    scanned = {
        "printed": printed, "log": logs, "tables": stored(home), "database files": raw, "songs": music,
        "file names": names, "process list": b"\n".join(processes.seen),
    }  # fmt: skip
    for what, content in scanned.items():
        found = [spelling for spelling in spellings(header) if spelling in content]
        if found:
            at = content.index(found[0])
            pytest.fail(f"{what} shows {found[0]!r}: ...{content[max(0, at - 300) : at + 100]!r}")
    assert len(printed) > 1000
    assert len(logs) > 1000


def keep_in_store(home: Path, header: str) -> None:
    """Put a session into the public store, in a process of its own that takes it from stdin."""
    program = (
        "import asyncio, sys, musicq_async\n"
        "async def main():\n"
        "    async with musicq_async.open_musicq(musicq_async.Settings(concurrency=0, scheduler=False)) as app:\n"
        "        await app.queue.set_public('bilibili_cookie', sys.stdin.read())\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program], input=header.encode(), check=True, timeout=60, cwd=home)
