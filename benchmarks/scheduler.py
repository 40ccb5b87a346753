"""The scheduler beside APScheduler 3, both on SQLite files, and `Cron` beside croniter, in one run.

    python benchmarks/scheduler.py [--rounds 5] [--json]

1,000 of 100,000 schedules are due. Ours is timed from `Scheduler.start` until the last of their tasks is committed:
schedules, ledger and tasks; its connections are open already, as the peer's are. "sqlite3 alone" only writes the same
rows, decided before, in one transaction: what no scheduler with these tables goes below. APScheduler is timed for one
pass over its job store, and its executor is a stub, so that handing over costs it nothing; its file has the same
write-ahead log and the same ``synchronous``. The idle check is what a scheduler asks when nothing is due. Lateness is
from the second in which 1,000 schedules are due until a task's commit (or, in memory, until it is in the queue), for
the scheduler alone in its process. Figures are times: lower is better.

What binds the targets that are missed. On SQLite, a due schedule takes some 29 us of CPU to write (sqlite3 alone needs
26 us), 6 to 10 to read from its own page of the file, 3 to decode and 5 to decide; lateness there is the same work. In
memory, asyncio wakes 1 ms or more after a time, and 5 to 8 us a task for ledger and queue do the rest.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy
from _report import arguments, case, report, take_turns
from apscheduler.executors.base import BaseExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.base import BaseScheduler
from croniter import croniter

from musicq_async.clock import SystemClock
from musicq_async.engine.scheduler import Scheduler
from musicq_async.memory.schedules import MemorySchedules
from musicq_async.memory.tasks import MemoryTasks
from musicq_async.model.calendar import fire
from musicq_async.model.cron import cron_of
from musicq_async.model.schedule import Schedule
from musicq_async.model.schedule_input import new_schedule
from musicq_async.model.zones import next_slot, zone_of
from musicq_async.sql import SqlScheduleStore, open_database
from musicq_async.sql.rows import new_task_row, schedule_row
from musicq_async.sql.tables import schedule_fire, scheduler_task, task_queue
from musicq_async.sql.task_writes import INSERT_SQLITE

STORED = 100_000
FEW = 1_000
DUE = 1_000
IDLE_CHECKS = 300
HOUR = 3600
CRONS = ("*/5 * * * *", "30 2 * * *", "0 9 * * mon-fri", "0 0 1 */3 *")
ZONE = "Europe/London"
ADVANCE = (
    "UPDATE scheduler_task SET last_run_at = ?, next_run_at = ?, due_at_ms = ?, run_count = ?, updated_at = ?,"
    " version = ? WHERE task_id = ?"
)
LEDGER = "INSERT INTO schedule_fire (schedule_id, nominal, outcome, task_id) VALUES (?, ?, ?, ?)"


class Arrivals:
    """Counts tasks as they arrive, with the time; what a queue's listener is to the scheduler."""

    listening = False

    def __init__(self, queue: MemoryTasks | None = None) -> None:
        self.queue = queue
        self.at: list[float] = []
        self.all = asyncio.Event()

    def notify(self, count: int = 1) -> None:
        self.at += [time.time()] * count
        if len(self.at) >= DUE:
            self.all.set()

    def due(self, run_at_ms: int) -> None:
        """Nothing here is due later."""

    def emit(self, event: object) -> None:
        """Nobody listens."""

    async def push(self, tasks: Any) -> None:
        assert self.queue is not None
        await self.queue.push(tasks, ignore_known=True)
        self.notify(len(tasks))


def schedule(number: int, due: int) -> Schedule:
    return Schedule(
        task_id=f"schedule-{number:06}",
        name=f"schedule {number}",
        task_type="download_audio",
        schedule_type="interval",
        interval_seconds=HOUR,
        params={"url": f"https://example.com/{number}.mp3", "quality": "320k"},
        created_at=due - HOUR,
        updated_at=due - HOUR,
        next_run_at=due,
        due_at_ms=due * 1000,
    )


