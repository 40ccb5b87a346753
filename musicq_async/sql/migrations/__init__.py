"""Alembic migrations, run by `musicq_async.sql.upgrade`."""

from __future__ import annotations
