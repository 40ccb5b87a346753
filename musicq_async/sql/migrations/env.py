"""What alembic runs: the migrations, on the connection that `musicq_async.sql.upgrade` gives."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
    transactional_ddl=False,  # the transaction around all of it is the caller's
)
context.run_migrations()
