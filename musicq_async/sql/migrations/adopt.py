"""Completing tables that another program made: what is missing is added, what is too narrow widened, no row lost.

Each step looks first and may be repeated: on MySQL a migration that died half-way has kept the half it did.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Column, Connection, Table, inspect, text
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.schema import CreateColumn

COLLATION: Final = "utf8mb4_bin"


def create_or_complete(connection: Connection, table: Table) -> None:
    """Create a table, or give the one that is there its missing columns and indexes."""
    if not inspect(connection).has_table(table.name):
        table.create(connection)
        return
    clauses = _conversions(connection, table) if connection.dialect.name == "mysql" else []
    _alter(connection, table, [*clauses, *_additions(connection, table)])
    present = {index["name"] for index in inspect(connection).get_indexes(table.name)}
    for index in sorted(table.indexes, key=lambda each: str(each.name)):
        if index.name not in present:
            index.create(connection)  # does nothing where the index is for another database


def _alter(connection: Connection, table: Table, clauses: list[str]) -> None:
    """Change a table: on MySQL in one go, because each change may copy the whole of it."""
    name = connection.dialect.identifier_preparer.quote(table.name)
    steps = [", ".join(clauses)] if clauses and connection.dialect.name == "mysql" else clauses
    for step in steps:
        connection.execute(text(f"ALTER TABLE {name} {step}"))


def _additions(connection: Connection, table: Table) -> list[str]:
    present = {column["name"] for column in inspect(connection).get_columns(table.name)}
    return [f"ADD COLUMN {_definition(connection, each)}" for each in table.columns if each.name not in present]


def _definition(connection: Connection, column: Column[Any]) -> str:
    return str(CreateColumn(column).compile(dialect=connection.dialect))


def _conversions(connection: Connection, table: Table) -> list[str]:
    """Bring a MySQL table to InnoDB and a character set that holds every text, and widen what is shorter than ours."""
    clauses = []
    if _table_fact(connection, table, "engine").lower() != "innodb":
        clauses.append("ENGINE = InnoDB")
    if _table_fact(connection, table, "table_collation") != COLLATION or _has_other_texts(connection, table):
        clauses.append(f"CONVERT TO CHARACTER SET utf8mb4 COLLATE {COLLATION}")
    short = [each for each in table.columns if _is_short(connection, each)]
    return clauses + [f"MODIFY COLUMN {_definition(connection, each)}" for each in short]


def _table_fact(connection: Connection, table: Table, fact: str) -> str:
    query = f"SELECT {fact} FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = :name"  # noqa: S608 - both callers are above
    return str(connection.execute(text(query), {"name": table.name}).scalar())


def _has_other_texts(connection: Connection, table: Table) -> bool:
    query = (
        "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE()"
        " AND table_name = :name AND collation_name IS NOT NULL AND collation_name <> :collation"
    )
    return bool(connection.execute(text(query), {"name": table.name, "collation": COLLATION}).scalar())


def _is_short(connection: Connection, column: Column[Any]) -> bool:
    """Whether a column is there with a shorter text type than ours."""
    query = (
        "SELECT data_type, character_maximum_length FROM information_schema.columns WHERE table_schema = DATABASE()"
        " AND table_name = :table AND column_name = :column"
    )
    row = connection.execute(text(query), {"table": column.table.name, "column": column.name}).one_or_none()
    if row is None:
        return False
    kind, length = row
    ours = column.type.dialect_impl(connection.dialect)
    if isinstance(ours, MEDIUMTEXT):
        return kind.lower() in {"tinytext", "text", "varchar", "char"}
    return bool(kind.lower() == "varchar" and length < (getattr(ours, "length", None) or 0))
