"""Pushes that share a transaction: every one is stored whole, or refused whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from musicq_async.errors import DuplicateTask
from musicq_async.sql.database import commit_was_lost
from musicq_async.sql.rows import INSERTED
from musicq_async.sql.task_writes import Row, delete_rows, insert_new, known_tasks

_ID = INSERTED.index("task_id")
_POSITION = INSERTED.index("position")
_TOKEN = INSERTED.index("lease_token")


@dataclass(frozen=True, slots=True)
class Push:
    """One caller's tasks, as rows of `INSERTED`."""

    rows: list[Row]
    ignore_known: bool


def push(connection: Connection, pushes: Sequence[Push]) -> list[list[bool] | DuplicateTask]:
    """Store the pushes' tasks; for each push return which were new, or why it was refused."""
    rows = [row for push in pushes for row in push.rows]
    if insert_new(connection, rows):
        return [[True] * len(push.rows) for push in pushes]
    return _push_carefully(connection, pushes, rows)


def _push_carefully(
    connection: Connection, pushes: Sequence[Push], rows: Sequence[Row]
) -> list[list[bool] | DuplicateTask]:
    """Decide one push after the other, then bring the table to what was decided.

    Some of our rows may be stored: by the insert before, or by a commit whose answer was lost.
    """
    found = known_tasks(connection, list({row[_ID] for row in rows}))
    lost = commit_was_lost(connection)
    stored = {(row[_ID], row[_POSITION]) for row in rows if _is_ours(row, found.get(row[_ID]), lost=lost)}
    taken = found.keys() - {task_id for task_id, _ in stored}
    chosen: dict[str, Row] = {}
    results: list[list[bool] | DuplicateTask] = []
    for push in pushes:
        fresh: dict[str, Row] = {}
        new = []
        for row in push.rows:
            is_new = row[_ID] not in taken and row[_ID] not in fresh
            new.append(is_new)
            if is_new:
                fresh[row[_ID]] = row
        if all(new) or push.ignore_known:
            results.append(new)
            chosen |= fresh
            taken |= fresh.keys()
        else:
            results.append(duplicate(push.rows[new.index(False)][_ID]))
    right = {(row[_ID], row[_POSITION]): row for row in chosen.values()}
    delete_rows(connection, [task_id for task_id, _ in stored - right.keys()])
    missing = [row for key, row in right.items() if key not in stored]
    if missing and not insert_new(connection, missing):
        raise _TakenMeanwhile
    return results


def _is_ours(row: Row, found: tuple[int, str | None] | None, *, lost: bool) -> bool:
    """Whether a stored task is the very row. One that was lent since its commit is known by its position alone."""
    return found is not None and found[0] == row[_POSITION] and (lost or found[1] == row[_TOKEN])


class _TakenMeanwhile(Exception):
    """Another process stored one of the ids between our look and our insert."""


def duplicate(task_id: str) -> DuplicateTask:
    """Return the error for a known id."""
    return DuplicateTask(f"a task with the id {task_id!r} exists already; leave task_id out to get a fresh one")
