"""What every `TaskQueue` does, on every backend."""

from __future__ import annotations

import anyio
import msgspec
import pytest
from backends import terms

from musicq_async.errors import DuplicateTask, LeaseLost
from musicq_async.model.lifecycle import cancel, retry, settle
from musicq_async.model.outcome import Cancellation, Crash, Failure, Interruption, Snooze, Success
from musicq_async.model.task import ErrorRecord, NewTask, TaskState
from musicq_async.ports import TaskFilter

pytestmark = pytest.mark.anyio


def failure(message: str = "it broke", *, retryable: bool = True, attempt: int = 1) -> Failure:
    error = ErrorRecord(time=1, attempt=attempt, type="ValueError", message=message, traceback="line 1\nline 2")
    return Failure(error=error, retryable=retryable)


# Push


async def test_a_pushed_task_is_stored_as_it_was_given(bench) -> None:
    task = NewTask(
        task_id="full",
        task_type="work",
        params={"list": [1, 2.5, None, True, {"deep": "值"}], "big": 2**63 - 1, "": ""},
        priority=-3,
        max_retries=7,
        timeout_seconds=1.5,
        group_key="g",
        unique_key="u",
        scheduler_task_id="s1",
        fire_at=1_700_000_000,
        extra={"note": "🎵", "n": [1]},
    )
    assert await bench.queue.push([task]) == [None]
    stored = await bench.stored("full")
    for name in NewTask.__struct_fields__:
        assert getattr(stored, name) == getattr(task, name), name
    assert stored.status is TaskState.PENDING
    assert abs(stored.created_at - bench.clock.time()) < 5


async def test_an_unknown_id_is_none(bench) -> None:
    assert await bench.queue.get("nobody") is None


async def test_a_known_id_is_refused_and_nothing_of_its_push_is_stored(bench) -> None:
    await bench.push("a")
    with pytest.raises(DuplicateTask, match="'a'"):
        await bench.queue.push([bench.task("b"), bench.task("a"), bench.task("c")])
    assert await bench.queue.get("b") is None
    assert await bench.queue.get("c") is None


async def test_an_id_twice_in_one_push_is_refused(bench) -> None:
    with pytest.raises(DuplicateTask):
        await bench.queue.push([bench.task("a"), bench.task("a")])
    assert await bench.queue.get("a") is None


async def test_known_ids_are_left_alone_where_asked(bench) -> None:
    await bench.push("a", params={"first": True})
    pushed = [bench.task("b"), bench.task("a", params={"first": False}), bench.task("b")]
    assert await bench.queue.push(pushed, ignore_known=True) == [None, "a", "b"]
    assert (await bench.stored("a")).params == {"first": True}


async def test_a_finished_task_keeps_its_id_taken(bench) -> None:
    await bench.push("a")
    await bench.settle((await bench.claim())[0], Success())
    with pytest.raises(DuplicateTask):
        await bench.push("a")


async def test_no_tasks_are_no_push(bench) -> None:
    assert await bench.queue.push([]) == []


async def test_of_many_pushes_at_once_with_one_id_one_wins(bench) -> None:
    other = await bench.another()
    wins: list[str] = []

    async def push(queue, number: int) -> None:
        try:
            await queue.push([bench.task("same", params={"n": number}), bench.task(f"with-{number}")])
        except DuplicateTask:
            return
        wins.append(f"with-{number}")

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(push, (bench.queue, other)[number % 2], number)
    assert len(wins) == 1
    assert {task.task_id for task in await bench.queue.find(TaskFilter())} == {"same", wins[0]}


async def test_a_refused_push_does_not_hurt_those_beside_it(bench) -> None:
    await bench.push("taken")
    results: dict[str, object] = {}

    async def push(name: str) -> None:
        try:
            results[name] = await bench.queue.push([bench.task(name)])
        except DuplicateTask as error:
            results[name] = type(error)

    async with anyio.create_task_group() as group:
        for name in ("x", "taken", "y", "taken", "z"):
            group.start_soon(push, name)
    assert results == {"x": [None], "y": [None], "z": [None], "taken": DuplicateTask}


