"""The first schema: the two tables of the earlier system, adopted or created, and our own."""

from __future__ import annotations

from alembic import op
from sqlalchemy import false, null, true, update

from musicq_async.sql.migrations.adopt import create_or_complete
from musicq_async.sql.tables import metadata, scheduler_task, task_queue

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    for table in metadata.sorted_tables:
        create_or_complete(connection, table)
    _place_old_tasks()
    _plan_old_schedules()


def _place_old_tasks() -> None:
    """Put rows of the earlier system in line by their age. What it left running, nobody runs: its lease is over."""
    connection, table = op.get_bind(), task_queue.c
    connection.execute(update(task_queue).where(table.status.is_(null())).values(status="pending"))
    connection.execute(update(task_queue).where(table.priority.is_(null())).values(priority=0))
    connection.execute(update(task_queue).where(table.position == 0).values(position=table.created_at * 1_000_000))
    connection.execute(
        update(task_queue)
        .where(table.status == "running", table.lease_until_ms.is_(null()))
        .values(lease_until_ms=0, lease_token="")
    )


def _plan_old_schedules() -> None:
    connection, table = op.get_bind(), scheduler_task.c
    connection.execute(update(scheduler_task).where(table.enabled.is_(null())).values(enabled=false()))
    connection.execute(
        update(scheduler_task)
        .where(table.enabled == true(), table.next_run_at.is_not(null()), table.due_at_ms.is_(null()))
        .values(due_at_ms=table.next_run_at * 1000)
    )
