"""Opening databases: new ones, those of the earlier system, and those that cannot be used."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from services import execute, fresh_database

from musicq_async.clock import SystemClock
from musicq_async.errors import BackendError, BackendUnavailable, MusicqError, SettingsError
from musicq_async.model.lifecycle import settle
from musicq_async.model.outcome import Crash
from musicq_async.model.task import NewTask, TaskState
from musicq_async.ports import Terms
from musicq_async.sql import SqlScheduleStore, SqlTaskQueue, open_database
from musicq_async.sql.upgrade import HEAD, KNOWN

pytestmark = pytest.mark.anyio

SCHEDULER_TASK = """CREATE TABLE scheduler_task (
    task_id VARCHAR(36) PRIMARY KEY, name VARCHAR(255) NOT NULL, task_type VARCHAR(100) NOT NULL, params TEXT,
    schedule_type VARCHAR(20) NOT NULL, interval_seconds INT, cron_expression VARCHAR(100), execute_at BIGINT,
    last_run_at BIGINT, next_run_at BIGINT, run_count INT DEFAULT 0, max_runs INT DEFAULT 0, enabled BOOLEAN DEFAULT TRUE,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, description TEXT)"""
TASK_QUEUE = """CREATE TABLE task_queue (
    task_id VARCHAR(36) PRIMARY KEY, task_type VARCHAR(100) NOT NULL, params TEXT, status VARCHAR(20) DEFAULT 'pending',
    priority INT DEFAULT 0, retry_count INT DEFAULT 0, max_retries INT DEFAULT 3, created_at BIGINT NOT NULL,
    started_at BIGINT, completed_at BIGINT, error_message TEXT, scheduler_task_id VARCHAR(36))"""
OLD_TASK_COLUMNS = (
    "task_id, task_type, params, status, priority, retry_count, max_retries, created_at, started_at, completed_at,"
    " error_message, scheduler_task_id"
)
OLD_SCHEDULE_COLUMNS = (
    "task_id, name, task_type, params, schedule_type, interval_seconds, cron_expression, execute_at, last_run_at,"
    " next_run_at, run_count, max_runs, enabled, created_at, updated_at, description"
)


def rows_in(alphabet: str) -> list[str]:
    """Statements that fill the earlier system's tables with texts of what a character set holds."""
    return [
        f"""INSERT INTO scheduler_task ({OLD_SCHEDULE_COLUMNS}) VALUES
            ('s1', '{alphabet}', 'download_audio', '{{"url": "{alphabet}"}}', 'interval', 3600, NULL, NULL,
             1700000000, 1700003600, 5, 0, TRUE, 1600000000, 1700000000, '{alphabet}'),
            ('s2', 'n', 'convert_format', NULL, 'cron', NULL, '0 2 * * *', NULL, NULL, NULL, 0, 3, TRUE, 1, 1, NULL),
            ('s3', 'n', 't', '', 'once', NULL, NULL, 1700000000, 1700000000, NULL, 1, 1, FALSE, 1, 1, NULL)""",
        f"""INSERT INTO task_queue ({OLD_TASK_COLUMNS}) VALUES
            ('done', 'a', '{{}}', 'completed', 0, 0, 3, 1600000000, 1600000001, 1600000002, NULL, 's1'),
            ('failed', 'a', '{{}}', 'failed', 0, 3, 3, 1600000000, 1600000001, 1600000002, '{alphabet}', NULL),
            ('young', 'a', '{{"t": "{alphabet}"}}', 'pending', 0, 0, 3, 1600000010, NULL, NULL, NULL, NULL),
            ('elder', 'a', NULL, 'pending', 0, 1, 5, 1600000005, NULL, NULL, NULL, NULL),
            ('first', 'a', '', 'pending', -1, 0, 3, 1600000020, NULL, NULL, NULL, NULL),
            ('ran', 'a', '{{"x": 1}}', 'running', 0, 0, 3, 1600000030, 1600000031, NULL, NULL, NULL)""",
    ]


async def upgraded(url: str) -> None:
    async with open_database(url, clock=SystemClock()) as database:
        await database.upgrade()


# The earlier system's databases


