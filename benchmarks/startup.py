"""How long a fresh interpreter takes for ``import musicq_async``, ``--version`` and ``--help``, beside peers.

    python benchmarks/startup.py [--rounds 15] [--json]

Every figure is the wall time of a whole process, in milliseconds. An import is shown beside ``python -c pass``, which
is subtracted for its target; the processes take turns, and run in an empty folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from _report import arguments, case, report, take_turns

IMPORTED = ("apscheduler.schedulers.asyncio", "taskiq", "huey")
IMPORT_MS = 50.0


def process(*arguments: str, folder: str) -> Callable[[], float]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MUSICQ_")}

    def run() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        return (time.perf_counter() - began) * 1e3

    return run


def main() -> int:
    options = arguments(__doc__ or "", rounds=15)
    with tempfile.TemporaryDirectory() as folder:
        contenders = {
            "python -c pass": process("-c", "pass", folder=folder),
            "import musicq_async": process("-c", "import musicq_async", folder=folder),
            **{f"import {name}": process("-c", f"import {name}", folder=folder) for name in IMPORTED},
            "musicq --version": process("-m", "musicq_async", "--version", folder=folder),
            "musicq --help": process("-m", "musicq_async", "--help", folder=folder),
        }
        figures = take_turns(contenders, options.rounds)
    bare = figures["python -c pass"]
    alone = {
        name: [max(mine - base, 0.0) for mine, base in zip(values, bare, strict=True)]
        for name, values in figures.items()
        if name.startswith("import ")
    }
    cases = [
        case("whole processes", figures, unit="ms", ours="musicq --help"),
        case(
            "an import, over python -c pass",
            alone,
            unit="ms",
            ours="import musicq_async",
            targets=[("", "at most", IMPORT_MS), *((f"import {name}", "at most", 1.0) for name in IMPORTED)],
        ),
    ]
    packages = ["musicq_async", "click", "apscheduler", "taskiq", "huey"]
    return report("startup", cases, packages=packages, json_only=options.json)


if __name__ == "__main__":
    sys.exit(main())
