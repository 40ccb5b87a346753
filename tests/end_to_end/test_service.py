"""The service and the servers that it needs: waited for at start, and while it runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from services import start_postgres

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def read_until(process: subprocess.Popen[str], text: str, seconds: float = 30) -> str:
    """Read log lines until one holds the text; return that one."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        line = process.stderr.readline()
        if text in line:
            return line
        if not line and process.poll() is not None:
            break
    raise AssertionError(f"the service did not say {text!r}")


@posix
def test_a_database_that_is_away_at_start_is_waited_for_with_a_line_in_the_log(tmp_path):
    server = start_postgres()
    service = None
    try:
        server.stop()
        environment = os.environ | {
            "MUSICQ_DATABASE_URL": f"{server.url}/postgres",
            "MUSICQ_MUSIC_DIR": str(tmp_path / "music"),
            "MUSICQ_LOG__FILE": "",
        }
        service = subprocess.Popen(
            [sys.executable, "-m", "musicq_async"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=tmp_path,
            env=environment,
        )
        assert "cannot be reached" in read_until(service, "trying again")
        server.start()
        read_until(service, "workers")
        service.send_signal(signal.SIGTERM)
        _, errors = service.communicate(timeout=20)
        assert service.returncode == 0, errors
        assert "Traceback" not in errors
    finally:
        if service is not None:
            service.kill()
            service.communicate()
        server.remove()


@posix
def test_a_queue_that_is_away_at_start_is_waited_for_as_a_database_is(tmp_path):
    environment = os.environ | {
        "MUSICQ_DATABASE_URL": f"sqlite+aiosqlite:///{(tmp_path / 'musicq.db').as_posix()}",
        "MUSICQ_QUEUE_URL": "redis://127.0.0.1:1/0",
        "MUSICQ_MUSIC_DIR": str(tmp_path / "music"),
        "MUSICQ_LOG__FILE": "",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "musicq_async"], stderr=subprocess.PIPE, text=True, encoding="utf-8",
        cwd=tmp_path, env=environment,
    ) as service:  # fmt: skip
        try:
            assert "redis://127.0.0.1:1/0 cannot be reached" in read_until(service, "trying again")
            service.send_signal(signal.SIGTERM)
            assert service.wait(timeout=20) == 0
        finally:
            service.kill()


def test_a_run_that_is_to_end_does_not_wait_for_a_database(tmp_path):
    environment = os.environ | {"MUSICQ_DATABASE_URL": "postgresql+asyncpg://nobody@127.0.0.1:1/none"}
    done = subprocess.run(
        [sys.executable, "-m", "musicq_async", "run", "--drain"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=tmp_path,
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