NAMES = [
    "玉盘 - 葫芦童声",
    "どうして… (为什么)",
    "BV1xx411c7XZ",
    "BV1XX411C7xz",
    "カ",
    "ガ",
    "か",
    "ß",
    "ss",
    "…",
    "...",
    "🎵",
    "🎶",
    "é",
    "e\u0301",
    "a b",
    "a  b",
    "A",
    "a",
    "%",
    "_",
    "\\",
    "'; --",
    '"',
    "𠮷野家",
]


async def test_ids_that_a_collation_may_mix_up_are_different_tasks(bench) -> None:
    await bench.push(*NAMES)
    for name in NAMES:
        assert (await bench.stored(name)).task_id.encode() == name.encode()
    assert await bench.names() == NAMES


async def test_texts_come_back_byte_for_byte(bench) -> None:
    texts = [*NAMES, "trailing  ", " leading", "tab\tline\nend\r\n", "\x01\x7f", "x" * 300]
    await bench.push("a", task_type="型 🎵", params={"texts": texts} | {text: text for text in texts})
    lease = (await bench.claim())[0]
    assert lease.task.params["texts"] == texts
    assert list(lease.task.params) == ["texts", *texts]
    assert lease.task.task_type == "型 🎵"
    await bench.settle(lease, Success({"texts": texts}))
    assert (await bench.stored("a")).result == {"texts": texts}


async def test_params_of_two_megabytes_come_back_whole(bench) -> None:
    params = {"text": "盘" * 500_000, "quotes": "'\"\\" * 100_000, "list": list(range(50_000))}
    await bench.push("large", params=params)
    assert (await bench.claim())[0].task.params == params


# Claim


async def test_a_claim_lends_the_first_and_says_so(bench) -> None:
    await bench.push("a", "b")
    before = bench.clock.time_ms()
    lease = (await bench.claim(1, owner="node-1", seconds=7))[0]
    stored = await bench.stored("a")
    assert lease.task.task_id == "a"
    assert (stored.status, stored.lease_owner) == (TaskState.RUNNING, "node-1")
    assert before + 7000 <= (stored.lease_until_ms or 0) <= bench.clock.time_ms() + 7000
    assert abs((stored.started_at or 0) - bench.clock.time()) < 5
    assert (lease.task.status, lease.task.attempt) == (TaskState.RUNNING, 1)
    assert await bench.names() == ["b"]
    assert await bench.names() == []


async def test_tasks_go_by_priority_then_first_in_first_out_across_types(bench) -> None:
    await bench.push("late", priority=5, task_type="b")
    await bench.push("n1", task_type="a")
    await bench.push("n2", task_type="b")
    await bench.push("n3", task_type="a")
    await bench.push("soon", priority=-5, task_type="c")
    assert await bench.names(2) == ["soon", "n1"]
    assert await bench.names(2) == ["n2", "n3"]
    assert await bench.names() == ["late"]


async def test_tasks_of_one_push_keep_their_order(bench) -> None:
    names = [f"n{number:03}" for number in range(50, 0, -1)]
    await bench.push(*names)
    assert await bench.names(20) == names[:20]
    assert await bench.names(100) == names[20:]


async def test_only_the_asked_types_are_lent(bench) -> None:
    for number, task_type in enumerate(["a", "b", "c", "a", "b", "c"]):
        await bench.push(f"{task_type}{number}", task_type=task_type)
    assert await bench.names(types=frozenset({"a", "c", "unheard of"})) == ["a0", "c2", "a3", "c5"]
    assert await bench.names(types=frozenset()) == []
    assert await bench.names(types=frozenset({"A", "B"})) == []
    assert await bench.names() == ["b1", "b4"]


async def test_nothing_waits_nothing_is_lent(bench) -> None:
    assert await bench.claim() == []
    assert await bench.claim(types=frozenset({"work"})) == []


async def test_claimers_at_once_never_get_the_same_task_and_leave_none(bench) -> None:
    await bench.push(*[f"n{number:03}" for number in range(200)])
    queues = [bench.queue] * 4 + [await bench.another()] * 4
    taken: list[str] = []

    async def claimer(number: int) -> None:
        while leases := await queues[number].claim(terms(owner=f"w{number}"), 7):
            taken.extend(lease.task.task_id for lease in leases)

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(claimer, number)
    assert sorted(taken) == [f"n{number:03}" for number in range(200)]