VARIANTS = {
    "utf8mb4": ("ENGINE=InnoDB DEFAULT CHARSET=utf8mb4", "玉盘 - 葫芦童声 🎵"),
    "utf8mb4 unicode": ("ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci", "どうして… カ 🎶"),
    "utf8mb3": ("ENGINE=InnoDB DEFAULT CHARSET=utf8mb3", "夢燈籠 Ünïcode"),
    "latin1": ("ENGINE=InnoDB DEFAULT CHARSET=latin1", "Café ÿ £"),
    "MyISAM": ("ENGINE=MyISAM DEFAULT CHARSET=utf8mb3", "葫芦童声"),
}


@pytest.fixture(params=[*VARIANTS, "postgresql", "sqlite"])
def old(request: pytest.FixtureRequest, tmp_path) -> Iterator[tuple[str, str]]:
    """The URL of a database of the earlier system with rows, and the alphabet they are written in."""
    if request.param == "sqlite":
        path, alphabet = tmp_path / "old.db", "玉盘 🎵"
        with sqlite3.connect(path) as connection:
            for statement in (SCHEDULER_TASK, TASK_QUEUE, *rows_in(alphabet)):
                connection.execute(statement)
        connection.close()
        yield f"sqlite+aiosqlite:///{path}", alphabet
    else:
        options, alphabet = VARIANTS.get(request.param, ("", "玉盘 🎵"))
        with fresh_database("postgresql" if request.param == "postgresql" else "mysql") as url:
            execute(url, f"{SCHEDULER_TASK} {options}", f"{TASK_QUEUE} {options}", *rows_in(alphabet))
            yield url, alphabet


def select(url: str, statement: str) -> list[tuple]:
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.partition("///")[2])
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()
    return [tuple(row) for row in execute(url, statement)]


async def test_an_old_database_keeps_every_row_goes_on_and_holds_every_text(old) -> None:
    url, alphabet = old
    statements = [
        f"SELECT {OLD_TASK_COLUMNS} FROM task_queue ORDER BY task_id",
        f"SELECT {OLD_SCHEDULE_COLUMNS} FROM scheduler_task ORDER BY task_id",
    ]
    before = [select(url, statement) for statement in statements]
    await upgraded(url)
    assert [select(url, statement) for statement in statements] == before
    if url.startswith("mysql"):
        assert_converted(url)
    async with open_database(url, clock=SystemClock()) as database:
        await database.upgrade()
        assert [select(url, statement) for statement in statements] == before
        await assert_schedules_go_on(SqlScheduleStore(database, enqueues=True), alphabet)
        await assert_tasks_go_on(SqlTaskQueue(database), alphabet)
        await assert_every_text_fits(SqlTaskQueue(database))


async def assert_schedules_go_on(schedules: SqlScheduleStore, alphabet: str) -> None:
    assert [each.task_id for each in await schedules.due(SystemClock().time_ms())] == ["s1"]
    assert [each.task_id for each in await schedules.unplanned()] == ["s2"]
    first = await schedules.get("s1")
    assert (first.name, first.params, first.due_at_ms) == (alphabet, {"url": alphabet}, 1_700_003_600_000)
    assert (first.overlap, first.coalesce, first.version, first.run_count) == ("allow", "latest", 1, 5)
    assert (await schedules.get("s3")).params == {}


async def assert_tasks_go_on(queue: SqlTaskQueue, alphabet: str) -> None:
    leases = await queue.claim(Terms(owner="w", seconds=10), 10)
    assert [lease.task.task_id for lease in leases] == ["first", "elder", "young"]
    assert [lease.task.params for lease in leases] == [{}, {}, {"t": alphabet}]
    assert (await queue.get("failed")).error_message == alphabet
    left = (await queue.expired())[0]
    assert left.task_id == "ran"
    assert await queue.change(left, settle(left, Crash(), now_ms=1, draw=0, max_crashes=3))
    assert (await queue.claim(Terms(owner="w", seconds=9)))[0].task.params == {"x": 1}


async def assert_every_text_fits(queue: SqlTaskQueue) -> None:
    names = ["BV1xx411c7XZ", "BV1XX411C7xz", "🎵", "🎶", "カ", "ガ"]
    large = {"text": "盘" * 30_000}
    await queue.push([NewTask(task_id=name, task_type="型", params=large) for name in names])
    for name in names:
        task = await queue.get(name)
        assert (task.task_id, task.params, task.status) == (name, large, TaskState.PENDING)


