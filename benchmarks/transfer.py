"""One large file over loopback: ``download`` beside httpx's plain loop, curl and aria2c, in one run.

    python benchmarks/transfer.py [--mib 512] [--rounds 5] [--folder /tmp] [--json]

Every contender fetches the same file from the same server process, in turn, into the same folder. ``httpx`` is the
best its async client does here: ``aiter_raw`` with the write in line, and no fsync; ``httpx + fsync`` ends as
``download`` does, with the file safe on the disk. The longest stall of the event loop is measured by a task that asks
for a millisecond of sleep again and again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import anyio
import httpx

from musicq_async.media.sources import Source
from musicq_async.media.transfer import download
from musicq_async.settings import HttpSettings


def serve(path: str, ready: int) -> None:
    """Answer every request with the file, by sendfile; runs in a process of its own."""
    size = Path(path).stat().st_size
    listener = socket.create_server(("127.0.0.1", 0))
    os.write(ready, f"{listener.getsockname()[1]}\n".encode())
    os.close(ready)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection, path, size), daemon=True).start()


def answer(connection: socket.socket, path: str, size: int) -> None:
    with connection, Path(path).open("rb") as file:
        request = b""
        while b"\r\n\r\n" not in request:
            more = connection.recv(65536)
            if not more:
                return
            request += more
        connection.sendall(
            f'HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nETag: "1"\r\nConnection: close\r\n\r\n'.encode()
        )
        offset = 0
        try:
            while offset < size:
                offset += os.sendfile(connection.fileno(), file.fileno(), offset, min(1 << 20, size - offset))
        except ConnectionError:
            return


async def by_httpx(url: str, target: Path, *, sync: bool = False) -> None:
    async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", url) as response:
        with target.open("wb") as file:
            async for chunk in response.aiter_raw():
                file.write(chunk)
            if sync:
                file.flush()
                os.fsync(file.fileno())


async def by_musicq(url: str, target: Path) -> None:
    await download([Source(url=url)], target, http=HttpSettings(allow_private=True))


def measured(work, url: str, target: Path) -> dict[str, float]:
    """Run one contender on a fresh event loop; seconds, CPU seconds, longest stall in milliseconds."""
    stalls = [0.0]

    async def pulse() -> None:
        while True:
            before = time.perf_counter()
            await anyio.sleep(0.001)
            stalls.append(time.perf_counter() - before - 0.001)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pulse)
            await work(url, target)
            tasks.cancel_scope.cancel()

    before, cpu = time.perf_counter(), usage(resource.RUSAGE_SELF)
    anyio.run(main)
    return {
        "seconds": time.perf_counter() - before,
        "cpu": usage(resource.RUSAGE_SELF) - cpu,
        "stall_ms": max(stalls) * 1000,
    }


def by_program(command: list[str]) -> dict[str, float]:
    before, cpu = time.perf_counter(), usage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return {"seconds": time.perf_counter() - before, "cpu": usage(resource.RUSAGE_CHILDREN) - cpu}


def usage(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def contenders(url: str, target: Path):
    found = {
        "httpx": lambda: measured(by_httpx, url, target),
        "httpx + fsync": lambda: measured(lambda *way: by_httpx(*way, sync=True), url, target),
        "musicq download": lambda: measured(by_musicq, url, target),
    }
    if shutil.which("curl"):
        found["curl"] = lambda: by_program(["curl", "-s", "--noproxy", "*", "-o", str(target), url])
    if shutil.which("aria2c"):
        folder, name = str(target.parent), target.name
        found["aria2c"] = lambda: by_program(
            ["aria2c", "-q", "-x1", "--allow-overwrite", "-d", folder, "-o", name, url]
        )
    return found


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--mib", type=int, default=512)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--folder", default=None)
    arguments.add_argument("--json", action="store_true", help="print the document only")
    arguments.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.serve:
        serve(given.serve[0], int(given.serve[1]))
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        report = run(Path(folder), given.mib << 20, given.rounds)
    if not given.json:
        table(report)
    print(json.dumps(report))
    return 0 if report["passed"] else 1


def run(folder: Path, size: int, rounds: int) -> dict:
    source, target = folder / "source", folder / "target"
    block = os.urandom(1 << 20)
    with source.open("wb") as file:
        for _ in range(size >> 20):
            file.write(block)
    reading, writing = os.pipe()
    command = [sys.executable, __file__, "--serve", str(source), str(writing)]
    server = subprocess.Popen(command, pass_fds=[writing])
    os.close(writing)
    try:
        with os.fdopen(reading) as ready:
            url = f"http://127.0.0.1:{ready.readline().strip()}/file"
        runs: dict[str, list[dict[str, float]]] = {}
        ways = contenders(url, target)
        for number in range(rounds + 1):  # the first warms up and does not count
            for name, way in ways.items():
                target.unlink(missing_ok=True)
                os.sync()
                result = way()
                assert target.stat().st_size == size
                if number:
                    runs.setdefault(name, []).append(result)
    finally:
        server.kill()
        server.wait()
    return summary(runs, size, rounds)


def summary(runs: dict[str, list[dict[str, float]]], size: int, rounds: int) -> dict:
    rows = {}
    for name, results in runs.items():
        speeds = [size / 1e6 / result["seconds"] for result in results]
        rows[name] = {
            "mb_per_s": round(statistics.median(speeds), 1),
            "spread": [round(min(speeds), 1), round(max(speeds), 1)],
            "cpu_s_per_gb": round(statistics.median(result["cpu"] for result in results) / (size / 1e9), 3),
        }
        stalls = [result["stall_ms"] for result in results if "stall_ms" in result]
        if stalls:
            rows[name]["longest_stall_ms"] = round(statistics.median(stalls), 1)
    ratio = rows["musicq download"]["mb_per_s"] / rows["httpx"]["mb_per_s"]
    return {
        "benchmark": "transfer",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 1),
        "versions": {"python": platform.python_version(), "httpx": httpx.__version__, "anyio": version("anyio")},
        "mib": size >> 20,
        "rounds": rounds,
        "results": rows,
        "ratio_to_httpx": round(ratio, 3),
        "goal": "at least 0.95 x httpx's own aiter_raw with in-line writes; the loop never blocked over 20 ms",
        "passed": ratio >= 0.95 and rows["musicq download"]["longest_stall_ms"] <= 20,
    }


def version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def table(report: dict) -> None:
    print(f"{report['mib']} MiB over loopback, median of {report['rounds']}")
    print(f"{report['machine']}, load {report['load']}")
    print(f"{'':18}{'MB/s':>8}{'spread':>18}{'CPU s/GB':>10}{'stall ms':>10}")
    for name, row in report["results"].items():
        spread = f"{row['spread'][0]:.0f}-{row['spread'][1]:.0f}"
        stall = row.get("longest_stall_ms", "")
        print(f"{name:18}{row['mb_per_s']:>8.0f}{spread:>18}{row['cpu_s_per_gb']:>10.2f}{stall:>10}")
    print(f"ratio to httpx: {report['ratio_to_httpx']}; {'passed' if report['passed'] else 'FAILED'}: {report['goal']}")


if __name__ == "__main__":
    sys.exit(main())