async def test_claims_at_once_share_what_there_is(bench) -> None:
    await bench.push(*[f"n{number}" for number in range(6)])
    shares: list[list[str]] = []

    async def claimer(limit: int) -> None:
        shares.append(await bench.names(limit))

    async with anyio.create_task_group() as group:
        for limit in (2, 1, 2, 5):
            group.start_soon(claimer, limit)
    assert sorted(name for share in shares for name in share) == [f"n{number}" for number in range(6)]
    assert sorted(map(len, shares)) == [1, 1, 2, 2]


# Settle


async def test_success_keeps_the_result(bench) -> None:
    await bench.push("a")
    await bench.settle((await bench.claim())[0], Success({"rows": [1, "二", None]}))
    stored = await bench.stored("a")
    assert (stored.status, stored.result) == (TaskState.COMPLETED, {"rows": [1, "二", None]})
    assert stored.completed_at is not None
    assert (stored.lease_owner, stored.lease_until_ms, stored.lease_token) == (None, None, None)


@pytest.mark.parametrize("result", [None, False, 0, "", [], {}, "text", 1.5])
async def test_any_json_is_a_result(bench, result) -> None:
    await bench.push("a")
    await bench.settle((await bench.claim())[0], Success(result))
    assert (await bench.stored("a")).result == result


async def test_many_settle_at_once_each_with_its_own_outcome(bench) -> None:
    await bench.push(*[f"n{number:02}" for number in range(60)])
    leases = await bench.claim(60)

    async def end(number: int, lease) -> None:
        outcome = (Success({"n": number}), Success(), failure(f"no {number}"), Snooze(number))[number % 4]
        await bench.settle(lease, outcome)

    async with anyio.create_task_group() as group:
        for number, lease in enumerate(leases):
            group.start_soon(end, number, lease)
    for number in range(60):
        stored = await bench.stored(f"n{number:02}")
        if number % 4 < 2:
            assert (stored.status, stored.result) == (TaskState.COMPLETED, {"n": number} if number % 4 == 0 else None)
        elif number % 4 == 2:
            assert (stored.status, stored.retry_count) == (TaskState.SCHEDULED, 1)
            assert stored.error_message == f"ValueError: no {number}"
            assert stored.errors[0].message == f"no {number}"
            assert stored.errors[0].traceback == "line 1\nline 2"
        else:
            assert (stored.status, stored.snooze_count, stored.retry_count) == (TaskState.SCHEDULED, 1, 0)


async def test_the_last_failure_ends_in_failed_with_its_history(bench) -> None:
    await bench.push("a", max_retries=1)
    await bench.settle((await bench.claim())[0], failure("one"))
    bench.clock.advance(10)
    await bench.queue.promote()
    await bench.settle((await bench.claim())[0], failure("two", attempt=2))
    stored = await bench.stored("a")
    assert (stored.status, stored.error_message) == (TaskState.FAILED, "ValueError: two")
    assert [(error.attempt, error.message) for error in stored.errors] == [(1, "one"), (2, "two")]


async def test_an_interrupted_task_is_first_in_line_again(bench) -> None:
    await bench.push("a", "b")
    await bench.settle((await bench.claim(1))[0], Interruption())
    stored = await bench.stored("a")
    assert (stored.status, stored.interrupt_count, stored.retry_count) == (TaskState.PENDING, 1, 0)
    assert await bench.names() == ["a", "b"]


async def test_messages_that_databases_dislike_are_kept_readable(bench) -> None:
    await bench.push("a", max_retries=0)
    await bench.settle((await bench.claim())[0], failure("nul \x00, half \ud800, emoji 🎵, " + "long " * 30_000))
    stored = await bench.stored("a")
    assert stored.status is TaskState.FAILED
    assert "emoji 🎵" in (stored.error_message or "")
    assert "emoji 🎵" in stored.errors[0].message


# Fences