def assert_converted(url: str) -> None:
    ours = "table_schema = DATABASE() AND table_name <> 'musicq_version'"
    tables = execute(url, f"SELECT LOWER(engine), table_collation FROM information_schema.tables WHERE {ours}")
    assert set(tables) == {("innodb", "utf8mb4_bin")}
    collations = f"SELECT DISTINCT collation_name FROM information_schema.columns WHERE {ours} AND collation_name > ''"
    assert execute(url, collations) == [("utf8mb4_bin",)]
    types = f"SELECT CONCAT(table_name, '.', column_name), column_type FROM information_schema.columns WHERE {ours}"
    columns = dict(execute(url, types))
    assert columns["task_queue.params"] == columns["task_queue.error_message"] == "mediumtext"
    assert columns["scheduler_task.params"] == "mediumtext"


async def test_an_upgrade_that_died_half_way_is_finished() -> None:
    with fresh_database("mysql") as url:
        half = (
            "ALTER TABLE task_queue ADD COLUMN run_at_ms BIGINT",
            "CREATE INDEX task_queue_position ON task_queue (created_at)",
        )
        execute(
            url,
            f"{TASK_QUEUE} DEFAULT CHARSET=latin1",
            *half,
            "CREATE TABLE musicq_version (version_num VARCHAR(32) NOT NULL)",
        )
        await upgraded(url)
        async with open_database(url, clock=SystemClock()) as database:
            assert await SqlTaskQueue(database).push([NewTask(task_id="🎵", task_type="t", params={})]) == [None]


# New databases


# A database of an earlier version of this package


async def test_the_first_schema_is_brought_up_to_date_and_its_tasks_run(new) -> None:
    kind = new.partition("+")[0]
    text = (Path(__file__).parent / f"schema_0001_{kind}.sql").read_text(encoding="utf-8")
    statements = [each for each in text.split(";\n") if each.strip()]
    statements.append(
        "INSERT INTO task_queue (task_id, task_type, params, status, created_at, position, unique_key) "
        "VALUES ('first', 'work', '{\"n\": \"值\"}', 'pending', 1600000000, 7, 'k')"
    )
    if kind == "sqlite":
        with sqlite3.connect(new.partition("///")[2]) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()
    else:
        execute(new, *statements)
    async with open_database(new, clock=SystemClock()) as database:
        await database.upgrade()
        assert await database.version() == HEAD
        queue = SqlTaskQueue(database)
        await queue.push([NewTask(task_id="second", task_type="work", params={}, unique_key="k2")])
        leases = await queue.claim(Terms(owner="w", seconds=10), 5)
        assert [(lease.task.task_id, lease.task.params) for lease in leases] == [("first", {"n": "值"}), ("second", {})]
        assert leases[0].task.unique_mode == "queued"


@pytest.fixture(params=["sqlite", "mysql", "postgresql"])
def new(request: pytest.FixtureRequest, tmp_path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'new.db'}"
    else:
        with fresh_database(request.param, "CHARACTER SET latin1" if request.param == "mysql" else "") as url:
            yield url


async def test_many_that_start_together_upgrade_once(new) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(upgraded, new)
    assert select(new, "SELECT version_num FROM musicq_version") == [(HEAD,)]


async def test_the_schema_is_what_the_code_believes(new) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from musicq_async.sql.tables import metadata

    def differences(connection) -> list:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "version_table": "musicq_version"})
        return compare_metadata(context, metadata)

    async with open_database(new, clock=SystemClock()) as database:
        await database.upgrade()
        assert await database.version() == HEAD
        found = await database.read(differences)
    other = "mysql" if new.startswith("mysql") else "not mysql"
    assert [each for each in found if not is_of_another_database(each, other)] == []


def is_of_another_database(difference, ours: str) -> bool:
    """Alembic does not know that an index is made on some databases only."""
    kind, thing = difference[0], difference[1] if len(difference) > 1 else None
    return kind in {"add_index", "remove_index"} and thing.name.startswith(("task_queue_", "schedule_fire_unsent"))


def test_the_newest_revision_is_the_one_that_start_looks_for() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "musicq_async.sql:migrations")
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [HEAD]
    assert {revision.revision for revision in script.walk_revisions()} == KNOWN


