"""The checker itself: it must find every kind of wrong in histories that are made up to hold it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from promises.history import History, judge

TESTS = Path(__file__).parents[1]


def lines(*told: str) -> list[dict]:
    """``"push a"`` and so on."""
    return [dict(zip(("told", "id"), each.split(), strict=True)) for each in told]


def row(task_id, status="completed", crash_count=0):
    return {"task_id": task_id, "status": status, "crash_count": crash_count}


GOOD = lines("push a", "pushed a", "start a", "effect a", "done a")


def test_a_history_without_faults_is_clean():
    verdict = judge(GOOD, [row("a")]).check()
    assert (verdict.pushed, verdict.effects, verdict.duplicates, verdict.crashes) == (1, 1, 0, 0)


@pytest.mark.parametrize(
    ("more", "rows", "name"),
    [
        (["push b", "pushed b"], None, "lost"),
        (["push b", "pushed b", "start b"], None, "lost"),
        (["push b", "pushed b", "start b", "effect b"], [row("a"), row("b", "running")], "lost"),
        (["push b", "pushed b", "start b", "effect b", "done b"], [row("a"), row("b", "pending")], "lost"),
        (["push b", "pushed b", "start b", "effect b", "done b"], [row("a")], "lost"),
        (["push b", "unknown b", "start b", "effect b"], [row("a"), row("b", "running")], "lost"),
        (["push b", "start b", "effect b"], [row("a")], "lost"),
        (["start b", "effect b"], None, "unexpected"),
        (["push b", "refused b", "start b", "effect b"], None, "unexpected"),
        ([], [row("a"), row("b", "pending")], "unexpected"),
        (["push b", "refused b"], [row("a"), row("b", "pending")], "unexpected"),
        (["start a", "effect a", "done a"], None, "completed_twice"),
        ([], [row("a", "failed")], "failed"),
        ([], [row("a", "cancelled")], "failed"),
    ],
)
def test_each_kind_of_wrong_is_found_named_and_told_with_the_seed(more, rows, name):
    verdict = judge(GOOD + lines(*more), rows, seed=77)
    assert getattr(verdict, name) == ["a" if name in {"completed_twice", "failed"} else "b"]
    with pytest.raises(AssertionError, match=rf"1 {name}.*seed 77"):
        verdict.check()


def test_a_task_that_runs_again_after_its_worker_was_gone_is_a_duplicate_and_no_more():
    again = GOOD[:-1] + lines("start a", "effect a", "done a")
    verdict = judge(again, [row("a", crash_count=1)]).check()
    assert verdict.duplicated == {"a": 1}
    with pytest.raises(AssertionError, match="too many duplicates"):
        judge(again, [row("a")], seed=1).check()


def test_a_push_of_unknown_fate_may_have_happened_or_not():
    verdict = judge(
        GOOD + lines("push b", "unknown b", "start b", "effect b", "done b", "push c", "unknown c", "push d"),
        [row("a"), row("b")],
    ).check()
    assert verdict.recovered == ["b"]


def test_a_refused_push_that_was_tried_again_with_success_is_expected():
    judge(GOOD + lines("push b", "refused b", "push b", "pushed b", "start b", "effect b", "done b")).check()


def test_processes_that_write_at_once_and_are_killed_leave_whole_lines(tmp_path):
    history = History(tmp_path / "history", seed=5)
    script = (
        "import sys, time; from promises.history import History; history = History(sys.argv[1])\n"
        "while True: history.write('effect', sys.argv[2], text='盘' * 50); time.sleep(0.0005)"
    )
    command = [sys.executable, "-c", script, str(history.path)]
    writers = [subprocess.Popen([*command, name], env=os.environ | {"PYTHONPATH": str(TESTS)}) for name in "abc"]
    try:
        until = time.monotonic() + 20
        while history.ids("effect") != {"a", "b", "c"} and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    assert history.path.read_bytes().endswith(b"\n")
    assert history.verdict().unexpected == ["a", "b", "c"]
    history.close()