async def test_a_lease_that_was_settled_is_over(bench) -> None:
    await bench.push("a")
    lease = (await bench.claim())[0]
    await bench.settle(lease, Success(1))
    with pytest.raises(LeaseLost):
        await bench.settle(lease, Success(2))
    with pytest.raises(LeaseLost):
        await bench.queue.report(lease, {"done": 1})
    assert (await bench.queue.heartbeat([lease], seconds=5)).lost == {"a"}
    assert (await bench.stored("a")).result == 1


async def test_a_stale_worker_is_refused_after_another_took_over(bench) -> None:
    await bench.push("a")
    stale = (await bench.claim(seconds=5))[0]
    stale = msgspec.structs.replace(stale, task=await bench.stored("a"))
    bench.clock.advance(6)
    reclaimed = (await bench.queue.expired())[0]
    change = settle(reclaimed, Crash(), now_ms=bench.clock.time_ms(), draw=0.5, max_crashes=3)
    assert await bench.queue.change(reclaimed, change)
    with pytest.raises(LeaseLost):
        await bench.settle(stale, Success("stale"))
    fresh = (await bench.claim(owner="w2"))[0]
    assert fresh.token != stale.token
    for write in (bench.settle(stale, Success("stale")), bench.queue.report(stale, {"done": 9})):
        with pytest.raises(LeaseLost):
            await write
    await bench.settle(fresh, Success("fresh"))
    stored = await bench.stored("a")
    assert (stored.result, stored.crash_count, stored.retry_count) == ("fresh", 1, 0)


async def test_one_lost_lease_does_not_hurt_the_settles_beside_it(bench) -> None:
    await bench.push(*[f"n{number}" for number in range(5)])
    leases = await bench.claim(5)
    await bench.settle(leases[2], Success("first"))
    refused: list[str] = []

    async def end(lease) -> None:
        try:
            await bench.settle(lease, Success("second"))
        except LeaseLost:
            refused.append(lease.task.task_id)

    async with anyio.create_task_group() as group:
        for lease in leases:
            group.start_soon(end, lease)
    assert refused == ["n2"]
    assert [(await bench.stored(f"n{number}")).result for number in range(5)] == [
        *["second"] * 2,
        "first",
        *["second"] * 2,
    ]


async def test_an_expired_lease_still_counts_until_somebody_takes_the_task(bench) -> None:
    await bench.push("a")
    lease = (await bench.claim(seconds=1))[0]
    bench.clock.advance(5)
    await bench.settle(lease, Success("slow"))
    assert (await bench.stored("a")).result == "slow"


async def test_two_who_reclaim_one_task_change_it_once(bench) -> None:
    await bench.push("a")
    await bench.claim(seconds=1)
    bench.clock.advance(5)
    other = await bench.another()
    seen = [(await queue.expired())[0] for queue in (bench.queue, other)]
    changes = [settle(task, Crash(), now_ms=bench.clock.time_ms(), draw=0.5, max_crashes=3) for task in seen]
    results = [await bench.queue.change(seen[0], changes[0]), await other.change(seen[1], changes[1])]
    assert results == [True, False]
    assert (await bench.stored("a")).crash_count == 1


# Heartbeat, progress, cancel


async def test_a_heartbeat_renews_what_is_held_and_names_what_is_not(bench) -> None:
    await bench.push("a", "b", "c")
    leases = await bench.claim(seconds=5)
    await bench.settle(leases[1], Success())
    bench.clock.advance(4)
    beat = await bench.queue.heartbeat(leases, seconds=5)
    assert (beat.lost, dict(beat.cancelled)) == ({"b"}, {})
    bench.clock.advance(4)
    assert await bench.queue.expired() == []
    bench.clock.advance(2)
    assert {task.task_id for task in await bench.queue.expired()} == {"a", "c"}


async def test_a_heartbeat_of_nothing_is_nothing(bench) -> None:
    assert await bench.queue.heartbeat([], seconds=5) == await bench.queue.heartbeat(iter(()), seconds=5)


