"""Nodes that a test starts, kills and pauses; whatever happens, none outlives its test."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import anyio
from promises.history import History

import musicq_async


class Fleet:
    """Processes of `promises.node` on one database, or on a Redis with a SQLite file for the schedules."""

    def __init__(self, url: str, folder: Path, *, seed: int | None = None, **settings: Any) -> None:
        self.seed = random.randrange(10**6) if seed is None else seed
        self.draw = random.Random(self.seed)
        self.history = History(folder / "history.jsonl", seed=self.seed)
        stores = {"database_url": url}
        if url.startswith("redis"):
            stores = {"database_url": f"sqlite+aiosqlite:///{folder / 'schedules.db'}", "queue_url": url}
        self.settings: dict[str, Any] = stores | {"scheduler": False, "poll_interval": 0.2} | settings
        self.pids: list[int] = []

    def __enter__(self) -> Self:
        tests = Path(__file__).parents[1]
        self._forker = subprocess.Popen(
            [sys.executable, "-m", "promises.node"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(tests)},
        )
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._forker.pid, signal.SIGKILL)
        self._forker.wait()
        assert self._forker.stdin is not None
        assert self._forker.stdout is not None
        self._forker.stdin.close()
        self._forker.stdout.close()
        self.history.close()

    def start(self, *, settings: dict[str, Any] | None = None, **options: Any) -> int:
        """Start a node; return its process id."""
        line = {"history": str(self.history.path), "settings": self.settings | (settings or {}), "seed": self.seed}
        assert self._forker.stdin is not None
        assert self._forker.stdout is not None
        self._forker.stdin.write(json.dumps(line | options) + "\n")
        self._forker.stdin.flush()
        pid = int(self._forker.stdout.readline())
        self.pids.append(pid)
        return pid

    def kill(self, pid: int) -> None:
        """Kill -9, and wait until it is gone."""
        if self.lives(pid):
            os.kill(pid, signal.SIGKILL)
            self.history.write("killed", killed=pid)
        while self.lives(pid):
            time.sleep(0.002)
        if pid in self.pids:
            self.pids.remove(pid)

    @staticmethod
    def lives(pid: int) -> bool:
        try:
            return os.getpgid(pid) > 0
        except ProcessLookupError:
            return False

    async def until(self, is_so: Callable[[], Any], seconds: float = 30) -> None:
        """Wait until something is so; broken nodes are told of."""
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, f"not so after {seconds} s (seed {self.seed}): {self.troubles()}"
            await anyio.sleep(0.03)

    def troubles(self) -> list[str]:
        return [line["text"] for line in self.history.lines("broke", "warned")][-5:]

    def application(self, *, workers: int = 0, ahead: float = 0.0, **options: Any) -> Any:
        """Open the application in this process: by default to look and push only."""
        from promises.node import AheadClock, NodeOptions, handlers_of

        settings = musicq_async.Settings(**self.settings | {"concurrency": workers} | options)
        handlers = handlers_of(self.history, NodeOptions(history="", settings={}, name="here"))
        return musicq_async.open_musicq(settings, handlers=handlers, clock=AheadClock(ahead))

    async def push(self, app: Any, count: int, *, prefix: str = "t", task_type: str = "work") -> list[str]:
        """Push tasks by the hundred."""
        ids = [f"{prefix}{number:05}" for number in range(count)]
        for start in range(0, count, 100):
            part = ids[start : start + 100]
            for task_id in part:
                self.history.write("push", task_id)
            await app.queue.push_many([{"type": task_type, "task_id": task_id} for task_id in part])
            for task_id in part:
                self.history.write("pushed", task_id)
        return ids

    async def finished(self, app: Any, seconds: float = 60) -> float:
        """Wait until nothing is left to do; return how many seconds that took."""
        began = time.monotonic()
        while (
            await app.list_tasks(state="pending", limit=1)
            or await app.list_tasks(state="running", limit=1)
            or (await app.list_tasks(state="scheduled", limit=1))
        ):
            took = time.monotonic() - began
            assert took < seconds, f"unfinished after {seconds} s (seed {self.seed}): {self.troubles()}"
            await anyio.sleep(0.05)
        return time.monotonic() - began

    async def rows(self, app: Any) -> list[dict[str, Any]]:
        """Every stored task."""
        rows: list[dict[str, Any]] = []
        while page := await app.list_tasks(limit=500, after=rows[-1]["task_id"] if rows else None):
            rows += page
        return rows
