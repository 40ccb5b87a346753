"""What becomes of a task: every decision against the drawing, and laws that hold for any history."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicq_async.model import lifecycle
from musicq_async.model.lifecycle import (
    KEPT_ERRORS,
    LONGEST_SNOOZE,
    TRANSITIONS,
    Change,
    cancel,
    release,
    retry,
    settle,
)
from musicq_async.model.outcome import Cancellation, Crash, Failure, Interruption, Snooze, Success
from musicq_async.model.task import FINISHED, ErrorRecord, Task, TaskState

NOW = 1_767_225_600_000
S = TaskState
DRAWN = {
    "scheduled": {"pending", "cancelled"},
    "pending": {"running", "cancelled"},
    "running": {"completed", "failed", "cancelled", "scheduled", "pending"},
    "failed": {"pending", "scheduled"},
    "cancelled": {"pending", "scheduled"},
    "completed": set(),
}
"""Where the arrows of the drawing go, read off by hand."""
BY_BACKENDS = {(S.SCHEDULED, S.PENDING), (S.PENDING, S.RUNNING)}
"""What the passing of time and a claim do: no decision, and so not in this module."""
COUNTERS = ("retry_count", "crash_count", "snooze_count", "interrupt_count")


def task(status=S.RUNNING, **fields):
    made = {"task_id": "t", "task_type": "work", "params": {}, "position": 1, "created_at": NOW // 1000}
    return Task(**(made | {"status": status} | fields))


def error(kind="ValueError", message="no"):
    return ErrorRecord(time=NOW, attempt=1, type=kind, message=message)


def settled(task, outcome, **options):
    return settle(task, outcome, **({"now_ms": NOW, "draw": 0.5, "max_crashes": 3} | options))


def after(task, change: Change) -> Task:
    """The task as a backend keeps it after a change."""
    return msgspec.structs.replace(task, **msgspec.structs.asdict(change))


counts = st.integers(0, 30)
errors = st.builds(error, st.text(max_size=5), st.text(max_size=5))
outcomes = st.one_of(
    st.builds(Success, st.sampled_from([None, 1, {"a": [1]}])),
    st.builds(Failure, error=errors, retryable=st.booleans(), retry_after=st.none() | st.floats(-5, 1e9)),
    st.builds(Snooze, st.floats(-1e9, 1e12)),
    st.builds(Cancellation, st.none() | st.text(max_size=5)),
    st.just(Interruption()),
    st.builds(Crash),
)
histories = st.fixed_dictionaries(
    {
        **dict.fromkeys(COUNTERS, counts),
        "max_retries": counts,
        "errors": st.lists(errors, max_size=KEPT_ERRORS).map(tuple),
        "cancel_requested_ms": st.none() | st.just(NOW - 5),
        "cancel_reason": st.none() | st.text(max_size=5),
        "error_message": st.none() | st.text(max_size=5),
        "run_at_ms": st.none() | st.integers(0, 2**45),
    }
)
draws = st.floats(0, 1, exclude_max=True)
states = st.sampled_from(TaskState)


def test_the_transitions_are_those_of_the_drawing():
    assert {(S(a), S(b)) for a, targets in DRAWN.items() for b in targets} == TRANSITIONS
    assert set(DRAWN) == set(TaskState)
    for state in TaskState:
        assert state.value in (lifecycle.__doc__ or "")


def test_every_arrow_is_made_by_some_decision_and_no_decision_makes_another():
    made = set()
    requests = [{}, {"cancel_requested_ms": NOW}]
    tries = [{"max_retries": 0}, {"max_retries": 3}]
    ends = [
        *(Success(), Snooze(5), Cancellation(), Interruption(), Crash()),
        *(Failure(error=error(), retryable=retryable) for retryable in (True, False)),
    ]
    for fields, asked, outcome, most in itertools.product(tries, requests, ends, (1, 3)):
        made.add((S.RUNNING, settled(task(**fields, **asked), outcome, max_crashes=most).status))
    for state in TaskState:
        for change in (
            cancel(task(state), now_ms=NOW, reason=None),
            retry(task(state), now_ms=NOW),
            retry(task(state), now_ms=NOW, run_at_ms=NOW + 1),
            release(task(state, waits="completed"), {S.FAILED: 1}, now_ms=NOW),
            release(task(state, waits="finished"), {S.FAILED: 1}, now_ms=NOW),
        ):
            if change is not None and change.status is not state:
                made.add((state, change.status))
    assert made == TRANSITIONS - (BY_BACKENDS - {(S.SCHEDULED, S.PENDING)})


@given(histories, outcomes, draws, st.integers(1, 5))
def test_settling_goes_only_where_the_drawing_goes_and_takes_nothing_back(history, outcome, draw, most):
    before = task(**history)
    change = settled(before, outcome, draw=draw, max_crashes=most)
    assert (S.RUNNING, change.status) in TRANSITIONS
    rises = [getattr(change, name) - getattr(before, name) for name in COUNTERS]
    assert all(rise in {0, 1} for rise in rises)
    assert sum(rises) <= 1
    assert (change.completed_at is not None) is (change.status in FINISHED)
    assert (change.run_at_ms is not None) is (change.status is S.SCHEDULED)
    if change.run_at_ms is not None:
        assert change.run_at_ms >= NOW
    assert len(change.errors) <= KEPT_ERRORS
    added = 1 if isinstance(outcome, Failure | Crash) else 0
    kept = change.errors[:-1] if added else change.errors
    assert kept == (before.errors[-KEPT_ERRORS + 1 :] if added else before.errors)


@given(histories, outcomes, draws)
def test_a_task_that_was_asked_to_stop_never_runs_again(history, outcome, draw):
    asked = task(**(history | {"cancel_requested_ms": NOW - 5, "cancel_reason": "enough"}))
    change = settled(asked, outcome, draw=draw)
    if isinstance(outcome, Success):
        assert change.status is S.COMPLETED
    else:
        assert change.status is S.CANCELLED
        assert change.cancel_requested_ms == NOW - 5
        assert change.cancel_reason
    assert change.status is not S.FAILED


def test_a_task_that_was_asked_to_stop_does_not_snooze_on():
    assert settled(task(cancel_requested_ms=NOW - 5), Snooze(3)).status is S.CANCELLED


@given(histories, outcomes, draws)
def test_what_is_settled_can_be_cancelled_and_run_again_by_hand(history, outcome, draw):
    ended = after(task(**history), settled(task(**history), outcome, draw=draw))
    stopped = cancel(ended, now_ms=NOW + 1, reason="no more")
    assert stopped is not None
    if ended.is_finished:
        assert after(ended, stopped) == ended, "cancelling what is finished changes nothing"
    else:
        assert stopped.status is S.CANCELLED
        assert stopped.cancel_reason == "no more"
    again = retry(after(ended, stopped), now_ms=NOW + 2)
    if ended.status is S.COMPLETED:
        assert again is None
        return
    assert again is not None
    assert (again.status, again.retry_count, again.crash_count) == (S.PENDING, 0, 0)
    assert (again.cancel_requested_ms, again.completed_at, again.error_message) == (None, None, None)
    assert again.errors == ended.errors, "the history stays"


@given(states, histories)
def test_a_running_task_is_asked_and_the_others_are_cancelled_at_once(state, history):
    change = cancel(task(state, **history), now_ms=NOW, reason="r")
    assert (change is None) is (state is S.RUNNING)
    if change is not None:
        assert change.status is (state if state in FINISHED else S.CANCELLED)


@given(histories, draws)
def test_retries_are_spent_one_by_one_and_then_the_task_has_failed(history, draw):
    now = task(**(history | {"retry_count": 0, "cancel_requested_ms": None}))
    for spent in range(now.max_retries):
        change = settled(now, Failure(error=error(), retryable=True), draw=draw)
        assert (change.status, change.retry_count) == (S.SCHEDULED, spent + 1)
        assert 900 <= change.run_at_ms - NOW <= 600_000
        now = msgspec.structs.replace(after(now, change), status=S.RUNNING)
    change = settled(now, Failure(error=error(), retryable=True), draw=draw)
    assert (change.status, change.error_message) == (S.FAILED, "ValueError: no")


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_task_that_kills_its_workers_is_given_up(most):
    now = task(max_retries=9)
    for crashes in range(1, most):
        change = settled(now, Crash(), max_crashes=most)
        assert (change.status, change.crash_count, change.retry_count) == (S.PENDING, crashes, 0)
        now = msgspec.structs.replace(after(now, change), status=S.RUNNING)
    change = settled(now, Crash(), max_crashes=most)
    assert (change.status, change.crash_count) == (S.FAILED, most)
    assert "Crash" in change.error_message


def test_snoozes_and_interruptions_spend_no_attempt():
    for outcome in (Snooze(3), Interruption()):
        now = task(max_retries=0)
        for _ in range(5):
            now = msgspec.structs.replace(after(now, settled(now, outcome)), status=S.RUNNING)
        assert (now.attempt, now.errors) == (1, ())


@pytest.mark.parametrize(("seconds", "waits"), [(-3, 0), (0, 0), (1.5, 1500), (1e15, LONGEST_SNOOZE * 1000)])
def test_a_snooze_is_never_in_the_past_nor_for_ever(seconds, waits):
    assert settled(task(), Snooze(seconds)).run_at_ms == NOW + waits


def test_a_failure_that_no_retry_can_mend_fails_at_once():
    change = settled(task(max_retries=9), Failure(error=error("LoginRequired", "log in"), retryable=False))
    assert (change.status, change.retry_count, change.error_message) == (S.FAILED, 0, "LoginRequired: log in")


@given(st.dictionaries(states, st.integers(0, 3)), st.sampled_from(["finished", "completed"]))
def test_a_task_that_waits_for_others_goes_on_when_all_have_finished(members, waits):
    change = release(task(S.SCHEDULED, waits=waits), members, now_ms=NOW)
    unfinished = sum(count for state, count in members.items() if state not in FINISHED)
    unlucky = members.get(S.FAILED, 0) + members.get(S.CANCELLED, 0)
    if unfinished:
        assert change is None
    elif unlucky and waits == "completed":
        assert change.status is S.CANCELLED
    else:
        assert change.status is S.PENDING


def test_a_task_that_waits_for_its_time_is_not_released():
    assert release(task(S.SCHEDULED, waits="finished", run_at_ms=NOW + 5), {}, now_ms=NOW) is None
    assert release(task(S.SCHEDULED), {}, now_ms=NOW) is None
    assert release(task(S.PENDING, waits="finished"), {}, now_ms=NOW) is None