async def test_a_cancel_request_reaches_the_worker_with_its_heartbeat(bench) -> None:
    await bench.push("a", "b")
    leases = await bench.claim()
    assert await bench.queue.request_cancel("a", "不要了 🎵")
    beat = await bench.queue.heartbeat(leases, seconds=5)
    assert dict(beat.cancelled) == {"a": "不要了 🎵"}
    await bench.settle(leases[0], Cancellation("不要了 🎵"))
    stored = await bench.stored("a")
    assert (stored.status, stored.cancel_reason) == (TaskState.CANCELLED, "不要了 🎵")


async def test_only_a_running_task_is_asked_to_stop(bench) -> None:
    await bench.push("a")
    assert not await bench.queue.request_cancel("a", None)
    assert not await bench.queue.request_cancel("nobody", None)
    await bench.settle((await bench.claim())[0], Success())
    assert not await bench.queue.request_cancel("a", None)


async def test_progress_is_the_last_that_was_reported(bench) -> None:
    await bench.push("a")
    lease = (await bench.claim())[0]
    for done in (1, 2, 3):
        await bench.queue.report(lease, {"done": done, "total": 3, "message": "下载"})
    assert (await bench.stored("a")).progress == {"done": 3, "total": 3, "message": "下载"}


async def test_a_pending_task_is_cancelled_and_not_lent(bench) -> None:
    await bench.push("a", "b")
    task = await bench.stored("a")
    change = cancel(task, now_ms=bench.clock.time_ms(), reason="no")
    assert change is not None
    assert await bench.queue.change(task, change)
    assert await bench.names() == ["b"]
    assert not await bench.queue.change(task, change)


async def test_a_change_is_refused_once_the_task_was_lent(bench) -> None:
    await bench.push("a")
    task = await bench.stored("a")
    change = cancel(task, now_ms=bench.clock.time_ms(), reason=None)
    await bench.claim()
    assert not await bench.queue.change(task, change)
    assert (await bench.stored("a")).status is TaskState.RUNNING


async def test_a_change_of_nobody_is_refused(bench) -> None:
    await bench.push("a")
    task = msgspec.structs.replace(await bench.stored("a"), task_id="nobody")
    assert not await bench.queue.change(task, cancel(task, now_ms=1, reason=None))


async def test_a_dead_letter_runs_again_by_hand(bench) -> None:
    await bench.push("a", max_retries=0, params={"same": "params"})
    await bench.settle((await bench.claim())[0], failure())
    task = await bench.stored("a")
    assert await bench.queue.change(task, retry(task, now_ms=bench.clock.time_ms()))
    again = (await bench.claim())[0]
    assert (again.task.params, again.task.attempt, len(again.task.errors)) == ({"same": "params"}, 1, 1)
    await bench.settle(again, Success())
    assert (await bench.stored("a")).error_message is None


# Time


async def test_a_delayed_task_waits_until_its_time(bench) -> None:
    now_ms = bench.clock.time_ms()
    await bench.push("later", run_at_ms=now_ms + 60_000)
    await bench.push("sooner", run_at_ms=now_ms + 30_000)
    await bench.push("past", run_at_ms=now_ms - 1)
    assert (await bench.stored("later")).status is TaskState.SCHEDULED
    assert await bench.names() == ["past"]
    assert await bench.queue.promote() == now_ms + 30_000
    bench.clock.advance(31)
    assert await bench.queue.promote() == now_ms + 60_000
    assert await bench.names() == ["sooner"]
    bench.clock.advance(30)
    assert await bench.queue.promote() is None
    assert await bench.names() == ["later"]


async def test_many_become_due_at_once(bench) -> None:
    due = bench.clock.time_ms() + 10_000
    await bench.queue.push([bench.task(run_at_ms=due) for _ in range(2500)])
    bench.clock.advance(11)
    assert await bench.queue.promote() is None
    assert await bench.queue.counts() == {("work", TaskState.PENDING): 2500}


async def test_a_retry_waits_its_turn(bench) -> None:
    await bench.push("a")
    await bench.settle((await bench.claim())[0], failure())
    stored = await bench.stored("a")
    assert await bench.names() == []
    assert await bench.queue.promote() == stored.run_at_ms
    bench.clock.advance(1.2)
    await bench.queue.promote()
    assert await bench.names() == ["a"]


