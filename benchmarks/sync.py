"""A first and a second sync of 1,500 favourites, against the stand-in site in a process of its own.

    python benchmarks/sync.py [--items 1500] [--rounds 1] [--json]

The pace of calls is off (1,000 a second); everything else is as it ships: SQLite, four tasks at once, every file
downloaded, made a song with tags and cover, fsynced and recorded. Items are a second long: what is measured is the work
around the sound. Peak memory is that of the process with the application.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio
from _report import case, report

FOLDER = 9907
PACKAGES = ("musicq_async", "anyio", "httpx", "sqlalchemy", "av", "mutagen")


def serve(count: int) -> None:
    """Run the stand-in: tell the addresses, then answer each line with the calls since the last one."""
    from musicq_async.testing import StandInBilibili
    from musicq_async.testing.bilibili_catalogue import FAN

    async def main() -> None:
        async with StandInBilibili() as site:
            site.catalogue.fill_folder(media_id=FOLDER, count=count, owner=FAN)
            print(json.dumps(site.environment()), flush=True)
            while await anyio.to_thread.run_sync(sys.stdin.readline):
                print(json.dumps({"api": len(site.asked("api", "www"))}), flush=True)
                site.requests.clear()

    anyio.run(main)


def work(folder: str) -> None:
    """Sync once; print seconds, peak memory in MiB, the counts and how many songs there are."""
    import musicq_async

    async def main() -> dict[str, object]:
        settings = musicq_async.Settings(
            database_url=f"sqlite+aiosqlite:///{folder}/musicq.db", music_dir=f"{folder}/music", scheduler=False
        )
        async with musicq_async.open_musicq(settings) as app:
            before = time.perf_counter()
            task_id = await app.queue.push_task({"type": "sync_favourites", "params": {"media_id": FOLDER}})
            await app.run_until_idle()
            seconds = time.perf_counter() - before
            result = (await app.get_task(task_id))["result"]
            failed = [task["error_message"] for task in await app.list_tasks(state="failed", limit=1000)]
        songs = sum(path.suffix == ".m4a" for path in Path(folder, "music").iterdir())
        return {"seconds": seconds, "mib": peak(), "result": result, "failed": failed, "songs": songs}

    print(json.dumps(anyio.run(main)))


def peak() -> float:
    """Return the most memory that this process ever had, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("the peak of memory is read from /proc, which this system has not")


def measured(count: int) -> dict[str, float]:
    """Sync twice into a new folder; return the figures of both."""
    command = [sys.executable, __file__, "--items", str(count)]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([*command, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server,
    ):
        environment = os.environ | json.loads(server.stdout.readline())
        figures: dict[str, float] = {}
        for name in ("first", "second"):
            told = subprocess.run(
                [*command, "--work", folder], check=True, stdout=subprocess.PIPE, text=True, env=environment
            )
            done = json.loads(told.stdout)
            server.stdin.write("calls\n")
            server.stdin.flush()
            calls = json.loads(server.stdout.readline())["api"]
            wanted = done["result"]["new"] + done["result"]["known"]
            if done["failed"] or (name == "first" and done["songs"] != wanted):
                raise SystemExit(f"something went wrong: {done}")
            figures |= {f"{name} seconds": done["seconds"], f"{name} mib": done["mib"], f"{name} calls": calls}
            figures.setdefault("songs", wanted)
        server.stdin.close()
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.items)
        return 0
    if given.work:
        work(given.work)
        return 0
    runs = [measured(given.items) for _ in range(given.rounds)]

    def row(name: str, unit: str, figure, most: float) -> dict[str, object]:
        return case(name, {"musicq_async": [figure(run) for run in runs]}, unit=unit, targets=[("", "at most", most)])

    cases = [
        row(f"first sync of {given.items} favourites", "seconds", lambda run: run["first seconds"], 60),
        row("its peak of memory", "MiB", lambda run: run["first mib"], 200),
        row("its API calls", "calls a song", lambda run: run["first calls"] / run["songs"], 1.1),
        row("second sync, nothing new", "API calls", lambda run: run["second calls"], 3),
        row("second sync, nothing new", "seconds", lambda run: run["second seconds"], 60),
    ]
    return report("sync", cases, packages=PACKAGES, json_only=given.json)


if __name__ == "__main__":
    raise SystemExit(main())
