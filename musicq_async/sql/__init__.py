"""The ports on SQL: SQLite, MySQL or MariaDB, and PostgreSQL. SQLAlchemy is imported here and nowhere else."""

from __future__ import annotations

from musicq_async.sql.archive import SqlArchive
from musicq_async.sql.copying import SqlTables, copy_file
from musicq_async.sql.database import Database, open_database
from musicq_async.sql.nodes import SqlNodes
from musicq_async.sql.schedules import SqlScheduleStore
from musicq_async.sql.session import push_in_session
from musicq_async.sql.store import SqlPublicStore
from musicq_async.sql.tasks import SqlTaskQueue

__all__ = [
    "Database",
    "SqlArchive",
    "SqlNodes",
    "SqlPublicStore",
    "SqlScheduleStore",
    "SqlTables",
    "SqlTaskQueue",
    "copy_file",
    "open_database",
    "push_in_session",
]