async def test_leases_expire_at_their_end_and_not_before(bench) -> None:
    await bench.push("a", "b")
    await bench.claim(1, seconds=5)
    await bench.claim(1, seconds=50)
    bench.clock.advance(4.5)
    assert await bench.queue.expired() == []
    bench.clock.advance(1)
    assert [task.task_id for task in await bench.queue.expired()] == ["a"]
    bench.clock.advance(100)
    assert len(await bench.queue.expired()) == 2
    assert len(await bench.queue.expired(limit=1)) == 1


# Looking


async def test_pages_are_newest_first_and_filtered(bench) -> None:
    for number in range(6):
        await bench.push(f"n{number}", task_type="ab"[number % 2])
    await bench.settle((await bench.claim(1))[0], Success())

    async def page(**fields) -> list[str]:
        return [task.task_id for task in await bench.queue.find(TaskFilter(**fields))]

    assert await page() == ["n5", "n4", "n3", "n2", "n1", "n0"]
    assert await page(limit=2) == ["n5", "n4"]
    assert await page(limit=2, after="n4") == ["n3", "n2"]
    assert await page(after="n0") == []
    assert await page(after="nobody") == []
    assert await page(state=TaskState.COMPLETED) == ["n0"]
    assert await page(type="b") == ["n5", "n3", "n1"]
    assert await page(type="b", state=TaskState.PENDING, after="n5") == ["n3", "n1"]


async def test_unfinished_are_a_schedules_open_tasks_oldest_first(bench) -> None:
    for number in range(4):
        await bench.push(f"s{number}", scheduler_task_id="s")
    await bench.push("other", scheduler_task_id="t")
    await bench.push("delayed", scheduler_task_id="s", run_at_ms=bench.clock.time_ms() + 60_000)
    leases = await bench.claim(2)
    await bench.settle(leases[0], Success())
    assert [task.task_id for task in await bench.queue.unfinished("s")] == ["s1", "s2", "s3", "delayed"]
    assert await bench.queue.unfinished("nobody") == []


async def test_counts_tell_types_and_states_apart(bench) -> None:
    await bench.push("a", "b", "c")
    await bench.push("d", task_type="other", run_at_ms=bench.clock.time_ms() + 60_000)
    leases = await bench.claim(2)
    await bench.settle(leases[0], Success())
    assert await bench.queue.counts() == {
        ("work", TaskState.COMPLETED): 1,
        ("work", TaskState.RUNNING): 1,
        ("work", TaskState.PENDING): 1,
        ("other", TaskState.SCHEDULED): 1,
    }


async def test_purging_deletes_what_ended_before_and_nothing_else(bench) -> None:
    await bench.push("done", "failed", "kept", "running")
    leases = await bench.claim(3)
    await bench.settle(leases[0], Success())
    await bench.settle(leases[1], failure(retryable=False))
    now = int(bench.clock.time())
    assert await bench.queue.purge(states={TaskState.COMPLETED: now - 60, TaskState.FAILED: now - 60}) == 0
    bench.clock.advance(100)
    assert await bench.queue.purge(states={TaskState.COMPLETED: now + 60}) == 1
    assert await bench.queue.get("done") is None
    assert await bench.queue.get("failed") is not None
    assert await bench.queue.purge(states={TaskState.FAILED: now + 60, TaskState.CANCELLED: now + 60}) == 1
    assert {task.task_id for task in await bench.queue.find(TaskFilter())} == {"kept", "running"}
    assert await bench.queue.push([bench.task("done")]) == [None]


# Wakeups


async def test_wakeups_tell_of_work_and_of_times(bench) -> None:
    due = bench.clock.time_ms() + 60_000
    await bench.queue.push([bench.task("a"), bench.task("b"), bench.task("c", run_at_ms=due)])
    assert (bench.wakeup.pending, bench.wakeup.due_at) == (2, [due])
    lease = (await bench.claim(1))[0]
    await bench.settle(lease, Interruption())
    assert bench.wakeup.pending == 3
    bench.clock.advance(61)
    await bench.queue.promote()
    assert bench.wakeup.pending == 4