async def test_a_database_that_is_up_to_date_needs_no_alembic(new) -> None:
    await upgraded(new)
    program = (
        "import asyncio, sys\n"
        "from musicq_async.clock import SystemClock\n"
        "from musicq_async.sql import open_database\n"
        "async def main():\n"
        "    async with open_database(sys.argv[1], clock=SystemClock()) as database:\n"
        "        await database.upgrade()\n"
        "asyncio.run(main())\n"
        "sys.exit('alembic' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, new], check=False, timeout=30).returncode == 0


async def test_a_database_of_a_newer_version_says_so(new) -> None:
    await upgraded(new)
    if new.startswith("sqlite"):
        connection = sqlite3.connect(new.partition("///")[2])
        connection.execute("UPDATE musicq_version SET version_num = '9999'")
        connection.commit()
        connection.close()
    else:
        execute(new, "UPDATE musicq_version SET version_num = '9999'")
    with pytest.raises(BackendError, match=r"9999.*newer"):
        await upgraded(new)


# What cannot be opened


async def refusal(url: str) -> MusicqError:
    started = time.monotonic()
    with pytest.raises(MusicqError) as caught:
        await upgraded(url)
    assert time.monotonic() - started < 5
    assert "hunter2" not in str(caught.value) + repr(caught.value)
    return caught.value


async def test_a_file_that_is_no_database_is_named(tmp_path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database at all, " * 100)
    error = await refusal(f"sqlite:///{path}")
    assert isinstance(error, BackendError)
    assert "notes.txt" in str(error)
    assert "no database" in str(error)
    assert path.read_text() == "not a database at all, " * 100


async def test_a_folder_that_is_not_there_is_named(tmp_path) -> None:
    assert "nowhere" in str(await refusal(f"sqlite:///{tmp_path / 'nowhere' / 'x.db'}"))
    assert "cannot be opened" in str(await refusal(f"sqlite:///{tmp_path}"))


async def test_a_database_that_takes_no_writes_says_so(tmp_path) -> None:
    path = tmp_path / "x.db"
    await upgraded(f"sqlite:///{path}")
    error = await refusal(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert isinstance(error, BackendUnavailable)
    assert "write" in str(error)


async def test_a_read_only_server_says_so() -> None:
    with fresh_database("postgresql") as url:
        await upgraded(url)
        name = url.rpartition("/")[2]
        execute(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        assert isinstance(await refusal(url), BackendUnavailable)


@pytest.mark.parametrize("scheme", ["mysql+aiomysql", "postgresql+asyncpg"])
async def test_a_server_that_does_not_answer_says_so_at_once(scheme) -> None:
    error = await refusal(f"{scheme}://someone:hunter2@127.0.0.1:9/music")
    assert isinstance(error, BackendUnavailable)
    assert "127.0.0.1:9/music" in str(error)


@pytest.mark.parametrize("kind", ["mysql", "postgresql"])
async def test_a_database_that_the_server_does_not_have_is_named(kind) -> None:
    with fresh_database(kind) as url:
        error = await refusal(url + "_missing")
    assert not isinstance(error, BackendUnavailable)
    assert "_missing" in str(error)


async def test_a_wrong_password_is_said_and_not_shown() -> None:
    with fresh_database("mysql") as url:
        scheme, _, rest = url.partition("://")
        error = await refusal(f"{scheme}://nobody-here:hunter2@{rest.rpartition('@')[2]}")
    assert "cannot be opened" in str(error)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hunter2",
        "oracle://scott:hunter2@db/x",
        "redis://:hunter2@db",
        "sqlite://relative.db",
        "mysql+aiomysql://root:hunter2@db:port/x",
        "mysql+aiomysql://root:hunter2@db",
        "sqlite:///x.db?synchronous=sometimes",
    ],
)
def test_an_address_that_is_none_is_refused_without_being_shown(url) -> None:
    with pytest.raises(SettingsError, match="database_url") as caught:
        open_database(url, clock=SystemClock())
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["mysql://u@h/d", "mariadb://u@h/d", "mysql+pymysql://u@h/d", "postgres://u@h/d", "sqlite:///x"]
)
def test_the_driver_may_be_left_out(url) -> None:
    open_database(url, clock=SystemClock())


def test_a_missing_driver_names_what_to_install() -> None:
    program = (
        "import sys; sys.modules['asyncpg'] = None\n"
        "from musicq_async.clock import SystemClock\n"
        "from musicq_async.sql import open_database\n"
        "open_database('postgresql://u:hunter2@h/d', clock=SystemClock())\n"
    )
    run = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=30)
    assert "BackendError" in run.stderr
    assert "pip install 'musicq_async[postgres]'" in run.stderr.strip().splitlines()[-1]
    assert "hunter2" not in run.stderr.strip().splitlines()[-1]
