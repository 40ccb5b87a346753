"""The nodes on SQL: `SqlNodes`."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from musicq_async.ports import Node
from musicq_async.sql.database import Database
from musicq_async.sql.tables import node as node_table

_n = node_table.c
_COLUMNS: Final = tuple(_n.id if name == "node" else _n[name] for name in Node.__struct_fields__)


class SqlNodes:
    """The `musicq_async.ports.NodeStore` in ``node``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def beat(self, node: Node) -> None:
        """Write a node's row."""
        row = msgspec.structs.asdict(node) | {"types": msgspec.json.encode(node.types).decode()}
        row["id"] = row.pop("node")[:255]

        def unit(connection: Connection) -> None:
            values: dict[str, Any] = {name: bindparam(name) for name in row if name != "id"}
            found = connection.execute(
                update(node_table).where(_n.id == bindparam("key")).values(values), row | {"key": row["id"]}
            )
            if not found.rowcount:
                connection.execute(insert(node_table), row)

        await self._database.write(unit)

    async def leave(self, node: str) -> None:
        """Delete a node's row."""
        await self._database.write(lambda connection: connection.execute(delete(node_table).where(_n.id == node[:255])))

    async def nodes(self) -> list[Node]:
        """Return every row, the longest-running first."""

        def unit(connection: Connection) -> list[Node]:
            return [_node(row) for row in connection.execute(select(*_COLUMNS).order_by(_n.started_ms, _n.id))]

        return await self._database.read(unit)

    async def forget(self, before_ms: int) -> int:
        """Delete rows whose last beat is older; return how many."""
        statement = delete(node_table).where(_n.heartbeat_ms < before_ms)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)


def _node(row: Any) -> Node:
    values: dict[str, Any] = dict(zip(Node.__struct_fields__, row, strict=True))
    values["scheduler"] = bool(values["scheduler"])
    values["types"] = msgspec.json.decode(values["types"], type=list[str]) if values["types"] else []
    return Node(**values)