def address(folder: str, name: str) -> str:
    return f"sqlite+aiosqlite:///{Path(folder, name)}"


async def fill(url: str, count: int) -> None:
    later = int(time.time()) + 30 * 86_400
    rows = [schedule_row(schedule(number, later + number % HOUR)) for number in range(count)]
    async with open_database(url, clock=SystemClock()) as database:
        await database.upgrade()
        await database.write(lambda connection: connection.execute(sqlalchemy.insert(scheduler_task), rows))


def make_due(connection: sqlalchemy.Connection, due: int, stored: int) -> None:
    """Have every hundredth schedule due then, and the rest as before."""
    for table in (task_queue, schedule_fire):
        connection.execute(table.delete())
    ids = [f"schedule-{number:06}" for number in range(0, stored, stored // DUE)]
    statement = (
        sqlalchemy.update(scheduler_task)
        .where(scheduler_task.c.task_id == sqlalchemy.bindparam("id"))
        .values(next_run_at=due, due_at_ms=due * 1000, last_run_at=None)
    )
    connection.execute(statement, [{"id": each} for each in ids])


async def on_sqlite(url: str, *, ahead: int | None) -> list[float]:
    """Return the seconds from the due time (or, without one, from the start) until each task was committed."""
    clock, arrivals = SystemClock(), Arrivals()
    async with open_database(url, clock=clock) as database:
        store = SqlScheduleStore(database, enqueues=True, wakeup=arrivals)
        due = int(time.time()) + (ahead or 0)
        await database.write(lambda connection: make_due(connection, due, STORED))
        await store.next_due_ms()  # opens the connection for reading
        scheduler = Scheduler(store=store, outlet=arrivals, clock=clock, sink=arrivals)  # type: ignore[arg-type]
        began = due if ahead else time.time()
        async with scheduler:
            await arrivals.all.wait()
    return [at - began for at in arrivals.at]


async def by_sqlite_alone(url: str) -> float:
    """Return the seconds in which sqlite3 writes what our scheduler writes."""
    now_ms = int(time.time()) * 1000
    async with open_database(url, clock=SystemClock()) as database:
        await database.write(lambda connection: make_due(connection, now_ms // 1000, STORED))
        due = await SqlScheduleStore(database, enqueues=True).due(now_ms)
    firings = [fire(each, now_ms=now_ms) for each in due]
    tasks = [task for firing in firings for task in firing.tasks]
    advanced = [
        (
            each.last_run_at,
            each.next_run_at,
            each.due_at_ms,
            each.run_count,
            each.updated_at,
            each.version,
            each.task_id,
        )
        for each in (firing.advanced for firing in firings)
    ]
    ledger = [(task.scheduler_task_id, task.fire_at, "enqueued", task.task_id) for task in tasks]
    rows = [new_task_row(task, position=place, now_ms=now_ms, token="t") for place, task in enumerate(tasks)]
    with closing(sqlite3.connect(url.partition(":///")[2], isolation_level=None)) as connection:
        for pragma in ("synchronous = NORMAL", "cache_size = -16000", "wal_autocheckpoint = 4000"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("SELECT * FROM sqlite_master").fetchall()
        began = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(ADVANCE, advanced)
        connection.executemany(LEDGER, ledger)
        connection.executemany(INSERT_SQLITE, rows)
        connection.execute("COMMIT")
        return time.perf_counter() - began


async def in_memory() -> list[float]:
    clock, store = SystemClock(), MemorySchedules()
    arrivals = Arrivals(MemoryTasks(clock=clock, wakeup=Arrivals()))
    due = int(time.time()) + 3
    for number in range(STORED):
        await store.add(schedule(number, due if number % (STORED // DUE) == 0 else due + HOUR))
    async with Scheduler(store=store, outlet=arrivals, clock=clock, sink=arrivals):  # type: ignore[arg-type]
        await arrivals.all.wait()
    return [at - due for at in arrivals.at]


async def idle_check(url: str) -> float:
    """Return the microseconds in which a scheduler learns that nothing is due, and when something will be."""
    clock = SystemClock()
    took = []
    async with open_database(url, clock=clock) as database:
        store = SqlScheduleStore(database, enqueues=True)
        for _ in range(IDLE_CHECKS):
            began = time.perf_counter()
            assert not await store.unplanned()
            assert not await store.due(clock.time_ms() + 1000)
            assert await store.next_due_ms()
            took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e6


# APScheduler


class Stub(BaseExecutor):
    """Takes every job and does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.submitted = 0

    def submit_job(self, job: Any, run_times: Any) -> None:  # noqa: ARG002 - the base's signature
        self.submitted += 1

    def _do_submit_job(self, job: Any, run_times: Any) -> None:
        raise NotImplementedError


def work(url: str, quality: str) -> None:
    """Stand for a job's function; it is never called."""


class ByHand(BaseScheduler):
    """Makes its passes when it is told to, not in a thread of its own."""

    def wakeup(self) -> None:
        """Nobody sleeps here."""

    def shutdown(self, wait: bool = True) -> None:
        super().shutdown(wait)


class Peer:
    """APScheduler 3 with as many jobs in a SQLite file of its own."""

    def __init__(self, path: Path, count: int) -> None:
        self.engine = sqlalchemy.create_engine(f"sqlite:///{path}")
        sqlalchemy.event.listen(self.engine, "connect", self._prepare)
        self.store = SQLAlchemyJobStore(engine=self.engine)
        self.executor = Stub()
        stores, executors = {"default": self.store}, {"default": self.executor}
        self.scheduler = ByHand(timezone=UTC, jobstores=stores, executors=executors)
        self.scheduler.start()
        self._fill(count)

    @staticmethod
    def _prepare(connection: Any, _record: object) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = -16000"):
            connection.execute(f"PRAGMA {pragma}").close()

    def _fill(self, count: int) -> None:
        made = self.scheduler.add_job(
            work, "interval", hours=1, misfire_grace_time=None, kwargs={"url": "https://example.com", "quality": "320k"}
        )
        state = made.__getstate__()
        later = datetime.now(UTC) + timedelta(days=30)
        rows = []
        for number in range(count):
            state |= {"id": f"job-{number:06}", "next_run_time": later}
            state["kwargs"] = {"url": f"https://example.com/{number}.mp3", "quality": "320k"}
            rows.append(
                {"id": state["id"], "next_run_time": later.timestamp(), "job_state": pickle.dumps(state, protocol=5)}
            )
        with self.engine.begin() as connection:
            connection.execute(self.store.jobs_t.delete())
            connection.execute(self.store.jobs_t.insert(), rows)

    def one_pass(self) -> float:
        """Return the seconds that a pass over 1,000 due jobs takes."""
        jobs = self.store.jobs_t
        now = datetime.now(UTC)
        with self.engine.begin() as connection:
            for number in range(0, STORED, STORED // DUE):
                row = connection.execute(sqlalchemy.select(jobs.c.job_state).where(jobs.c.id == f"job-{number:06}"))
                state = pickle.loads(row.scalar_one()) | {"next_run_time": now}
                connection.execute(
                    jobs.update().where(jobs.c.id == state["id"]),
                    {"next_run_time": now.timestamp(), "job_state": pickle.dumps(state, protocol=5)},
                )
        before = self.executor.submitted
        began = time.perf_counter()
        self.scheduler._process_jobs()  # noqa: SLF001 - its loop's body; there is no public name for one pass
        took = time.perf_counter() - began
        assert self.executor.submitted - before == DUE
        return took

    def idle_check(self) -> float:
        took = []
        for _ in range(IDLE_CHECKS):
            began = time.perf_counter()
            assert not self.store.get_due_jobs(datetime.now(UTC))
            assert self.store.get_next_run_time()
            took.append(time.perf_counter() - began)
        return statistics.median(took) * 1e6


# Crons


def next_of_ours() -> float:
    took = 0.0
    for expression in CRONS:
        after = 1_767_225_600
        began = time.perf_counter()
        for _ in range(500):
            slot = next_slot(cron_of(expression), zone_of(ZONE), after)
            assert slot is not None
            after = slot
        took += time.perf_counter() - began
    return took / 500 / len(CRONS) * 1e6


def next_of_croniter() -> float:
    took = 0.0
    for expression in CRONS:
        steps = croniter(expression, datetime(2026, 1, 1, tzinfo=zone_of(ZONE)))
        began = time.perf_counter()
        for _ in range(500):
            steps.get_next(float)
        took += time.perf_counter() - began
    return took / 500 / len(CRONS) * 1e6


def a_missed_year() -> float:
    """Return the milliseconds in which a year of missed minutes is decided, a thousand of them to be made up for."""
    now = 1_767_225_600
    given = {"name": "n", "task_type": "t", "schedule_type": "cron", "cron_expression": "* * * * *", "timezone": ZONE}
    missed = new_schedule("id", {**given, "coalesce": "all"}, now_ms=now * 1000)
    began = time.perf_counter()
    firing = fire(missed, now_ms=(now + 365 * 86_400) * 1000)
    took = time.perf_counter() - began
    assert len(firing.tasks) == 1000
    return took * 1e3


def run(work: Callable[[], Any]) -> Any:
    return asyncio.run(work())


def median_ms(lateness: list[float]) -> float:
    return statistics.median(lateness) * 1e3


def main() -> int:
    options = arguments(__doc__ or "", rounds=5)
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        many, few = address(folder, "many.db"), address(folder, "few.db")
        run(lambda: fill(many, STORED))
        run(lambda: fill(few, FEW))
        peer, small_peer = Peer(Path(folder, "peer.db"), STORED), Peer(Path(folder, "small.db"), FEW)
        idle = {
            f"{STORED:,} stored": lambda: run(lambda: idle_check(many)),
            f"{FEW:,} stored": lambda: run(lambda: idle_check(few)),
            f"APScheduler, {STORED:,}": peer.idle_check,
            f"APScheduler, {FEW:,}": small_peer.idle_check,
        }
        cases = [
            case(
                "idle check",
                take_turns(idle, options.rounds),
                unit="us",
                ours=f"{STORED:,} stored",
                targets=[(f"{FEW:,} stored", "at most", 1.5)],
            )
        ]
        due = {
            "musicq_async": lambda: run(lambda: on_sqlite(many, ahead=None))[-1] / DUE * 1e6,
            "sqlite3 alone": lambda: run(lambda: by_sqlite_alone(many)) / DUE * 1e6,
            "APScheduler 3": lambda: peer.one_pass() / DUE * 1e6,
        }
        cases.append(
            case(
                f"a due schedule, {DUE:,} of {STORED:,} on SQLite",
                take_turns(due, options.rounds),
                unit="us",
                targets=[("", "at most", 40), ("APScheduler 3", "at most", 0.5)],
            )
        )
        for what, lateness, limit in (
            ("in memory", lambda: median_ms(run(in_memory)), 2),
            ("on SQLite", lambda: median_ms(run(lambda: on_sqlite(many, ahead=2))), 25),
        ):
            figures = take_turns({"musicq_async": lateness}, options.rounds)
            name = f"lateness p50, {DUE:,} due in one second, {what}"
            cases.append(case(name, figures, unit="ms", targets=[("", "at most", limit)]))
        peer.scheduler.shutdown()
        small_peer.scheduler.shutdown()
    crons = take_turns({"musicq_async": next_of_ours, "croniter": next_of_croniter}, options.rounds)
    cases.append(case("next time of a kept cron", crons, unit="us", targets=[("", "at most", 60)]))
    year = take_turns({"musicq_async": a_missed_year}, options.rounds)
    cases.append(case("a year of missed minutes", year, unit="ms", targets=[("", "at most", 10)]))
    packages = ["musicq_async", "apscheduler", "croniter", "sqlalchemy"]
    return report("scheduler", cases, packages=packages, json_only=options.json)


if __name__ == "__main__":
    sys.exit(main())
