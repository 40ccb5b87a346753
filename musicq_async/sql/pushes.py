"""Pushes that share a transaction: every one is stored whole, or refused whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from musicq_async.errors import DuplicateTask
from musicq_async.sql.database import commit_was_lost
from musicq_async.sql.faults import Contended
from musicq_async.sql.rows import INSERTED
from musicq_async.sql.task_writes import Row, delete_rows, insert_new, known_tasks
from musicq_async.sql.unique import Holders

_ID = INSERTED.index("task_id")
_POSITION = INSERTED.index("position")
_TOKEN = INSERTED.index("lease_token")
_KEY = INSERTED.index("unique_key")

Pushed = list[str | None]
"""For each task ``None`` where it is new, else the id of the task that is there."""


@dataclass(frozen=True, slots=True)
class Push:
    """One caller's tasks, as rows of `INSERTED`."""

    rows: list[Row]
    ignore_known: bool
    now_ms: int = 0

    @property
    def is_unique(self) -> bool:
        """Whether any of the tasks has a unique key."""
        rows = self.rows
        return rows[0][_KEY] is not None if len(rows) == 1 else any(row[_KEY] is not None for row in rows)


def push(connection: Connection, pushes: Sequence[Push]) -> list[Pushed | DuplicateTask]:
    """Store the pushes' tasks; for each push return which were new, or why it was refused."""
    plain = [each for each in pushes if not each.is_unique]
    answers = iter(_push_plain(connection, plain) if plain else ())
    return [_push_unique(connection, each) if each.is_unique else next(answers) for each in pushes]


def _push_plain(connection: Connection, pushes: Sequence[Push]) -> Sequence[Pushed | DuplicateTask]:
    rows = [row for push in pushes for row in push.rows]
    if insert_new(connection, rows):
        return [[None] * len(push.rows) for push in pushes]
    return _push_carefully(connection, pushes, rows)


def _push_unique(connection: Connection, push: Push) -> Pushed | DuplicateTask:
    """Store a push some of whose tasks have unique keys, or nothing of it."""
    with connection.begin_nested() as savepoint:
        holders = Holders(connection, [row for row in push.rows if row[_KEY] is not None], now_ms=push.now_ms)
        answers: Pushed = []
        for row in push.rows:
            held_by = None if row[_KEY] is None else holders.holder_of(row)
            if held_by is not None:
                answers.append(holders.met(row, held_by))
                continue
            stored = _push_carefully(connection, [Push([row], push.ignore_known)], [row])[0]
            if isinstance(stored, DuplicateTask):
                savepoint.rollback()
                return stored
            answers += stored
            if row[_KEY] is not None and stored == [None]:
                holders.won(row)
        holders.close()
        return answers


def _push_carefully(
    connection: Connection, pushes: Sequence[Push], rows: Sequence[Row]
) -> list[Pushed | DuplicateTask]:
    """Decide one push after the other, then bring the table to what was decided.

    Some of our rows may be stored: by the insert before, or by a commit whose answer was lost.
    """
    found = known_tasks(connection, list({row[_ID] for row in rows}))
    lost = commit_was_lost(connection)
    stored = {(row[_ID], row[_POSITION]) for row in rows if _is_ours(row, found.get(row[_ID]), lost=lost)}
    taken = found.keys() - {task_id for task_id, _ in stored}
    chosen: dict[str, Row] = {}
    results: list[Pushed | DuplicateTask] = []
    for push in pushes:
        fresh: dict[str, Row] = {}
        new: Pushed = []
        for row in push.rows:
            is_new = row[_ID] not in taken and row[_ID] not in fresh
            new.append(None if is_new else row[_ID])
            if is_new:
                fresh[row[_ID]] = row
        known = next((task_id for task_id in new if task_id is not None), None)
        if known is None or push.ignore_known:
            results.append(new)
            chosen |= fresh
            taken |= fresh.keys()
        else:
            results.append(duplicate(known))
    right = {(row[_ID], row[_POSITION]): row for row in chosen.values()}
    delete_rows(connection, [task_id for task_id, _ in stored - right.keys()])
    missing = [row for key, row in right.items() if key not in stored]
    if missing and not insert_new(connection, missing):
        raise _TakenMeanwhile
    return results


def _is_ours(row: Row, found: tuple[int, str | None] | None, *, lost: bool) -> bool:
    """Whether a stored task is the very row. One that was lent since its commit is known by its position alone."""
    return found is not None and found[0] == row[_POSITION] and (lost or found[1] == row[_TOKEN])


class _TakenMeanwhile(Contended):
    """Another process stored one of the ids between our look and our insert."""


def duplicate(task_id: str) -> DuplicateTask:
    """Return the error for a known id."""
    return DuplicateTask(f"a task with the id {task_id!r} exists already; leave task_id out to get a fresh one")
