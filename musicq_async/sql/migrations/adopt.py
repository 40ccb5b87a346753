"""Steps for tables that another program made: add what is missing, convert what cannot hold every text; keep every row.

Each step looks first and may be repeated: on MySQL a migration that died half-way has kept the half it did.
"""

from __future__ import annotations

from sqlalchemy import Connection, Table, inspect, text
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.schema import CreateColumn, CreateIndex

COLLATION = "utf8mb4_bin"


def create_or_complete(connection: Connection, table: Table) -> None:
    """Create a table, or give the one that is there its missing columns."""
    if not inspect(connection).has_table(table.name):
        table.create(connection)
        return
    if connection.dialect.name == "mysql":
        _convert(connection, table)
    _add_columns(connection, table)
    _add_indexes(connection, table)


def _add_columns(connection: Connection, table: Table) -> None:
    present = {column["name"] for column in inspect(connection).get_columns(table.name)}
    quote = connection.dialect.identifier_preparer.quote
    for column in table.columns:
        if column.name not in present:
            clause = CreateColumn(column).compile(dialect=connection.dialect)
            connection.execute(text(f"ALTER TABLE {quote(table.name)} ADD COLUMN {clause}"))


def _add_indexes(connection: Connection, table: Table) -> None:
    present = {index["name"] for index in inspect(connection).get_indexes(table.name)}
    for index in table.indexes:
        if index.name not in present:
            connection.execute(CreateIndex(index))  # skipped by itself where it is for another database


def _convert(connection: Connection, table: Table) -> None:
    """Bring a MySQL table to InnoDB and a character set that holds every text, and widen its short texts."""
    engine, collation = connection.execute(
        text(
            "SELECT engine, table_collation FROM information_schema.tables"
            " WHERE table_schema = DATABASE() AND table_name = :name"
        ),
        {"name": table.name},
    ).one()
    quote = connection.dialect.identifier_preparer.quote
    others = _texts_of_another_collation(connection, table)
    if engine.lower() != "innodb" or collation != COLLATION or others:
        connection.execute(
            text(
                f"ALTER TABLE {quote(table.name)} ENGINE = InnoDB, CONVERT TO CHARACTER SET utf8mb4 COLLATE {COLLATION}"
            )
        )
    changes = [f"MODIFY COLUMN {clause}" for clause in _columns_to_widen(connection, table)]
    if changes:
        connection.execute(text(f"ALTER TABLE {quote(table.name)} {', '.join(changes)}"))


def _texts_of_another_collation(connection: Connection, table: Table) -> bool:
    return bool(
        connection.execute(
            text(
                "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE()"
                " AND table_name = :name AND collation_name IS NOT NULL AND collation_name <> :collation"
            ),
            {"name": table.name, "collation": COLLATION},
        ).scalar()
    )


def _columns_to_widen(connection: Connection, table: Table) -> list[str]:
    """Return the definitions of columns that are there with a shorter type than ours."""
    rows = connection.execute(
        text(
            "SELECT column_name, data_type, character_maximum_length FROM information_schema.columns"
            " WHERE table_schema = DATABASE() AND table_name = :name"
        ),
        {"name": table.name},
    ).all()
    found = {name: (kind.lower(), length or 0) for name, kind, length in rows}
    wider = []
    for column in table.columns:
        kind, length = found.get(column.name, ("", 0))
        ours = column.type.dialect_impl(connection.dialect)
        if isinstance(ours, MEDIUMTEXT):
            short = kind in {"tinytext", "text", "varchar", "char"}
        else:
            short = kind == "varchar" and length < (getattr(ours, "length", None) or 0)
        if short:
            wider.append(str(CreateColumn(column).compile(dialect=connection.dialect)))
    return wider
