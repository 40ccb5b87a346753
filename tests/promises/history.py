"""What a fault test saw, line by line in one file, and the verdict on it: lost, unexpected, duplicated, recovered.

Every process appends whole lines to the same file: `History.write` is one ``write`` to a file opened with O_APPEND, so
that a process that is killed leaves whole lines behind it. ``told`` says what each line means:

``push``, then one of ``pushed``, ``unknown`` (the answer was lost) and ``refused`` (nothing was stored)
``start``, ``effect``, ``done``
    a run began, had its effect on the world, and its completion was accepted
``killed``, ``warned``, ``took``, ``up``
    a process of ours was killed; a process warned; how many milliseconds a call took; a server is up again
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ANSWERS = ("pushed", "unknown", "refused")


class History:
    """The file; ``seed`` is printed when a verdict is bad, so that the run can be repeated."""

    def __init__(self, path: Path | str, *, seed: int = 0) -> None:
        self.path = Path(path)
        self.seed = seed
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, told: str, task_id: str = "", **more: Any) -> None:
        line = {"told": told, "id": task_id, "pid": os.getpid(), "at": time.time()} | more
        data = (json.dumps(line, ensure_ascii=False) + "\n").encode()
        assert os.write(self._descriptor, data) == len(data)

    def lines(self, *told: str) -> list[dict[str, Any]]:
        """What was written so far, of these kinds (none: all), in order."""
        with self.path.open(encoding="utf-8") as file:
            lines = [json.loads(line) for line in file if line.endswith("\n")]
        return [line for line in lines if line["told"] in told] if told else lines

    def ids(self, told: str) -> set[str]:
        return {line["id"] for line in self.lines(told)}

    def close(self) -> None:
        os.close(self._descriptor)

    def verdict(self, rows: Iterable[dict[str, Any]] | None = None) -> Verdict:
        """Judge what was written, against the tasks that are stored at the end if they are given."""
        return judge(self.lines(), rows, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is wrong, as lists of task ids, and what was counted."""

    lost: list[str]
    """Pushed, and without any effect; or not completed in the end, where the stored tasks were given."""
    unexpected: list[str]
    """Had an effect and was never pushed, or its push was refused; or stored and never pushed."""
    completed_twice: list[str]
    """Completions of more than one run were accepted."""
    failed: list[str]
    """Ended in ``failed`` or ``cancelled``; no test's handlers fail for good unless it says so."""
    duplicated: dict[str, int]
    """Had more than one effect, with how many too many. At least once allows that, after a crash."""
    recovered: list[str]
    """Of unknown fate at the push, and ran."""
    crashes: int
    """Leases that ran out and were taken back, by the stored tasks' own count."""
    pushed: int
    effects: int
    seed: int

    @property
    def duplicates(self) -> int:
        return sum(self.duplicated.values())

    def __str__(self) -> str:
        wrong = {name: getattr(self, name) for name in ("lost", "unexpected", "completed_twice", "failed")}
        shown = "; ".join(f"{len(ids)} {name}: {ids[:5]}" for name, ids in wrong.items() if ids) or "nothing wrong"
        return (
            f"{shown} (of {self.pushed} pushed; {self.effects} effects, {self.duplicates} duplicates, "
            f"{self.crashes} orphaned leases, {len(self.recovered)} recovered; seed {self.seed})"
        )

    def check(self) -> Verdict:
        """Fail the test unless nothing was lost, unexpected, failed or completed twice.

        Where the stored tasks were given, duplicates must not outnumber the orphaned leases either: a task may only
        run again because its worker was gone.
        """
        wrong = self.lost + self.unexpected + self.completed_twice + self.failed
        assert not wrong, str(self)
        assert self.crashes < 0 or self.duplicates <= self.crashes, f"too many duplicates: {self}"
        return self


def judge(lines: Iterable[dict[str, Any]], rows: Iterable[dict[str, Any]] | None = None, *, seed: int = 0) -> Verdict:
    """Compare what was asked for with what happened. ``rows`` are the stored tasks, as `MusicQ.get_task` shows them."""
    lines = list(lines)
    count: dict[str, Counter[str]] = {}
    for line in lines:
        count.setdefault(line["told"], Counter())[line["id"]] += 1
    attempted, effects, done = (count.get(told, Counter()) for told in ("push", "effect", "done"))
    pushed, unknown, refused = (set(count.get(told, ())) for told in ANSWERS)
    allowed = set(attempted) - (refused - pushed - unknown)
    lost = pushed - set(effects)
    unexpected = set(effects) - allowed
    failed: set[str] = set()
    crashes = -1
    if rows is not None:
        stored = {row["task_id"]: row for row in rows}
        failed = {task_id for task_id, row in stored.items() if row["status"] in {"failed", "cancelled"}}
        completed = {task_id for task_id, row in stored.items() if row["status"] == "completed"}
        lost |= (pushed | set(effects) | set(done)) - completed - failed
        unexpected |= set(stored) - allowed
        crashes = sum(row["crash_count"] for row in stored.values())
    return Verdict(
        lost=sorted(lost),
        unexpected=sorted(unexpected),
        completed_twice=sorted(task_id for task_id, times in done.items() if times > 1),
        failed=sorted(failed),
        duplicated={task_id: times - 1 for task_id, times in effects.items() if times > 1},
        recovered=sorted((set(attempted) - pushed - refused) & set(effects)),
        crashes=crashes,
        pushed=len(pushed),
        effects=effects.total(),
        seed=seed,
    )
