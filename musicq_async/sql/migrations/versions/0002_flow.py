"""Batches, unique keys, limits, paused types and what a node tells of itself: tables and columns are only added."""

from __future__ import annotations

from alembic import op

from musicq_async.sql.migrations.adopt import create_or_complete
from musicq_async.sql.tables import metadata

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in metadata.sorted_tables:
        create_or_complete(op.get_bind(), table)
