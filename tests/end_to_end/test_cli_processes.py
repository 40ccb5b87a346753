"""The command line as processes: what it loads, how it is stopped, what a terminal shows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

COMMAND = [sys.executable, "-m", "musicq_async"]
LINK = "BV1XB3668Er3"

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals of POSIX")


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8"} | environment,
    )


def wait_for(stream, text: str) -> None:
    """Read lines until one holds the text."""
    for line in stream:
        if text in line:
            return
    raise AssertionError(f"the process ended without {text!r}")


def ended(process: subprocess.Popen[str], number: int) -> tuple[int, str, float]:
    """Send a signal; return the exit code, what stderr still said, and the seconds that it took."""
    began = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    return process.returncode, errors, time.monotonic() - began


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["schedule", "add", "--help"], ["nonsense"]])
def test_help_loads_nothing_heavy(arguments):
    program = (
        "import sys\nfrom musicq_async.cli import exit_code\n"
        f"exit_code({arguments})\n"
        "heavy = {'sqlalchemy', 'httpx', 'rich', 'loguru', 'av', 'anyio', 'asyncio', 'alembic', 'croniter'}\n"
        "sys.exit(repr(sorted(heavy & set(sys.modules))) if heavy & set(sys.modules) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr


def test_the_demo_brings_songs_to_a_folder_and_says_so(home):
    pytest.importorskip("av")
    import mutagen

    demo = start("demo", "--to", str(home / "demo"))
    told, errors = demo.communicate(timeout=30)
    assert demo.returncode == 0, errors
    assert errors == ""
    files = [path for path in (home / "demo" / "music").iterdir() if path.suffix in {".m4a", ".flac", ".mka"}]
    assert len(files) >= 8
    assert f"{len(files)} songs in" in told
    assert str(home / "demo" / "music") in told
    assert "fire" in told
    for path in files:
        song = mutagen.File(path, easy=True)
        assert song["title"]
        assert song["artist"]
        assert song.info.length > 1
        assert song["title"][0] in told
    assert not (home / "music").exists()


@posix
def test_ctrl_c_at_any_stage_of_the_demo_is_quiet_and_leaves_nothing(home):
    pytest.importorskip("av")
    (home / "temporary").mkdir()
    for stage in ("site", "open", "fire", "list", "song"):
        demo = start("demo", TMPDIR=str(home / "temporary"))
        wait_for(demo.stdout, stage)
        code, errors, took = ended(demo, signal.SIGTERM if stage == "fire" else signal.SIGINT)
        assert (stage, code, errors) == (stage, 130, "")
        assert took < 5
    assert list((home / "temporary").iterdir()) == []


HANDLERS = """
import asyncio, time, musicq_async
handlers = musicq_async.Handlers()

@handlers.register("deaf")
async def deaf(params):
    while True:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            pass

@handlers.register("stuck")
def stuck(params):
    time.sleep(60)
"""


@posix
def test_the_service_stops_when_asked_and_at_once_when_asked_twice(home, musicq):
    (home / "stubborn.py").write_text(HANDLERS)
    busy = f"sqlite+aiosqlite:///{home / 'busy.db'}"
    for kind in ("deaf", "stuck"):
        musicq("push", kind, "--database-url", busy)
    idle = start("run", "--concurrency", "200")
    working = start("run", "--handlers", "stubborn", "--database-url", busy, MUSICQ_LOG__LEVEL="DEBUG")
    wait_for(idle.stderr, "200 workers")
    code, errors, took = ended(idle, signal.SIGTERM)
    assert code == 0
    assert "stopped" in errors
    assert took < 3  # 1.5 s on a machine with nothing else to do
    for _ in range(2):
        wait_for(working.stderr, "started")
    working.send_signal(signal.SIGINT)
    wait_for(working.stderr, "stopping")
    code, errors, took = ended(working, signal.SIGINT)
    assert code == 130
    assert took < 1.5  # 0.5 s, likewise
    assert "Traceback" not in errors
    states = {task["task_type"]: task["status"] for task in musicq("tasks", "--json", "--database-url", busy).json}
    assert set(states.values()) <= {"pending", "running"}


@posix
def test_a_reader_that_leaves_is_no_error(home, musicq):
    for number in range(3):
        musicq("push", "t", "--id", str(number), "--params", json.dumps({"text": "x" * 50_000}))
    listing = start("tasks", "--json")
    listing.stdout.close()
    with listing:
        assert listing.stderr.read() == ""
    assert listing.returncode == 1


@posix
@pytest.mark.anyio
async def test_a_download_draws_bars_on_a_terminal_and_prints_lines_and_json_elsewhere(home):
    pytest.importorskip("av")
    from musicq_async.testing import StandInBilibili

    async with StandInBilibili() as site:
        plain = os.environ | site.environment(cookie="SESSDATA=terminal-canary-3") | {"PYTHONIOENCODING": "utf-8"}
        arguments = [*COMMAND, "download", LINK, "BV1xx411c7XZ", "--to", str(home / "songs")]
        code, shown = await anyio.to_thread.run_sync(on_a_terminal, arguments, plain | {"TERM": "xterm-256color"})
        assert code == 4
        assert "━" in shown
        assert "\x1b[?25h" in shown
        assert "failed: BV1xx411c7XZ: WorkGone" in shown
        assert "1 ok, 1 failed" in shown
        again = await anyio.run_process([*arguments, "--json"], env=plain, check=False)
        lone = await anyio.run_process([*COMMAND, "download", "BV1xx411c7XZ"], env=plain, check=False)
    assert again.returncode == 4
    assert lone.returncode == 1
    good, bad = json.loads(again.stdout)["items"]
    assert set(good) == set(bad) == FIELDS
    assert good["status"] == "skipped"
    assert Path(good["path"]).is_file()
    assert (bad["status"], bad["error"], bad["path"]) == ("failed", "WorkGone", None)
    assert "\x1b" not in again.stderr.decode()
    assert "canary" not in shown + again.stderr.decode() + again.stdout.decode()


FIELDS = {"link", "bvid", "cid", "status", "path", "title", "artists", "codec", "quality", "error", "message"}


def on_a_terminal(arguments: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run a program in a pseudo-terminal; return its exit code and all that it showed."""
    import pty

    ours, theirs = pty.openpty()
    with subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the terminal has hung up: the program has ended
                break
            shown += piece
        os.close(ours)
        return process.wait(), shown.decode("utf-8", "replace")
